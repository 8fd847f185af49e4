# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Height and pose of a camera by the robot: its description, tf2, and who wins."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from node_bench import FAILURE, LATCHED, SUCCESS, FakeEngine
from rclpy.parameter import Parameter
from std_msgs.msg import String
from test_node_motion import StreetEngine

from mtl_perception.image_codec import decode_array
from mtl_perception.media.odometry import OdometryMemory

FRAME = 'camera_optical_frame'
LOOKING_AHEAD = '-1.5707963267948966 0 -1.5707963267948966'


class HighEngine(FakeEngine):
    """A network that was trained 1.5 m above the ground."""

    def __init__(self):
        super().__init__()
        self.manifest = dataclasses.replace(self.manifest, camera_height=1.5)


def urdf(height, ground='base_footprint'):
    return f"""<robot name="r">
      <joint name="base" type="fixed"><parent link="{ground}"/><child link="base_link"/></joint>
      <joint name="mast" type="fixed"><parent link="base_link"/><child link="{FRAME}"/>
        <origin xyz="0.4 0 {height}" rpy="{LOOKING_AHEAD}"/></joint></robot>"""


def describe(test, text):
    """Publish a description as robot_state_publisher does, and wait until the node has it."""
    publisher = test.graph.node.create_publisher(String, 'robot_description', LATCHED)
    publisher.publish(String(data=text))
    test.spin_until(lambda: test.node._frames._model is not None)
    return publisher


def height_of(test):
    values = test.camera.mounting
    return test.camera.stream.settings.camera_height, values.height_source


def diagnostics(test):
    """Return the values of the camera in a report that is still to come."""
    test.heard['/diagnostics'].clear()
    found = {}

    def reported():
        for array in test.heard['/diagnostics']:
            for status in array.status:
                if status.name.endswith(': camera'):
                    found.update({one.key: one.value for one in status.values},
                                 message=status.message, level=status.level)
        return found
    test.spin_until(reported)
    return found


def test_the_description_tells_the_height_that_no_parameter_tells(bench):
    test = bench(HighEngine())
    test.start('depth/image')
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['depth/image'])
    assert height_of(test) == (0.0, 'training')
    plain = decode_array(test.heard['depth/image'].pop())

    describe(test, urdf(0.5))
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['depth/image'])

    assert height_of(test) == (pytest.approx(0.5), 'robot_description')
    lower = decode_array(test.heard['depth/image'].pop())
    np.testing.assert_allclose(lower, plain * 3 ** -0.7, rtol=1e-6)
    told = diagnostics(test)
    assert float(told['depth.camera_height']) == pytest.approx(0.5)
    assert told['depth.camera_height.source'] == 'robot_description'
    assert told['reset.camera_height'] == '1'


@pytest.mark.parametrize(('parameters', 'height', 'source'), [
    ({'depth__camera_height': 1.0}, 1.0, 'parameter'),
    ({'depth__ground_frame': ''}, 0.0, 'training'),
    ({'depth__ground_frame': 'floor'}, 0.0, 'training')])
def test_a_parameter_wins_and_a_frame_that_nobody_knows_changes_nothing(
        bench, parameters, height, source):
    test = bench(HighEngine(), **parameters)
    test.start('depth/image')
    describe(test, urdf(0.5))
    test.feed(test.picture())
    assert height_of(test) == (height, source)
    assert diagnostics(test)['depth.camera_height.source'] == source


def test_a_model_that_does_not_know_its_height_is_not_told_one(bench):
    test = bench()
    test.start('depth/image')
    describe(test, urdf(0.5))
    test.feed(test.picture())
    assert height_of(test) == (0.0, 'training')
    assert not test.counts.dropped


@pytest.mark.parametrize(('height', 'shown'), [
    (-0.5, '-0.5 m'), (0.0, '0 m'), (1250.0, '1.25e+03 m')])
def test_an_absurd_height_is_refused_and_said(bench, height, shown):
    test = bench(HighEngine())
    test.start('depth/image')
    describe(test, urdf(height))
    test.feed(test.picture())

    assert height_of(test) == (0.0, 'training')
    assert test.counts.warnings['I27_height'] == 1
    assert f'[I27_height] robot_description puts {FRAME!r} {shown} above' in (
        test.camera.metres_problem)
    told = diagnostics(test)
    assert 'I27_height' in told['message']


