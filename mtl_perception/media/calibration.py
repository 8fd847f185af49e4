# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Calibrations of cameras: from a file, and what a ``sensor_msgs/CameraInfo`` says.

Messages are recognised by their fields, not their class: those of rclpy, of rosbags and test
doubles all work.
"""

import bisect
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError

LARGEST_FILE = 1 << 20
"""Larger files are not read, bytes."""


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


def read_calibration(path: str | Path) -> Calibration:
    """
    Read the YAML file that ``camera_calibration`` writes.

    :raises ConfigurationError: if it cannot be read or lacks a field.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f'has more than {LARGEST_FILE} bytes')

        # Anybody may have written the file: safe_load builds plain values alone.
        fields = yaml.safe_load(path.read_text(encoding='utf-8'))
        return Calibration(
            height=int(fields['image_height']), width=int(fields['image_width']),
            distortion_model=str(fields['distortion_model']),
            distortion=_numbers(fields['distortion_coefficients']),
            k=_numbers(fields['camera_matrix']).reshape(3, 3),
            r=_numbers(fields['rectification_matrix']).reshape(3, 3),
            p=_numbers(fields['projection_matrix']).reshape(3, 4))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f'{path}: not a calibration file ({type(error).__name__}: {error}); wanted the YAML '
            'that camera_calibration writes') from error


class CameraInfoLike(Protocol):
    """The fields of ``sensor_msgs/CameraInfo`` that matter here."""

    height: int
    width: int
    k: Any
    binning_x: int
    binning_y: int
    roi: Any


def image_size(info: CameraInfoLike) -> tuple[int, int]:
    """Return height and width of the images that a message is for: window, then binning."""
    height = info.roi.height or info.height
    width = info.roi.width or info.width
    return height // max(1, info.binning_y), width // max(1, info.binning_x)


def focal_length(info: CameraInfoLike) -> float | None:
    """Return fx of the images that a message is for, pixels; None if it is not calibrated."""
    focal = float(info.k[0]) / max(1, info.binning_x)
    return focal if math.isfinite(focal) and focal > 0 else None


class CalibrationMemory:
    """
    The calibrations of one camera, by stamp; safe to use from several threads.

    The robot and ``mtl evaluate --bag --rerun`` share this rule: an image gets the calibration
    with its own stamp, or else the newest one before it, or else the first one after it. A camera
    often sends the image first, and a calibration hardly ever changes.

    :param kept: how many are remembered, those received last; None = all.
    """

    def __init__(self, kept: int | None = None) -> None:
        self._kept = kept
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


def _numbers(fields: dict[str, Any]) -> NDArray[np.float64]:
    """Return the numbers of a matrix in the file."""
    return np.array([float(number) for number in fields['data']])
