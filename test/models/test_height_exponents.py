# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth that knows the height of its camera: the exponent of each pixel, learned and used."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from mtl_perception.datasets.sample import Sample
from mtl_perception.datasets.synthetic import ClipPlan, StreetClips
from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.frames import Frame, Outputs
from mtl_perception.inference.depth_anchor import told_height
from mtl_perception.inference.engines import load_engine
from mtl_perception.inference.manifest_checks import check_manifest
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import DEPTH_CHANNELS, Manifest, NetworkSpec
from mtl_perception.models.build import build_network
from mtl_perception.models.streaming import StreamingNetwork, at_height, metres
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training.config import NetworkSettings, TrainingConfig
from mtl_perception.training.dataloading import collate
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.losses import build_losses
from mtl_perception.training.recipe import build_recipe
from mtl_perception.training.start_weights import _fitted, load_start
from mtl_perception.training.validation import TaskMetrics

SPEC = NetworkSpec('resnet10', 1, 8, {'semantic': 12, 'depth': 2})
TASKS = tuple(task for task in STREET_TASKS if task.name != 'motion')
MANIFEST = Manifest(
    name='made', network=SPEC, tasks=TASKS, height=64, width=96, mean=(0, 0, 0), std=(1, 1, 1),
    focal_px=57.6, camera_height=1.5, height_exponent=1.0)


def test_road_goes_with_the_height_and_a_car_does_not():
    """Labels are divided by the ratio 2: the road's stay, those of a car of known size halve."""
    road, car = [math.log(10.0), 0.0], [math.log(10.0), -1.0]
    output = torch.tensor([road, car])[:, :, None, None]
    depth = at_height(output, torch.tensor([2.0, 2.0])).exp().flatten()
    torch.testing.assert_close(depth, torch.tensor([10.0, 5.0]))


def test_every_frame_of_a_clip_has_the_ratio_of_the_clip():
    output = torch.ones(6, 2, 1, 1)
    found = at_height(output, torch.tensor([1.0, math.e])).flatten()
    torch.testing.assert_close(found, torch.tensor([1.0, 1, 1, 2, 2, 2]))


def test_an_unknown_ratio_is_one_and_a_plain_decoder_is_left_alone():
    output = torch.randn(2, 2, 3, 4)
    torch.testing.assert_close(at_height(output, None), output[:, :1])
    assert at_height(output[:, :1], torch.tensor([2.0, 3.0])) is not output
    torch.testing.assert_close(at_height(output[:, :1], torch.tensor([2.0, 3.0])), output[:, :1])


