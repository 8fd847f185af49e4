# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of a node, from what the probe and /proc tell."""

import mmap
import time

import numpy as np
import pytest

from mtl_perception.evaluation.benchmark.frames import bag_drive, street_drive
from mtl_perception.evaluation.benchmark.memory import (
    Watch,
    anonymous_mb,
    cpu_seconds,
    private_mb,
)
from mtl_perception.evaluation.benchmark.node_level import rounds_of, summary
from mtl_perception.evaluation.benchmark.node_report import node_lines, node_warnings

SECOND = 10 ** 9


@pytest.fixture
def watch():
    """Return what half a core and 2 MB per minute look like over a minute."""
    found = Watch.__new__(Watch)
    found.samples = [
        (number * SECOND, 5 + number / 2, 100 + number / 30) for number in range(61)]
    return found


def test_the_slope_of_the_memory_ignores_a_single_jump(watch):
    watch.samples[30] = (30 * SECOND, 20.0, 900.0)
    median, slope = watch.memory(0, 60 * SECOND)
    assert median == pytest.approx(101, abs=0.1)
    assert slope == pytest.approx(2.0, abs=0.05)


def test_this_process_is_seen():
    began = cpu_seconds('self')
    assert began is not None
    before = anonymous_mb('self')

    # memory of its own: what numpy gets may have been freed by somebody earlier
    with mmap.mmap(-1, 20_000_000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as ballast:
        for _ in range(20):
            ballast.write(bytes([1]) * 1_000_000)
        assert anonymous_mb('self') - before == pytest.approx(20, abs=5)
    assert private_mb('self') > 20

    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert cpu_seconds('self') > began


def test_what_does_not_exist_is_unknown():
    assert cpu_seconds(2 ** 30) is None
    assert private_mb(2 ** 30) is None
    assert anonymous_mb(2 ** 30) is None


def phase(kind, rate, lost=(), kept_up=True, sent=10, sent_rate=None, latency=5.0, cpu_s=0.5,
          busy_s=1.0):
    return {
        'cpu_s': cpu_s, 'busy_s': busy_s,
        'kind': kind, 'rate': rate, 'kept_up': kept_up, 'began_ns': 0, 'ended_ns': 60 * SECOND,
        'sent': sent, 'lost': list(lost), 'sent_rate': sent_rate or rate,
        'age_ms': [4.0] * (sent - len(lost)), 'latency_ms': [latency] * (sent - len(lost))}


def figures(watch, lost=(6,), sent_rate=None):
    found = summary({'counters': {}, 'phases': [
        phase('one by one', 0.0), phase('rate', 10.0, [2, 3], sent_rate=sent_rate),
        phase('search', 20.0), phase('search', 30.0), phase('search', 45.0, [1], kept_up=False),
        phase('control', 5.0, lost, sent=12)]}, watch)
    return {'node': 'ours', 'private_memory_mb': None, 'accuracy': None, **found}


def level(*nodes):
    return {
        'frames': {'what': 'street', 'size': '96x64', 'sha256': 64 * '0'}, 'seconds': 1.0,
        'rounds': 2, 'search_seconds': 1.0, 'engine': 'auto',
        'device': 'auto', 'precision': 'fp32',
        'threads': 0, 'nodes': list(nodes), 'left_out': []}


def test_the_figures_of_a_node(watch):
    found = figures(watch)
    rate, = found['rates']
    assert (rate['sent'], rate['lost'], rate['cores']) == (10, 2, pytest.approx(0.5))
    assert rate['latency_ms']['p99'] == 5
    assert found['highest_rate']['rate'] == 30
    assert found['memory']['slope_mb_per_minute'] == pytest.approx(2)
    assert found['control']['found']
    assert node_warnings(level(found)) == []

    # half a second of CPU for 8 answers in a second
    text = '\n'.join(node_lines(level(found)))
    assert '| ours | 10 (sent 10.0) | 10 | 2 | 5 / 5 / 5 / 5 | 4 / 4 / 4 / 4 | 0.50 | 62.5 |' in (
        text)
    assert '| ours | 30.0 (10 frames) | unknown | +2.00 over 60 s | no truth |' in text


def test_the_rounds_at_a_rate_count_together(watch):
    found = summary({'counters': {}, 'phases': [
        phase('rate', 10.0, [2], latency=5.0, cpu_s=0.4, busy_s=1.5),
        phase('rate', 20.0, cpu_s=None),
        phase('rate', 10.0, [0, 3], latency=7.0, cpu_s=0.6),
        phase('rate', 20.0, cpu_s=0.3),
        phase('control', 5.0, [6], sent=12)]}, watch)
    slow, fast = found['rates']
    assert (slow['rate'], slow['sent'], slow['lost']) == (10, 20, 3)
    assert slow['sent_rate'] == pytest.approx(10)
    assert (slow['latency_ms']['p50'], slow['latency_ms']['max']) == (5, 7)
    assert slow['p50_of_rounds_ms'] == [5, 7]

    # a second of CPU for 17 answers, the last of which came 2.5 s after the first frames
    assert slow['cores'] == pytest.approx(0.4)
    assert slow['cpu_ms_per_answer'] == pytest.approx(1000 / 17)
    assert fast['cores'] is fast['cpu_ms_per_answer'] is None


@pytest.mark.parametrize(('seconds', 'rounds'), [(1, 2), (2, 2), (10, 5), (600, 10)])
def test_a_long_measurement_has_few_long_rounds(seconds, rounds):
    assert rounds_of(seconds) == rounds


@pytest.mark.parametrize('lost', [(), (5,), (6, 7)])
def test_a_lost_frame_that_is_not_the_planted_one_is_a_warning(watch, lost):
    warning, = node_warnings(level(figures(watch, lost)))
    assert 'frame 6 was withheld' in warning


def test_a_probe_that_cannot_send_so_fast_is_a_warning(watch):
    warning, = node_warnings(level(figures(watch, sent_rate=8.0)))
    assert '10 Hz was asked for, but the probe sent 8.0 Hz' in warning


def test_a_street_has_truth_and_a_digest():
    drive = street_drive((96, 64), 2)
    assert drive.truths[1].semantic.shape == (64, 96)
    assert len(drive.sha256) == 64
    assert drive.sha256 != street_drive((96, 64), 3).sha256


def test_a_bag_gives_its_first_images(tmp_path, tiny_model):
    pytest.importorskip('rosbags')
    from bag_files import image, write_bag

    from mtl_perception.manifest import read_model
    images = [np.full((64, 96, 3), 10 * number, np.uint8) for number in range(4)]
    times = [SECOND + number * SECOND // 10 for number in range(4)]
    write_bag(tmp_path / 'bag', [
        ('/image_raw', image(one, at), at) for one, at in zip(images, times)])
    drive = bag_drive(tmp_path / 'bag', read_model(tiny_model)[0], 3)
    assert len(drive.images) == 3
    np.testing.assert_array_equal(drive.images[2], images[2])
    assert drive.truths == [None] * 3
    assert drive.period_ns == 100_000_000
