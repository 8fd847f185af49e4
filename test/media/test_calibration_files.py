# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration files, and what a camera_info says."""

from types import SimpleNamespace

import numpy as np
import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.media.calibration import focal_length, image_size, read_calibration

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

    found = read_calibration(path)

    assert (found.width, found.height, found.distortion_model) == (640, 480, 'plumb_bob')
    assert found.distortion.tolist() == [0.1, -0.2, 0, 0, 0.01]
    assert found.k.tolist() == [[500, 0, 320.5], [0, 510, 240.5], [0, 0, 1]]
    assert found.r.tolist() == np.eye(3).tolist()
    assert found.p.tolist() == [[490, 0, 321, 0], [0, 500, 241, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize('text', [
    '', 'image_width: 640', '- a\n- b', 'a: [', FILE.replace('510.0, ', ''), 'a' * (2 << 20)])
def test_anything_else_is_refused_with_its_name(tmp_path, text):
    path = tmp_path / 'wrong.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r'wrong\.yaml: not a calibration file'):
        read_calibration(path)
    with pytest.raises(ConfigurationError, match='missing'):
        read_calibration(tmp_path / 'missing.yaml')


def camera_info(focal=500.0, binning=0, window=(0, 0)):
    """Return what counts of a camera_info for 640 x 480 pixels."""
    return SimpleNamespace(
        height=480, width=640, k=[focal] + [0.0] * 8, binning_x=binning, binning_y=binning,
        roi=SimpleNamespace(height=window[0], width=window[1]))


def test_a_message_is_for_the_window_after_binning():
    assert image_size(camera_info()) == (480, 640)
    assert image_size(camera_info(binning=2)) == (240, 320)
    assert image_size(camera_info(binning=2, window=(200, 400))) == (100, 200)


def test_the_focal_length_is_that_of_the_binned_image():
    assert focal_length(camera_info()) == 500.0
    assert focal_length(camera_info(binning=2)) == 250.0


@pytest.mark.parametrize('focal', [0.0, -1.0, float('nan'), float('inf')])
def test_an_uncalibrated_camera_has_no_focal_length(focal):
    assert focal_length(camera_info(focal)) is None
