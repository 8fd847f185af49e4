# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node as a program on a machine without torch, beside the engine torch."""


import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import picture
from ros_graph import parameters, stamp_ns
from sensor_msgs.msg import Image

from mtl_perception.frames import Frame
from mtl_perception.image_codec import decode_array, decode_image
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.inference.torch_engine import TorchEngine

TOPICS = ('semantic/image', 'depth/image', 'motion/image')
EQUAL_IDS = 0.9999
GAP_S = 60.0


def answers(graph, number):
    """Publish an image until its answers are there; return the image and them."""
    message = picture(graph.node.get_clock().now(), seed=number)
    publisher = graph.node.create_publisher(Image, 'image_raw', 5)
    graph.spin_until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(message)

    found = {}

    def arrived():
        for topic in TOPICS:
            for answer in graph.heard[topic]:
                if stamp_ns(answer) == stamp_ns(message):
                    found[topic] = decode_array(answer)
        return len(found) == len(TOPICS)

    graph.spin_until(arrived)
    graph.node.destroy_publisher(publisher)
    return message, found


def test_the_node_answers_without_torch_as_with_it(graph, tiny_model, tiny_graph):
    for topic in TOPICS:
        graph.listen(Image, topic)
    process = graph.start('node_without_torch', *parameters(
        model=tiny_graph, autostart=True, threads=1, max_gap=GAP_S))
    graph.spin_until(lambda: graph.node.count_subscribers('image_raw') > 0, 60.0)
    heard = [answers(graph, number) for number in range(3)]
    code, errors = graph.finish(process)
    assert code == 0, errors
    assert 'onnx' in errors

    engine = TorchEngine.load(tiny_model, 'cpu', threads=1)
    stream = CameraStream(engine, StreamSettings(max_gap_s=GAP_S))
    for message, found in heard:
        wanted = stream.process(Frame('camera', stamp_ns(message), decode_image(message)))
        assert (found['semantic/image'] == wanted.semantic).mean() >= EQUAL_IDS
        assert (found['motion/image'] == wanted.motion).mean() >= EQUAL_IDS
        np.testing.assert_allclose(found['depth/image'], wanted.depth, rtol=1e-3)
