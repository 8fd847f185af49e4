# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrations of a camera source."""

import numpy as np
import pytest

pytest.importorskip('rclpy')

from mtl_perception.errors import ConfigurationError
from mtl_perception.ros.calibration import (
    centred_info,
    pinhole_info,
    read_calibration,
)

FILE = """
image_width: 640
image_height: 480
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [500.0, 0, 320.5, 0, 510.0, 240.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0.01]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [490.0, 0, 321, 0, 0, 500, 241, 0, 0, 0, 1, 0]}
"""


def test_the_file_that_camera_calibration_writes(tmp_path):
    path = tmp_path / 'front.yaml'
    path.write_text(FILE)
    info = read_calibration(path)
    assert (info.width, info.height, info.distortion_model) == (640, 480, 'plumb_bob')
    assert list(info.d) == [0.1, -0.2, 0, 0, 0.01]
    assert (info.k[0], info.k[2], info.k[4], info.k[5]) == (500.0, 320.5, 510.0, 240.5)
    assert (info.p[0], info.p[6]) == (490.0, 241.0)


@pytest.mark.parametrize('text', [
    '', 'image_width: 640', '- a\n- b', 'a: [', FILE.replace('510.0, ', ''), 'a' * (2 << 20)])
def test_anything_else_is_refused_with_its_name(tmp_path, text):
    path = tmp_path / 'wrong.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r'wrong\.yaml: not a calibration file'):
        read_calibration(path)
    with pytest.raises(ConfigurationError, match='missing'):
        read_calibration(tmp_path / 'missing.yaml')


def test_a_pinhole_camera_looks_through_the_middle():
    info = centred_info(100.0, 3, 5)
    np.testing.assert_array_equal(np.reshape(info.k, (3, 3)),
                                  [[100, 0, 2], [0, 100, 1], [0, 0, 1]])
    np.testing.assert_array_equal(np.reshape(info.p, (3, 4))[:, :3], np.reshape(info.k, (3, 3)))
    assert list(info.p[3::4]) == [0, 0, 0]


def test_an_unknown_focal_length_is_said_with_zeros():
    info = centred_info(0.0, 3, 5)
    assert (info.height, info.width) == (3, 5)
    assert not np.any(info.k)


def test_intrinsics_are_taken_as_they_are():
    matrix = np.array([[7.0, 0, 2], [0, 8, 3], [0, 0, 1]])
    np.testing.assert_array_equal(np.reshape(pinhole_info(matrix, 3, 5).k, (3, 3)), matrix)
