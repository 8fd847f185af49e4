# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0

import torch
from torch import nn

from mtl_perception.losses import MotionCrossEntropy
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training import learner as learner_module
from mtl_perception.training.learner import ClipLearner, precision_on
from mtl_perception.training.losses import build_losses


class Recorder(nn.Module):
    """A network that notes which frames it compared."""

    frames = 2

    def encode(self, image):
        return [image.mean((2, 3), keepdim=True)]

    def share(self, current, previous, earlier=()):
        self.seen = (current[0][:, 0, 0, 0].tolist(), previous[0][:, 0, 0, 0].tolist())
        return current

    def last_shared(self):
        return None

    def decode_shared(self, stages, detached, tasks=None):
        self.wanted = tasks
        shape = (len(stages[0]), 2, 4, 4)
        return {'motion': torch.zeros(shape, requires_grad=True)}


def test_each_frame_is_compared_with_the_one_before_and_the_first_with_itself():
    image = torch.arange(6, dtype=torch.uint8).view(2, 3, 1, 1, 1).expand(2, 3, 4, 4, 3)
    learner = ClipLearner(Recorder(), (0, 0, 0), (1, 1, 1), {})
    learner.outputs(image)
    assert learner.network.seen == ([0, 1, 2, 3, 4, 5], [0, 0, 1, 3, 3, 4])


def test_bfloat16_and_detached_tasks_reach_the_network(monkeypatch):
    monkeypatch.setattr(learner_module, 'cpu_has_bf16', lambda: True)

    class Noting(Recorder):
        def decode_shared(self, stages, detached, tasks=None):
            self.context = (torch.is_autocast_enabled('cpu'), detached)
            return super().decode_shared(stages, detached, tasks)

    image = torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8)
    for precision, enabled in (('fp32', False), ('bf16', True)):
        learner = ClipLearner(
            Noting(), (0, 0, 0), (1, 1, 1), {}, ['motion'], precision)
        learner.outputs(image)
        assert learner.network.context == (enabled, ('motion',))


def test_motion_of_the_first_frame_is_not_learned():
    learner = ClipLearner(Recorder(), (0, 0, 0), (1, 1, 1), {'motion': MotionCrossEntropy()})
    batch = {'image': torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8),
             'motion': torch.zeros(1, 2, 4, 4, dtype=torch.uint8)}
    batch['motion'][:, 1] = 255

    assert learner(batch) == {}  # only the first frame had labels
    assert (batch['motion'][:, 0] == 0).all()  # and the batch is not modified


def test_tasks_without_labels_have_no_loss():
    batch = {'image': torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8)}
    losses = build_losses(STREET_TASKS)
    assert ClipLearner(Recorder(), (0, 0, 0), (1, 1, 1), losses)(batch) == {}


def test_bfloat16_is_not_emulated(monkeypatch):
    """A training in emulated bfloat16 takes days in place of hours."""
    cpu, cuda = torch.device('cpu'), torch.device('cuda')
    monkeypatch.setattr(learner_module, 'cpu_has_bf16', lambda: False)
    assert precision_on(cpu, 'bf16') == 'fp32'
    assert precision_on(cuda, 'bf16') == 'bf16'
    assert precision_on(cpu, 'fp32') == 'fp32'
    monkeypatch.setattr(learner_module, 'cpu_has_bf16', lambda: True)
    assert precision_on(cpu, 'bf16') == 'bf16'
