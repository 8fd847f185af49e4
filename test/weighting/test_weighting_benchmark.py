# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mtl_perception.weighting import WEIGHTINGS, benchmark, build_weighting


def test_every_strategy_has_one_ratio_per_round_and_equal_is_the_unit():
    names = benchmark.available()
    assert set(WEIGHTINGS) - set(names) <= {'gradient_method'}  # needs torchjd
    base, found = benchmark.ratios(
        names, rounds=2, steps=1, height=32, width=64, batch=1)
    assert base > 0
    assert list(found) == names
    assert found['equal'] == [1.0, 1.0]
    assert all(len(values) == 2 and min(values) > 0 for values in found.values())


@pytest.mark.parametrize('name', ['equal', 'gradnorm'])
def test_a_step_trains_encoder_and_both_decoders(name):
    training = benchmark.Training(build_weighting(name, list(benchmark.CHANNELS)), 32, 64, 1)
    before = {key: item.clone() for key, item in training.network.named_parameters()}
    training.step()
    assert not [key for key, item in training.network.named_parameters()
                if torch.equal(item, before[key])]
