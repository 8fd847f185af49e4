# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A ring of recent frames with their poses, and the choice of the one to compare with."""

import collections
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.pinhole import Matrix, inverse, scaled_motion


@dataclass(frozen=True, eq=False)
class RingFrame:
    """
    A frame of the ring.

    :param stamp_ns: time of exposure, nanoseconds.
    :param grey: (H, W) uint8.
    :param image: (H, W, 3) uint8 RGB.
    :param world: (4, 4) float64 from the camera's frame to that of the ring's first camera.
    :param quality: of the step from the frame before, 0 to 1.
    """

    stamp_ns: int
    grey: NDArray[np.uint8]
    image: NDArray[np.uint8]
    world: Matrix
    quality: float


@dataclass(frozen=True, eq=False)
class Baseline:
    """
    The earlier frame that the newest is compared with.

    :param earlier: that frame.
    :param pose: (4, 4) float64 from the newest camera's frame to the earlier one's, composed of
        the steps between them.
    :param seconds: between them.
    :param travel: between them, metres.
    :param quality: the lowest of the steps between them, 0 to 1.
    """

    earlier: RingFrame
    pose: Matrix
    seconds: float
    travel: float
    quality: float


class FrameRing:
    """
    The last frames of one camera, with poses chained over short steps.

    A short step is easy to estimate but shows little motion of objects; a long baseline shows
    more, but its flow is too large to be found in one go. So the steps are estimated and chained,
    and the newest frame is compared with the oldest one within ``seconds`` and ``travel`` metres.

    :param seconds: longest duration of a baseline.
    :param travel: longest distance of a baseline, metres; the frame before is always allowed.
    :param capacity: largest number of frames that are kept.
    :raises ValueError: if a value is out of range.
    """

    def __init__(self, seconds: float = 0.3, travel: float = 3.0, capacity: int = 12) -> None:
        if not (seconds > 0 and travel > 0 and capacity >= 2):
            raise ValueError(
                f'a frame ring got seconds {seconds}, travel {travel} and capacity {capacity}; '
                'seconds and travel must be positive, capacity at least 2')
        self.seconds = seconds
        self.travel = travel
        self._frames: collections.deque[RingFrame] = collections.deque(maxlen=capacity)
        self._speed: tuple[Matrix, float] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def newest(self) -> RingFrame | None:
        """Return the newest frame, None if the ring is empty."""
        return self._frames[-1] if self._frames else None

    def reset(self) -> None:
        """Forget all frames and the speed."""
        self._frames.clear()
        self._speed = None

    def guess(self, stamp_ns: int) -> Matrix | None:
        """
        Return the next step at the speed of the last one, None before the first step.

        :param stamp_ns: of the next frame, nanoseconds.
        :return: (4, 4) float64 from the next camera's frame to the newest one's.
        """
        if self._speed is None or not self._frames:
            return None
        pose, seconds = self._speed
        return scaled_motion(pose, (stamp_ns - self._frames[-1].stamp_ns) * 1e-9 / seconds)

    def add(
        self, stamp_ns: int, grey: NDArray[np.uint8], image: NDArray[np.uint8],
        step: Matrix | None = None, quality: float = 1.0,
    ) -> None:
        """
        Append a frame.

        :param stamp_ns: nanoseconds, after the newest frame's.
        :param grey: (H, W) uint8.
        :param image: (H, W, 3) uint8 RGB.
        :param step: (4, 4) float64 from this camera's frame to the newest one's; None if the ring
            is empty.
        :param quality: of the step, 0 to 1.
        :raises ValueError: if the stamp is not after the newest, or the step is missing.
        """
        if not self._frames:
            self._frames.append(RingFrame(stamp_ns, grey, image, np.eye(4), 1.0))
            return

        newest = self._frames[-1]
        if stamp_ns <= newest.stamp_ns or step is None:
            raise ValueError(
                f'frame at {stamp_ns} ns with{"out" if step is None else ""} a step, newest '
                f'frame of the ring at {newest.stamp_ns} ns; a frame must be newer than the ring '
                'and come with its step')

        # The world is the first camera's frame: world <- newest <- this
        self._frames.append(
            RingFrame(stamp_ns, grey, image, newest.world @ step, quality))
        self._speed = step, (stamp_ns - newest.stamp_ns) * 1e-9

    def baseline(self, slack: float = 0.02, seconds: float | None = None) -> Baseline | None:
        """
        Return the frame to compare the newest one with, None if there is only one.

        :param seconds: longest duration, if it shall be shorter than the ring's.
        :param slack: seconds that a baseline may be longer than allowed, as stamps jitter.
        """
        if len(self._frames) < 2:
            return None

        longest = self.seconds if seconds is None else min(seconds, self.seconds)
        newest = self._frames[-1]
        quality = 1.0
        chosen = None
        frames = list(self._frames)

        # Back in time, so that the last frame within the limits is the oldest. A camera that
        # reverses comes near an old frame again: one that is too far does not end the search.
        for later, earlier in zip(frames[:0:-1], frames[-2::-1], strict=True):
            quality = min(quality, later.quality)
            pose = inverse(earlier.world) @ newest.world  # earlier <- world <- newest
            duration = (newest.stamp_ns - earlier.stamp_ns) * 1e-9
            travel = float(np.linalg.norm(pose[:3, 3]))
            if chosen is None or (duration <= longest + slack and travel <= self.travel):
                chosen = Baseline(earlier, pose, duration, travel, quality)
        return chosen
