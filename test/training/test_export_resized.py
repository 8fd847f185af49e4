# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl export --size``: the same weights for images of another size."""

import dataclasses
import math

import numpy as np
import pytest
import safetensors.torch
import torch

from mtl_perception import cli
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import Manifest, NetworkSpec, read_model, write_model
from mtl_perception.models.boxes import decode_boxes
from mtl_perception.models.build import build_network
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_DETECTION


def export(*words):
    return cli.main(['export', *(str(word) for word in words)])


@pytest.fixture(scope='module')
def larger(tmp_path_factory):
    """Return ``roads`` for images twice as large."""
    path = tmp_path_factory.mktemp('resized') / 'larger.safetensors'
    assert export('roads', '--size', '1024x576', '--into', path) == 0
    return path


def test_only_the_logarithm_of_depth_grows(larger):
    begun, network = load_network('roads')
    manifest, resized = load_network(larger)
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = network.eval()(image), resized.eval()(image)

    grown = after['depth'] - before['depth']
    torch.testing.assert_close(
        grown[:, 0], torch.full_like(grown[:, 0], math.log(2)), atol=1e-4, rtol=0)
    assert not grown[:, 1:].any()  # how depth follows the height of the camera
    assert all(torch.equal(before[task], after[task]) for task in ('semantic', 'instance'))

    # a focal length is one of the training's images, which are larger now
    assert (manifest.width, manifest.height) == (1024, 576)
    assert manifest.focal_px == pytest.approx(2 * begun.focal_px)
    assert manifest.focal_y_px == pytest.approx(2 * begun.focal_y_px)


def test_what_was_measured_at_the_other_size_does_not_count(larger):
    begun, _ = read_model('roads')
    manifest, _ = read_model(larger)
    assert not manifest.precisions
    assert not manifest.depth_confidence
    assert manifest.semantic_temperature == 1
    assert manifest.training['resized'] == {'from': begun.sha256, 'size': '512x288'}
    assert manifest.motion_head == begun.motion_head


def test_a_street_is_as_far_away_in_larger_images(larger):
    depths = []
    for model in ('roads', larger):
        engine = TorchEngine.load(model, 'cpu', threads=1)
        manifest = engine.manifest
        street = Street(20007, manifest.width, manifest.height)
        depths.append([np.nanmedian(engine.step(street.render(index).image)[0].depth)
                       for index in (10, 40, 70)])
    assert np.median(np.divide(*depths)) == pytest.approx(1, abs=0.08)  # 1 / 2 without


@pytest.fixture(scope='module')
def boxes(tmp_path_factory):
    """Return a model of boxes for images of 96x64, one of whose anchors is nearly as wide."""
    spec = NetworkSpec('resnet10', 1, 8, {'detection': 3}, decoders={'detection': 'yolo8'},
                       anchors=[[0.1, 0.2], [0.9, 0.3]])
    manifest = Manifest('boxes', spec, (STREET_DETECTION,), 64, 96, (127,) * 3, (64,) * 3, 60.0)
    path = tmp_path_factory.mktemp('boxes') / 'boxes.safetensors'
    write_model(manifest, safetensors.torch.save(build_network(spec).state_dict()), path)
    return path


def test_the_same_answer_is_a_box_of_the_same_pixels_at_every_size(boxes, tmp_path):
    larger = tmp_path / 'larger.safetensors'
    assert export(boxes, '--size', '192x128', '--into', larger) == 0

    sides = []
    for model in (boxes, larger):
        manifest, _ = read_model(model)
        corners, _ = decode_boxes(
            torch.zeros(1, 16, manifest.height // 8, manifest.width // 8),
            manifest.network.anchors, 8)
        sides.append((corners[0, :, 2:] - corners[0, :, :2]).view(2, -1, 2)[:, 0])  # per anchor
    torch.testing.assert_close(*sides)
    assert TorchEngine.load(larger, 'cpu', threads=1).manifest == manifest


def test_an_anchor_that_does_not_fit_into_smaller_images_is_refused(boxes, tmp_path, capsys):
    manifest, content = read_model(boxes)
    large = dataclasses.replace(manifest, width=192, height=128)
    write_model(large, content, tmp_path / 'large.safetensors')

    into = tmp_path / 'smaller.safetensors'
    assert export(tmp_path / 'large.safetensors', '--size', '96x64', '--into', into) == 2
    assert not into.exists()
    assert 'would be 1.80 times as long as the side' in capsys.readouterr().err


@pytest.mark.parametrize(('size', 'said'), [
    ('576x352', 'Take 576x320'), ('500x288', 'multiples of 32'), ('512', 'WIDTHxHEIGHT'),
    ('0x0', 'WIDTHxHEIGHT')])
def test_other_sizes_are_refused(size, said, tmp_path, capsys):
    into = tmp_path / 'other.safetensors'
    assert export('roads', '--size', size, '--into', into) == 2
    assert said in capsys.readouterr().err
    assert not into.exists()


def test_a_depth_without_a_bias_is_refused(tiny_model, tmp_path, capsys):
    manifest, content = read_model(tiny_model)
    weights = safetensors.torch.load(content)
    inverse = tuple(dataclasses.replace(task, inverse=1.0) if task.name == 'depth' else task
                    for task in manifest.tasks)
    source = tmp_path / 'inverse.safetensors'
    write_model(dataclasses.replace(manifest, tasks=inverse),
                safetensors.torch.save(weights), source)

    size = f'{2 * manifest.width}x{2 * manifest.height}'
    assert export(source, '--size', size, '--into', tmp_path / 'other.safetensors') == 2
    assert 'train it at that size' in capsys.readouterr().err


@pytest.mark.parametrize(('words', 'said'), [
    (('--average', 'roads', '--into', 'x.safetensors'), 'one after the other'),
    (('--format', 'onnx', '--into', 'x.onnx'), 'afterwards'), ((), '--into')])
def test_what_does_not_go_with_a_size_is_refused(words, said, capsys):
    assert export('roads', '--size', '576x320', *words) == 2
    assert said in capsys.readouterr().err
