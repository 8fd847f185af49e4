# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the diagnostics say when the node does not keep up, and what motion is worth then."""

import dataclasses
import functools
import threading
import time
from collections import Counter

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import picture
from sensor_msgs.msg import Image

from mtl_perception.ros.accounting import Counts
from mtl_perception.ros.load import Load, LoadWatch, overload
from mtl_perception.ros.parameters import PARAMETERS, settings_of

SETTINGS = settings_of({one.field: one.default for one in PARAMETERS})
GOOD = Load(30.0, 8.0, 0.73, 0.1, 0.2)


@pytest.mark.parametrize(('change', 'text'), [
    ({}, ''),
    ({'published_hz': 1.2}, '1.20 frames/s answered, wanted 2'),
    ({'published_hz': 1.2, 'arrived_hz': 1.2}, ''),
    ({'superseded': 0.976}, '98% of the images superseded, wanted at most 90%'),
    ({'motion_unknown': 1.0}, 'motion unknown in 100% of the answers, wanted at most 50%'),
    ({'motion_unknown': None}, ''),
    ({'age_s': 1.5}, 'the last answer was 1.50 s old, wanted at most 1'),
    ({'age_s': 3e8}, '')])
def test_each_threshold_speaks_for_itself(change, text):
    found = overload(dataclasses.replace(GOOD, **change), SETTINGS)
    assert found == (f'[O05_overload] {text}' if text else '')

    silent = {f'diagnostics_{name}': 0.0 for name in (
        'min_rate', 'max_superseded', 'max_motion_unknown', 'max_age')}
    assert overload(
        dataclasses.replace(GOOD, **change), dataclasses.replace(SETTINGS, **silent)) == ''


def test_the_last_seconds_count_and_not_what_was_before():
    watch = LoadWatch()
    assert watch.load() is None
    for second in range(11):  # all superseded at first, none later
        late = max(0, second - 5)
        watch.add(float(second), Counts(
            10 * second, 10 * late, 0, {'O01_superseded': 10 * min(5, second)}, 0, 0, {},
            motion_known=6 * late, motion_unknown=4 * late), 0.1)
    assert watch.load() == Load(10.0, 10.0, 0.0, 0.4, 0.1)


class Cameras(threading.Thread):
    """Hand images of several cameras to the node, at a rate."""

    def __init__(self, node, rate):
        super().__init__(daemon=True)
        self.node = node
        self.period_s = 1 / rate
        self.ended = threading.Event()

    def run(self):
        frame = 0
        while not self.ended.wait(self.period_s):
            frame += 1
            for camera in self.node.cameras.values():
                self.node.on_image(camera, picture(
                    self.node.get_clock().now(), 16, 24, seed=frame))


def serve(bench, seconds, delay_s, **parameters):
    """Return the bench after eight cameras at 30 Hz, whose frames take so long each."""
    names = [f'camera{number}' for number in range(8)]
    test = bench(cameras=names, **parameters)
    test.engine.delay_s = delay_s
    heard = Counter()
    for name in names:
        test.graph.node.create_subscription(
            Image, f'{name}/motion/image', functools.partial(
                lambda name, message: heard.update({(name, message.data[0] == 255)}), name), 10)
    test.start()
    test.spin_until(lambda: all(len(one.outputs.wanted()) for one in test.node.cameras.values()))

    cameras = Cameras(test.node, 30)
    cameras.start()
    begin = time.monotonic()
    test.warned_after = None
    while time.monotonic() - begin < seconds:
        test.spin(0.05)
        if test.warned_after is None and test.health('camera3')[0] == DiagnosticStatus.WARN:
            test.warned_after = time.monotonic() - begin
    cameras.ended.set()
    cameras.join()
    return test


@pytest.mark.slow
def test_eight_cameras_at_30_hz_are_a_warning_and_motion_is_known(bench):
    """0.16 s a frame, so that each camera is served every 1.3 s."""
    test = serve(bench, 20.0, 0.16)
    assert test.warned_after is not None
    assert test.warned_after < 5.0
    assert 'O05_overload' in test.health('camera3')[1]
    assert 'superseded' in test.health('camera3')[1]

    counts = [camera.account.counts() for camera in test.node.cameras.values()]
    known = sum(one.motion_known for one in counts)
    assert known >= 0.5 * sum(one.motion_known + one.motion_unknown for one in counts)
    assert all(one.balanced for one in counts)
    served = [one.published for one in counts]
    assert min(served) >= max(served) - 3  # one burst


@pytest.mark.slow
def test_without_bursts_motion_is_unknown_at_such_a_load(bench):
    test = serve(bench, 8.0, 0.16, motion__burst=1)
    counts = [camera.account.counts() for camera in test.node.cameras.values()]
    assert sum(one.motion_known for one in counts) == 0
    assert sum(one.motion_unknown for one in counts) > 20
