# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Faults around the node: cameras, publishers, the network, the load."""

import threading
import time

import numpy as np
import pytest

from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros import watchdog

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import BEST_EFFORT, SUCCESS, FakeEngine, picture
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from mtl_perception.errors import DeviceError, FrameError

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE)
CAMERA = 'mtl_perception.ros.camera_source'


class OutOfMemoryError(RuntimeError):
    """Stands in for torch's, which is known by its name."""


def test_frames_faster_than_the_network_are_superseded_and_accounted_for(bench):
    test = bench()
    test.engine.delay_s = 0.04
    test.start('semantic/image')
    for _ in range(400):  # ten times as fast as the network
        test.node.on_image(test.camera, test.picture())
        assert test.counts.balanced
        test.spin(0.004)
    test.settle()
    counts = test.counts

    assert counts.received == 400 == counts.published + counts.dropped['O01_superseded']
    assert 10 < counts.published < 300

    test.spin_until(lambda: len(test.heard['semantic/image']) == counts.published)
    times = test.camera.account.percentiles()
    inference, period = times['network'][99], 4

    assert times['age'][99] < 2 * inference + period + 20  # 20 for a busy machine


def test_two_nodes_of_one_name_are_a_warning(bench):
    test = bench()
    test.start()
    test.spin_until(lambda: test.health('node') == (OK, 'active'))
    twin = Node('perception_node', context=test.graph.context)
    test.spin_until(lambda: test.health('node') == (
        WARN, '[G08_node_name] 2 nodes are called /perception_node'))
    twin.destroy_node()
    test.spin_until(lambda: test.health('node') == (OK, 'active'))


def test_a_library_that_ends_the_thread_costs_one_frame(bench):
    test = bench()
    test.start('semantic/image')
    test.engine.failure = SystemExit(3)
    test.feed(test.picture())
    assert test.counts.dropped == {'E00_internal': 1}

    test.engine.failure = None
    test.feed(test.picture())
    assert test.counts.published == 1
    assert test.node.exit_code is None


class Metered(FakeEngine):
    """Does one step for each token."""

    def __init__(self):
        super().__init__()
        self.tokens = threading.Semaphore(0)
        self.done = 0

    def step(self, image, state=None, tasks=None):
        self.tokens.acquire(timeout=30)
        self.done += 1
        return super().step(image, state, tasks)


def test_one_fast_camera_does_not_starve_the_others(bench):
    test = bench(Metered(), cameras=['fast', 'slow', 'lame'])
    test.start()
    cameras = list(test.node.cameras.values())
    for camera in cameras:
        test.graph.listen(Image, f'{camera.name}/semantic/image')
    test.spin_until(lambda: all(camera.outputs.wanted() for camera in cameras))

    for number in range(60):
        for camera, share in zip(cameras, (10, 1, 1)):
            for _ in range(share):
                test.node.on_image(camera, test.picture(seed=number))
        test.engine.tokens.release()
        while test.engine.done <= number:
            time.sleep(0.0005)

    test.engine.tokens.release(10)
    while any(camera.account.counts().in_flight for camera in cameras):
        time.sleep(0.001)
    served = [camera.account.counts().published for camera in cameras]

    assert max(served) <= 1.2 * min(served), served
    assert cameras[0].account.counts().dropped['O01_superseded'] > 500


def test_old_frames_are_dropped_if_max_age_is_set(bench):
    test = bench(max_age=1.5)
    test.start('semantic/image')
    old = Time(nanoseconds=test.node.get_clock().now().nanoseconds - 60 * 10 ** 9)
    test.feed(picture(old))
    test.feed(test.picture())

    assert test.counts.dropped == {'T05_stale': 1}

    test.engine.hold.clear()
    test.node.on_image(test.camera, test.picture())
    while len(test.engine.asked) < 2:
        time.sleep(0.001)
    test.node.on_image(test.camera, test.picture())  # grows old while the other is processed
    time.sleep(1.7)
    test.engine.hold.set()
    test.settle()

    assert test.counts.dropped == {'T05_stale': 1, 'O03_expired': 1}

    test.node.set_parameters([Parameter('max_age', value=0.0)])
    test.spin_until(lambda: test.node.settings.max_age == 0.0)
    test.feed(picture(old))

    assert test.counts.published == 3


