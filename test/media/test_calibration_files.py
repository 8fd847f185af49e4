# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration files of every maker."""

import cv2
import numpy as np
import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.media.calibration_file import calibration_path, read_calibration
from mtl_perception.media.intrinsics import intrinsics_of

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


def write(tmp_path, text, name='front.yaml'):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_file_that_camera_calibration_writes(tmp_path):
    found = read_calibration(write(tmp_path, FILE))

    assert (found.width, found.height, found.distortion_model) == (640, 480, 'plumb_bob')
    assert found.distortion.tolist() == [0.1, -0.2, 0, 0, 0.01]
    assert found.k.tolist() == [[500, 0, 320.5], [0, 510, 240.5], [0, 0, 1]]
    assert found.r.tolist() == np.eye(3).tolist()
    assert found.p.tolist() == [[490, 0, 321, 0], [0, 500, 241, 0], [0, 0, 1, 0]]


def test_an_older_file_with_the_key_camera_model(tmp_path):
    found = read_calibration(write(tmp_path, FILE.replace('distortion_model', 'camera_model')))
    assert found.distortion_model == 'plumb_bob'
    assert found.k[0, 0] == 500


def test_a_file_without_projection_and_rectification(tmp_path):
    lines = [line for line in FILE.splitlines() if not line.startswith(('rect', 'proj'))]
    found = read_calibration(write(tmp_path, '\n'.join(lines)))
    assert found.p.tolist() == [[500, 0, 320.5, 0], [0, 510, 240.5, 0], [0, 0, 1, 0]]
    assert found.r.tolist() == np.eye(3).tolist()


@pytest.mark.parametrize('first', ['%YAML:1.0', '%YAML 1.2'])
def test_a_file_that_opencv_wrote(tmp_path, first):
    path = tmp_path / 'opencv.yml'
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write('image_width', 640)
    storage.write('image_height', 480)
    storage.write('camera_matrix', np.array([[500, 0, 320.5], [0, 510, 240.5], [0, 0, 1.0]]))
    storage.write('distortion_coefficients', np.array([[0.1, -0.2, 0, 0, 0.01]]))
    storage.release()

    lines = path.read_text().splitlines()

    assert lines[0].startswith('%YAML')

    path.write_text('\n'.join([first, *lines[1:]]))  # older versions write the colon
    found = read_calibration(path)

    assert (found.width, found.height, found.distortion_model) == (640, 480, 'plumb_bob')
    assert found.k.tolist() == [[500, 0, 320.5], [0, 510, 240.5], [0, 0, 1]]
    assert found.distortion.tolist() == [0.1, -0.2, 0, 0, 0.01]


def test_a_file_with_nested_lists_and_eight_coefficients(tmp_path):
    text = ('image_size: [640, 480]\nK: [[500, 0, 320], [0, 500, 240], [0, 0, 1]]\n'
            'D: [0.1, 0, 0, 0, 0, 0.1, 0, 0]\n')
    found = read_calibration(write(tmp_path, text))
    assert (found.height, found.width) == (480, 640)
    assert found.distortion_model == 'rational_polynomial'


def test_the_addresses_that_drivers_take(tmp_path, monkeypatch):
    folder = tmp_path / 'share' / 'robot' / 'config'
    folder.mkdir(parents=True)
    path = write(folder, FILE, 'my camera.yaml')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/none:{tmp_path}')
    monkeypatch.setenv('HOME', str(folder))

    for text in (str(path), f'file://{str(path).replace(" ", "%20")}', f'file:{path}',
                 'package://robot/config/my camera.yaml', '~/my camera.yaml'):
        assert read_calibration(text).k[0, 0] == 500, text


@pytest.mark.parametrize(('text', 'words'), [
    ('package://absent/a.yaml', "the package 'absent' is in none of the"),
    ('http://host/a.yaml', 'wanted a path, file:///path or package://NAME/path'),
    ('~nobody_of_this_name/a.yaml', 'write the path in full')])
def test_an_address_that_leads_nowhere_is_named(text, words):
    with pytest.raises(ConfigurationError, match=words):
        calibration_path(text)


@pytest.mark.parametrize('text', [
    '', 'image_width: 640', '- a\n- b', 'a: [', FILE.replace('510.0, ', ''), 'a' * (2 << 20),
    FILE.replace('640', '0'), FILE.replace('640', 'wide'), FILE.replace('500.0', '.nan'),
    FILE.replace('500.0, 0', '-500.0, 0'), FILE.replace('500.0', '24000000'),
    FILE.replace('plumb_bob', 'double_sphere'), '!!python/object/apply:os.system [ls]',
    '[width]\n640\n'])
def test_anything_else_is_refused_with_its_name(tmp_path, text):
    if 'double_sphere' in text:
        text = text.replace('projection', 'unknown')
    path = write(tmp_path, text, 'wrong.yaml')
    with pytest.raises(ConfigurationError, match=r'wrong\.yaml: not a calibration file'):
        read_calibration(path)
    with pytest.raises(ConfigurationError, match='missing'):
        read_calibration(tmp_path / 'missing.yaml')


def test_a_calibration_is_scaled_to_smaller_images_and_refused_for_cut_ones(tmp_path):
    found = read_calibration(write(tmp_path, FILE))
    half = found.at(240, 320)

    assert half.k[0].tolist() == [250, 0, 160]
    assert intrinsics_of(half, (240, 320)).focal_px == 250
    with pytest.raises(ConfigurationError, match='640 x 480 pixels, the images have 640 x 360'):
        found.at(360, 640)
