# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of semantics, motion and log depth."""

import math

import numpy as np
import pytest
import torch

from mtl_perception.losses import (
    LogDepthLoss,
    MotionCrossEntropy,
    PixelCrossEntropy,
    median_frequency_weights,
)


def logits(probabilities):
    """Return (1, K, 1, W) logits from W lists of K probabilities."""
    return torch.tensor(probabilities).log().T[None, :, None, :]


def labels(values):
    return torch.tensor([[values]], dtype=torch.uint8)


def test_cross_entropy_of_a_hand_computed_case():
    output = logits([[0.5, 0.5], [0.25, 0.75]])
    loss = PixelCrossEntropy()(output, labels([0, 1]))

    assert float(loss) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_class_weights_make_a_weighted_mean():
    output = logits([[0.5, 0.5], [0.25, 0.75]])
    loss = PixelCrossEntropy([1.0, 3.0])(output, labels([0, 1]))

    assert float(loss) == pytest.approx((math.log(2) + 3 * math.log(4 / 3)) / 4)


def test_unlabelled_pixels_have_no_effect_on_loss_and_gradient():
    output = logits([[0.5, 0.5], [0.25, 0.75]]).requires_grad_()
    loss = PixelCrossEntropy()(output, labels([0, 255]))
    loss.backward()

    assert float(loss) == pytest.approx(math.log(2))
    assert torch.all(output.grad[..., 1] == 0)


@pytest.mark.parametrize(('loss', 'output', 'target'), [
    (PixelCrossEntropy(), torch.zeros(1, 2, 1, 3), labels([255, 255, 255])),
    (MotionCrossEntropy(), torch.zeros(1, 2, 1, 3), labels([255, 255, 255])),
    (LogDepthLoss(80.0), torch.zeros(1, 1, 1, 3),
     torch.tensor([[[math.inf, math.nan, 0.0]]])),
], ids=['semantic', 'motion', 'depth'])
def test_a_task_without_labels_drops_out_instead_of_being_nan(loss, output, target):
    assert loss(output, target) is None


def test_log_depth_loss_of_a_hand_computed_case():
    output = torch.tensor([[[[math.log(2.0), math.log(30.0)]]]])
    assert float(LogDepthLoss(80.0)(output, torch.tensor([[[1.0, 10.0]]]))) == pytest.approx(
        (math.log(2) + math.log(3)) / 2)


def test_smooth_l1_is_quadratic_below_beta():
    output = torch.tensor([[[[0.5, 2.0]]]])
    loss = LogDepthLoss(80.0, beta=1.0)(output, torch.ones(1, 1, 2))

    assert float(loss) == pytest.approx((0.5 * 0.25 + (2.0 - 0.5)) / 2)


def test_sky_unknown_negative_and_far_depth_have_no_effect_on_loss_and_gradient():
    output = torch.zeros(1, 1, 1, 6, requires_grad=True)
    target = torch.tensor([[[math.e, math.inf, math.nan, 0.0, -3.0, 80.5]]])
    loss = LogDepthLoss(80.0)(output, target)
    loss.backward()

    assert float(loss) == pytest.approx(1.0)
    assert output.grad.flatten().tolist() == [-1.0, 0, 0, 0, 0, 0]


def test_half_precision_targets_are_computed_in_float32():
    loss = LogDepthLoss(80.0)(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1), 2.0).half())

    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.log(2))


def test_moving_weight_is_the_weight_of_moving_pixels():
    output = logits([[0.5, 0.5], [0.25, 0.75]])
    loss = MotionCrossEntropy(moving_weight=3.0)(output, labels([0, 1]))

    assert float(loss) == pytest.approx((math.log(2) + 3 * math.log(4 / 3)) / 4)


def test_median_frequency_weights_of_a_hand_computed_case():
    # frequencies 0.8, 0.2 (where present), 0.1: the median is 0.2
    counts = np.array([80, 10, 10, 0]), np.array([100, 50, 100, 0])

    assert median_frequency_weights(*counts, 1.0) == pytest.approx([0.25, 1.0, 2.0, 1.0])
    assert median_frequency_weights(*counts, 0.5) == pytest.approx([0.5, 1.0, math.sqrt(2), 1.0])


def test_settings_that_are_not_positive_are_refused():
    with pytest.raises(ValueError, match='must be positive'):
        LogDepthLoss(-1.0)
    with pytest.raises(ValueError, match='must be positive'):
        MotionCrossEntropy(0.0)


@pytest.mark.parametrize('loss', [
    PixelCrossEntropy(), PixelCrossEntropy([1.0, 2.0]), MotionCrossEntropy(3.0)])
def test_the_gradient_of_cross_entropy_agrees_with_finite_differences(loss):
    torch.manual_seed(0)
    output = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 2, (2, 3, 4)).to(torch.uint8)
    target[0, 0, :2] = 255

    assert torch.autograd.gradcheck(lambda found: loss(found, target), output)
