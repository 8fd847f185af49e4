# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
From the exec of the node's script to its first output, with a camera that publishes already.

Ten starts in ``make campaign``, one elsewhere. Times are shown and, where the machine has nothing
else to do, judged.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip('rclpy')

from campaign import EXAMPLES
from ros_graph import ROOT, parameters
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mtl_perception.evaluation.benchmark.memory import private_mb
from mtl_perception.ros.messages import image_message
from mtl_perception.synthetic import Street

STARTS = max(1, EXAMPLES // 200)
RATE = 10
QUIET = 0.3
"""Load per CPU up to which the times are those of the node."""
SHARED_MB = 64 * 2 ** 20 / 1e6
"""Segment of shared memory of the middleware, see config/fastdds.xml."""
RESULTS = ('semantic/image', 'depth/image', 'motion/image')


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize('model', ['roads', 'street'])
def test_the_first_output_comes_soon_after_the_start(graph, capsys, model):
    pytest.importorskip('onnxruntime')
    quiet = os.getloadavg()[0] < QUIET * os.cpu_count()
    picture = image_message(
        Header(frame_id='camera'), 'rgb8', Street(20000, width=640, height=480).render(0).image)
    publisher = graph.node.create_publisher(Image, 'image_raw', 1)
    heard = {}
    for topic in RESULTS:
        graph.node.create_subscription(
            Image, topic, lambda _, name=topic: heard.setdefault(name, time.monotonic()), 5,
            raw=True)
    ended = threading.Event()

    def publish():
        while not ended.wait(1 / RATE):
            picture.header.stamp = graph.node.get_clock().now().to_msg()
            publisher.publish(picture)

    camera = threading.Thread(target=publish, daemon=True)
    camera.start()
    took, memory = [], []
    try:
        for _ in range(STARTS + 1):  # the first one warms the caches of the disk
            heard.clear()
            begin = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, str(ROOT / 'scripts' / 'perception_node'),
                 *parameters(model=model, engine='onnx', autostart=True)],
                env={**os.environ, 'ROS_DOMAIN_ID': str(graph.domain), 'PYTHONPATH': str(ROOT)},
                stderr=subprocess.PIPE, text=True)
            graph.processes.append(process)
            graph.spin_until(lambda: 'semantic/image' in heard)
            took.append(heard['semantic/image'] - begin)

            graph.spin_until(lambda: len(heard) == len(RESULTS))
            memory.append(private_mb(process.pid))
            code, errors = graph.finish(process)
            assert code == 0, errors
    finally:
        ended.set()
        camera.join()

    with capsys.disabled():
        print('\n' + json.dumps({
            'model': model, 'quiet': quiet, 'first_output_s': [round(one, 2) for one in took[1:]],
            'median_s': round(statistics.median(took[1:]), 2),
            'private_mb_with_the_shared_segment': round(max(memory))}))
    assert max(memory) - SHARED_MB < 250
    assert not (quiet and STARTS >= 10) or statistics.median(took[1:]) <= 1.5
