# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras, without one: the driver is a double."""

import cv2
import pytest
from fake_camera import FakeCapture

from mtl_perception.errors import DataError
from mtl_perception.media import device
from mtl_perception.media.device import CameraDevice


@pytest.fixture
def capture(monkeypatch):
    capture = FakeCapture()
    monkeypatch.setattr(device.cv2, 'VideoCapture', lambda: capture)
    return capture


def test_a_camera_is_asked_for_size_and_rate_and_gives_rgb(capture):
    camera = CameraDevice('/dev/video7', width=64, height=48, rate=30.0)

    assert (capture.number, capture.backend) == (7, cv2.CAP_V4L2)
    assert capture.asked[cv2.CAP_PROP_FRAME_WIDTH] == 64
    assert capture.asked[cv2.CAP_PROP_FPS] == 30
    assert [camera.read()[0, 0].tolist() for _ in range(3)] == [[1, 0, 0], [2, 0, 0], [3, 0, 0]]


def test_what_is_not_asked_for_is_left_to_the_driver(capture):
    CameraDevice('/dev/video0')

    assert list(capture.asked) == [cv2.CAP_PROP_BUFFERSIZE]


def test_a_camera_that_is_unplugged_says_so(capture):
    camera = CameraDevice('/dev/video0')
    for _ in range(3):
        camera.read()

    with pytest.raises(DataError, match='/dev/video0: the camera gives no images any more'):
        camera.read()
    camera.close()
    assert capture.pictures == -1


def test_a_device_that_is_no_camera_is_refused():
    with pytest.raises(DataError, match='/dev/null: cannot be opened as a V4L2 camera'):
        CameraDevice('/dev/null')
