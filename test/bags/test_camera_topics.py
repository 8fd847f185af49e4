# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings whose images and calibrations have other names than the node's."""

import numpy as np
import pytest

pytest.importorskip('rosbags')

from bag_files import STORE, header, image, write_bag

from mtl_perception.bags.reader import Bag
from mtl_perception.errors import DataError
from mtl_perception.evaluation.image_inputs import calibrations_of, is_bag, open_input

COUNT, STEP_NS = 4, 100_000_000
PICTURE = np.arange(64 * 96 * 3, dtype=np.uint8).reshape(64, 96, 3)


def info(stamp_ns, focal=80.0):
    kind = STORE.types['sensor_msgs/msg/CameraInfo']
    region = STORE.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    matrix = np.array([focal, 0, 47.5, 0, focal, 31.5, 0, 0, 1], float)
    projection = np.hstack([matrix.reshape(3, 3), np.zeros((3, 1))]).ravel()
    return kind(header(stamp_ns), 64, 96, 'plumb_bob', np.zeros(5), matrix, np.eye(3).ravel(),
                projection, 0, 0, region)


def record(path, *names, infos=()):
    """Write a bag with pictures on some topics and calibrations on others."""
    messages = []
    for number in range(1, COUNT + 1):
        stamp = number * STEP_NS
        for name in names:
            values = PICTURE[..., 0] if name.endswith('semantic/image') else PICTURE + number
            messages.append((name, image(values, stamp), stamp))
        messages += [(name, info(stamp), stamp) for name in infos]
    return write_bag(path, messages)


def test_the_only_image_topic_is_taken_and_said(tmp_path):
    path = record(tmp_path / 'bag', '/camera/color/image_raw',
                  infos=['/camera/color/camera_info'])
    source = open_input(path)
    found = list(source.images)

    assert source.remarks == (
        'the images are those of /camera/color/image_raw, the only image topic',)
    assert [one.stamp_ns for one in found] == [n * STEP_NS for n in range(1, COUNT + 1)]
    assert {one.intrinsics.focal_px for one in found} == {80.0}


def test_a_recording_of_the_launch_file_with_another_image_topic(tmp_path):
    path = record(tmp_path / 'bag', '/camera/color/image_raw', '/semantic/image',
                  '/truth/semantic/image', '/depth/color',
                  infos=['/camera/color/camera_info', '/depth/camera_info'])
    with Bag(path) as bag:
        assert bag.camera.image == '/camera/color/image_raw'
        assert bag.camera.info == '/camera/color/camera_info'
        assert bag.roles == {'image', 'semantic', 'true_semantic'}
        assert len(list(bag.records())) == COUNT


def test_two_image_topics_are_named_with_the_option_that_chooses(tmp_path):
    path = record(tmp_path / 'bag', '/left/image_mono', '/right/image_mono',
                  infos=['/left/camera_info', '/right/camera_info'])
    with Bag(path) as bag, pytest.raises(DataError) as error:
        bag.require(['image'])
    assert "did you mean '/left/image_mono' or '/right/image_mono'?" in str(error.value)
    assert 'Say so with --image-topic /left/image_mono' in str(error.value)

    with Bag(path, image_topic='right/image_mono') as bag:
        assert (bag.camera.image, bag.camera.info) == ('/right/image_mono', '/right/camera_info')
        assert calibrations_of(bag).find(0) is not None
    with Bag(path, image_topic='/left/image_mono', camera_info_topic='/right/camera_info') as bag:
        assert bag.camera.info == '/right/camera_info'


def test_a_topic_that_is_named_and_does_not_exist(tmp_path):
    path = record(tmp_path / 'bag', '/left/image_mono')
    for option, words in (({'image_topic': '/left/image_mon'}, '--image-topic'),
                          ({'camera_info_topic': '/info'}, '--camera-info-topic')):
        with pytest.raises(DataError, match=words):
            Bag(path, **option)


def test_predictions_in_another_namespace_are_named_with_the_option(tmp_path):
    path = record(tmp_path / 'bag', '/front/image_raw', '/front/semantic/image')
    with Bag(path) as bag, pytest.raises(DataError, match='Say so with --namespace front'):
        bag.require(['semantic'])


def test_the_only_calibration_is_taken_and_said(tmp_path):
    path = record(tmp_path / 'bag', '/image_raw', infos=['/info/of/camera'])
    with Bag(path) as bag:
        assert bag.camera.info == '/info/of/camera'
        assert bag.camera.remarks == ('the calibration is that of /info/of/camera, the only one',)


def test_a_rectified_image_topic_is_scaled_by_p(tmp_path):
    first = info(STEP_NS)
    first.d = np.array([-0.3, 0.1, 0, 0, 0])
    first.p = np.array([70.0, 0, 47.5, 0, 0, 70, 31.5, 0, 0, 0, 1, 0])
    for name, focal in (('/camera/image_rect', 70.0), ('/camera/image_raw', 80.0)):
        path = write_bag(tmp_path / name.replace('/', '_'), [
            ('/camera/camera_info', first, STEP_NS), (name, image(PICTURE, STEP_NS), STEP_NS)])
        assert [one.intrinsics.focal_px for one in open_input(path).images] == [focal]


def test_a_calibration_that_comes_late_scales_the_recording_from_its_first_frame(tmp_path):
    late = [('/image_raw', image(PICTURE + number, number * STEP_NS), number * STEP_NS)
            for number in range(1, COUNT + 1)]
    nothing = info(STEP_NS, 0.0)
    nothing.p[:] = 0
    nothing.k[:] = 0
    late += [('/camera_info', nothing, STEP_NS),
             ('/camera_info', info(COUNT * STEP_NS), COUNT * STEP_NS)]
    found = list(open_input(write_bag(tmp_path / 'bag', late)).images)
    assert [one.intrinsics.focal_px for one in found] == [80.0] * COUNT


def test_a_recording_of_ros_1_is_named_with_the_command_that_converts_it(tmp_path):
    for name in ('drive.bag', 'drive'):
        path = tmp_path / name
        path.write_bytes(b'#ROSBAG V2.0\n' + bytes(100))

        assert is_bag(path)
        with pytest.raises(DataError, match=f'rosbags-convert --src {path} --dst'):
            Bag(path)
