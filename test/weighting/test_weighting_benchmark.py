# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest
import torch

from mtl_perception.errors import ConfigurationError
from mtl_perception.weighting import WEIGHTINGS, benchmark, build_weighting
from mtl_perception.weighting.libmtl import import_libmtl


def test_every_strategy_has_one_ratio_per_round_and_that_of_equal_weights_is_1():
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
    training = benchmark.Training(
        build_weighting(name, list(benchmark.CHANNELS)), benchmark.Data(32, 64, 1))
    before = {key: item.clone() for key, item in training.network.named_parameters()}
    training.step()

    assert not [key for key, item in training.network.named_parameters()
                if torch.equal(item, before[key])]


def test_a_folder_without_libmtl_is_refused_and_the_message_tells_where_to_get_it(tmp_path):
    with pytest.raises(ConfigurationError, match=r'no LibMTL/trainer.py; give a checkout of http'):
        import_libmtl(tmp_path)


@pytest.mark.skipif('LIBMTL' not in os.environ, reason='LIBMTL names no checkout of LibMTL')
@pytest.mark.parametrize('name', list(benchmark.PEERS))
def test_a_step_with_a_strategy_of_libmtl_trains_the_same_network(name):
    data = benchmark.Data(32, 64, 1)
    peer = benchmark.Peer(import_libmtl(Path(os.environ['LIBMTL'])), name, data)
    ours = benchmark.Training(build_weighting('equal', list(benchmark.CHANNELS)), data)
    outputs, _ = ours.network(data.image, tuple(benchmark.CHANNELS))

    for task, output in peer.model(data.image).items():
        torch.testing.assert_close(output, outputs[task], rtol=1e-4, atol=1e-5)

    before = {key: item.clone() for key, item in peer.model.named_parameters()}
    peer.step()

    assert not [key for key, item in peer.model.named_parameters()
                if torch.equal(item, before[key])]
