# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Encoders of timm: as the other encoders, without the network access, refused with reasons."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from paper_networks import MEAN, STD, STREET, settle

from mtl_perception import cli
from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.inference.engines import load_engine
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import NetworkSpec, read_model
from mtl_perception.models.build import ENCODERS, build_network
from mtl_perception.models.pretrained import check_normalisation, load_encoder
from mtl_perception.models.streaming import StreamingNetwork
from mtl_perception.models.timm_encoder import TimmEncoder
from mtl_perception.training.batch_norm import synchronise
from mtl_perception.training.config import TrainingConfig, build_recipe
from mtl_perception.training.data_sources import check_network

timm = pytest.importorskip('timm', reason='timm is not installed')

IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)


@pytest.fixture
def without_timm(monkeypatch):
    """Return what takes timm away from the rest of a test."""
    return lambda: monkeypatch.setitem(sys.modules, 'timm', None)


@pytest.mark.parametrize('finest_stride', [2, 4, 8])
@pytest.mark.parametrize(('name', 'channels'), [
    ('test_efficientnet', (16, 24, 32, 48, 64)), ('test_resnet', (32, 32, 48, 192, 96))])
def test_one_stage_per_stride_is_returned_with_the_declared_channels(
        name, channels, finest_stride):
    encoder = TimmEncoder(name, finest_stride).eval()
    stages = encoder(torch.zeros(1, 3, 64, 96))
    wanted = [(count, 64 // stride, 96 // stride) for stride, count in
              zip((2, 4, 8, 16, 32), channels) if stride >= finest_stride]

    assert [tuple(stage.shape[1:]) for stage in stages] == wanted
    assert encoder.channels == tuple(count for count, _, _ in wanted)
    assert encoder.strides == tuple(64 // rows for _, rows, _ in wanted)


def test_with_the_same_weights_resnet18_of_timm_gives_the_features_of_our_own(tmp_path):
    ours = settle_encoder(ENCODERS['resnet18'](2))
    torch.save(ours.state_dict(), tmp_path / 'weights.pth')
    theirs = TimmEncoder('resnet18', 2).eval()
    load_encoder(theirs, 'timm:resnet18', tmp_path / 'weights.pth')

    image = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        for found, wanted in zip(theirs(image), ours(image), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def settle_encoder(encoder):
    """Give an encoder statistics of batch normalisation that are not the initial ones."""
    with torch.no_grad():
        for _ in range(3):
            encoder.train()(torch.randn(2, 3, 64, 96))
    return encoder.eval()


@pytest.mark.parametrize('name', ['test_efficientnet', 'test_convnext'])
def test_weights_of_the_whole_model_are_found_although_the_encoder_has_other_names(
        name, tmp_path):
    whole = timm.create_model(name, pretrained=False).eval()
    torch.save(whole.state_dict(), tmp_path / 'whole.pth')
    encoder = TimmEncoder(name, 4).eval()
    load_encoder(encoder, f'timm:{name}', tmp_path / 'whole.pth')

    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        wanted = whole.forward_intermediates(image, intermediates_only=True)
        for found, same in zip(encoder(image), wanted[-4:], strict=True):
            torch.testing.assert_close(found, same, atol=1e-5, rtol=1e-5)


def test_weights_of_another_model_of_timm_are_refused(tmp_path):
    other = timm.create_model('test_convnext', pretrained=False).state_dict()
    torch.save(other, tmp_path / 'other.pth')

    with pytest.raises(CheckpointError, match=r'do not fit the encoder timm:test_resnet.*miss'):
        load_encoder(TimmEncoder('test_resnet'), 'timm:test_resnet', tmp_path / 'other.pth')


@pytest.mark.parametrize('encoder', ['timm:test_efficientnet', 'timm:test_convnext'])
def test_every_parameter_gets_a_finite_nonzero_gradient(encoder):
    network = build_network(NetworkSpec(encoder, 2, 4, STREET, 16))
    outputs = network(*torch.randn(2, 2, 3, 64, 96))
    sum((output * torch.randn_like(output)).sum() for output in outputs.values()).backward()

    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize('pyramid', [0, 16])
def test_a_stream_equals_the_forward_pass_on_both_frames(pyramid):
    network = settle(build_network(
        NetworkSpec('timm:test_efficientnet', 2, 4, STREET, pyramid)))
    stream = StreamingNetwork(network, MEAN, STD).eval()
    images = torch.randint(0, 256, (2, 1, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        _, state = stream.step(images[0])
        found, _ = stream.step(images[1], state)
        wanted = network(*(
            image.permute(0, 3, 1, 2) * stream.scale + stream.shift for image in images.flip(0)))

    torch.testing.assert_close(
        found['depth'].log(), wanted['depth'][:, 0], atol=1e-5, rtol=1e-5)
    assert (found['semantic'] == wanted['semantic'].argmax(1)).float().mean() > 0.999


@pytest.fixture(scope='module')
def model(tmp_path_factory, model_writer):
    folder = tmp_path_factory.mktemp('timm')
    return model_writer(folder / 'tiny.safetensors', encoder='timm:test_efficientnet')


def test_a_model_is_loaded_again_without_a_download_and_its_graph_without_timm(
        model, monkeypatch, without_timm, graph_writer):
    def download(*_, **__):
        raise AssertionError('a model of this package needs no download')

    monkeypatch.setattr('timm.models._builder.load_pretrained', download)
    manifest, network = load_network(model)
    assert manifest.network.encoder.startswith('timm:test_')

    # the engine folds batch normalisations, which must not take an activation with them
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    engine = load_engine(model, 'torch', 'cpu', threads=1)
    answer, _ = engine.step(image)
    plain = StreamingNetwork(network.eval(), manifest.mean, manifest.std)
    with torch.inference_mode():
        wanted, _ = plain.step(torch.from_numpy(image)[None])
    np.testing.assert_allclose(answer.depth, wanted['depth'][0], rtol=1e-4)

    graph = graph_writer(model, model.with_suffix('.onnx'))
    without_timm()
    found, _ = load_engine(graph, 'onnx', 'cpu', threads=1).step(image)
    np.testing.assert_allclose(np.log(found.depth), np.log(answer.depth), atol=1e-4, rtol=0)
    assert (found.semantic == answer.semantic).mean() > 0.999


def test_without_timm_a_model_says_what_to_install(model, without_timm):
    without_timm()

    with pytest.raises(CheckpointError, match=r'built by timm, .* pip install .*\[timm\]'):
        load_network(model)


def test_a_model_and_a_recipe_are_described(model, capsys):
    assert cli.main(['describe', str(model), '--json']) == 0
    described = json.loads(capsys.readouterr().out)

    size = sum(item.numel() for name, item in load_network(model)[1].named_parameters()
               if name.startswith('encoder.'))
    assert described['parameters']['encoder'] == size
    assert [shape[1:] for shape in described['shapes']['encoder']] == [[8, 12], [4, 6], [2, 3]]
    assert read_model(model)[0].network.encoder.startswith('timm:')


@pytest.mark.parametrize(('settings', 'message'), [
    ({'encoder': 'timm:test_efficientnut'}, "no model .*did you mean 'test_efficientnet'"),
    ({'encoder': 'timm:resnet18.a1_in1k'}, "'a1_in1k' names weights.* network.pretrained"),
    ({'encoder': 'timm:test_convnext', 'finest_stride': 2}, r'strides \[4, 8, 16, 32\], wanted'),
    ({'encoder': 'timm:test_vit'}, r'strides \[16\]'),
    ({'encoder': 'timm:swin_tiny_patch4_window7_224'}, 'does not take images of any size'),
    ({'encoder': 'timm:test_resnet', 'output_stride': 8}, 'has 32 only'),
    ({'encoder': 'test_resnet'}, "'timm:NAME'"),
    ({'pretrained': 'timm:tf_efficientnet_lite0.in1k'}, r'set --network.mean "\[127.5, '),
    ({'pretrained': 'timm:resnet18.nowhere'}, r"no such weights; it has \['resnet18\.a1_in1k"),
    ({'pretrained': 'timm:resnet19'}, 'no such model'),
])
def test_what_timm_cannot_do_is_refused_before_a_training(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        check_network(build_recipe(
            {'name': 'one', 'network': settings,
             'stages': [{'height': 64, 'width': 96, 'steps': 7}]}, TrainingConfig, 'test'))


def test_weights_that_are_normalised_as_the_recipe_says_are_accepted():
    check_normalisation('timm:resnet18', *IMAGENET)
    check_normalisation('timm:tf_efficientnet_lite0.in1k', (127.5,) * 3, (127.5,) * 3)
    check_normalisation('weights.pth', (0.0,) * 3, (1.0,) * 3)


def test_batch_normalisations_with_an_activation_are_not_replaced_over_several_ranks():
    with pytest.raises(ConfigurationError, match=r'BatchNormAct2d.*sync_batch_norm to false'):
        synchronise(TimmEncoder('test_efficientnet'), SimpleNamespace(count=2))
