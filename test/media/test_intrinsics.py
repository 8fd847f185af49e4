# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a calibration says about an image, and how far it is believed."""

from types import SimpleNamespace

import pytest
from camera_infos import EQUIDISTANT_100, camera_info, matrix, projection, window

from mtl_perception.media.calibration import CalibrationMemory, believable
from mtl_perception.media.intrinsics import (
    given_focal_length,
    image_size,
    intrinsics_of,
    is_rectified_topic,
)

SHAPE = 480, 640
BARREL = [-0.37, 0.19, 0.0, 0.0, -0.07]


def found(info, shape=SHAPE, **how):
    """Return state and focal length."""
    one = intrinsics_of(info, shape, **how)
    return str(one.state), one.focal_px


def test_a_calibration_without_oddities_is_believed():
    one = intrinsics_of(camera_info(), SHAPE)
    assert (str(one.state), one.focal_px, one.reason, one.lens, one.code) == (
        'calibrated', 500.0, '', None, None)


def test_no_calibration_is_assumed_and_a_number_is_an_estimate():
    assert found(None) == ('assumed', None)
    assert str(given_focal_length(500.0).state) == 'estimated'
    assert {str(given_focal_length(one).state) for one in (
        None, 0.0, -1.0, float('nan'), float('inf'))} == {'assumed'}


@pytest.mark.parametrize('info', [
    camera_info(width=0, height=0), camera_info(width=0, height=0, k=[0.0] * 9, p=[0.0] * 12),
    camera_info(k=[0.0] * 9, p=[0.0] * 12), camera_info(k=[0.0] * 9, p=[0.0] * 12, width=800)])
def test_a_driver_that_was_not_calibrated_is_like_no_camera_info(info):
    one = intrinsics_of(info, SHAPE)
    assert (str(one.state), one.focal_px, one.code) == ('assumed', None, 'I21_no_intrinsics')
    assert 'not calibrated' in one.reason


def test_k_of_zeros_and_a_good_p():
    one = intrinsics_of(camera_info(k=[0.0] * 9, p=projection(460.8)), SHAPE)
    assert (str(one.state), one.focal_px, one.code) == ('calibrated', 460.8, 'I23_info_odd')
    assert 'K is 0, so P counts' in one.reason


def test_p_counts_for_a_rectified_image_and_k_for_a_raw_one():
    info = camera_info(d=BARREL, p=projection(400.0))
    raw = intrinsics_of(info, SHAPE)
    rectified = intrinsics_of(info, SHAPE, rectified=True)

    assert (raw.focal_px, raw.reason) == (500.0, '')
    assert raw.lens is not None
    assert (rectified.focal_px, rectified.reason, rectified.lens) == (400.0, '', None)


def test_k_and_p_that_contradict_each_other_on_a_rectified_image():
    one = intrinsics_of(camera_info(p=projection(400.0)), SHAPE)
    assert (str(one.state), one.focal_px, one.code) == ('calibrated', 400.0, 'I23_info_odd')
    assert 'K says 500 and P 400 pixels' in one.reason


def test_a_camera_of_a_stereo_pair_that_is_turned_to_be_rectified():
    turned = [0.995, 0, 0.0998, 0, 1.0, 0, -0.0998, 0, 0.995]
    assert found(camera_info(r=turned, p=projection(400.0))) == ('calibrated', 500.0)


def test_topics_of_rectified_images():
    assert all(map(is_rectified_topic, (
        '/image_rect', '/oak/rgb/image_rect', '/cam/image_rect_color/compressed',
        '/zed/rgb/color/rect/image', '/rectified/image')))
    assert not any(map(is_rectified_topic, ('/image_raw', '/direct/image', '/correct/image')))


@pytest.mark.parametrize(('fields', 'shape', 'focal'), [
    ({'binning_x': 2, 'binning_y': 2}, (240, 320), 250.0),
    ({'binning_x': 2, 'binning_y': 2}, (480, 640), 500.0),  # the size that equals the image wins
    ({'binning_x': 2, 'binning_y': 2, 'roi': window(200, 400)}, (100, 200), 250.0),
    ({'roi': window(200, 400, 100, 50)}, (200, 400), 500.0),
    ({'roi': window(201, 401), 'binning_x': 2, 'binning_y': 2}, (100, 200), 250.0),
    ({'roi': window(480, 640)}, (480, 640), 500.0)])
def test_binning_and_windows(fields, shape, focal):
    assert found(camera_info(**fields), shape) == ('calibrated', focal)


def test_binning_of_one_direction_alone():
    """Depth scales with the focal length along y."""
    tall = intrinsics_of(camera_info(binning_y=2), (240, 640))
    assert (tall.focal_px, tall.focal_y_px) == (500.0, 250.0)
    wide = intrinsics_of(camera_info(binning_x=2), (480, 320))
    assert (wide.focal_px, wide.focal_y_px) == (250.0, 500.0)
    whole = intrinsics_of(camera_info(), (480, 640))
    assert tall.centre == (whole.centre[0], (whole.centre[1] + 0.5) / 2 - 0.5)


