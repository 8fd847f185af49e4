# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model with a motion head in the node: masks, the camera's own motion, reasons."""

import functools

import numpy as np
import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from node_bench import SUCCESS, FakeEngine
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mtl_perception.egomotion import Pinhole
from mtl_perception.frames import Outputs, Step, rotation_of_quaternion
from mtl_perception.image_codec import decode_array
from mtl_perception.inference.motion_head_file import motion_head_of
from mtl_perception.manifest import read_model
from mtl_perception.media.odometry import OdometryMemory
from mtl_perception.ros.messages import image_message
from mtl_perception.ros.odometry import twist_message
from mtl_perception.synthetic import Street

SEED, FIRST, RATE = 20002, 40, 10.0
"""There are large cars that move and large ones that are parked."""
OPTICAL = (0.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5)
STEP_NS = 100_000_000


@functools.cache
def street_frames():
    street = Street(SEED, 384, 224, RATE)
    return street, [street.render(FIRST + number) for number in range(4)]


class StreetEngine(FakeEngine):
    """The shipped model's manifest and motion head, with the truth for depth and semantics."""

    def __init__(self, depth_factor=1.0):
        super().__init__()
        self.manifest, _ = read_model('street')
        self.motion_head = motion_head_of('street', self.manifest)
        self._factor = np.float32(depth_factor)

    def step(self, image, state=None, tasks=None):
        self.asked.append(set(tasks))
        frame = next(one for one in street_frames()[1] if np.array_equal(one.image, image))
        truth = {'semantic': frame.semantic, 'depth': frame.depth * self._factor}
        return Outputs(**{task: truth[task] for task in tasks}), object()


def drive(test, with_info=True):
    """Feed the four frames with their stamps and return the headers."""
    street, frames = street_frames()
    headers = []
    for number, frame in enumerate(frames, 1):
        header = Header(stamp=Time(nanoseconds=number * STEP_NS).to_msg(), frame_id='optical')
        if with_info:
            test.camera._infos.put(CameraInfo(
                header=header, height=224, width=384, k=street.intrinsics.ravel().tolist()))
        test.feed(image_message(header, 'rgb8', frame.image))
        headers.append(header)
    return headers


def true_step(number):
    frames = street_frames()[1]
    pose = np.linalg.inv(frames[number - 1].pose) @ frames[number].pose
    return Step(pose, 1 / RATE)


def test_the_cameras_own_motion_is_published_to_its_subscribers(bench):
    test = bench(StreetEngine())
    test.graph.listen(TwistStamped, 'perception_node/ego_motion')
    test.start()
    test.spin_until(lambda: test.camera.outputs.wanted())
    headers = drive(test)
    test.spin_until(lambda: len(test.heard['perception_node/ego_motion']) == 3)

    assert test.engine.asked[0] == {'semantic', 'depth'}

    for number, message in enumerate(test.heard['perception_node/ego_motion'], 1):
        assert message.header == headers[number]  # nothing is known about the first frame
        velocity, rate = true_step(number).velocity()
        found = message.twist.linear
        np.testing.assert_allclose(
            [found.x, found.y, found.z], velocity, atol=0.1 * np.linalg.norm(velocity))
        turn = message.twist.angular
        np.testing.assert_allclose([turn.x, turn.y, turn.z], rate, atol=np.radians(2))


def test_the_motion_head_knows_the_principal_point_and_both_focal_lengths(bench):
    test = bench(StreetEngine())
    test.start('motion/image')
    _, frames = street_frames()
    header = Header(stamp=Time(nanoseconds=STEP_NS).to_msg(), frame_id='optical')
    test.camera._infos.put(CameraInfo(
        header=header, height=224, width=384,
        k=[230.0, 0.0, 180.0, 0.0, 220.0, 80.0, 0.0, 0.0, 1.0]))
    test.feed(image_message(header, 'rgb8', frames[0].image))
    assert test.camera.stream.moving.tracker.camera == Pinhole(230.0, 220.0, 180.0, 80.0)


