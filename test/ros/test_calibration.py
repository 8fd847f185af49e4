# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrations of a camera source."""

import numpy as np
import pytest

pytest.importorskip('rclpy')

from mtl_perception.media.calibration import Calibration
from mtl_perception.ros.calibration import calibrated_info, centred_info, pinhole_info


def test_a_message_holds_every_number_of_a_calibration():
    calibration = Calibration(
        480, 640, 'plumb_bob', np.arange(5.0), np.arange(9.0).reshape(3, 3), np.eye(3),
        np.arange(12.0).reshape(3, 4))

    info = calibrated_info(calibration)

    assert (info.height, info.width, info.distortion_model) == (480, 640, 'plumb_bob')
    assert list(info.d) == [0, 1, 2, 3, 4]
    assert list(info.k) == list(range(9))
    assert list(info.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert list(info.p) == list(range(12))


def test_a_pinhole_camera_looks_through_the_middle():
    info = centred_info(100.0, 3, 5)
    np.testing.assert_array_equal(np.reshape(info.k, (3, 3)),
                                  [[100, 0, 2], [0, 100, 1], [0, 0, 1]])
    np.testing.assert_array_equal(np.reshape(info.p, (3, 4))[:, :3], np.reshape(info.k, (3, 3)))
    assert list(info.p[3::4]) == [0, 0, 0]


def test_an_unknown_focal_length_gives_zero_matrices():
    info = centred_info(0.0, 3, 5)
    assert (info.height, info.width) == (3, 5)
    assert not np.any(info.k)


def test_intrinsics_are_copied_unchanged():
    matrix = np.array([[7.0, 0, 2], [0, 8, 3], [0, 0, 1]])
    np.testing.assert_array_equal(np.reshape(pinhole_info(matrix, 3, 5).k, (3, 3)), matrix)
