# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mtl_perception.errors import DataError
from mtl_perception.tasks import STREET_DEPTH, STREET_SEMANTIC, STREET_TASKS
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.losses import LossSettings, build_losses
from mtl_perception.training.validation import picture, selection_score, validate


class Truthful(nn.Module):
    """A network which is told the answer by the red channel: 8 for a car, 11 for sky."""

    frames = 2

    def encode(self, image):
        return [image]

    def share(self, current, previous, earlier=()):
        return current

    def decode_shared(self, stages, detached, tasks=None):
        red, blue = stages[0][:, 0], stages[0][:, 2]
        car, sky = red > 160, blue > 180
        ids = torch.zeros_like(red, dtype=torch.long)
        ids[car], ids[sky] = 8, 11
        depth = torch.where(car, 6.0, 20.0).log()[:, None]
        return {'semantic': nn.functional.one_hot(ids, 12).permute(0, 3, 1, 2).float(),
                'depth': depth, 'motion': torch.zeros(len(red), 2, *red.shape[1:])}


def test_a_perfect_network_has_perfect_metrics_and_keeps_its_mode(boxes):
    learner = ClipLearner(Truthful(), (0, 0, 0), (1, 1, 1), {}).train()
    figures = validate(learner, boxes, STREET_TASKS, 64, 64)
    assert figures['semantic']['miou'] == 1.0
    assert figures['depth']['abs_rel'] == pytest.approx(0, abs=1e-3)
    assert figures['motion']['iou_moving'] == 0.0
    assert selection_score(figures) == 1.0
    assert learner.training
    assert picture(learner, boxes, STREET_TASKS, 64, 64, count=2).shape == (256, 256, 3)


def test_losses_and_the_errors_of_depth_in_the_unit_that_is_learned(boxes):
    class Half(Truthful):
        def decode_shared(self, stages, detached, tasks=None):
            outputs = super().decode_shared(stages, detached, tasks)
            return {**outputs, 'depth': 2 / outputs['depth'].exp()}  # half the true depth, in 1/m

    depth = replace(STREET_DEPTH, inverse=1.0)
    losses = build_losses([depth, STREET_SEMANTIC], LossSettings(
        depth='l1', depth_unit='inverse_metres', class_balance=0))
    learner = ClipLearner(Half(), (0, 0, 0), (1, 1, 1), losses)
    found = validate(learner, boxes, (STREET_SEMANTIC, depth), 64, 64)

    # inverse of every true depth, image by image
    frames = [1 / frame for number in range(len(boxes)) for frame in boxes[number].depth]
    inverse = [frame[np.isfinite(frame) & (frame > 0)] for frame in frames]
    assert found['depth']['unit'] == 'inverse_metres'
    assert found['depth']['rel_err'] == pytest.approx(1.0, rel=1e-3)
    assert found['depth']['abs_err'] == pytest.approx(np.concatenate(inverse).mean(), rel=1e-3)

    # L1 is a mean of the means over images, and all logits of the true class are 1, others 0
    assert found['depth']['loss'] == pytest.approx(
        np.mean([frame.mean() for frame in inverse]), rel=1e-3)
    assert found['semantic']['loss'] == pytest.approx(math.log(math.e + 11) - 1, rel=1e-4)
    assert 'loss' not in validate(
        ClipLearner(Truthful(), (0, 0, 0), (1, 1, 1), {}), boxes, STREET_TASKS, 64, 64)['depth']


def test_an_inverse_depth_of_zero_is_wrong_by_the_whole_truth(boxes):
    class Nothing(Truthful):
        def decode_shared(self, stages, detached, tasks=None):
            outputs = super().decode_shared(stages, detached, tasks)
            return {**outputs, 'depth': torch.zeros_like(outputs['depth'])}

    depth = replace(STREET_DEPTH, inverse=1.0)
    losses = build_losses([depth], LossSettings(depth='l1', depth_unit='inverse_metres'))
    found = validate(
        ClipLearner(Nothing(), (0, 0, 0), (1, 1, 1), losses), boxes, (depth,), 64, 64)
    assert found['depth']['rel_err'] == 1.0


def test_motion_is_evaluated_where_nothing_else_is_labelled(boxes):
    class MotionOnly(type(boxes)):
        def __getitem__(self, number):
            return replace(super().__getitem__(number), semantic=None, depth=None)

    learner = ClipLearner(Truthful(), (0, 0, 0), (1, 1, 1), {})
    motion = tuple(task for task in STREET_TASKS if task.name == 'motion')
    figures = validate(learner, MotionOnly(), motion, 64, 64)

    assert figures['motion']['iou_moving'] == 0.0
    assert figures['motion']['pixels'] > 0
    assert figures['motion']['iou_all_movable'] is None  # nobody says what could move


def test_motion_selects_where_it_is_alone_and_nothing_where_nothing_is_labelled():
    motion = {'motion': {'iou_moving': 0.25}}
    assert selection_score(motion) == pytest.approx(0.25)
    assert selection_score({**motion, 'depth': {'delta1': 0.5}}) == 0.5
    assert selection_score({'motion': {'iou_moving': None}}) is None
    assert selection_score({}) is None


def test_a_clip_that_cannot_be_read_is_left_out_if_asked_for(boxes):
    class OneMissing(type(boxes)):
        def __getitem__(self, number):
            if number in self.missing:
                raise DataError(f'{number}.png is cut short')
            return super().__getitem__(number)

    learner = ClipLearner(Truthful(), (0, 0, 0), (1, 1, 1), {})
    clips = OneMissing()
    clips.missing = {3}
    with pytest.raises(DataError, match=r'3\.png'):
        validate(learner, clips, STREET_TASKS, 64, 64)
    with pytest.warns(UserWarning, match='left out of the validation'):
        found = validate(learner, clips, STREET_TASKS, 64, 64, skip=True)
    assert found['semantic']['pixels'] == 7 * 2 * 64 * 64
    assert picture(learner, clips, STREET_TASKS, 64, 64, 8, skip=True).shape[0] == 7 * 128

    clips.missing = {3, 4}
    with pytest.warns(UserWarning, match='left out'), pytest.raises(
            DataError, match=r'4\.png'):
        validate(learner, clips, STREET_TASKS, 64, 64, skip=True)


def test_intervals_draw_drives_as_wholes(boxes):
    class Fading(Truthful):
        """Right in the first clips, blind in the others."""

        seen = 0

        def decode_shared(self, stages, detached, tasks=None):
            outputs = super().decode_shared(stages, detached, tasks)
            self.seen += 1
            if self.seen > 6:
                outputs['semantic'] = outputs['semantic'].roll(1, 1)
            return outputs

    class Clips(list):
        drives = ()

    def found(drives):
        clips = Clips([boxes[0]] * 12)
        clips.drives = drives
        learner = ClipLearner(Fading(), (0, 0, 0), (1, 1, 1), {})
        return validate(learner, clips, STREET_TASKS, 64, 64)

    # each drive is half right: whichever are drawn, half of the pixels are right
    even = found([number % 6 for number in range(12)])
    assert even['semantic']['pixel_accuracy'] == 0.5
    assert even['intervals']['pixel accuracy'] == [0.5, 0.5]

    low, high = found([number // 2 for number in range(12)])['intervals']['pixel accuracy']
    assert low < 0.25 < 0.75 < high
    assert 'pixel accuracy' not in found([number // 6 for number in range(12)])['intervals']
