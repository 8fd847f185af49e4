# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Count what became of every frame of a camera, and how long it took.

Every frame is accounted for: ``received == published + dropped (all reasons) + in flight``, where
in flight is at most two frames, one that waits in the mailbox and one that is being processed.

A frame is *received* when the subscription's callback gets the message. It is *published* when
its processing ended and every topic with a subscriber was handed to the middleware; with no
subscriber at all it is counted as *unheard* too. Otherwise it is *dropped* under exactly one
reason code.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mtl_perception.reason_codes import ReasonCode

SUPERSEDED, INACTIVE = ReasonCode.SUPERSEDED, ReasonCode.INACTIVE
ORDINARY = frozenset({SUPERSEDED, INACTIVE})
"""Reasons that belong to normal work: a newer frame had come, the node was deactivated."""

STAGES = ('wait', 'decode', 'network', 'messages', 'publish', 'total', 'age')
"""
The timed stages, in milliseconds: waiting in the mailbox; validation and decoding; resizing,
network and postprocessing; building the messages; handing them to the middleware; the total from
the callback on; and the age at the end, from the header's stamp by the node's clock.
"""

PERCENTILES = (50, 95, 99)
WINDOW = 600
RATE_WINDOW = 64
RATE_WINDOW_S = 5.0


@dataclass(frozen=True)
class Counts:
    """
    A consistent copy of the counters of a camera.

    :param received: messages that arrived.
    :param published: frames whose processing ended.
    :param unheard: those of them without any subscriber.
    :param dropped: frames that were given up, by reason code.
    :param waiting: frames in the mailbox, 0 or 1.
    :param processing: frames in the worker, 0 or 1.
    :param warnings: faults of frames that were processed nevertheless, by reason code.
    :param motion_known: published frames in which motion was asked for and known.
    :param motion_unknown: published frames in which motion was asked for and unknown.
    """

    received: int
    published: int
    unheard: int
    dropped: Mapping[str, int]
    waiting: int
    processing: int
    warnings: Mapping[str, int]
    motion_known: int = 0
    motion_unknown: int = 0

    @property
    def in_flight(self) -> int:
        """Return the number of frames that are neither published nor dropped yet."""
        return self.waiting + self.processing

    @property
    def balanced(self) -> bool:
        """Return whether every frame is accounted for."""
        return self.received == self.published + sum(self.dropped.values()) + self.in_flight


class FrameAccount:
    """
    The counters and timings of one camera; every method may be called from any thread.

    :param clock: steady time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._received = self._published = self._unheard = self._waiting = self._processing = 0
        self._motion = {True: 0, False: 0}
        self._dropped: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()

        self._times = {stage: deque[float](maxlen=WINDOW) for stage in STAGES}
        self._arrivals = deque[float](maxlen=RATE_WINDOW)
        self._departures = deque[float](maxlen=RATE_WINDOW)
        self._last_warned: tuple[str, float] | None = None
        self.last_published: float | None = None
        """Steady time of the last frame that was processed to its end."""
        self.last_fault: tuple[str, float] | None = None
        """Reason and steady time of the last drop that does not belong to normal work."""
        self.streak: tuple[str, int] = ('', 0)
        """Reason and number of the latest drops in a row for one reason, no frame published."""

    def received(self) -> None:
        """Count a message that arrived; it waits now."""
        with self._lock:
            self._received += 1
            self._waiting += 1
            self._arrivals.append(self._clock())

    def taken(self) -> None:
        """Count a frame as being processed instead of waiting."""
        with self._lock:
            self._waiting -= 1
            self._processing += 1

    def published(
        self, times_ms: Mapping[str, float], heard: bool = True, motion_known: bool | None = None,
    ) -> None:
        """
        Count a frame that was processed to its end.

        :param times_ms: milliseconds of some of the :data:`STAGES`.
        :param heard: whether it had a subscriber.
        :param motion_known: whether it tells what moves; None if that was not asked for.
        """
        with self._lock:
            self._processing -= 1
            self._published += 1
            self._unheard += not heard
            if motion_known is not None:
                self._motion[motion_known] += 1
            self.last_published = self._clock()
            self._departures.append(self.last_published)

            self.streak = ('', 0)
            for stage, value in times_ms.items():
                self._times[stage].append(value)

    def dropped(self, reason: str, waiting: bool = False) -> int:
        """
        Count a frame that was given up.

        :param waiting: whether it was still in the mailbox.
        :return: how often that has happened for this reason.
        """
        with self._lock:
            if waiting:
                self._waiting -= 1
            else:
                self._processing -= 1

            self._dropped[reason] += 1
            if reason not in ORDINARY:
                self.last_fault = (reason, self._clock())
                same = self.streak[0] == reason
                self.streak = (reason, self.streak[1] + 1 if same else 1)
            return self._dropped[reason]

    def warned(self, reason: str, lasting: bool = False) -> int:
        """
        Count a fault of a frame that is processed nevertheless.

        :param reason: its code.
        :param lasting: whether all frames of the camera have it, which is reported elsewhere.
        """
        with self._lock:
            self._warnings[reason] += 1
            if not lasting:
                self._last_warned = (reason, self._clock())
            return self._warnings[reason]

    def forgive(self) -> None:
        """Forget earlier faults, so that they do not count against a new activation."""
        with self._lock:
            self.streak = ('', 0)
            self.last_fault = self._last_warned = None

    def counts(self) -> Counts:
        """Return a consistent copy of the counters."""
        with self._lock:
            return Counts(
                self._received, self._published, self._unheard, dict(self._dropped),
                self._waiting, self._processing, dict(self._warnings),
                self._motion[True], self._motion[False])

    def silence(self) -> float | None:
        """Return the seconds since the last message, None if there never was one."""
        with self._lock:
            return self._clock() - self._arrivals[-1] if self._arrivals else None

    def rates(self) -> tuple[float, float]:
        """Return how many frames per second arrived and were published over the last seconds."""
        with self._lock:
            now = self._clock()
            return _rate(self._arrivals, now), _rate(self._departures, now)

    def newest(self, stage: str) -> float | None:
        """Return the milliseconds of a stage of the last frame, None before the first one."""
        with self._lock:
            times = self._times[stage]
            return times[-1] if times else None

    def last_warning(self, within_s: float) -> str | None:
        """Return the reason of the last warning if it is recent."""
        with self._lock:
            if self._last_warned and self._clock() - self._last_warned[1] <= within_s:
                return self._last_warned[0]
            return None

    def percentiles(self) -> dict[str, dict[int, float]]:
        """Return the percentiles of each stage over the last frames, milliseconds."""
        with self._lock:
            copies = {stage: list(values) for stage, values in self._times.items() if values}
        return {stage: percentiles(values) for stage, values in copies.items()}


def _rate(times: Iterable[float], now: float) -> float:
    """Return the events per second over the last seconds."""
    recent = [time for time in times if now - time <= RATE_WINDOW_S]
    span = now - recent[0] if len(recent) > 1 else 0.0
    return (len(recent) - 1) / span if span > 0 else 0.0


def percentiles(values: list[float]) -> dict[int, float]:
    """Return the nearest-rank percentiles of values that are not empty."""
    # inverted_cdf is the nearest rank: a duration that was measured, never a mean of two
    found = np.percentile(values, PERCENTILES, method='inverted_cdf').tolist()
    return dict(zip(PERCENTILES, found))
