# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrations of cameras, and which of several counts for an image."""

import bisect
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError
from mtl_perception.media.intrinsics import Intrinsics, intrinsics_of

SAME_RATIO = 0.02
"""Ratios of the sides that differ by less are the same: sizes are rounded."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """
    The calibration of one camera, as ROS has it; pixel centres lie at whole numbers.

    :param height: of the images that it is for, pixels.
    :param width: of the images that it is for, pixels.
    :param distortion_model: such as ``plumb_bob``.
    :param distortion: (n,) float64 coefficients of that model.
    :param k: (3, 3) float64 intrinsics of the raw image, pixels.
    :param r: (3, 3) float64 rotation that rectifies it.
    :param p: (3, 4) float64 projection of the rectified image, pixels.
    """

    height: int
    width: int
    distortion_model: str
    distortion: NDArray[np.float64]
    k: NDArray[np.float64]
    r: NDArray[np.float64]
    p: NDArray[np.float64]

    @property
    def d(self) -> NDArray[np.float64]:
        """The distortion, under the name that it has in a message."""
        return self.distortion

    def at(self, height: int, width: int) -> 'Calibration':
        """
        Return the calibration of the same camera's images at another size.

        :raises ConfigurationError: if the sides have another ratio: then the images were cut too.
        """
        x, y = width / self.width, height / self.height
        if abs(x / y - 1) > SAME_RATIO:
            raise ConfigurationError(
                f'the calibration is for {self.width} x {self.height} pixels, the images have '
                f'{width} x {height}: another ratio of the sides; calibrate at that size')

        # Pixel 0 covers -0.5 to 0.5, so a centre c goes to (c + 0.5) x - 0.5.
        move = np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]])
        return replace(self, height=height, width=width, k=move @ self.k, p=move @ self.p)


def pinhole(height: int, width: int, focal_px: float) -> Calibration:
    """
    Return the calibration of a camera without distortion that looks at the middle of its image.

    :param focal_px: pixels.
    """
    k = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    return Calibration(
        height, width, 'plumb_bob', np.zeros(5), k, np.eye(3), np.hstack([k, np.zeros((3, 1))]))


class CalibrationMemory:
    """
    The calibrations of one camera, by stamp, and what they say; safe to use from several threads.

    The robot and ``mtl evaluate --bag --rerun`` share this rule: an image gets the calibration
    with its own stamp, or else the newest one before it, or else the first one after it. A camera
    often sends the image first, and a calibration hardly ever changes.

    :param kept: how many are remembered, those received last; None = all.
    :param rectified: whether the images were rectified, see :func:`.is_rectified_topic`.
    """

    def __init__(self, kept: int | None = None, rectified: bool = False) -> None:
        self._kept = kept
        self._rectified = rectified
        self._read: tuple[Any, Intrinsics] | None = None
        self._lock = threading.Lock()
        self._infos: dict[int, Any] = {}
        self._stamps: list[int] = []

    def put(self, info: Any) -> None:
        """Remember a ``sensor_msgs/CameraInfo``."""
        stamp = info.header.stamp
        stamp_ns = stamp.sec * 10 ** 9 + stamp.nanosec
        with self._lock:
            if self._infos.pop(stamp_ns, None) is None:
                bisect.insort(self._stamps, stamp_ns)
            self._infos[stamp_ns] = info

            # A dict keeps the order of insertion, so the first key was received first.
            if self._kept is not None and len(self._infos) > self._kept:
                oldest = next(iter(self._infos))
                del self._infos[oldest]
                self._stamps.remove(oldest)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._infos.clear()
            self._stamps.clear()

    def find(self, stamp_ns: int) -> Any:
        """Return the calibration for an image with this stamp, None if there is none at all."""
        with self._lock:
            if not self._stamps:
                return None
            place = bisect.bisect_right(self._stamps, stamp_ns)
            return self._infos[self._stamps[max(0, place - 1)]]

    def intrinsics(
            self, stamp_ns: int, shape: tuple[int, ...], frame_id: str = '',
    ) -> tuple[Intrinsics, Any]:
        """
        Return what is known of the camera of an image.

        :param stamp_ns: of the image.
        :param shape: of the image, rows and columns first.
        :param frame_id: of the image.
        :return: what its calibration says, and the calibration; None where there is none, or it
            says nothing about images of this size.
        """
        info = self.find(stamp_ns)

        # A camera repeats its calibration with each image; reading it once is enough.
        content = _content(info)
        key = content, (*shape[:2],), frame_id
        if content is None or self._read is None or self._read[0] != key:
            self._read = key, intrinsics_of(info, shape, self._rectified, frame_id)
        found = self._read[1]
        fits = info is not None and not found.is_of_another_size and found.focal_px is not None
        return found, info if fits else None


def believable(infos: Iterable[Any]) -> list[Any]:
    """
    Return the calibrations of a recording that count for all of its images.

    Those that say nothing, as of a driver that has not finished its start, are left out if there
    are others: a recording has one scale from its first frame to its last.

    :param infos: ``sensor_msgs/CameraInfo``, in any order.
    """
    every = list(infos)
    good = [info for info in every if _own(info).focal_px is not None]
    return good or every


def _own(info: Any) -> Intrinsics:
    """Return what a calibration says about the images that it is for itself."""
    return intrinsics_of(
        info, (getattr(info, 'height', 0), getattr(info, 'width', 0)))


def _content(info: Any) -> tuple[Any, ...] | None:
    """Return all that counts of a calibration, None if it cannot be read."""
    try:
        roi = getattr(info, 'roi', None)
        numbers = [np.asarray(getattr(info, name, ()), np.float64).tobytes() for name in 'kdrp']
        return (info.height, info.width, info.distortion_model, *numbers,
                info.binning_x, info.binning_y, roi and (
                    roi.x_offset, roi.y_offset, roi.height, roi.width),
                info.header.frame_id)
    except (AttributeError, TypeError, ValueError):
        return None
