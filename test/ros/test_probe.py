# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The probe of ``mtl benchmark``, and the node level as a whole."""

import dataclasses

import pytest

pytest.importorskip('rclpy')

from mtl_perception.evaluation.benchmark.frames import street_drive
from mtl_perception.evaluation.benchmark.node_level import NodePlan, measure_nodes
from mtl_perception.inference.step_graph import read_manifest
from mtl_perception.ros.probe import Sent, backlog_grows, busy_seconds, forth_and_back


def ignore(text):
    """Show no progress."""


def test_images_are_sent_forth_and_back():
    assert [forth_and_back(index, 4) for index in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [forth_and_back(index, 1) for index in range(3)] == [0, 0, 0]


def test_a_frame_is_answered_when_the_last_of_its_maps_has_come():
    sent = Sent(1_000_000_000, 0, {'depth': 1_010_000_000}, {'depth': 1_012_000_000})
    assert sent.times(2) is None

    sent.published_ns['semantic'] = 1_008_000_000
    sent.received_ns['semantic'] = 1_015_000_000
    assert sent.times(2) == (10.0, 15.0)


def test_a_node_is_busy_while_frames_come_and_until_its_last_answer():
    second = 10 ** 9
    frames = [Sent(10 * second, 0), Sent(11 * second, 1)]
    assert busy_seconds(frames, 1.0, 10 * second) == 2  # nothing came

    # a queue, and a frame without its depth
    frames[0].received_ns['depth'] = 10 * second + 1
    frames[1].received_ns['semantic'] = 14 * second
    assert busy_seconds(frames, 1.0, 10 * second) == 4
    assert busy_seconds(frames, 0.0, 10 * second) == 4
    assert busy_seconds([], 0.0, 10 * second) == 0


def test_a_queue_that_fills_up_is_a_backlog():
    # 8 answers a second of 10 frames: each waits 25 ms longer than the one before
    assert backlog_grows([125 + 25 * number for number in range(30)], 100)
    assert not backlog_grows([125 + 25 * (number % 3) for number in range(30)], 100)


@pytest.fixture
def plan(tiny_graph, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    return NodePlan(
        str(tiny_graph), street_drive((96, 64), 6), 'onnx', 'cpu', threads=1, rates=[4.0],
        seconds=2.0, search_seconds=1.0, usual=False)


@pytest.mark.slow
def test_the_node_is_measured_and_a_withheld_frame_is_found(plan):
    found = measure_nodes(plan, read_manifest(plan.model), ignore)

    assert found['left_out'] == []
    node, = found['nodes']
    assert node['control']['lost'] == [6]
    assert node['control']['found']

    rate, = node['rates']
    assert (rate['rate'], rate['sent']) == (4, 20)  # two rounds
    assert 0 < rate['age_ms']['p50'] <= rate['latency_ms']['p50'] <= rate['latency_ms']['max']
    assert 0 < rate['cores'] < 2
    assert node['highest_rate']['rate'] > 0
    assert node['memory']['median_mb'] > 10
    assert node['private_memory_mb'] > 10

    # the tasks of a network with random weights: bad, and the same in every run
    assert node['accuracy']['frames'] == node['accuracy']['sent'] == 6
    assert set(node['accuracy']['metrics']) >= {'semantic.miou', 'depth.abs_rel'}
    counters = node['counters']
    assert int(counters['received']) == int(counters['published']) + int(counters['dropped'])


@pytest.mark.slow
def test_the_usual_node_stands_beside_with_the_same_accuracy(plan, tiny_model):
    plan = dataclasses.replace(plan, model=str(tiny_model), engine='torch', usual=True)
    said = []
    node, usual = measure_nodes(plan, read_manifest(plan.model), said.append)['nodes']

    assert (node['node'], usual['node']) == ('mtl_perception', 'usual pattern')
    assert usual['control']['found']
    # they take turns, phase by phase
    shown = [text.partition(': ') for text in dict.fromkeys(said)]
    rates = [name for name, _, phase in shown if phase == 'rate 4.0 Hz']
    assert rates == ['mtl_perception', 'usual pattern']
    last = {name: place for place, (name, _, phase) in enumerate(shown) if 'control' in phase}
    first = {name: place for place, (name, _, phase) in enumerate(shown) if 'rate' in phase}
    assert max(first.values()) < min(last.values())

    # at the network's size both run the same network on the same frames
    assert usual['accuracy']['frames'] == node['accuracy']['frames'] == 6
    assert usual['accuracy']['metrics']['semantic.miou'] == pytest.approx(
        node['accuracy']['metrics']['semantic.miou'], abs=0.001)


@pytest.mark.slow
def test_a_node_that_cannot_start_is_left_out_with_its_reason(plan, tmp_path):
    manifest = read_manifest(plan.model)
    plan = dataclasses.replace(plan, model=str(tmp_path / 'missing.onnx'), start_s=600.0)
    found = measure_nodes(plan, manifest, ignore)  # long before that time has passed
    assert found['nodes'] == []
    assert 'cannot start' in found['left_out'][0]['reason']
    assert 'missing.onnx' in found['left_out'][0]['reason']
