# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The messages that the perception node publishes for a frame."""

import dataclasses
import json
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray
from node_bench import FAILURE, LATCHED, RESULTS, SUCCESS, FakeEngine, picture
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from mtl_perception.frames import Frame
from mtl_perception.image_codec import decode_array, decode_image
from mtl_perception.inference.stream import CameraStream
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.postprocessing import (
    colourise_depth,
    colourise_semantic,
    overlay,
    overlay_motion,
)
from mtl_perception.ros.messages import millimetres
from mtl_perception.tasks import STREET_MOTION, STREET_SEMANTIC

ALL = ('semantic/image', 'semantic/color', 'semantic/overlay', 'depth/image', 'depth/image_raw',
       'depth/color', 'motion/image', 'motion/overlay')


def calibration(height, width, focal_px, stamp):
    info = CameraInfo(height=height, width=width, k=[
        focal_px, 0.0, (width - 1) / 2, 0.0, focal_px, (height - 1) / 2, 0.0, 0.0, 1.0])
    info.p = np.hstack([np.reshape(info.k, (3, 3)), np.zeros((3, 1))]).ravel()
    info.header.stamp = stamp
    return info


@pytest.mark.parametrize('size', ['camera', 'network'])
def test_the_node_publishes_exactly_the_offline_predictions(bench, tiny_model, size):
    test = bench(model=str(tiny_model), depth__raw_16u=True, output__size=size, threads=1)
    test.start(*ALL)
    test.graph.listen(CameraInfo, 'depth/camera_info')
    infos = test.graph.node.create_publisher(CameraInfo, 'camera_info', 5)
    test.spin_until(lambda: test.graph.node.count_subscribers('camera_info') > 0)
    test.spin_until(lambda: test.node.count_subscribers('depth/camera_info') > 0)

    offline = CameraStream(TorchEngine.load(tiny_model, threads=1))
    for number in range(3):
        now = Time(seconds=1000 + 0.1 * number)
        message = picture(now, 120, 200, number)
        info = calibration(120, 200, 150.0, message.header.stamp)
        infos.publish(info)
        test.spin_until(lambda: test.camera._infos.find(now.nanoseconds) is not None)  # noqa: B023
        test.publish(message)
        test.spin_until(lambda: all(len(test.heard[topic]) == number + 1 for topic in ALL))  # noqa: B023
        test.spin_until(lambda: len(test.heard['depth/camera_info']) == number + 1)  # noqa: B023

        image = decode_image(message)
        wanted = offline.process(
            Frame('x', now.nanoseconds, image), output_size=size, focal_px=150.0)

        found = {topic: decode_array(test.heard[topic][-1]) for topic in ALL}
        np.testing.assert_array_equal(found['semantic/image'], wanted.semantic)
        np.testing.assert_array_equal(found['depth/image'], wanted.depth)
        np.testing.assert_array_equal(found['depth/image_raw'], millimetres(wanted.depth))
        np.testing.assert_array_equal(found['motion/image'], wanted.motion)
        np.testing.assert_array_equal(found['depth/color'], colourise_depth(wanted.depth))

        colours = colourise_semantic(wanted.semantic, STREET_SEMANTIC)
        np.testing.assert_array_equal(found['semantic/color'], colours)
        if size == 'camera':
            np.testing.assert_array_equal(found['semantic/overlay'], overlay(image, colours))
            np.testing.assert_array_equal(
                found['motion/overlay'], overlay_motion(image, wanted.motion, STREET_MOTION))
        assert (found['motion/image'] == 255).all() == (number == 0)  # no previous frame

    height, width = (120, 200) if size == 'camera' else (64, 96)
    encodings = {topic: test.heard[topic][-1].encoding for topic in ALL}

    assert encodings == {
        'semantic/image': 'mono8', 'semantic/color': 'rgb8', 'semantic/overlay': 'rgb8',
        'depth/image': '32FC1', 'depth/image_raw': '16UC1', 'depth/color': 'rgb8',
        'motion/image': 'mono8', 'motion/overlay': 'rgb8'}
    for topic in (*ALL, 'depth/camera_info'):
        for heard in test.heard[topic]:
            assert (heard.height, heard.width) == (height, width)
    for depth, info in zip(test.heard['depth/image'], test.heard['depth/camera_info']):
        assert depth.header == info.header
        assert info.k[0] == pytest.approx(150.0 * width / 200)
    assert test.counts.balanced
    assert test.counts.published == 3


