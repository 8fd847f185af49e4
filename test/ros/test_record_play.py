# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl record`` and ``mtl play`` on a real graph."""

import signal
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from mtl_perception.bags.reader import Bag
from mtl_perception.ros.bag_writer import BagWriter, Channel
from mtl_perception.ros.message_types import MessageTypes
from mtl_perception.ros.messages import image_message
from mtl_perception.ros.player import replay_qos

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
CAMERAS = 'front', 'rear'


def offered(reliable=True, latched=False, depth=3):
    return Qos(
        QosHistory.KEEP_LAST, depth,
        QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        QosTime(0, 0), QosTime(0, 0), QosLiveliness.AUTOMATIC, QosTime(0, 0), False)


def content(path):
    """Return topic -> type, serialised messages and whether the topic was latched."""
    found = {}
    with AnyReader([path]) as reader:
        for connection, _, raw in reader.messages():
            latched = connection.ext.offered_qos_profiles[0].durability
            found.setdefault(connection.topic, (connection.msgtype, [], latched))[1].append(
                bytes(raw))
    return found


def write_bag(folder, times_s, offers=(), topic='/text'):
    """Write one text message for each time of reception."""
    from rclpy.serialization import serialize_message
    writer = BagWriter(folder, MessageTypes())
    channel = Channel(topic, 'std_msgs/msg/String', tuple(offers))
    for number, seconds in enumerate(times_s):
        writer.write(channel, round(seconds * 1e9), serialize_message(String(data=str(number))))
    writer.close()


def publish_drive(graph, frames=6):
    """Publish two cameras with masks and labels, and a topic that is none of the node's."""
    random = np.random.default_rng(5)
    publishers = {}
    for camera in CAMERAS:
        for kind, topic, qos in ((Image, 'image_raw', BEST_EFFORT), (Image, 'semantic/image', 5),
                                 (CameraInfo, 'camera_info', 5),
                                 (String, 'semantic/labels', LATCHED)):
            publishers[camera, topic] = graph.node.create_publisher(
                kind, f'/{camera}/{topic}', qos)
    foreign = graph.node.create_publisher(String, '/chatter', 5)
    everyone = list(publishers.values())
    graph.spin_until(lambda: all(one.get_subscription_count() for one in everyone))

    for number in range(frames):
        for camera in CAMERAS:
            header = Header(frame_id=camera)
            header.stamp.sec, header.stamp.nanosec = 100 + number, 7
            rgb = random.integers(0, 256, (24, 40, 3), np.uint8)
            publishers[camera, 'image_raw'].publish(image_message(header, 'rgb8', rgb))
            publishers[camera, 'semantic/image'].publish(
                image_message(header, 'mono8', rgb[..., 0] % 12))
            publishers[camera, 'camera_info'].publish(CameraInfo(header=header, width=40))
            foreign.publish(String(data='not recorded'))
        graph.executor.spin_once(timeout_sec=0.05)
    for camera in CAMERAS:
        publishers[camera, 'semantic/labels'].publish(String(data=f'labels of {camera}'))
    time.sleep(0.5)


def record(graph, folder, *arguments):
    return graph.start('mtl_perception.cli', 'record', *arguments, '--output', str(folder))


def test_what_is_recorded_played_and_recorded_again_is_the_same(graph, tmp_path):
    first = record(graph, tmp_path / 'first')
    publish_drive(graph)
    code, errors = graph.finish(first, signal.SIGINT)
    assert code == 0, errors

    # the publishers of the test leave: what is recorded now comes from the player alone
    for publisher in list(graph.node.publishers):
        if publisher.topic_name.split('/')[1] in CAMERAS:
            graph.node.destroy_publisher(publisher)
    second = record(graph, tmp_path / 'second')
    player = graph.start('mtl_perception.cli', 'play', str(tmp_path / 'first'), '--topics',
                         *(f'/{camera}/{topic}' for camera in CAMERAS for topic in (
                             'image_raw', 'semantic/image', 'camera_info', 'semantic/labels')),
                         '--delay', '2')
    code, errors = graph.finish(player, None, timeout_s=30)
    assert code == 0, errors
    assert '38 messages' in errors
    time.sleep(0.5)
    assert graph.finish(second, signal.SIGTERM)[0] == 0

    played, again = content(tmp_path / 'first'), content(tmp_path / 'second')
    played.pop('/diagnostics', None)  # of the recorder itself, once a second
    again.pop('/diagnostics', None)
    assert set(played) == {f'/{camera}/{topic}' for camera in CAMERAS for topic in (
        'image_raw', 'semantic/image', 'camera_info', 'semantic/labels')}
    assert again == played
    assert len(again['/rear/image_raw'][1]) == 6
    assert again['/front/semantic/labels'][2] == QosDurability.TRANSIENT_LOCAL

    # as the evaluation reads it: the stamps are those of the images
    with Bag(tmp_path / 'second', 'rear') as bag:
        assert bag.stamps_of('image') == [(100 + number) * 10**9 + 7 for number in range(6)]
        assert bag.matched['semantic'] == 6