def test_a_calibration_of_another_size():
    one = intrinsics_of(camera_info(), (360, 640))
    assert one.is_of_another_size
    assert (one.focal_px, one.code) == (None, 'I22_info_mismatch')
    assert 'for 640 x 480 pixels, the image has 640 x 360' in one.reason
    assert image_size(camera_info(binning_x=2, binning_y=2)) == (240, 320)


@pytest.mark.parametrize('focal', [
    float('nan'), float('inf'), -500.0, 0.001, 24e6, 1e308])
def test_a_focal_length_that_no_camera_has(focal):
    one = intrinsics_of(camera_info(focal), SHAPE)
    assert (str(one.state), one.focal_px, one.code) == ('unusable', None, 'I24_info_unusable')
    assert one.reason
    assert found(camera_info(focal, p=projection(460.0))) == ('calibrated', 460.0)


@pytest.mark.parametrize(('fields', 'words'), [
    ({'k': matrix(500.0, 1280, 960), 'p': [0.0] * 12}, 'principal point'),
    ({'k': [500.0, 0, 320, 0, 200, 240, 0, 0, 1], 'p': [0.0] * 12}, '500 and 200 pixels'),
    ({'distortion_model': 'double_sphere', 'd': [0.5, 0.1]}, "'double_sphere' is not known"),
    ({'d': [float('nan')] * 5}, 'all finite'), ({'d': [0.1] * 20}, '20 numbers'),
    ({'d': [-9.0, 0, 0, 0, 0]}, 'folds the image'),
    ({'k': [500.0] * 4}, 'K has 4 numbers'), ({'k': None}, 'cannot be read'),
    ({'d': 'straight'}, 'cannot be read')])
def test_a_calibration_that_cannot_be_believed_says_why(fields, words):
    one = intrinsics_of(camera_info(**fields), SHAPE)
    assert (str(one.state), one.focal_px) == ('unusable', None)
    assert words in one.reason


def test_a_fisheye_is_a_lens_even_without_coefficients():
    info = camera_info(EQUIDISTANT_100, distortion_model='equidistant', d=[0.0] * 4)
    one = intrinsics_of(info, SHAPE)
    assert one.focal_px == EQUIDISTANT_100
    assert one.lens.is_strong(*SHAPE)


def test_a_weak_distortion_is_a_pinhole():
    assert not intrinsics_of(camera_info(d=[-0.03, 0.01, 0, 0, 0]), SHAPE).lens.is_strong(*SHAPE)
    assert intrinsics_of(camera_info(d=BARREL), SHAPE).lens.is_strong(*SHAPE)


def test_a_lens_in_a_binned_window():
    info = camera_info(d=BARREL, binning_x=2, binning_y=2, roi=window(400, 600, 20, 40))
    lens = intrinsics_of(info, (200, 300)).lens
    assert (lens.fx, lens.cx, lens.cy) == (250, (319.5 - 20 + 0.5) / 2 - 0.5,
                                           (239.5 - 40 + 0.5) / 2 - 0.5)


def test_a_camera_info_of_another_frame_is_believed_and_said():
    info = camera_info(header=SimpleNamespace(frame_id='left', stamp=None))
    one = intrinsics_of(info, SHAPE, frame_id='right')
    assert (one.focal_px, one.code) == (500.0, 'I23_info_odd')
    assert "frame 'left', the image of 'right'" in one.reason
    assert intrinsics_of(info, SHAPE, frame_id='left').code is None


def stamped(seconds, **fields):
    stamp = SimpleNamespace(sec=seconds, nanosec=0)
    return camera_info(header=SimpleNamespace(frame_id='', stamp=stamp), **fields)


def test_a_calibration_that_comes_late_counts_for_all_images_of_a_recording():
    memory = CalibrationMemory()
    infos = [stamped(1, k=[0.0] * 9, p=[0.0] * 12), stamped(2, width=0, height=0), stamped(9)]
    for info in believable(infos):
        memory.put(info)
    assert {memory.intrinsics(second * 10 ** 9, SHAPE)[0].focal_px for second in range(12)} == {
        500.0}
    assert believable(infos[:2]) == infos[:2]


def test_the_memory_hands_out_only_what_fits():
    memory = CalibrationMemory()
    assert memory.intrinsics(0, SHAPE)[1] is None
    info = stamped(1)
    memory.put(info)
    assert memory.intrinsics(0, SHAPE)[1] is info
    assert memory.intrinsics(0, (100, 100))[1] is None

    memory.put(stamped(2, k=[float('nan')] * 9, p=[0.0] * 12))
    known, nothing = memory.intrinsics(5 * 10 ** 9, SHAPE)
    assert str(known.state) == 'unusable'
    assert nothing is None


def test_words_for_people():
    assert intrinsics_of(camera_info(), SHAPE).text(384.0) == (
        'calibrated focal length of 500 pixels')
    assert intrinsics_of(None, SHAPE).text(384.0) == (
        'assumed focal length of 384 pixels (there is no calibration)')
    assert intrinsics_of(camera_info(-1.0), SHAPE).text(384.0).startswith(
        'unusable calibration, assumed focal length of 384 pixels (')
