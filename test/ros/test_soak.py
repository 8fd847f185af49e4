# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The node for a long time: four cameras at 30 Hz on the shipped model, and its lifecycle.

Both take their share of the examples: ten minutes and 1000 cycles in ``make campaign``, a fiftieth
elsewhere. What a process keeps is judged; times are shown and not judged, because they are those
of the machine.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from campaign import EXAMPLES
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from ros_graph import ROOT, parameters
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mtl_perception.evaluation.benchmark.memory import anonymous_mb
from mtl_perception.ros.messages import image_message
from mtl_perception.synthetic import Street

MODULE = 'mtl_perception.ros.perception_node'
CAMERAS = ('front', 'left', 'right', 'rear')
RATE = 30
RESULTS = ('semantic/image', 'depth/image', 'motion/image')

SECONDS = 0.3 * EXAMPLES
CYCLES = round(0.5 * EXAMPLES)
FULL = EXAMPLES >= 2000
"""Whether there is enough to tell growth from the steps in which memory is taken."""


@pytest.fixture
def show(capsys):
    """Return what shows figures in the output of pytest."""
    def write(**figures):
        with capsys.disabled():
            print('\n' + json.dumps(figures))
    return write


class Rig:
    """Four cameras of 640x480, which publish in turns, and who listens to all results."""

    def __init__(self, graph):
        self.graph = graph
        street = Street(20000, width=640, height=480, rate=RATE)
        self.pictures = [
            image_message(Header(frame_id='camera'), 'rgb8', street.render(index).image)
            for index in range(10)]
        self.publishers = [
            graph.node.create_publisher(Image, f'{camera}/image_raw', 1) for camera in CAMERAS]
        self.answers = dict.fromkeys(CAMERAS, 0)
        for camera in CAMERAS:
            for topic in RESULTS:
                graph.node.create_subscription(
                    Image, f'{camera}/{topic}', self._counter(camera, topic), 5, raw=True)
        self.client = graph.node.create_client(GetState, '/perception_node/get_state')
        self.waits_ms = []
        graph.listen(DiagnosticArray, '/diagnostics')

    def _counter(self, camera, topic):
        def count(message):
            self.answers[camera] += topic == RESULTS[0]
        return count

    def play(self, seconds, every_second):
        """Publish for so long; call a function about once a second."""
        begin = told = time.monotonic()
        number, asked = 0, None
        while (now := time.monotonic()) < begin + seconds:
            if now >= begin + number / (RATE * len(CAMERAS)):
                picture = self.pictures[number // len(CAMERAS) % len(self.pictures)]
                picture.header.stamp = self.graph.node.get_clock().now().to_msg()
                self.publishers[number % len(CAMERAS)].publish(picture)
                number += 1

            if asked is not None and asked[1].done():
                self.waits_ms.append(1000 * (now - asked[0]))
                asked = None
            if now >= told + 1:
                told = now
                every_second(now)
                if asked is None:
                    asked = now, self.client.call_async(GetState.Request())
            self.graph.executor.spin_once(timeout_sec=0.001)
        return number

    def values(self, camera):
        """Return the newest diagnostics of a camera."""
        for array in reversed(self.graph.heard['/diagnostics']):
            for status in array.status:
                if status.name == f'perception_node: {camera}':
                    return {one.key: one.value for one in status.values}
        raise AssertionError(f'no diagnostics of {camera}')


@pytest.mark.slow
@pytest.mark.campaign
def test_four_cameras_at_30_hz_are_served_alike_and_cost_no_memory(graph, show):
    pytest.importorskip('onnxruntime')
    rig = Rig(graph)
    process = graph.start(MODULE, *parameters(
        cameras=list(CAMERAS), model='street', engine='onnx', autostart=True,
        max_gap=10.0))  # so that a busy machine computes motion too, and from the start on
    deadline = time.monotonic() + 120
    while min(rig.answers.values()) < 5:
        rig.play(0.5, lambda now: None)
        assert time.monotonic() < deadline

    sizes, before = [], dict(rig.answers)
    sent = rig.play(SECONDS, lambda now: sizes.append((now, anonymous_mb(process.pid))))
    served = [rig.answers[camera] - before[camera] for camera in CAMERAS]
    deadline = time.monotonic() + 30
    graph.heard['/diagnostics'].clear()  # and wait until nothing is in flight
    while not graph.heard['/diagnostics'] or any(
            rig.values(camera)['in_flight'] != '0' for camera in CAMERAS):
        graph.executor.spin_once(timeout_sec=0.1)
        assert time.monotonic() < deadline
    values = [rig.values(camera) for camera in CAMERAS]
    code, errors = graph.finish(process)

    # Of the process's own memory, without that of the middleware which it shares with others:
    # by a straight line through the last four fifths.
    late = [one for one in sizes if one[0] > sizes[0][0] + SECONDS / 5]
    growth = np.polyfit(*np.transpose(late), 1)[0] * 0.8 * SECONDS
    show(sent=sent, served=served, fairness=round(max(served) / min(served), 3),
         growth_mb=round(growth, 3), own_mb=[round(size) for _, size in sizes[::60]],
         age_p99_ms=[one['age_ms.p99'] for one in values],
         network_p50_ms=[one['network_ms.p50'] for one in values],
         get_state_p99_ms=round(float(np.percentile(rig.waits_ms, 99)), 1))

    assert code == 0, errors
    for one in values:
        assert int(one['received']) == int(one['published']) + int(one['dropped'])
        assert {key for key in one if key.startswith('dropped.')} <= {'dropped.O01_superseded'}
    assert max(served) <= 1.2 * min(served) + 2
    assert not FULL or growth < 1.05  # MB, 1 MiB


def cycles_of(kind):
    """Return what a process found about the cycles of a node."""
    ended = subprocess.run(
        [sys.executable, Path(__file__).with_name('cycles.py'), kind, str(CYCLES)],
        capture_output=True, text=True, timeout=3600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


@pytest.mark.slow
@pytest.mark.campaign
def test_lifecycle_cycles_cost_no_more_than_those_of_rclpy(monkeypatch, show):
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{ROOT / "test"}:{ROOT / "test" / "ros"}')
    bare, node = cycles_of('bare'), cycles_of('node')
    show(cycles=CYCLES, bare=bare, node=node)

    assert len(bare['threads_and_descriptors']) == 1
    assert len(node['threads_and_descriptors']) == 1
    assert (node['publishers'], node['subscriptions']) == (
        bare['publishers'], bare['subscriptions'])
    assert not FULL or node['bytes_a_cycle'] - bare['bytes_a_cycle'] <= 1024
