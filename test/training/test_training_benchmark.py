# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of trainings: what it times is what it says."""

import os
import signal
import statistics
import sys
import time
from pathlib import Path

import pytest

from mtl_perception.training import benchmark
from mtl_perception.weighting.libmtl import import_libmtl

RECIPE = {
    'tasks': ['semantic'], 'weighting': 'equal', 'network': {'encoder': 'resnet10', 'frames': 1},
    'loss': {'class_balance': 0.0},
    'stages': [{'height': 32, 'width': 64, 'steps': 1, 'batch': 2}]}


@pytest.fixture(scope='module')
def side(tmp_path_factory):
    folder = tmp_path_factory.mktemp('benchmark')
    described = benchmark.write_files(folder / 'files', 4)
    return benchmark.Side(
        {**RECIPE, 'data': {'train': described, 'validation': described}}, folder / 'runs',
        'fp32', 0, 4)


def test_the_files_are_read_as_what_was_drawn(side):
    assert len(side.train) == 4
    sample = side.train[0]
    assert sample.image.shape == (1, 720, 960, 3)
    assert len(set(sample.semantic.ravel()) - {255}) > 4


class Slow:
    """Clips that take 60 ms each to read."""

    def __init__(self, clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        time.sleep(0.06)
        return self.clips[index]


def test_reading_slowly_is_seen_where_data_are_read_and_nowhere_else(side, monkeypatch):
    fast = side.ours()
    assert len(fast.ratios()) == 4
    assert min(fast.own + fast.others) > 0

    plain = side.plain()
    monkeypatch.setattr(side, 'train', Slow(side.train))
    assert side.reading() > 0.12  # two clips per batch

    monkeypatch.setattr(side, 'plain', lambda: plain)
    slow = side.ours()
    assert min(slow.own[3:]) > 0.12
    assert statistics.median(slow.others) < 0.12
    assert statistics.median(slow.ratios()) < statistics.median(fast.ratios())


def test_a_signal_ends_the_steps_and_what_was_measured_before_is_told(
        side, monkeypatch, capsys):
    def stopped(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return benchmark.Pairs(lambda: None)

    monkeypatch.setattr(benchmark.Side, 'plain', stopped)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            side.ours()  # before the steps
        monkeypatch.setattr(
            benchmark.Side, 'plain',
            lambda self: benchmark.Pairs(lambda: os.kill(os.getpid(), signal.SIGTERM)))
        with pytest.raises(KeyboardInterrupt):
            side.ours()  # in the first of them
    finally:
        signal.signal(signal.SIGTERM, before)

    def measure(arguments, libmtl, table, console):
        table.add_row('street', '1', 'mtl train', '7')
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, '_measure', measure)
    monkeypatch.setattr(sys, 'argv', ['benchmark', '--threads', '1'])
    with pytest.raises(KeyboardInterrupt):
        benchmark.main()
    assert 'mtl train' in capsys.readouterr().out


def test_a_step_is_what_passes_between_two_plain_steps():
    pairs = benchmark.Pairs(lambda: time.sleep(0.03))
    for _ in range(7):
        pairs.between()
        time.sleep(0.01)

    assert len(pairs.own) == 6
    assert min(pairs.own) >= 0.01
    assert min(pairs.others) >= 0.03
    assert len(pairs.ratios()) == 3  # three to warm up
    assert min(pairs.ratios()) > 1


@pytest.mark.skipif('LIBMTL' not in os.environ, reason='LIBMTL names no checkout of LibMTL')
def test_libmtl_trains_the_same_network_on_the_same_data(side):
    assert len(side.theirs(import_libmtl(Path(os.environ['LIBMTL']))).ratios()) == 4
