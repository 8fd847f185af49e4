# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras and recordings that change under way: every frame is answered, the state starts anew."""

import itertools
import signal

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from node_bench import BEST_EFFORT
from rclpy.serialization import serialize_message
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image

from mtl_perception.ros.bag_writer import BagWriter, Channel
from mtl_perception.ros.image_origin import ImageOrigin
from mtl_perception.ros.message_types import MessageTypes

STEP_NS = 100_000_000


@pytest.fixture
def camera(bench):
    """Return a node, and what sends it one image over DDS and waits for the answer."""
    test = bench(camera_timeout=60.0, max_gap=30.0)
    test.start('semantic/image')
    test.stamp_ns = 0

    def send(step_ns=STEP_NS, encoding='rgb8', height=48, width=80, frame_id='optical'):
        test.stamp_ns += step_ns
        message = test.picture(
            height=height, width=width, seed=test.stamp_ns // STEP_NS, frame_id=frame_id)
        message.header.stamp = Time(nanoseconds=test.stamp_ns).to_msg()
        message.encoding = encoding
        before = len(test.heard['semantic/image'])
        test.publish(message)
        test.spin_until(lambda: len(test.heard['semantic/image']) == before + 1)
        found = test.heard['semantic/image'][-1]
        assert found.header == message.header
        assert (found.height, found.width) == (height, width)

    return test, send


@pytest.mark.parametrize(('change', 'reason'), [
    ({'encoding': 'bgr8'}, 'encoding'), ({'height': 60, 'width': 90}, 'resolution'),
    ({'frame_id': 'rear_optical'}, 'frame_id')])
def test_another_form_of_the_images_starts_anew_with_the_first_of_them(camera, change, reason):
    test, send = camera
    for kind in ({}, {}, change, change, {}, {}):
        send(**kind)

    assert test.engine.with_state == [False, True, False, True, False, True]
    assert test.camera.stream.resets[reason] == 2
    assert (test.counts.received, test.counts.published) == (6, 6)


def test_a_jump_back_starts_anew_although_no_clock_tells(camera):
    """The third stamp in a row that lies back is a restart; none of them meets the old state."""
    test, send = camera
    for step_ns in (10 * STEP_NS, STEP_NS, -8 * STEP_NS, STEP_NS, STEP_NS, STEP_NS):
        send(step_ns)

    assert test.engine.with_state == [False, True, False, False, False, True]
    assert test.camera.stream.resets['backwards'] == 1
    assert test.counts.published == 6


@pytest.mark.parametrize('qos', [5, BEST_EFFORT], ids=['publisher', 'qos'])
def test_another_publisher_starts_anew(camera, qos):
    test, send = camera
    send()
    send()
    test.spin(0.5)  # several looks at the graph
    test.graph.node.destroy_publisher(test.camera_publisher)
    test.camera_publisher = test.graph.node.create_publisher(Image, 'image_raw', qos)
    test.spin_until(lambda: test.camera._reset_reasons == ['publisher'])
    test.spin_until(lambda: test.camera_publisher.get_subscription_count() > 0)
    test.spin(0.3)
    send()
    send()

    assert test.engine.with_state == [False, True, False, True]
    assert test.camera.stream.resets['publisher'] == 1
    assert test.counts.published == 4


def test_a_recording_that_loops_is_answered_in_every_lap(bench, tmp_path):
    test = bench(camera_timeout=60.0, max_gap=30.0)
    writer = BagWriter(tmp_path / 'bag', MessageTypes())
    channel = Channel('/image_raw', 'sensor_msgs/msg/Image', ())
    for number in range(1, 6):
        message = test.picture(seed=number)
        message.header.stamp = Time(nanoseconds=number * STEP_NS).to_msg()
        writer.write(channel, number * STEP_NS, serialize_message(message))
    writer.close()
    test.start('semantic/image')
    player = test.graph.start(
        'mtl_perception.cli', 'play', str(tmp_path / 'bag'), '--loop', '--delay', '2',
        '--rate', '0.5')
    test.spin_until(lambda: test.camera.stream.resets['backwards'] >= 2)
    code, errors = test.graph.finish(player, signal.SIGINT)
    assert code == 0, errors

    # once a lap the state is dropped, by the third frame; those before it do not meet it either
    assert test.counts.published >= 10
    assert test.engine.with_state.count(False) >= 7
    assert True in test.engine.with_state
    assert test.counts.balanced
    assert set(test.counts.dropped) <= {'O01_superseded'}
    stamps = [one.header.stamp.nanosec for one in test.heard['semantic/image']]
    assert sum(later < earlier for earlier, later in itertools.pairwise(stamps)) >= 2


def test_only_what_differs_from_the_image_before_is_a_change():
    origin = ImageOrigin()
    image = Image(encoding='rgb8')
    image.header.frame_id = 'eye'
    assert [origin.change_of(image) for _ in range(2)] == ['', '']
    image.encoding = 'mono8'
    assert [origin.change_of(image) for _ in range(2)] == ['encoding', '']
    image.header.frame_id = 'other'
    assert [origin.change_of(image) for _ in range(2)] == ['frame_id', '']
    origin.forget()
    assert origin.change_of(CompressedImage()) == ''

    sets = [set(), {b'a'}, set(), {b'a'}, {b'a', b'b'}, {b'b'}, {b'c'}]
    assert [origin.is_new(frozenset(one)) for one in sets] == [False] * 4 + [True, False, True]