def test_a_stream_tells_depth_and_its_exponent():
    network = build_network(SPEC).eval()
    streaming = StreamingNetwork(network, (127, 127, 127), (64, 64, 64))
    image = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = streaming.step(image)[0]
        raw = network((image.permute(0, 3, 1, 2).float() - 127) / 64)['depth']
    torch.testing.assert_close(found['depth'], metres(raw[:, 0]), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        found['height_exponent'], 1 + raw[:, 1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(('exponent', 'wanted'), [
    (None, [20.0, 20.0]), (np.array([[1.0, 0.0]], np.float32), [20.0, 10.0])])
def test_a_robot_that_tells_its_height_gets_its_metres(exponent, wanted):
    outputs = Outputs(depth=np.full((1, 2), 10, np.float32), height_exponent=exponent)
    found = told_height(outputs, MANIFEST, 2.0)
    np.testing.assert_allclose(found.depth[0], wanted, rtol=1e-6)
    assert found.depth.dtype == np.float32
    assert told_height(outputs, MANIFEST, 1.0).depth is outputs.depth


def test_a_model_without_exponents_is_the_start_of_one_with_them():
    manifest, network = load_network('roads')
    plain = build_network(dataclasses.replace(
        manifest.network, channels={**manifest.network.channels, 'depth': 1}))
    richer = build_network(dataclasses.replace(
        manifest.network, channels={**manifest.network.channels, 'depth': 2}))
    assert load_start(richer, 'roads', manifest.tasks) == {}

    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        found, given = richer.eval()(image), network.eval()(image)
    torch.testing.assert_close(found['depth'][:, :1], given['depth'][:, :1])
    torch.testing.assert_close(found['semantic'], given['semantic'])
    assert load_start(plain, 'roads', manifest.tasks) == {}
    with torch.inference_mode():
        assert plain.eval()(image)['depth'].shape == (1, 1, 64, 96)
    if manifest.network.channels['depth'] == 1:
        assert (found['depth'][:, 1] == 0).all()


def test_a_manifest_may_have_exponents_but_nothing_else():
    check_manifest(MANIFEST)
    with pytest.raises(CheckpointError, match='the tasks say channels'):
        check_manifest(dataclasses.replace(MANIFEST, network=dataclasses.replace(
            SPEC, channels={'semantic': 12, 'depth': 3})))
    with pytest.raises(CheckpointError, match='the tasks say channels'):
        check_manifest(dataclasses.replace(
            MANIFEST, tasks=TASKS[:1], network=SPEC))


def test_only_clips_of_other_heights_teach_the_exponent():
    learner = ClipLearner(build_network(SPEC), (0, 0, 0), (1, 1, 1), build_losses(TASKS))

    def gradient(ratio):
        sample = Sample(
            np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8),
            np.zeros((1, 64, 96), np.uint8), np.full((1, 64, 96), 9, np.float32),
            height_ratio=ratio)
        learner.zero_grad()
        learner(collate([sample]), ['depth'])['depth'].backward()
        rows = learner.network.decoders['depth'].score[0].weight.grad
        return [float(row.abs().sum()) for row in rows]

    depth, exponent = gradient(1.0)
    assert depth > 0
    assert exponent == 0
    depth, exponent = gradient(0.5)
    assert min(depth, exponent) > 0


def test_labels_of_streets_are_divided_by_their_ratio(tmp_path):
    plan = ClipPlan(
        width=64, height=32, clips=1, frames=1, gaps=(1,), drive=20, heights=(0.5, 2.5))
    clips = StreetClips(tmp_path, [0, 1], 'train', plan)
    list(clips.render(1))
    for number, seed in enumerate((0, 1)):
        sample = clips[number]
        height = plan.height_of(seed)
        assert sample.height_ratio == pytest.approx(height / 1.5)
        street = Street(seed, 64, 32, camera_height=height)
        true = street.render(int(plan.indices(seed)[0, 0])).depth
        known = np.isfinite(true)
        np.testing.assert_allclose(
            sample.depth[0][known] * sample.height_ratio, true[known], rtol=2e-3)
        assert sample.flipped().window(0, 1).height_ratio == sample.height_ratio


@pytest.mark.parametrize(('changed', 'words'), [
    ({'data': {'train_seeds': '0:4', 'validation_seeds': '10000:10002'}}, 'many heights'),
    ({'loss': {'depth': 'l1', 'depth_unit': 'inverse_metres'}}, 'needs log and none')])
def test_what_cannot_teach_the_exponent_is_refused(changed, words):
    recipe = {
        'name': 'tiny', 'stages': [{'height': 32, 'width': 64, 'steps': 2, 'batch': 2}],
        'tasks': ['semantic', 'depth'], 'network': {'height_exponents': True},
        'data': {'train_seeds': '0:4', 'validation_seeds': '10000:10002',
                 'plan': {'heights': [0.5, 2.5]}}}
    assert build_recipe(recipe, TrainingConfig, 'test').network.spec(TASKS).channels['depth'] == 2
    with pytest.raises(ConfigurationError, match=words):
        build_recipe({**recipe, **changed}, TrainingConfig, 'test')


@pytest.mark.parametrize('told', [False, True])
def test_recipe_network_and_manifest_agree_on_the_channels_of_depth(told):
    spec = NetworkSettings(frames=1, height_exponents=told).spec(TASKS)
    assert spec.height_exponents is told
    assert spec.channels == {'semantic': 12, 'depth': DEPTH_CHANNELS[told]}
    check_manifest(dataclasses.replace(MANIFEST, network=spec))

    more = dataclasses.replace(spec, channels={'semantic': 12, 'depth': 3})
    with torch.device('meta'):
        build_network(spec)
        with pytest.raises(ValueError, match='must be 1 or 2'):
            build_network(more)
    with pytest.raises(CheckpointError, match='belongs to other weights'):
        check_manifest(dataclasses.replace(MANIFEST, network=more))


def test_a_start_of_another_width_is_refused_and_not_cut_to_size():
    manifest, _ = load_network('roads')
    wider = build_network(dataclasses.replace(
        manifest.network, decoders={**manifest.network.decoders, 'depth': 'unet'}))
    with pytest.raises(ConfigurationError, match='differ from those of the recipe'):
        load_start(wider, 'roads', manifest.tasks)
    given, own = torch.ones(3, 5), torch.zeros(3, 4)
    assert _fitted(given, own) is given
    assert _fitted(torch.ones(1, 4), torch.zeros(2, 4)).tolist() == [[1] * 4, [0] * 4]


def test_a_validation_is_told_the_heights_of_its_clips():
    """A network that is right at every height is wrong where the height is kept from it."""
    class Known(torch.nn.Module):
        training, losses, mean = False, torch.nn.ModuleDict(), torch.zeros(1)

        def outputs(self, image):
            output = torch.tensor([math.log(10.0), -1.0])
            return {'depth': output[None, :, None, None].expand(1, 2, 4, 4).clone()}

    sample = Sample(np.zeros((1, 4, 4, 3), np.uint8),
                    depth=np.full((1, 4, 4), 5, np.float32), height_ratio=2.0)
    metrics = TaskMetrics([task for task in TASKS if task.name == 'depth'])
    metrics.update(Known(), sample)
    assert metrics.compute()['depth']['abs_rel'] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize('engine', ['torch', 'onnx'])
def test_the_shipped_graph_tells_the_exponents_as_its_weights_do(engine):
    image = np.random.default_rng(0).integers(0, 256, (288, 512, 3), np.uint8)
    found = load_engine('roads', engine, 'cpu', threads=1).step(image, None, ['depth'])[0]
    assert found.height_exponent.shape == (288, 512)
    told = CameraStream(load_engine('roads', engine, 'cpu', threads=1), StreamSettings(
        camera_height=3.0)).process(Frame('front', 1, image), ['depth'], 'network')
    known = np.isfinite(told.depth)
    np.testing.assert_allclose(
        told.depth[known], (found.depth * 2 ** found.height_exponent)[known], rtol=1e-4)