def test_a_calibration_of_another_size_withholds_the_cameras_motion_too(bench):
    test = bench(StreetEngine())
    test.start('semantic/image')
    test.graph.listen(TwistStamped, 'perception_node/ego_motion')
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    _, frames = street_frames()
    for number, frame in enumerate(frames, 1):
        header = Header(stamp=Time(nanoseconds=number * STEP_NS).to_msg(), frame_id='optical')
        test.camera._infos.put(CameraInfo(
            header=header, height=600, width=800, k=[500.0, 0, 400.0, 0, 500.0, 300.0, 0, 0, 1.0]))
        test.feed(image_message(header, 'rgb8', frame.image))
    test.spin_until(lambda: len(test.heard['semantic/image']) == 4)
    test.spin(0.2)
    assert not test.heard['perception_node/ego_motion']
    assert test.counts.warnings['I22_info_mismatch']


def test_the_motion_head_does_not_run_without_a_subscriber(bench):
    test = bench(StreetEngine())
    test.start('semantic/image')
    drive(test)

    assert test.camera.stream.moving.tracker is None
    assert test.camera.stream.moving.unknown == {}


def test_motion_is_unknown_on_the_first_frame_and_the_reason_is_counted(bench):
    test = bench(StreetEngine())
    test.start('motion/image', 'motion/overlay')
    drive(test)
    test.spin_until(lambda: len(test.heard['motion/image']) == 4)
    masks = [decode_array(message) for message in test.heard['motion/image']]

    assert (masks[0] == 255).all()
    assert set(np.unique(masks[3])) <= {0, 1}

    truth = street_frames()[1][3]
    parked = np.isin(truth.semantic, (8, 9, 10)) & (truth.motion == 0)
    assert masks[3][truth.motion == 1].mean() > 0.5
    assert masks[3][parked].mean() < 0.2

    test.spin_until(lambda: test.heard['motion/overlay'])
    values = {one.key: one.value for array in test.heard['/diagnostics'] for status in array.status
              for one in status.values}
    test.spin_until(lambda: any(
        one.key == 'motion_unknown.first' and one.value == '1'
        for array in test.heard['/diagnostics'] for status in array.status
        for one in status.values))

    assert 'warned.I21_no_intrinsics' not in values


def test_without_intrinsics_motion_works_with_a_warning(bench):
    test = bench(StreetEngine())
    test.start('motion/image')
    drive(test, with_info=False)
    test.spin_until(lambda: len(test.heard['motion/image']) == 4)

    assert (decode_array(test.heard['motion/image'][3]) != 255).all()
    assert test.counts.warnings['I21_no_intrinsics'] == 4
    assert test.counts.published == 4


def test_the_robots_odometry_replaces_the_estimate_and_corrects_the_scale_of_depth(bench):
    test = bench(StreetEngine(depth_factor=1.25), motion__odometry_topic='odom')
    publisher = test.graph.node.create_publisher(Odometry, 'odom', 10)
    test.graph.listen(TwistStamped, 'perception_node/ego_motion')
    test.graph.listen(Image, 'motion/image')
    test.start()
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2
                    and publisher.get_subscription_count() == 1)

    # the base looks ahead: its x is the camera's z, its y the camera's -x, its z the camera's -y
    to_camera = np.eye(4)
    to_camera[:3, :3] = rotation_of_quaternion(OPTICAL[3:])
    start = street_frames()[1][0].pose
    for number, frame in enumerate(street_frames()[1], 1):
        base = to_camera @ np.linalg.inv(start) @ frame.pose @ np.linalg.inv(to_camera)
        message = Odometry(header=Header(stamp=Time(nanoseconds=number * STEP_NS).to_msg()))
        place, turn = message.pose.pose.position, message.pose.pose.orientation
        place.x, place.y, place.z = base[:3, 3].tolist()
        half = np.arctan2(base[1, 0], base[0, 0]) / 2  # the street is flat: a turn about z
        turn.z, turn.w = float(np.sin(half)), float(np.cos(half))
        publisher.publish(message)

    test.spin_until(lambda: len(test.camera._odometry._poses) == 4)
    drive(test)
    test.spin_until(lambda: len(test.heard['perception_node/ego_motion']) == 3)
    velocity, _ = true_step(3).velocity()
    found = test.heard['perception_node/ego_motion'][2].twist.linear

    assert found.z == pytest.approx(velocity[2], rel=0.01)
    assert test.camera.stream.moving.tracker.scale == pytest.approx(0.8, abs=0.08)


