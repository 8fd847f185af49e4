# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder on a real graph."""

import json
import signal

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from ros_graph import Graph
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from mtl_perception.ros.messages import image_message

MODULE = 'mtl_perception.ros.recorder'
IMAGE, TEXT = 'sensor_msgs/msg/Image', 'std_msgs/msg/String'
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def graph(monkeypatch):
    graph = Graph(monkeypatch)
    yield graph
    graph.close()


def pictures(count, height=224, width=384):
    random = np.random.default_rng(3)
    for number in range(count):
        header = Header(frame_id=f'camera {number}')
        header.stamp.sec = number
        yield image_message(
            header, 'rgb8', random.integers(0, 256, (height, width, 3), np.uint8))


def read(path):
    """Return topic -> serialised messages."""
    found = {}
    with AnyReader([path]) as reader:
        for connection, _, raw in reader.messages():
            found.setdefault(connection.topic, []).append(bytes(raw))
    return found


def test_messages_are_recorded_bit_for_bit(graph, tmp_path):
    process = graph.start(MODULE, '--output', str(tmp_path / 'bag'), '--topics',
                          f'image:{IMAGE}', 'text', '--progress')
    images = graph.node.create_publisher(Image, 'image', 10)
    texts = graph.node.create_publisher(String, 'text', LATCHED)
    graph.spin_until(
        lambda: images.get_subscription_count() and texts.get_subscription_count())

    sent = [serialize_message(message) for message in pictures(10)]
    for raw in sent:
        images.publish(raw)
        graph.executor.spin_once(timeout_sec=0.02)
    texts.publish(String(data='latched'))

    counts = {}
    while counts != {'/image': 10, '/text': 1}:
        counts = json.loads(process.stdout.readline())
    code, errors = graph.finish(process)

    assert code == 0, errors

    recorded = read(tmp_path / 'bag')
    assert recorded['/image'] == sent
    assert recorded['/text'] == [serialize_message(String(data='latched'))]


def test_each_subscription_has_the_quality_of_service_of_its_publisher(graph, tmp_path):
    """A latched message from before the start is recorded, and so is a best-effort one."""
    latched = graph.node.create_publisher(String, 'labels', LATCHED)
    latched.publish(String(data='from before'))
    sensor = graph.node.create_publisher(String, 'sensor', BEST_EFFORT)
    process = graph.start(MODULE, '--output', str(tmp_path / 'bag'), '--topics',
                          f'labels:{TEXT}', f'sensor:{TEXT}', '--progress')
    counts = {}
    while counts.keys() != {'/labels', '/sensor'}:
        sensor.publish(String(data='now'))
        counts = json.loads(process.stdout.readline())

    assert graph.finish(process, signal.SIGTERM)[0] == 0
    assert read(tmp_path / 'bag')['/labels'] == [serialize_message(String(data='from before'))]

    with AnyReader([tmp_path / 'bag']) as reader:
        offers = {connection.topic: connection.ext.offered_qos_profiles[0]
                  for connection in reader.connections}

    assert offers['/labels'].durability == QosDurability.TRANSIENT_LOCAL
    assert offers['/sensor'].reliability == QosReliability.BEST_EFFORT


def test_a_topic_without_a_publisher_does_not_disturb_the_recording(graph, tmp_path):
    texts = graph.node.create_publisher(String, 'text', 10)
    process = graph.start(MODULE, '--output', str(tmp_path / 'bag'), '--topics', 'text', 'never')
    graph.spin_until(texts.get_subscription_count)
    texts.publish(String(data='one'))
    graph.spin_until(lambda: texts.get_subscription_count() == 1)
    graph.executor.spin_once(timeout_sec=0.3)

    assert graph.finish(process)[0] == 0
    assert list(read(tmp_path / 'bag')) == ['/text']


@pytest.mark.parametrize(('arguments', 'code', 'text'), [
    (['--topics', 'a', 'a'], 2, 'named twice'),
    (['--topics', 'a:no_such_msgs/msg/Thing'], 2, 'no_such_msgs/msg/Thing'),
    (['--topics'], 2, '--topics')])
def test_a_wrong_command_line_is_refused_and_leaves_nothing(
        graph, tmp_path, arguments, code, text):
    process = graph.start(MODULE, '--output', str(tmp_path / 'bag'), *arguments)
    found, errors = graph.finish(process, None)
    assert found == code
    assert text in errors
    assert not (tmp_path / 'bag').exists()


def test_a_full_disk_ends_the_recording_with_code_5(graph, tmp_path):
    process = graph.start(
        'limited_recorder', '--output', str(tmp_path / 'bag'), '--topics', f'image:{IMAGE}')
    graph.listen(DiagnosticArray, '/diagnostics')
    images = graph.node.create_publisher(Image, 'image', 50)
    graph.spin_until(lambda: images.get_subscription_count() and graph.heard['/diagnostics'])
    assert graph.heard['/diagnostics'][-1].status[0].level == DiagnosticStatus.OK
    for message in pictures(20):
        images.publish(message)
        graph.executor.spin_once(timeout_sec=0.02)
    code, errors = graph.finish(process, None)  # it ends by itself

    assert code == 5, errors

    recorded = len(read(tmp_path / 'bag' / 'bag.mcap')['/image'])
    assert f'recorded {recorded} of' in errors
    assert recorded == 5  # a chunk is what exceeds 1 MiB; a second one has no room

    # the folder is a whole bag too, with its metadata
    assert len(read(tmp_path / 'bag')['/image']) == recorded
    metadata = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())
    assert metadata['rosbag2_bagfile_information']['message_count'] == recorded

    graph.spin_until(lambda: graph.heard['/diagnostics'][-1].status[0].level != b'\0')
    last = graph.heard['/diagnostics'][-1].status[0]
    assert (last.name, last.level) == ('recorder', DiagnosticStatus.ERROR)
    assert f'recorded {recorded} of' in last.message
