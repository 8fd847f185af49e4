# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node as a process: its start, its signals and its exit codes."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray
from node_bench import picture
from ros_graph import parameters
from sensor_msgs.msg import Image

from mtl_perception.middleware import left_segments

MODULE = 'mtl_perception.ros.perception_node'
TEST_ROOM = os.path.dirname(__file__)


def serve(graph):
    """Publish images until a mask comes back."""
    graph.listen(Image, 'semantic/image')
    publisher = graph.node.create_publisher(Image, 'image_raw', 5)
    deadline = time.monotonic() + 90
    while not graph.heard['semantic/image']:
        publisher.publish(picture(graph.node.get_clock().now()))
        graph.executor.spin_once(timeout_sec=0.05)
        assert time.monotonic() < deadline


def end(graph, process, number):
    """End the process in an orderly way."""
    begin = time.monotonic()
    code, errors = graph.finish(process, number)
    assert code == 0, errors
    assert time.monotonic() - begin < 10
    assert 'Traceback' not in errors

    return errors


def test_sigint_ends_an_active_node(graph, tiny_model):
    process = graph.start(MODULE, *parameters(model=tiny_model, autostart=True, threads=1))
    serve(graph)
    end(graph, process, signal.SIGINT)


def test_sigterm_ends_an_active_node(graph):
    process = graph.start('fake_node', *parameters(autostart=True))
    serve(graph)
    end(graph, process, signal.SIGTERM)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_configuring_ends_the_program(graph, monkeypatch, number):
    monkeypatch.setenv('LOAD_S', '1')
    process = graph.start('fake_node', *parameters(autostart=True))
    assert process.stdout.readline() == 'loading\n'

    errors = end(graph, process, number)
    assert 'Failed to complete transition' not in errors


def test_a_node_that_cannot_configure_stays_unconfigured_and_reports_why(graph):
    process = graph.start(MODULE, *parameters(model='/nowhere.safetensors', autostart=True))
    graph.listen(DiagnosticArray, '/diagnostics')
    graph.spin_until(lambda: any(
        status.level == b'\2' and '/nowhere.safetensors does not exist' in status.message
        for array in graph.heard['/diagnostics'] for status in array.status))

    assert process.poll() is None
    assert '/nowhere.safetensors does not exist' in end(graph, process, signal.SIGTERM)


@pytest.mark.slow
def test_signals_at_any_time(graph, monkeypatch):
    source = random.Random(5)
    monkeypatch.setenv('LOAD_S', '0.3')
    for number in range(12):
        process = graph.start('fake_node', *parameters(autostart=True))
        assert process.stdout.readline() == 'loading\n'
        time.sleep(source.random())
        end(graph, process, (signal.SIGINT, signal.SIGTERM)[number % 2])


def segments(process):
    """Return the files of Fast DDS's shared memory that a process has mapped, but for ports."""
    lines = Path(f'/proc/{process}/maps').read_text().splitlines()
    return {line.split()[-1] for line in lines if '/dev/shm/fastdds_' in line
            and 'port' not in line and not line.endswith('(deleted)')}


@pytest.mark.parametrize('load_s', ['0', '60'])
def test_an_ended_node_leaves_no_shared_memory(graph, monkeypatch, load_s):
    monkeypatch.setenv('LOAD_S', load_s)
    process = graph.start('fake_node', *parameters(autostart=True))
    assert process.stdout.readline() == 'loading\n'
    own = segments(process.pid) - segments('self')
    assert own
    end(graph, process, signal.SIGTERM)
    assert [path for path in own if os.path.exists(path)] == []


def test_an_ended_camera_leaves_no_shared_memory(graph):
    process = graph.start('mtl_perception.ros.camera_source', *parameters(source='street'))
    graph.listen(Image, 'image_raw')
    graph.spin_until(lambda: graph.heard['image_raw'], timeout_s=90)
    own = segments(process.pid) - segments('self')
    assert own
    end(graph, process, signal.SIGINT)
    assert [path for path in own if os.path.exists(path)] == []


def test_the_shared_memory_of_a_killed_node_is_known(graph):
    process = graph.start('fake_node', *parameters(autostart=True))
    assert process.stdout.readline() == 'loading\n'
    own = segments(process.pid) - segments('self')
    assert not own & set(map(str, left_segments()))
    graph.finish(process, signal.SIGKILL)
    assert own
    assert own <= set(map(str, left_segments()))
    for path in own:
        os.unlink(path)
        os.unlink(f'{path}_el')


def hang(graph, monkeypatch):
    monkeypatch.setenv('HANG', '1')
    process = graph.start('fake_node', *parameters(autostart=True))
    graph.listen(Image, 'semantic/image')
    publisher = graph.node.create_publisher(Image, 'image_raw', 5)
    graph.spin_until(lambda: publisher.get_subscription_count() > 0)
    for _ in range(10):
        publisher.publish(picture(graph.node.get_clock().now()))
        time.sleep(0.05)
    return process


def test_a_second_signal_ends_the_process_at_once(graph, monkeypatch):
    process = hang(graph, monkeypatch)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)

    assert process.poll() is None  # it waits for the network
    assert graph.finish(process, signal.SIGINT)[0] == 130


def test_a_network_that_never_returns_ends_the_process_with_code_7(graph, monkeypatch):
    process = hang(graph, monkeypatch)
    code, errors = graph.finish(process, signal.SIGTERM)
    assert code == 7
    assert 'O04_timeout' in errors


def test_an_impossible_start_is_reported_in_one_line(graph, tmp_path, monkeypatch):
    code, errors = graph.finish(graph.start(
        MODULE, '--ros-args', '--params-file', str(tmp_path / 'missing.yaml')), None)
    assert code == 2
    assert 'missing.yaml' in errors
    assert 'Traceback' not in errors

    blocked = tmp_path / 'file'
    blocked.write_text('')
    monkeypatch.setenv('ROS_LOG_DIR', str(blocked / 'log'))
    code, errors = graph.finish(graph.start(MODULE), None)

    assert code == 5
    assert 'ROS_LOG_DIR' in errors
