# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A ring of recent frames with their poses, and which of them to compare the newest with."""

import collections
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.pinhole import Matrix, inverse, scaled_motion


@dataclass(frozen=True, eq=False)
class Remembered:
    """
    A frame of the ring.

    :param stamp_ns: time of exposure, nanoseconds.
    :param grey: (H, W) uint8.
    :param image: (H, W, 3) uint8 RGB.
    :param world: (4, 4) float64 from the camera's frame to that of the ring's first camera.
    :param quality: of the step that led here, 0 to 1.
    """

    stamp_ns: int
    grey: NDArray[np.uint8]
    image: NDArray[np.uint8]
    world: Matrix
    quality: float


@dataclass(frozen=True, eq=False)
class Baseline:
    """
    The frame that the newest is compared with.

    :param earlier: the frame.
    :param pose: (4, 4) float64 from the newest camera's frame to the earlier one's, composed of
        the steps between them.
    :param seconds: between them.
    :param travel: between them, metres.
    :param quality: the lowest of the steps between them, 0 to 1.
    """

    earlier: Remembered
    pose: Matrix
    seconds: float
    travel: float
    quality: float


class FrameRing:
    """
    The frames of the last moments of one camera, with poses chained over short steps.

    A short step is easy to estimate and shows little motion; a long baseline shows more, but its
    flow is too large to be found at once. So the steps are estimated and chained, and the newest
    frame is compared with the oldest that is at most ``seconds`` old and ``travel`` metres away.

    :param seconds: longest baseline.
    :param travel: farthest baseline, metres; the frame before is always near enough.
    :param capacity: so many frames are kept at most; the spacing of what is kept grows with it.
    """

    def __init__(self, seconds: float = 0.3, travel: float = 3.0, capacity: int = 12) -> None:
        if not (seconds > 0 and travel > 0 and capacity >= 2):
            raise ValueError(
                f'a ring of {seconds} s, {travel} m and {capacity} frames cannot be; seconds and '
                'travel must be positive, the capacity at least 2')
        self.seconds, self.travel = seconds, travel
        self._frames: collections.deque[Remembered] = collections.deque(maxlen=capacity)
        self._speed: tuple[Matrix, float] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def newest(self) -> Remembered | None:
        """Return the newest frame, None if the ring is empty."""
        return self._frames[-1] if self._frames else None

    def reset(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._speed = None

    def guess(self, stamp_ns: int) -> Matrix | None:
        """
        Return the pose of the next step if the camera goes on as it did, None if that is unknown.

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
        Remember a frame.

        :param stamp_ns: nanoseconds, after those of the ring.
        :param grey: (H, W) uint8.
        :param image: (H, W, 3) uint8 RGB.
        :param step: (4, 4) float64 from this camera's frame to the newest one's; None if the ring
            is empty.
        :param quality: of the step, 0 to 1.
        :raises ValueError: if the stamp is not after the newest, or the step is missing.
        """
        if not self._frames:
            self._frames.append(Remembered(stamp_ns, grey, image, np.eye(4), 1.0))
            return
        newest = self._frames[-1]
        if stamp_ns <= newest.stamp_ns or step is None:
            raise ValueError(
                f'stamp {stamp_ns} ns after {newest.stamp_ns} ns, step {step is not None}; a '
                'frame must be newer than the ring and come with its step')
        self._frames.append(
            Remembered(stamp_ns, grey, image, newest.world @ step, quality))
        self._speed = step, (stamp_ns - newest.stamp_ns) * 1e-9

    def baseline(self, slack: float = 0.02) -> Baseline | None:
        """
        Return what to compare the newest frame with, None if it is the only one.

        :param slack: so much longer than ``seconds`` a baseline may be, as stamps jitter.
        """
        if len(self._frames) < 2:
            return None
        newest = self._frames[-1]
        quality, chosen = 1.0, None
        frames = list(self._frames)
        for later, earlier in zip(frames[:0:-1], frames[-2::-1], strict=True):
            quality = min(quality, later.quality)
            pose = inverse(earlier.world) @ newest.world
            seconds = (newest.stamp_ns - earlier.stamp_ns) * 1e-9
            travel = float(np.linalg.norm(pose[:3, 3]))
            if chosen is None or (seconds <= self.seconds + slack and travel <= self.travel):
                chosen = Baseline(earlier, pose, seconds, travel, quality)
        return chosen