def test_a_folder_that_exists_is_kept_and_the_new_one_gets_the_date(graph, tmp_path):
    kept = tmp_path / 'drive'
    kept.mkdir()
    (kept / 'note').write_text('of an earlier drive')
    process = record(graph, kept, '/text')
    texts = graph.node.create_publisher(String, '/text', 5)
    graph.spin_until(texts.get_subscription_count)
    texts.publish(String(data='one'))
    time.sleep(0.3)

    assert graph.finish(process, signal.SIGTERM)[0] == 0
    assert [path.name for path in kept.iterdir()] == ['note']
    new, = (path for path in tmp_path.iterdir() if path != kept)
    assert new.name.startswith('drive_')
    assert len(content(new)['/text'][1]) == 1


def test_only_the_namespaces_that_are_named_are_recorded(graph, tmp_path):
    process = record(graph, tmp_path / 'bag', '--namespaces', 'rear')
    front, rear = (
        graph.node.create_publisher(Image, f'/{camera}/image_raw', 5) for camera in CAMERAS)
    graph.spin_until(rear.get_subscription_count)
    for publisher in (front, rear):
        publisher.publish(image_message(Header(), 'mono8', np.zeros((2, 2), np.uint8)))
    time.sleep(0.5)

    assert front.get_subscription_count() == 0
    assert graph.finish(process)[0] == 0
    assert set(content(tmp_path / 'bag')) - {'/diagnostics'} == {'/rear/image_raw'}


def test_a_rate_of_two_halves_the_pauses(graph, tmp_path):
    write_bag(tmp_path / 'bag', [50.0, 50.6, 51.2, 51.8])
    arrived = []
    graph.node.create_subscription(String, '/text', lambda _: arrived.append(time.monotonic()), 10)
    player = graph.start('mtl_perception.cli', 'play', str(tmp_path / 'bag'), '--rate', '2')
    graph.spin_until(lambda: len(arrived) == 4)
    assert graph.finish(player, None)[0] == 0

    # 1.8 s as recorded; a busy machine is late, never early
    assert arrived[-1] - arrived[0] == pytest.approx(0.9, abs=0.3)


def test_a_loop_goes_on_until_a_signal_and_the_clock_shows_recorded_time(graph, tmp_path):
    write_bag(tmp_path / 'bag', [50.0, 50.2], [offered(latched=True)])
    graph.listen(String, '/text', QoSProfile(depth=50, durability=LATCHED.durability))
    graph.listen(Clock, '/clock')
    player = graph.start(
        'mtl_perception.cli', 'play', str(tmp_path / 'bag'), '--loop', '--clock', '50')
    graph.spin_until(lambda: len(graph.heard['/text']) >= 6)
    code, errors = graph.finish(player, signal.SIGINT)

    assert code == 0, errors
    assert [one.data for one in graph.heard['/text'][:6]] == ['0', '1'] * 3
    times = [one.clock.sec + one.clock.nanosec / 1e9 for one in graph.heard['/clock']]
    assert min(times) >= 50.0
    assert max(times) <= 50.2 + 1e-6
    assert len(set(times)) > 5


@pytest.mark.parametrize(('arguments', 'code', 'text'), [
    (['--rate', '0'], 2, 'rate is 0.0; wanted a number above 0'),
    (['--topics', 'no'], 2, 'no topic /no; it has /text'),
    (['--delay', '-1'], 2, 'not negative')])
def test_a_wrong_command_line_is_refused(graph, tmp_path, arguments, code, text):
    write_bag(tmp_path / 'bag', [1.0])
    player = graph.start('mtl_perception.cli', 'play', str(tmp_path / 'bag'), *arguments)
    found, errors = graph.finish(player, None)
    assert (found, text in errors) == (code, True), errors


def test_what_is_no_recording_is_refused(graph, tmp_path):
    player = graph.start('mtl_perception.cli', 'play', str(tmp_path / 'nothing'))
    code, errors = graph.finish(player, None)
    assert code == 3
    assert 'B01' in errors


def test_the_offer_of_a_replay_satisfies_whoever_an_original_satisfied():
    mixed = replay_qos([offered(reliable=False, depth=3), offered(latched=True, depth=7)])
    assert mixed.reliability == ReliabilityPolicy.RELIABLE
    assert mixed.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert mixed.depth == 7

    sensor = replay_qos([offered(reliable=False, depth=0)])
    assert (sensor.reliability, sensor.durability, sensor.depth) == (
        ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 10)
    assert replay_qos([]).reliability == ReliabilityPolicy.RELIABLE