def test_the_header_is_copied_byte_for_byte(bench):
    test = bench()
    test.start(*RESULTS)
    for stamp, frame_id in ((Time(nanoseconds=1_234_567_891_987_654_321), 'front_optical/ä'),
                            (Time(nanoseconds=2_000_000_001_000_000_001), '')):
        message = picture(stamp, frame_id=frame_id)
        test.publish(message)
        test.spin_until(lambda: all(
            test.heard[topic] and test.heard[topic][-1].header == message.header  # noqa: B023
            for topic in RESULTS))
        for topic in RESULTS:
            assert (serialize_message(test.heard[topic][-1].header)
                    == serialize_message(message.header))


def test_a_task_without_a_subscriber_is_not_computed(bench):
    test = bench()
    test.start()
    test.feed(test.picture())

    assert (test.engine.asked, test.counts.published, test.counts.unheard) == ([], 1, 1)

    test.graph.listen(Image, 'motion/image')
    test.spin_until(lambda: test.camera.outputs.wanted())
    test.feed(test.picture())

    assert test.engine.asked == [{'motion'}]

    test.graph.listen(Image, 'semantic/overlay')
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    test.feed(test.picture())

    assert test.engine.asked[-1] == {'motion', 'semantic'}
    assert (test.counts.published, test.counts.unheard) == (3, 1)


def test_late_subscribers_get_the_labels_too(bench):
    test = bench()
    test.start()
    test.spin(0.2)
    for task in ('semantic', 'motion'):
        test.graph.listen(String, f'{task}/labels', LATCHED)
        test.spin_until(lambda: test.heard[f'{task}/labels'])  # noqa: B023
    labels = json.loads(test.heard['semantic/labels'][0].data)

    assert [one['name'] for one in labels['classes']] == list(STREET_SEMANTIC.classes)
    assert labels['classes'][8] == {
        'id': 8, 'name': 'car', 'color': [0, 0, 142], 'movable': True}
    assert labels['unlabelled'] == 255

    motion = json.loads(test.heard['motion/labels'][0].data)
    assert [one['name'] for one in motion['classes']] == ['static', 'moving']


def test_labels_are_repeated(bench):
    test = bench(labels__period=0.3)
    test.graph.listen(String, 'semantic/labels', LATCHED)
    test.start()
    test.spin_until(lambda: len(test.heard['semantic/labels']) >= 4)


def test_a_calibration_of_another_size_withholds_depth_and_nothing_else(bench):
    test = bench()
    test.start(*RESULTS)
    info = calibration(480, 640, 500.0, test.node.get_clock().now().to_msg())
    test.camera._infos.put(info)
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['semantic/image'] and test.heard['motion/image'])
    test.spin(0.2)

    assert not test.heard['depth/image']
    assert test.counts.warnings == {'I22_info_mismatch': 1}

    test.camera._infos.put(calibration(48, 80, 500.0, test.node.get_clock().now().to_msg()))
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['depth/image'])


def test_resets_do_not_pile_up_while_nobody_listens(bench):
    test = bench()
    test.start()
    for number in range(6):
        test.feed(test.picture(frame_id=('left', 'right')[number % 2]))
    assert test.counts.unheard == 6
    assert not test.camera._reset_reasons
    assert test.camera.stream.resets['frame_id'] == 5


def test_a_setting_that_does_not_fit_is_no_bad_topic(bench):
    test = bench(depth__scale='odometry')
    assert test.node.trigger_configure() == FAILURE
    assert 'no odometry is named' in test.node.last_error
    assert 'G10' not in test.node.last_error


def test_a_longer_lens_makes_depth_larger(bench):
    test = bench()
    test.start('depth/image')
    message = test.picture()
    test.feed(message)
    # the image has 48 rows, the network's 32 and a focal length of 0.6 of its 64 columns
    focal = 2 * 0.6 * 64 * 48 / 32
    test.camera._infos.put(calibration(48, 80, focal, message.header.stamp))
    test.feed(test.picture())
    test.spin_until(lambda: len(test.heard['depth/image']) == 2)
    plain, long = (decode_array(heard) for heard in test.heard['depth/image'])

    np.testing.assert_allclose(long, 2 * plain, rtol=1e-6)