def test_a_broken_description_is_ignored(bench):
    test = bench(HighEngine())
    test.start('depth/image')
    publisher = test.graph.node.create_publisher(String, 'robot_description', LATCHED)
    publisher.publish(String(data='<robot>'))
    test.spin(1.0)
    test.feed(test.picture())
    assert height_of(test) == (0.0, 'training')

    publisher.publish(String(data=urdf(0.75)))
    test.spin_until(lambda: test.node._frames._model is not None)
    test.feed(test.picture())
    assert height_of(test) == (pytest.approx(0.75), 'robot_description')


def test_the_scale_by_height_waits_for_the_robot_or_is_refused(bench):
    waiting = bench(StreetEngine(), depth__scale='height')
    waiting.start('depth/image')
    assert waiting.camera.stream.anchor._measurement.height == 0
    describe(waiting, urdf(1.25))
    waiting.camera.mounting.update(waiting.node._frames, FRAME)
    assert waiting.camera.stream.anchor._measurement.height == pytest.approx(1.25)

    refused = bench(StreetEngine(), depth__scale='height', depth__ground_frame='')
    assert refused.node.trigger_configure() == FAILURE
    assert 'is not told' in refused.node.last_error
    refused.node.set_parameters([Parameter('depth.camera_height', value=1.5)])
    assert refused.node.trigger_configure() == SUCCESS, refused.node.last_error


def test_the_description_tells_where_the_camera_is_on_the_robot(bench):
    test = bench(StreetEngine(), motion__odometry_topic='odom')
    test.start('depth/image')
    describe(test, urdf(1.25))
    message = Odometry(child_frame_id='base_link')
    message.pose.pose.orientation.w = 1.0
    publisher = test.graph.node.create_publisher(Odometry, 'odom', 10)
    test.spin_until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(message)
    test.spin_until(lambda: test.camera._odometry.child_frame == 'base_link')

    test.camera.mounting.update(test.node._frames, FRAME)
    assert test.camera.mounting.pose_source == 'robot_description'
    (_, pose), = test.camera._odometry._poses
    assert pose[:3, 3] == pytest.approx([0.4, 0, 1.25])
    assert pose[:3, 2] == pytest.approx([1, 0, 0])
    assert diagnostics(test)['motion.camera_pose.source'] == 'robot_description'


def test_another_pose_of_the_camera_counts_for_messages_that_came_before():
    memory = OdometryMemory((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    for second, angle in ((0, 0.0), (1, np.pi / 2)):
        message = Odometry()
        message.header.stamp.sec = second
        message.pose.pose.orientation.z = float(np.sin(angle / 2))
        message.pose.pose.orientation.w = float(np.cos(angle / 2))
        memory.put(message)
    ahead = np.eye(4)
    ahead[0, 3] = 2.0  # a camera 2 m ahead of the robot
    memory.use_camera(ahead)

    places = [pose[:3, 3] for _, pose in memory._poses]
    np.testing.assert_allclose(places, [[2, 0, 0], [0, 2, 0]], atol=1e-12)


def test_tf2_wins_over_the_description(bench):
    tf2_ros = pytest.importorskip(
        'tf2_ros', reason='tf2_ros is not on PyPI; a ROS 2 installation has it')
    test = bench(HighEngine())
    test.start('depth/image')
    describe(test, urdf(0.5))

    transform = TransformStamped(child_frame_id=FRAME)
    transform.header.frame_id = 'base_footprint'
    transform.transform.translation.z = 1.0
    transform.transform.rotation.w = 1.0
    broadcaster = tf2_ros.StaticTransformBroadcaster(test.graph.node)
    broadcaster.sendTransform(transform)
    test.spin_until(lambda: test.node._frames.pose('base_footprint', FRAME)[1] == 'tf')

    test.feed(test.picture())
    assert height_of(test) == (pytest.approx(1.0), 'tf')
