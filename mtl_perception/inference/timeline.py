# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of one camera follow one another."""

import collections
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import FrameError
from mtl_perception.frames import Frame
from mtl_perception.reason_codes import ReasonCode

BACKWARDS_LIMIT = 3
"""This many stamps in a row before the last valid one mean that the camera restarted."""


@dataclass(frozen=True)
class Link:
    """
    How a frame follows the last one of its camera.

    :param stamp_ns: of the frame, nanoseconds.
    :param shape: of its image.
    :param checksum: of its image at the network's size.
    :param reason: why it must not be compared with the last frame; empty if it may be.
    :param odd: whether its stamp cannot be trusted: no later frame is compared with it.
    :param forgets: whether everything before this frame is void.
    """

    stamp_ns: int
    shape: tuple[int, ...]
    checksum: int
    reason: str = ''
    odd: bool = False
    forgets: bool = False

    @property
    def continues(self) -> bool:
        """Whether the frame may be compared with the last one."""
        return not self.reason


class Timeline:
    """
    Decide whether a frame of a camera continues the last one.

    It does not, for one of these reasons:

    - ``first``: there is no frame before it;
    - ``gap``: more than ``max_gap_s`` have passed; ``resolution``: the image has another size;
    - ``T01_backwards``: its stamp lies before the last one. The last frame stays the last one. The
      third such stamp in a row is a restart of the camera, ``backwards``;
    - ``T02_duplicate``: its stamp repeats and its image does not; the last frame stays;
    - ``T04_zero_stamp``: its stamp is zero; the last frame is forgotten;
    - the reason that :meth:`reset` was given, such as ``time_jump``.

    :meth:`follow` only asks, :meth:`commit` takes the frame: a frame that is dropped in between
    leaves no trace.

    :param max_gap_s: longest time between two frames that may be compared, seconds.
    """

    def __init__(self, max_gap_s: float) -> None:
        self.max_gap_s = max_gap_s
        self.resets: collections.Counter[str] = collections.Counter()
        """How often the temporal state restarted, by reason."""
        self.warnings: collections.Counter[str] = collections.Counter()
        """How many frames were processed despite an odd stamp, by code."""
        self._last: Link | None = None
        self._why_none = 'first'
        self._backwards = 0

    @property
    def started(self) -> bool:
        """Whether there is a last frame."""
        return self._last is not None

    def reset(self, reason: str) -> None:
        """
        Forget the last frame.

        :param reason: why; it is counted.
        """
        self.resets[reason] += 1
        self._forget(reason)

    def follow(self, frame: Frame, image: NDArray[np.uint8]) -> Link:
        """
        Return how a frame follows the last one; nothing changes.

        :param frame: the next one of the camera.
        :param image: its image at the network's size.
        :raises FrameError: ``T02_duplicate`` if stamp and image are those of the last frame.
        """
        checksum = zlib.crc32(np.ascontiguousarray(image).data)
        shape = frame.image.shape

        if code := self._odd_stamp(frame.stamp_ns, checksum):
            return Link(frame.stamp_ns, shape, checksum, code, odd=True,
                        forgets=code == ReasonCode.TIME_ZERO)
        reason = self._restart(frame.stamp_ns, shape)
        return Link(frame.stamp_ns, shape, checksum, reason, forgets=bool(reason))

    def commit(self, link: Link) -> None:
        """Take the frame of a link as processed."""
        if link.odd:
            self.warnings[link.reason] += 1
            self._backwards += link.reason == ReasonCode.TIME_BACKWARDS
            if link.forgets:
                self._forget(link.reason)
            return

        # after a reset or a zero stamp the reason was counted when it happened
        if link.reason and (self._last is not None or link.reason == 'first'):
            self.resets[link.reason] += 1
        self._last = link
        self._backwards = 0

    def is_gap(self, earlier_ns: int, later_ns: int) -> bool:
        """Return whether too much time lies between two stamps to compare their frames."""
        return later_ns - earlier_ns > self.max_gap_s * 1e9

    def _forget(self, reason: str) -> None:
        """Forget the last frame."""
        self._last = None
        self._why_none = reason
        self._backwards = 0

    def _odd_stamp(self, stamp_ns: int, checksum: int) -> str:
        """
        Return the code of a stamp that does not follow the last one, empty if it does.

        :raises FrameError: ``T02_duplicate`` if stamp and image are those of the last frame.
        """
        if stamp_ns == 0:
            return ReasonCode.TIME_ZERO
        last = self._last
        if last is None or stamp_ns > last.stamp_ns:
            return ''

        if stamp_ns == last.stamp_ns:
            if checksum == last.checksum:
                raise FrameError(
                    f'stamp {stamp_ns} ns and image are those of the frame before; is there '
                    'a second publisher, or is one message sent twice?', ReasonCode.TIME_DUPLICATE)
            return ReasonCode.TIME_DUPLICATE
        return ReasonCode.TIME_BACKWARDS if self._backwards + 1 < BACKWARDS_LIMIT else ''

    def _restart(self, stamp_ns: int, shape: tuple[int, ...]) -> str:
        """Return why a frame in good order cannot continue the last one, empty if it can."""
        last = self._last
        if last is None:
            return self._why_none
        if stamp_ns < last.stamp_ns:
            return 'backwards'
        if shape != last.shape:
            return 'resolution'
        return 'gap' if self.is_gap(last.stamp_ns, stamp_ns) else ''