@pytest.mark.parametrize(('failure', 'reason'), [
    (ZeroDivisionError('bug'), 'E00_internal'), (MemoryError(), 'O07_memory'),
    (FrameError('no', 'M10_output'), 'M10_output'), (OutOfMemoryError('no'), 'D02_oom')])
def test_a_failure_costs_one_frame(bench, failure, reason):
    test = bench()
    test.start('semantic/image')
    test.feed(test.picture())
    test.engine.failure = failure
    test.feed(test.picture())
    test.engine.failure = None
    test.feed(test.picture())

    assert test.counts.dropped == {reason: 1}
    assert test.counts.published == 2
    assert test.counts.balanced

    test.spin_until(lambda: test.health('camera') == (
        WARN, f'frames are dropped, the last one as {reason}'))


def test_failures_in_a_row_deactivate_the_node_until_the_next_activation(bench):
    test = bench()
    test.start('semantic/image')
    test.engine.failure = OutOfMemoryError('no')
    for _ in range(3):
        test.feed(test.picture())
    test.spin_until(lambda: test.node.activated_at is None)
    test.spin_until(lambda: test.health('node')[0] == ERROR)

    assert 'D02_oom' in test.health('node')[1]

    test.engine.failure = None
    assert test.node.trigger_activate() == SUCCESS

    test.feed(test.picture())
    test.spin_until(lambda: test.health('node')[0] == OK)
    assert test.node.exit_code is None


@pytest.mark.parametrize('failure', [
    RuntimeError('CUDA error: an illegal memory access'),
    DeviceError('gone', ReasonCode.DEVICE_LOST)])
def test_a_lost_device_ends_the_process(bench, failure):
    test = bench()
    test.start('semantic/image')
    test.engine.failure = failure
    test.feed(test.picture())

    assert test.node.exit_code == 7

    test.spin_until(lambda: test.node.activated_at is None)


def test_a_network_that_hangs_is_reported_and_ends_the_process(bench):
    test = bench(inference_timeout=0.4)
    test.start('semantic/image')
    test.engine.hold.clear()
    test.node.on_image(test.camera, test.picture())
    begin = time.monotonic()
    test.spin_until(lambda: test.health('camera')[0] == ERROR)

    assert 'O04_timeout' in test.health('camera')[1]
    assert time.monotonic() - begin < 1.2

    test.spin_until(lambda: test.node.exit_code == 7)
    assert 1.2 < time.monotonic() - begin < 3.0

    test.engine.hold.set()
    test.settle()


def test_a_frame_that_takes_too_long_is_dropped(bench):
    test = bench(inference_timeout=0.1)
    test.engine.delay_s = 0.15
    test.start('semantic/image')
    test.feed(test.picture())

    assert test.counts.dropped == {'O04_timeout': 1}


def test_the_diagnostics_name_a_missing_publisher(bench):
    test = bench(camera_timeout=0.5)
    test.start()
    test.spin_until(lambda: test.health('camera') == (
        ERROR, '[G01] no publisher on /image_raw'))
    test.camera_publisher = test.graph.node.create_publisher(Image, 'image_raw', 5)
    test.spin_until(lambda: test.health('camera') == (
        WARN, '/listener publishes on /image_raw, no frame yet'))

    first = test.picture()
    calibration = test.graph.node.create_publisher(CameraInfo, 'camera_info', 5)
    test.spin_until(lambda: calibration.get_subscription_count() > 0)
    calibration.publish(CameraInfo(
        header=first.header, height=first.height, width=first.width,
        k=[50.0, 0.0, first.width / 2, 0.0, 50.0, first.height / 2, 0.0, 0.0, 1.0]))
    for _ in range(5):
        test.publish()
        test.spin(0.1)
    test.spin_until(lambda: test.health('camera')[0] == OK)

    assert 'frames/s in' in test.health('camera')[1]

    test.spin_until(lambda: test.health('camera')[0] == ERROR)
    assert '[T03] no frame for' in test.health('camera')[1]

    test.node.trigger_deactivate()
    test.spin_until(lambda: test.health('camera') == (STALE, 'inactive'))


def test_a_camera_with_only_bad_frames_is_an_error(bench):
    test = bench(camera_timeout=0.3)
    test.start()
    for _ in range(5):
        message = test.picture()
        message.encoding = 'bogus'
        test.publish(message)
        test.spin(0.1)
    test.spin_until(lambda: test.health('camera')[1] ==
                    'every frame is dropped, the last one as I07_encoding')

    assert test.health('camera')[0] == ERROR