def test_a_lower_camera_makes_depth_smaller(bench):
    found = {}
    for height in (1.5, 0.5):
        engine = FakeEngine()
        engine.manifest = dataclasses.replace(engine.manifest, camera_height=1.5)
        test = bench(engine, depth__camera_height=height)
        test.start('depth/image')
        test.feed(test.picture())
        test.spin_until(lambda: test.heard['depth/image'])  # noqa: B023
        found[height] = decode_array(test.heard['depth/image'].pop())
        test.node.trigger_deactivate()

    np.testing.assert_allclose(found[0.5], found[1.5] * 3 ** -0.7, rtol=1e-6)


def test_a_camera_height_for_a_model_without_one_is_refused_and_can_be_corrected(bench):
    test = bench(depth__camera_height=0.5)  # the manifest of this engine has no height
    assert test.node.trigger_configure() == FAILURE
    assert 'does not say at which height' in test.node.last_error

    test.node.set_parameters([Parameter('depth.camera_height', value=0.0)])
    assert test.node.trigger_configure() == SUCCESS, test.node.last_error


def test_several_cameras_have_their_own_topics_state_and_account(bench):
    test = bench(cameras=['front', 'rear'])
    test.start()
    for topic in ('front/motion/image', 'rear/motion/image'):
        test.graph.listen(Image, topic)
    front, rear = test.node.cameras.values()
    test.spin_until(lambda: front.outputs.wanted() and rear.outputs.wanted())
    for camera in (front, rear, front):
        test.node.on_image(camera, test.picture())
        while camera.account.counts().in_flight:
            time.sleep(0.001)
    test.spin_until(lambda: len(test.heard['front/motion/image']) == 2)

    assert test.engine.with_state == [False, False, True]
    assert (front.account.counts().published, rear.account.counts().published) == (2, 1)
    assert front.topic == '/front/image_raw'


def test_a_compressed_camera_is_served(bench):
    import cv2
    from sensor_msgs.msg import CompressedImage
    test = bench(image_transport='compressed')
    test.start('semantic/image')
    publisher = test.graph.node.create_publisher(CompressedImage, 'image_raw/compressed', 5)
    test.spin_until(lambda: publisher.get_subscription_count() > 0)
    message = CompressedImage(format='jpeg')
    message.header.stamp.sec = 5
    message.data.frombytes(cv2.imencode('.jpg', np.zeros((48, 80, 3), np.uint8))[1].tobytes())
    publisher.publish(message)
    test.spin_until(lambda: test.heard['semantic/image'])

    assert test.heard['semantic/image'][0].header.stamp.sec == 5

    publisher.publish(CompressedImage(format='jpeg', data=b'no picture'))
    test.spin_until(lambda: test.counts.dropped == {'I19_format': 1})


def test_reset_drops_the_temporal_state(bench):
    test = bench()
    test.start('motion/image')
    test.feed(test.picture())
    client = test.graph.node.create_client(Trigger, '/perception_node/reset')

    assert client.wait_for_service(5.0)

    future = client.call_async(Trigger.Request())
    test.spin_until(future.done)
    assert future.result().success

    test.feed(test.picture())
    test.feed(test.picture())
    assert test.engine.with_state == [False, False, True]
    assert test.camera.stream.resets['service'] == 1


def test_timing_and_counters_are_published(bench):
    test = bench()
    test.start('semantic/image')
    test.graph.listen(DiagnosticArray, '/perception_node/timing')
    for number in range(5):
        test.feed(test.picture(seed=number))
    test.feed(picture(Time(seconds=1), 0, 0))
    test.spin_until(lambda: test.heard['/perception_node/timing']
                    and ('published', '5') in pairs(test.heard['/perception_node/timing'][-1]))
    values = dict(pairs(test.heard['/perception_node/timing'][-1]))

    assert values['received'] == '6'
    assert values['dropped.I02_zero_size'] == '1'

    for stage in ('decode', 'network', 'messages', 'publish', 'total', 'age'):
        p50, p95, p99 = (float(values[f'{stage}_ms.p{rank}']) for rank in (50, 95, 99))
        assert 0 <= p50 <= p95 <= p99 < 5000


def pairs(array):
    return [(one.key, one.value) for status in array.status for one in status.values]
