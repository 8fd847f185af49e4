# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All tasks in one training: batches, losses, gradients, validation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mtl_perception.datasets.sample import Sample
from mtl_perception.datasets.synthetic import ClipPlan, StreetClips
from mtl_perception.errors import ConfigurationError
from mtl_perception.losses import DepthInUnit, DepthL1Loss
from mtl_perception.losses.depth_units import Stereo, inverse_of
from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.build import build_network
from mtl_perception.models.streaming import metres
from mtl_perception.tasks import STREET_ALL_TASKS, STREET_DEPTH
from mtl_perception.training.config import load_config
from mtl_perception.training.data_sources import anchors_of
from mtl_perception.training.dataloading import collate
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.losses import LossSettings, build_cross_task, build_losses
from mtl_perception.training.validation import TaskMetrics, picture, selection_score, validate

CHANNELS = {task.name: task.channels for task in STREET_ALL_TASKS}
ANCHORS = [[0.05, 0.1], [0.3, 0.4]]
MEAN, STD = (110.0,) * 3, (60.0,) * 3


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    plan = ClipPlan(96, 64, antialias=False, clips=2, frames=2, drive=200)
    clips = StreetClips(tmp_path_factory.mktemp('cache'), [5, 6], 'train', plan)
    list(clips.render(0))
    return clips


def learner_of(frames=2, kind='none', **settings):
    torch.manual_seed(0)
    loss = LossSettings(**settings)
    loss = replace(loss, cross_task=replace(loss.cross_task, kind=kind))
    spec = NetworkSpec(
        'resnet10', frames, 8, CHANNELS, 16, {'detection': 'yolo8'}, anchors=ANCHORS,
        transfer=kind != 'none', decoder_width=16)
    losses = build_losses(STREET_ALL_TASKS, loss, None, ANCHORS, 8)
    return ClipLearner(
        build_network(spec), MEAN, STD, losses,
        cross_task=build_cross_task(losses, loss.cross_task))


def some_boxes(*counts):
    image = np.zeros((len(counts), 32, 32, 3), np.uint8)
    boxes = np.full((len(counts), max(counts), 5), -1, np.float32)
    for row, count in zip(boxes, counts):
        row[:count] = [0, 0, 8, 8, 1]
    return Sample(image, detection=boxes)


def test_boxes_of_a_batch_are_filled_up_and_those_of_a_sample_may_be_unknown():
    batch = collate([some_boxes(1, 3), some_boxes(2, 1),
                     Sample(np.zeros((2, 32, 32, 3), np.uint8))])['detection']
    assert batch.shape == (3, 2, 3, 5)
    assert batch[..., 4].tolist() == [
        [[1, -1, -1], [1, 1, 1]], [[1, 1, -1], [1, -1, -1]], [[-2, -2, -2], [-2, -2, -2]]]
    assert 'detection' not in collate([Sample(np.zeros((2, 32, 32, 3), np.uint8))])