@pytest.mark.parametrize('size', [48, 1080])
def test_reliable_and_best_effort_cameras_are_both_heard(bench, size):
    test = bench()
    test.start('semantic/image')
    width = 80 if size == 48 else 1920
    for qos in (5, BEST_EFFORT, 5):
        publisher = test.graph.node.create_publisher(Image, 'image_raw', qos)
        before = test.counts.received
        begin = time.monotonic()
        while test.counts.received == before:
            publisher.publish(test.picture(height=size, width=width))
            test.spin(0.05)
            assert time.monotonic() - begin < 5.0
        assert time.monotonic() - begin < 1.0 + size / 1000
        test.graph.node.destroy_publisher(publisher)
        test.spin(0.5)


def test_a_fixed_reliability_that_does_not_match_is_an_error(bench):
    test = bench(image_reliability='reliable')
    test.start()
    test.graph.node.create_publisher(Image, 'image_raw', BEST_EFFORT)
    test.spin_until(lambda: 'G03' in test.health('camera')[1])

    assert test.health('camera')[0] == ERROR
    assert 'best_effort' in test.health('camera')[1]


def test_two_publishers_are_reported(bench):
    test = bench()
    test.start('semantic/image')
    other = test.node.create_publisher(Image, 'image_raw', 5)
    while 'G05' not in test.health('camera')[1]:
        test.publish()
        test.spin(0.1)

    assert test.health('camera') == (
        WARN, '[G05] /image_raw has 2 publishers: /listener, /perception_node')

    test.node.destroy_publisher(other)


def test_another_type_on_the_topic_is_reported(bench):
    test = bench()
    test.start()
    process = test.graph.start('talker', 'std_msgs/msg/Header', 'image_raw')
    test.spin_until(lambda: 'G04' in test.health('camera')[1])

    assert test.health('camera') == (
        ERROR, '[G04] /image_raw is published as std_msgs/msg/Header by node /talker; another '
               'type is wanted there')

    test.graph.finish(process)


def test_a_camera_that_is_killed_and_restarted_is_served_again(bench):
    test = bench()
    test.start('semantic/image')
    arguments = ('sensor_msgs/msg/Image', 'image_raw', '20')

    def seen(count):
        return lambda: test.counts.published >= count

    process = test.graph.start('talker', *arguments)
    test.spin_until(seen(10))
    noticed, returned = [], []

    for cycle in range(3):
        # served, by a camera without calibration
        test.spin_until(lambda: 'I21_no_intrinsics' in test.health('camera')[1])
        process.kill()
        process.wait()
        begin = time.monotonic()
        test.spin_until(lambda: test.health('camera')[0] == ERROR)
        noticed.append(time.monotonic() - begin)
        assert 'T03' in test.health('camera')[1]

        published = test.counts.published
        process = test.graph.start('talker', *arguments)
        assert process.stdout.readline() == 'first\n'  # its first message is on its way
        begin = time.monotonic()
        test.spin_until(seen(published + 1))
        returned.append(time.monotonic() - begin)

        assert test.camera.stream.resets['silence'] == cycle + 1
        assert test.counts.balanced
    test.graph.finish(process)

    assert sorted(noticed)[1] < 1.5, noticed  # median, seconds
    assert sorted(returned)[1] < 1.0, returned


def test_a_simulated_clock_that_stands_still_is_reported(bench, monkeypatch):
    monkeypatch.setattr(watchdog, 'CLOCK_PATIENCE_S', 0.3)
    test = bench(use_sim_time=True)
    test.spin_until(lambda: test.health('node') == (
        WARN, '[T08] use_sim_time is true but /clock has not been received'))


def test_a_recording_that_restarts_resets_the_state(bench):
    test = bench(use_sim_time=True)
    test.start('motion/image')
    clock = test.graph.node.create_publisher(Clock, '/clock', 10)
    for seconds in (100, 100.1, 10, 10.1):
        now = Time(seconds=seconds)
        test.spin_until(lambda: clock.get_subscription_count() > 0)
        clock.publish(Clock(clock=now.to_msg()))
        test.spin_until(lambda: test.node.get_clock().now().nanoseconds == now.nanoseconds)  # noqa: B023
        test.feed(picture(now, seed=int(seconds)))

    assert test.engine.with_state == [False, True, False, True]
    assert test.camera.stream.resets['time_jump'] == 1
    np.testing.assert_array_equal(test.counts.published, 4)
