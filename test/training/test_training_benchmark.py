# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of trainings: what it times is what it says."""

import os
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


def test_ways_take_turns_and_reading_slowly_is_seen_where_data_are_read(side, monkeypatch):
    said = []
    ways = {'plain': side.plain, 'mtl train': side.ours}
    found = benchmark.measure(ways, 2, said.append)
    assert [len(seconds) for seconds in found.values()] == [2, 2]
    assert [line.split('  ')[1] for line in said] == ['plain', 'mtl train', 'mtl train', 'plain']
    monkeypatch.setattr(side, 'train', Slow(side.train))
    slow = benchmark.measure(ways, 1, said.append)
    assert slow['mtl train'][0] > 0.12  # two clips per batch
    assert slow['plain'][0] < 0.12


def test_the_time_of_a_step_is_from_the_first_timed_one_to_the_last():
    began = [0.0, 5.0, 9.0, 10.0, 12.0, 14.0]  # three steps to warm up
    assert benchmark._pace(began) == 2.0


@pytest.mark.skipif('LIBMTL' not in os.environ, reason='LIBMTL names no checkout of LibMTL')
def test_libmtl_trains_the_same_network_on_the_same_data(side):
    assert side.theirs(import_libmtl(Path(os.environ['LIBMTL']))) > 0
