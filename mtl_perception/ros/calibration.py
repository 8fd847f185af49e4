# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A camera_info from a calibration file, from intrinsics or from a focal length."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from mtl_perception.errors import ConfigurationError

LARGEST_FILE = 1 << 20


def read_calibration(path: str | Path) -> CameraInfo:
    """
    Read the YAML file that ``camera_calibration`` writes.

    :return: its content, for images of the size in the file; without a header.
    :raises ConfigurationError: if it cannot be read or lacks a field.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f'has more than {LARGEST_FILE} bytes')
        fields = yaml.safe_load(path.read_text(encoding='utf-8'))
        return CameraInfo(
            width=int(fields['image_width']), height=int(fields['image_height']),
            distortion_model=str(fields['distortion_model']),
            d=_numbers(fields['distortion_coefficients']),
            k=_numbers(fields['camera_matrix'], 9), r=_numbers(fields['rectification_matrix'], 9),
            p=_numbers(fields['projection_matrix'], 12))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f'camera_info_file {path}: not a calibration file ({type(error).__name__}: {error}); '
            'wanted the YAML that camera_calibration writes') from error


def pinhole_info(matrix: NDArray[np.float64], height: int, width: int) -> CameraInfo:
    """
    Return the calibration of a camera without distortion.

    :param matrix: (3, 3) float64 intrinsics, pixels; pixel centres lie at whole numbers.
    """
    projection = np.concatenate([matrix, np.zeros((3, 1))], axis=1)
    return CameraInfo(
        height=height, width=width, distortion_model='plumb_bob', d=[0.0] * 5,
        k=matrix.ravel(), r=np.eye(3).ravel(), p=projection.ravel())


def centred_info(focal_px: float, height: int, width: int) -> CameraInfo:
    """
    Return the calibration of a pinhole camera that looks through the middle of its image.

    :param focal_px: focal length, pixels; 0 = unknown, which ROS says with zeros for matrices.
    """
    if not focal_px:
        return CameraInfo(height=height, width=width)
    matrix = np.array([
        [focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]], np.float64)
    return pinhole_info(matrix, height, width)


def _numbers(fields: dict[str, Any], count: int | None = None) -> list[float]:
    numbers = [float(number) for number in fields['data']]
    if count is not None and len(numbers) != count:
        raise ValueError(f'a matrix has {len(numbers)} numbers, wanted {count}')
    return numbers
