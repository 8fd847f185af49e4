# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tell whether the node keeps up with a camera, by what became of its last seconds."""

from collections import deque
from dataclasses import dataclass

from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.accounting import SUPERSEDED, Counts
from mtl_perception.ros.parameters import Settings

WINDOW_S = 5.0
SHORTEST_S = 2.0
"""Less than this says nothing yet, seconds."""
FEWEST_FRAMES = 3
ANOTHER_CLOCK_S = 3600.0
"""Stamps that are older, seconds, are those of a recording, not of a slow link."""


@dataclass(frozen=True)
class Load:
    """
    What became of the frames of the last seconds.

    :param arrived_hz: frames per second that came.
    :param published_hz: frames per second that were answered.
    :param superseded: share of the frames that a newer one replaced.
    :param motion_unknown: share of the answers about motion that were "unknown"; None if too few
        were asked for.
    :param age_s: of the last answer, from the stamp of its image; None if there is none.
    """

    arrived_hz: float
    published_hz: float
    superseded: float
    motion_unknown: float | None
    age_s: float | None


class LoadWatch:
    """Remember the counters of a camera over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Counts]] = deque()
        self._age_s: float | None = None

    def add(self, now: float, counts: Counts, age_s: float | None) -> None:
        """
        Take a look at the counters.

        :param now: steady time, seconds.
        :param age_s: of the last answer, if there was one.
        """
        self._seen.append((now, counts))
        self._age_s = age_s
        while now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()

    def clear(self) -> None:
        """Forget everything."""
        self._seen.clear()

    def load(self) -> Load | None:
        """Return what became of the last seconds; None if too little is known of them."""
        if not self._seen:
            return None
        (begin, first), (end, last) = self._seen[0], self._seen[-1]
        seconds = end - begin
        received = last.received - first.received
        if seconds < SHORTEST_S or received < FEWEST_FRAMES:
            return None

        superseded = last.dropped.get(SUPERSEDED, 0) - first.dropped.get(SUPERSEDED, 0)
        unknown = last.motion_unknown - first.motion_unknown
        asked = unknown + last.motion_known - first.motion_known
        return Load(
            received / seconds, (last.published - first.published) / seconds,
            superseded / received, unknown / asked if asked >= FEWEST_FRAMES else None,
            self._age_s)


def overload(load: Load | None, settings: Settings) -> str:
    """
    Return what is too slow or too rare for the thresholds of the parameters, empty if nothing is.

    :param load: of a camera.
    :param settings: with the thresholds ``diagnostics.*``; 0 switches one off.
    """
    if load is None:
        return ''
    found = []

    # a camera that sends so few itself is not slowed down
    rate = settings.diagnostics_min_rate
    if load.published_hz < rate <= load.arrived_hz:
        found.append(f'{load.published_hz:.2f} frames/s answered, wanted {rate:g}')
    most = settings.diagnostics_max_superseded
    if 0 < most < load.superseded:
        found.append(f'{load.superseded:.0%} of the images superseded, wanted at most {most:.0%}')

    most = settings.diagnostics_max_motion_unknown
    if load.motion_unknown is not None and 0 < most < load.motion_unknown:
        found.append(f'motion unknown in {load.motion_unknown:.0%} of the answers, wanted at most '
                     f'{most:.0%}')
    most = settings.diagnostics_max_age
    if load.age_s is not None and 0 < most < load.age_s < ANOTHER_CLOCK_S:
        found.append(f'the last answer was {load.age_s:.2f} s old, wanted at most {most:g}')

    if not found:
        return ''
    return f'[{ReasonCode.OVERLOAD}] {"; ".join(found)}'
