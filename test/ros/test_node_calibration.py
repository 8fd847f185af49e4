# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the node makes of calibrations, and that it says on which focal length its metres stand."""

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import FakeEngine
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from test_node_frames import calibration

from mtl_perception.image_codec import decode_array
from mtl_perception.ros.qos_matching import MatchingSubscription

FOCAL = 2 * 0.6 * 64 * 48 / 32
"""Twice the focal length of the training, at the size of the test's pictures."""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL,
                     reliability=ReliabilityPolicy.RELIABLE)


def info(focal=FOCAL, height=48, width=80, **fields):
    message = calibration(height, width, focal, CameraInfo().header.stamp)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def depth_of(test, message=None):
    """Return the depth of one frame, with this calibration."""
    if message is not None:
        message.header.stamp = test.node.get_clock().now().to_msg()
        test.camera._infos.put(message)
    before = len(test.heard['depth/image'])
    test.feed(test.picture())
    test.spin_until(lambda: len(test.heard['depth/image']) > before)
    return decode_array(test.heard['depth/image'][-1])


def values_of(test):
    """Return the newest diagnostic values of the camera."""
    before = len(test.heard['/diagnostics'])
    test.spin_until(lambda: len(test.heard['/diagnostics']) > before + 1)
    return next({pair.key: pair.value for pair in status.values}
                for array in reversed(test.heard['/diagnostics']) for status in array.status
                if status.name.endswith(': camera'))


@pytest.fixture
def plain(bench):
    """Return a node and the depth that it publishes without any calibration."""
    test = bench(camera_timeout=60.0)
    test.start('depth/image')
    return test, depth_of(test)


def test_a_camera_info_that_was_latched_before_the_node_subscribed(bench):
    test = bench()
    publisher = test.graph.node.create_publisher(CameraInfo, 'camera_info', LATCHED)
    publisher.publish(info())
    test.spin(0.3)
    test.start('depth/image')
    test.spin_until(lambda: test.camera._infos.find(10 ** 18) is not None)

    test.publish()
    test.spin_until(lambda: test.heard['depth/image'])

    assert test.camera.intrinsics.focal_px == FOCAL
    assert values_of(test)['intrinsics'] == 'calibrated'


def test_durability_follows_the_publishers(bench):
    graph = bench().graph
    heard = []
    one = MatchingSubscription(graph.node, CameraInfo, 'camera_info', heard.append)
    latched = graph.node.create_publisher(CameraInfo, 'camera_info', LATCHED)
    latched.publish(info())

    def follows(durability):
        one.update()
        return one.durability == durability and one.offer.publishers

    graph.spin_until(lambda: follows(DurabilityPolicy.TRANSIENT_LOCAL))
    graph.spin_until(lambda: heard)
    volatile = graph.node.create_publisher(CameraInfo, 'camera_info', 5)
    graph.spin_until(lambda: follows(DurabilityPolicy.VOLATILE))
    graph.spin_until(lambda: volatile.get_subscription_count() and latched.publish(info())
                     is None and len(heard) > 1)
    one.destroy()


def test_k_of_zeros_and_a_good_p_scale_depth_and_are_said(plain):
    test, before = plain
    after = depth_of(test, info(k=[0.0] * 9))
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5)

    values = values_of(test)

    assert (values['intrinsics'], values['focal_px']) == ('calibrated', f'{FOCAL:.2f}')
    assert 'K is 0, so P counts' in values['intrinsics.reason']
    test.spin_until(lambda: 'I23_info_odd' in test.health(': camera')[1])


@pytest.mark.parametrize('message', [
    info(0.0, 0, 0), info(height=0, width=0), info(k=[0.0] * 9, p=[0.0] * 12)])
def test_a_camera_info_of_an_uncalibrated_camera_is_like_none(plain, message):
    test, before = plain
    np.testing.assert_array_equal(depth_of(test, message), before)
    assert test.counts.warnings == {'I21_no_intrinsics': 2}


def test_a_binned_camera_whose_camera_info_has_the_size_of_the_image(plain):
    test, before = plain
    after = depth_of(test, info(binning_x=2, binning_y=2))
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5)


@pytest.mark.parametrize('focal', [float('nan'), 24e6])
def test_an_absurd_focal_length_is_not_believed_and_said(plain, focal):
    test, before = plain
    np.testing.assert_array_equal(depth_of(test, info(focal)), before)
    assert values_of(test)['intrinsics'] == 'unusable'
    test.spin_until(lambda: 'I24_info_unusable' in test.health(': camera')[1])


def test_metres_on_an_assumed_focal_length_are_said_at_once_without_a_listener(bench):
    test = bench(camera_timeout=60.0)
    test.start()
    test.feed(test.picture())
    test.spin_until(lambda: 'assumed focal length of 48 pixels' in test.health(': camera')[1])

    assert test.health(': camera')[0] == DiagnosticStatus.WARN
    values = values_of(test)
    assert (values['intrinsics'], values['focal_px']) == ('assumed', '48.00')

    # a calibration that comes late ends the warning
    message = info()
    test.camera._infos.put(message)
    test.feed(test.picture())
    test.spin_until(lambda: test.health(': camera')[0] == DiagnosticStatus.OK)


def test_a_model_without_depth_has_no_metres_to_warn_of(bench):
    engine = FakeEngine()
    tasks = tuple(task for task in engine.manifest.tasks if task.name == 'semantic')
    engine.manifest = engine.manifest.__class__(**{**vars(engine.manifest), 'tasks': tasks})
    test = bench(engine, camera_timeout=60.0)
    test.start()
    test.feed(test.picture())
    test.spin_until(lambda: test.health(': camera')[0] == DiagnosticStatus.OK)


@pytest.mark.parametrize('rectify', ['auto', 'off'])
def test_a_fisheye_is_rectified_and_its_topics_keep_the_cameras_size(bench, rectify):
    fisheye = info(50.0, distortion_model='equidistant', d=[0.0] * 4)
    test = bench(rectify=rectify)
    test.graph.listen(CameraInfo, 'depth/camera_info')
    test.start('depth/image')
    test.spin_until(lambda: test.node.count_subscribers('depth/camera_info') > 0)
    found = depth_of(test, fisheye)
    test.spin_until(lambda: test.heard['depth/camera_info'])
    said = test.heard['depth/camera_info'][-1]

    assert found.shape == (48, 80)
    assert (said.distortion_model, said.k[0]) == ('equidistant', 50.0)
    assert values_of(test)['rectify'] == rectify
    assert (test.camera.stream.rectifier is not None) == (rectify == 'auto')
    assert np.isnan(found).any() == (rectify == 'auto')  # not all is in the pinhole's view
