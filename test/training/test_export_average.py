# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl export --average``: the mean of the weights of a model and of the one it began with."""

import dataclasses

import pytest
import safetensors.torch
import torch

from mtl_perception import cli
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import read_model, write_model


@pytest.fixture
def trained(tiny_model, tmp_path):
    """Write a model whose weights are those of the tiny one plus 1."""
    manifest, content = read_model(tiny_model)
    weights = {key: tensor + 1 if tensor.is_floating_point() else tensor
               for key, tensor in safetensors.torch.load(content).items()}
    path = tmp_path / 'trained.safetensors'
    write_model(dataclasses.replace(manifest, name='trained', metrics={'validation': {'a': 1}}),
                safetensors.torch.save(weights), path)
    return path


def export(*words):
    return cli.main(['export', *(str(word) for word in words)])


def test_weights_are_averaged_and_the_manifest_says_so(tiny_model, trained, tmp_path):
    into = tmp_path / 'mean.safetensors'
    assert export(trained, '--average', tiny_model, '--share', '0.25', '--into', into) == 0
    manifest, network = load_network(into)
    begun, other = load_network(tiny_model)

    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            wanted = other.state_dict()[key] + 0.25
            torch.testing.assert_close(tensor, wanted, atol=2e-3, rtol=1e-3)
    assert manifest.name == 'mean'
    assert manifest.training['average'] == {'with': begun.sha256, 'share': 0.25}
    assert manifest.metrics == {}  # nothing was measured of these weights


def test_a_motion_head_is_left_out(tmp_path):
    into = tmp_path / 'mean.safetensors'
    assert export('roads', '--average', 'roads', '--into', into) == 0
    manifest, _ = load_network(into)
    assert manifest.motion_head == ''
    assert {task.name for task in manifest.tasks} == {*manifest.network.channels}


def test_all_of_one_model_is_that_model(tiny_model, trained, tmp_path):
    into = tmp_path / 'same.safetensors'
    assert export(trained, '--average', tiny_model, '--share', '1', '--into', into) == 0
    assert read_model(into)[0].sha256 == read_model(trained)[0].sha256


@pytest.mark.parametrize(('words', 'code', 'message'), [
    (['--average', 'street', '--into', 'x.safetensors'], 4, 'differ in network'),
    (['--average', 'TINY'], 2, '--average needs --into'),
    (['--average', 'TINY', '--share', '1.5', '--into', 'x.safetensors'], 2, '--share is 1.5'),
    (['--average', 'TINY', '--format', 'onnx'], 2, 'make the graph of them afterwards')])
def test_what_cannot_be_averaged_is_refused(
        tiny_model, trained, words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export(trained, *(tiny_model if word == 'TINY' else word for word in words)) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'x.safetensors').exists()