def test_the_networks_own_decoder_can_be_used_instead(bench):
    test = bench(motion__head='network')
    test.engine.motion_head = motion_head_of('street', read_model('street')[0])
    test.start('motion/image')
    test.feed(test.picture())

    assert test.camera.stream.moving is None
    assert test.engine.asked == [{'motion'}]


def test_a_wrong_camera_pose_is_refused(bench):
    test = bench(StreetEngine(), motion__camera_pose=[0.0, 0.0, 1.0])
    assert test.node.trigger_configure() != SUCCESS
    assert "'motion.camera_pose' is [0.0, 0.0, 1.0], wanted x, y, z" in test.node.last_error


def odometry(seconds, x, half_turn=0.0):
    message = Odometry(header=Header(stamp=Time(seconds=seconds).to_msg()))
    message.pose.pose.position.x = float(x)
    turn = message.pose.pose.orientation
    turn.z, turn.w = float(np.sin(half_turn)), float(np.cos(half_turn))
    return message


def test_odometry_is_interpolated_and_not_extrapolated_far():
    memory = OdometryMemory((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    assert memory.between(0, 1) is None

    memory.put(odometry(1.0, 0))
    memory.put(odometry(1.4, 2, np.radians(20)))  # a turn by 40 degrees
    moved = memory.between(1_000_000_000, 1_200_000_000)

    assert moved[0, 3] == pytest.approx(1)
    assert np.degrees(np.arctan2(moved[1, 0], moved[0, 0])) == pytest.approx(20)

    late = memory.between(1_000_000_000, 1_450_000_000)
    assert late[0, 3] == pytest.approx(2.25)
    assert memory.between(1_000_000_000, 1_600_000_000) is None
    assert memory.between(900_000_000, 1_200_000_000) is None

    memory.put(odometry(2.4, 9))
    assert memory.between(1_200_000_000, 2_000_000_000) is None  # nothing for a second

    memory.put(odometry(0.5, 0))  # a recording started again
    assert memory.between(1_000_000_000, 1_200_000_000) is None

    broken = odometry(0.6, np.nan)
    memory.put(broken)
    assert len(memory._poses) == 1


def test_odometry_that_arrives_twice_counts_once():
    memory = OdometryMemory((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    for stamp, place in ((1.0, 0), (1.1, 1), (1.2, 2)):
        for _ in range(2):
            memory.put(odometry(stamp, place))
    assert memory.between(1_000_000_000, 1_200_000_000)[0, 3] == pytest.approx(2)


def test_the_camera_ahead_of_the_base_swings_when_the_base_turns():
    memory = OdometryMemory((1.0, 0.0, 0.0, *OPTICAL[3:]))
    memory.put(odometry(0.0, 0))
    memory.put(odometry(0.1, 0, np.radians(5)))  # 10 degrees to the left
    step = Step(memory.between(0, STEP_NS), 0.1)
    velocity, rate = step.velocity()
    angle = np.radians(10)
    # the camera goes from (1, 0) to (cos, sin); seen from its new place that is mostly to the left
    moved = np.array([np.cos(angle) - 1, np.sin(angle)])
    ahead, left = np.array([np.cos(angle), np.sin(angle)]), np.array(
        [-np.sin(angle), np.cos(angle)])

    np.testing.assert_allclose(velocity, [-moved @ left * 10, 0, moved @ ahead * 10], atol=1e-9)
    np.testing.assert_allclose(rate, [0, -angle * 10, 0], atol=1e-9)

    message = twist_message(Header(frame_id='optical'), step)
    assert message.header.frame_id == 'optical'
    assert message.twist.angular.y == pytest.approx(-angle * 10)
