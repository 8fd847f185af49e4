# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from torch import nn

from mtl_perception.training.schedule import WeightAverage, learning_rate, parameter_groups


def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end():
    rates = [learning_rate(step, 100, 2.0, warm_up=0.1, final=0.05) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(0.1)
    assert all(one > other for one, other in itertools.pairwise(rates[9:]))


def test_only_weights_of_two_dimensions_decay():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    decaying, others = parameter_groups([network], 0.1)
    assert [tuple(item.shape) for item in decaying['params']] == [(4, 3, 1, 1)]
    assert len(others['params']) == 3
    assert (decaying['weight_decay'], others['weight_decay']) == (0.1, 0.0)
    assert [group['weight_decay'] for group in parameter_groups([network], 0.1, True)] == [0.1] * 2


def test_the_average_of_constant_weights_is_constant_and_otherwise_lags_behind():
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = WeightAverage(network, 0.9)
    average.update(network)

    assert average.state['weight'].item() == 0.0

    nn.init.ones_(network.weight)
    average.update(network)  # the decay after one update is 2 / 11
    assert average.state['weight'].item() == pytest.approx(9 / 11)
