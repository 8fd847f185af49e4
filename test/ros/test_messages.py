# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From arrays to messages, and calibrations for images of another size."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from mtl_perception.image_codec import decode_array
from mtl_perception.media.intrinsics import image_size, intrinsics_of
from mtl_perception.ros import messages
from mtl_perception.ros.camera_info import fit_info
from mtl_perception.tasks import STREET_MOTION, STREET_SEMANTIC


@pytest.mark.parametrize(('encoding', 'dtype', 'channels'), [
    ('mono8', np.uint8, ()), ('rgb8', np.uint8, (3,)), ('16UC1', np.uint16, ()),
    ('32FC1', np.float32, ())])
def test_an_image_survives_the_message(encoding, dtype, channels):
    values = np.random.default_rng(0).integers(0, 200, (5, 14, *channels)).astype(dtype)
    for image in (values, values[:, ::2]):  # also one that is not contiguous
        message = messages.image_message(Header(frame_id='x'), encoding, image)
        np.testing.assert_array_equal(decode_array(message), image)
        assert (message.step, message.header.frame_id) == (image[0].nbytes, 'x')


def test_a_message_can_be_reused():
    message = None
    for size in ((4, 6), (4, 6), (2, 3), (5, 5)):
        image = np.random.default_rng(size[0]).integers(0, 256, size, dtype=np.uint8)
        message = messages.image_message(Header(frame_id=str(size)), 'mono8', image, message)
        np.testing.assert_array_equal(decode_array(message), image)
        assert message.header.frame_id == str(size)


def test_an_array_that_does_not_fit_the_encoding_is_refused():
    for image in (np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8)):
        with pytest.raises(ValueError, match='does not fit mono8'):
            messages.image_message(Header(), 'mono8', image)


def test_a_large_image_takes_milliseconds():
    image = np.zeros((1080, 1920, 3), np.uint8)
    messages.image_message(Header(), 'rgb8', image)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        messages.image_message(Header(), 'rgb8', image)
        times.append(time.perf_counter() - begin)

    assert min(times) < 0.02  # an assignment takes 0.4


def test_depth_becomes_millimetres_and_unknown_depth_zero():
    depth = np.array([[1.2346, np.nan, np.inf, 65.5354, 65.5356, 0, -1, 0.0004]], np.float32)
    assert messages.millimetres(depth).tolist() == [[1235, 0, 0, 65535, 0, 0, 0, 0]]


def test_labels_are_json():
    labels = json.loads(messages.labels_message(STREET_MOTION).data)
    assert labels['classes'][1] == {
        'id': 1, 'name': 'moving', 'color': [255, 64, 64], 'movable': False}


def test_label_info_where_vision_msgs_is_installed(monkeypatch):
    made = SimpleNamespace
    monkeypatch.setattr(messages, 'LABEL_INFO', lambda **fields: made(**fields))
    monkeypatch.setattr(messages, 'vision', made(VisionClass=lambda **fields: made(**fields)))
    info = messages.label_info_message(STREET_SEMANTIC, Header())
    pairs = [(one.class_id, one.class_name) for one in info.class_map]

    assert pairs == [*enumerate(STREET_SEMANTIC.classes), (255, 'unlabelled')]


MATRIX = [500.0, 0.0, 319.5, 0.0, 510.0, 239.5, 0.0, 0.0, 1.0]


def calibration(sec=0, **fields):
    info = CameraInfo(height=480, width=640, k=MATRIX, **fields)
    info.p = [500.0, 0.0, 319.5, -50.0, 0.0, 510.0, 239.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.header.stamp.sec = sec
    return info


def test_a_calibration_of_the_same_size_is_not_changed():
    header = Header(frame_id='out')
    fitted = fit_info(calibration(), header, 480, 640)
    assert fitted.header is header
    np.testing.assert_array_equal(fitted.k, calibration().k)
    np.testing.assert_array_equal(fitted.p, calibration().p)


def test_a_resized_calibration_projects_a_point_to_the_resized_pixel():
    fitted = fit_info(calibration(), Header(), 120, 320)
    point = np.array([0.3, -0.2, 2.0])
    u, v = (np.reshape(calibration().k, (3, 3)) @ point)[:2] / 2.0
    small_u, small_v = (np.reshape(fitted.k, (3, 3)) @ point)[:2] / 2.0

    assert (small_u + 0.5) / 320 == pytest.approx((u + 0.5) / 640)
    assert (small_v + 0.5) / 120 == pytest.approx((v + 0.5) / 480)
    assert (fitted.height, fitted.width) == (120, 320)
    assert fitted.p[3] == pytest.approx(-25)  # focal length times baseline


def test_window_and_binning_are_part_of_the_size():
    info = calibration(
        binning_x=2, binning_y=2,
        roi=RegionOfInterest(x_offset=100, y_offset=50, width=400, height=200))

    assert image_size(info) == (100, 200)
    assert intrinsics_of(info, (100, 200)).focal_px == 250

    fitted = fit_info(info, Header(), 100, 200)
    np.testing.assert_allclose(fitted.k[0], 250)
    np.testing.assert_allclose(fitted.k[2], (319.5 - 100 + 0.5) / 2 - 0.5)
    assert fitted.roi == RegionOfInterest()


def test_a_window_counts_only_for_images_of_that_window():
    window = RegionOfInterest(x_offset=160, y_offset=120, width=320, height=240)
    info = calibration(roi=window)
    whole = fit_info(info, Header(), 240, 320, (480, 640))
    np.testing.assert_array_equal(whole.k, fit_info(calibration(), Header(), 240, 320).k)
    part = fit_info(info, Header(), 120, 160, (240, 320))
    np.testing.assert_allclose(part.k[0], 250)
    np.testing.assert_allclose(part.k[2], (319.5 - 160 + 0.5) / 2 - 0.5)


def test_an_uncalibrated_camera_has_no_focal_length():
    assert intrinsics_of(CameraInfo(height=480, width=640), (480, 640)).focal_px is None
    assert not np.any(fit_info(CameraInfo(height=480, width=640), Header(), 48, 64).k)
    info = CameraInfo(height=480, width=640, k=[float('nan')] * 9)
    assert str(intrinsics_of(info, (480, 640)).state) == 'unusable'