@pytest.mark.parametrize('kind', ['none', 'consistency', 'alignment'])
def test_every_parameter_learns_from_the_five_tasks_together(clips, kind):
    learner = learner_of(kind=kind)
    losses = learner(collate([clips[number] for number in range(4)]))
    assert set(losses) == set(CHANNELS)
    assert all(math.isfinite(loss.item()) and loss.item() > 0 for loss in losses.values())

    sum(loss.log() for loss in losses.values()).backward()
    for name, parameter in learner.network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_clip_is_learned_as_three_frames_of_a_stream_are_seen():
    learner = learner_of(frames=3).eval()
    image = torch.randint(0, 256, (2, 4, 32, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = learner.outputs(image)
        pixels = (image.permute(0, 1, 4, 2, 3).float() - 110) / 60
        for frame in range(4):
            wanted = learner.network(*(pixels[:, max(frame - back, 0)] for back in range(3)))
            for task, output in wanted.items():
                of_frame = found[task].unflatten(0, (2, 4))[:, frame]
                torch.testing.assert_close(of_frame, output, rtol=1e-4, atol=1e-4)


def test_depth_in_a_unit_by_hand():
    loss = DepthInUnit(DepthL1Loss(), 'inverse_metres', 80.0)
    target = torch.tensor([[[10.0, math.inf, 100.0, 0.0]]])
    output = torch.tensor([[[[0.3, 9.0, 9.0, 9.0]]]])
    assert loss(output, target).item() == pytest.approx(0.2)
    assert loss(output, torch.full((1, 1, 4), math.nan)) is None

    stereo = Stereo(700.0, 0.5)
    pixels = DepthInUnit(DepthL1Loss(), 'disparity_px', 80.0, stereo)
    assert pixels(output, target).item() == pytest.approx(35 - 0.3)
    with pytest.raises(ValueError, match='needs the focal length'):
        DepthInUnit(DepthL1Loss(), 'mtan', 80.0)
    assert inverse_of('inverse_metres') == 1
    assert inverse_of('log_metres') == 0
    assert inverse_of('disparity_px', stereo) == 350
    assert inverse_of('disparity_256', stereo) == 350 * 256
    assert inverse_of('metres') == -1


@pytest.mark.parametrize(('maximum', 'counted'), [(None, 2), (0, 3), (15, 1)])
@pytest.mark.parametrize('kind', [
    {}, {'depth': 'huber', 'depth_unit': 'disparity_256'},
    {'depth': 'l1', 'depth_unit': 'inverse_metres'}])
def test_the_largest_depth_that_is_learned(maximum, counted, kind):
    loss = build_losses(
        [STREET_DEPTH], LossSettings(depth_maximum=maximum, **kind))['depth']
    target = torch.tensor([[[10.0, 20.0, 100.0, torch.inf, 0.0, torch.nan]]])
    assert int(loss.valid(target).sum()) == counted


def test_depth_from_an_inverse_is_finite_and_positive_for_any_output():
    output = torch.tensor([0.1, 0.0, -5.0, 1e9, math.inf])
    depth = metres(output, 1.0)
    assert depth[0].item() == pytest.approx(10)
    assert torch.isfinite(depth).all()
    assert (depth > 0).all()
    assert metres(torch.tensor([35.0]), 350.0).item() == pytest.approx(10)
    assert metres(torch.tensor([2.0])).item() == pytest.approx(math.exp(2))
    assert metres(torch.tensor([2.0]), -1.0).item() == 2
    assert 0 < metres(torch.tensor([-5.0]), -1.0).item() < 1e-3


def test_every_task_is_validated_and_drawn(clips):
    learner = learner_of()
    figures = validate(learner, clips, STREET_ALL_TASKS, 64, 96)
    assert set(figures) == {*CHANNELS, 'intervals'}
    assert figures['instance']['frames'] == figures['detection']['images'] == 8
    assert 0 <= selection_score(figures) < 1

    view = picture(learner, clips, STREET_ALL_TASKS, 64, 96, count=1)
    assert view.shape == (2 * 64, 6 * 96, 3)


def test_merged_metrics_equal_metrics_of_all_clips(clips):
    learner = learner_of().eval()
    together, merged = TaskMetrics(STREET_ALL_TASKS), TaskMetrics(STREET_ALL_TASKS)
    with torch.no_grad():
        for number in range(len(clips)):
            together.update(learner, clips[number])
            one = TaskMetrics(STREET_ALL_TASKS)
            one.update(learner, clips[number])
            merged.merge(one)
    wanted = together.compute()

    assert merged.compute() == wanted
    assert set(wanted) == set(CHANNELS)

    # the control: each task has something to lose
    half = TaskMetrics(STREET_ALL_TASKS)
    half.merge(one)
    assert all(half.compute()[task] != wanted[task] for task in CHANNELS)


def test_anchors_come_from_the_training_boxes_unless_they_are_named(clips, tmp_path):
    recipe = tmp_path / 'boxes.yaml'
    recipe.write_text(
        'name: boxes\ntasks: [detection]\nnetwork: {frames: 1, anchor_count: 3}\n'
        'stages: [{height: 64, width: 96, steps: 1}]\n', encoding='utf-8')
    found = anchors_of(load_config(recipe), clips)

    assert len(found) == 3
    assert all(0 < side <= 1 for anchor in found for side in anchor)

    named = load_config(recipe, ['--network.anchors', '[[0.1, 0.2]]'])
    assert anchors_of(named, clips) == [[0.1, 0.2]]
    assert named.network.spec([]).anchors == []


@pytest.mark.parametrize(('changes', 'message'), [
    ({'cross_task.kind': 'both'}, r'loss.cross_task.kind'),
    ({'depth': 'l1'}, 'loss.depth_unit'),
    ({'depth_unit': 'mtan'}, 'belongs to log_metres'),
    ({'depth': 'huber', 'depth_unit': 'inverse_metres'}, 'disparity_256'),
])
def test_losses_that_do_not_fit_the_tasks_are_refused(tmp_path, changes, message):
    recipe = tmp_path / 'r.yaml'
    recipe.write_text('name: r\nstages: [{height: 64, width: 96, steps: 1}]\n', encoding='utf-8')
    words = [f'--loss.{key}={value}' for key, value in changes.items()]
    with pytest.raises(ConfigurationError, match=message):
        load_config(recipe, words)


def test_instances_need_semantics(tmp_path):
    recipe = tmp_path / 'r.yaml'
    recipe.write_text(
        'name: r\ntasks: [instance]\nstages: [{height: 64, width: 96, steps: 1}]\n',
        encoding='utf-8')

    with pytest.raises(ConfigurationError, match='instance without semantic'):
        load_config(recipe)
    assert STREET_DEPTH.inverse == 0
