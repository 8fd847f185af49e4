# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An encoder keeps near the features that it started with."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mtl_perception.errors import ConfigurationError
from mtl_perception.inference.weights import load_network
from mtl_perception.losses import FeatureDistance
from mtl_perception.models.build import build_network
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training.config import Stage
from mtl_perception.training.dataloading import collate
from mtl_perception.training.learner import initial_features
from mtl_perception.training.trainer import Trainer

STAGE = Stage(64, 64, 10, 2, lr=0.02)


class Fixed(nn.Module):
    """An encoder of three stages, whose features are given."""

    def __init__(self, *stages):
        super().__init__()
        self.stages = stages

    def forward(self, image):
        return [torch.tensor(stage, dtype=torch.float32).view(1, -1, 1, 1).expand(
            len(image), -1, 2, 2) for stage in self.stages]


@pytest.mark.parametrize(('mine', 'wanted'), [
    ([[9.0, 9.0], [1.0, 0.0], [0.0, 2.0]], 0.0),  # the finest stage does not count, nor the scale
    ([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]], 0.5),  # one of two is at a right angle
    ([[1.0, 0.0], [-3.0, 0.0], [0.0, -1.0]], 2.0),
    ([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]], 1 - math.sqrt(0.5)),
])
def test_the_distance_of_features_worked_out_by_hand(mine, wanted):
    image = torch.zeros(1, 3, 64, 64)
    distance = FeatureDistance(Fixed([1.0, 0.0], [2.0, 0.0], [0.0, 1.0]))
    assert float(distance(image, Fixed(*mine)(image))) == pytest.approx(wanted, abs=1e-6)


def make(config, folder, boxes, weight):
    loss = replace(config.loss, feature_distance=weight)
    trainer = Trainer(replace(config, loss=loss), folder, STREET_TASKS, boxes, boxes, None,
                      {'street_code': 'x'})
    trainer.start()
    trainer.learner.train()
    return trainer


@pytest.fixture
def pretrained(config, tmp_path):
    torch.manual_seed(1)
    encoder = build_network(config.network.spec(STREET_TASKS)).encoder
    torch.save(encoder.state_dict(), tmp_path / 'weights.pt')
    return replace(config, network=replace(
        config.network, pretrained=str(tmp_path / 'weights.pt'))), encoder


def test_a_trained_encoder_stays_nearer_to_its_initial_features(pretrained, tmp_path, boxes):
    config, initial = pretrained
    batch = collate([boxes[0], boxes[1]])
    pixels = batch['image'].flatten(0, 1).permute(0, 3, 1, 2)

    found = []
    for weight in (0.0, 5.0):
        trainer = make(config, tmp_path / f'run_{weight}', boxes, weight)
        for _ in range(5):
            assert trainer.step(batch, STAGE)
        assert (trainer.learner.unfamiliar is not None) == (weight > 0)
        with torch.no_grad():
            normalised = (pixels.float() - trainer.learner.mean) / trainer.learner.std
            found.append(float(FeatureDistance(initial)(
                normalised, trainer.learner.network.encode(normalised))))

    without, kept = found
    assert 0 < kept < 0.8 * without


def test_the_initial_encoder_does_not_change_and_is_in_no_checkpoint(pretrained, tmp_path, boxes):
    config, initial = pretrained
    trainer = make(config, tmp_path / 'run', boxes, 0.3)
    trainer.step(collate([boxes[0], boxes[1]]), STAGE)

    for name, item in trainer.learner.familiar.encoder.state_dict().items():
        assert torch.equal(item, initial.state_dict()[name]), name
    assert trainer.state()['network'].keys() == trainer.learner.network.state_dict().keys()
    assert not any('familiar' in name for name in trainer.state()['network'])


def test_a_stopped_training_continues_with_the_same_distance(pretrained, tmp_path, boxes):
    config, _ = pretrained
    batch = collate([boxes[0], boxes[1]])
    whole = make(config, tmp_path / 'whole', boxes, 0.3)
    whole.step(batch, STAGE)
    state = copy.deepcopy(whole.state())
    last = whole.step(batch, STAGE)

    again = Trainer(whole.config, tmp_path / 'again', STREET_TASKS, boxes, boxes, None,
                    {'street_code': 'x'})
    again.load_state(state)
    again.learner.train()
    for task, loss in again.step(batch, STAGE).items():
        torch.testing.assert_close(loss, last[task])
    torch.testing.assert_close(again.learner.unfamiliar, whole.learner.unfamiliar)


def test_a_training_that_starts_from_a_model_stays_near_the_features_of_that_model(config):
    manifest, network = load_network('roads')
    start = replace(config, network=replace(config.network, start='roads'),
                    loss=replace(config.loss, feature_distance=0.3))

    familiar = initial_features(manifest.network, start).encoder.state_dict()

    assert all(torch.equal(familiar[name], weight)
               for name, weight in network.encoder.state_dict().items())


def test_random_weights_are_not_worth_keeping(config):
    with pytest.raises(ConfigurationError, match=r'set network\.pretrained'):
        replace(config, loss=replace(config.loss, feature_distance=0.3))
