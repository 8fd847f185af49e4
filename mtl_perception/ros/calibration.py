# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A camera_info from a calibration, from intrinsics or from a focal length."""

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from mtl_perception.media.calibration import Calibration


def calibrated_info(calibration: Calibration) -> CameraInfo:
    """Return the message of a calibration, without a header."""
    return CameraInfo(
        height=calibration.height, width=calibration.width,
        distortion_model=calibration.distortion_model, d=calibration.distortion,
        k=calibration.k.ravel(), r=calibration.r.ravel(), p=calibration.p.ravel())


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
