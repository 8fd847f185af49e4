# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The cross-task losses of XTasC-Net."""

import math

import pytest
import torch

from mtl_perception.losses import CrossTaskLoss, DepthL1Loss, PixelCrossEntropy

LABELS = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
DEPTH = torch.tensor([[[1.0, math.nan, 3.0]]])


def logits(*probabilities, leaf=False):
    found = torch.tensor(probabilities).log().T[None, :, None, :]
    return found.clone().requires_grad_(leaf)


def example(leaf=False):
    """Return outputs and transferred outputs of three pixels: two classes, depths."""
    outputs = {
        'semantic': logits([0.8, 0.2], [0.4, 0.6], [0.5, 0.5], leaf=leaf),
        'depth': torch.tensor([[[[2.0, 5.0, 3.0]]]]).requires_grad_(leaf)}
    transferred = {
        'semantic': logits([0.5, 0.5], [0.25, 0.75], [0.9, 0.1], leaf=leaf),
        'depth': torch.tensor([[[[2.5, 1.0, 7.0]]]]).requires_grad_(leaf)}
    return outputs, transferred


def loss(share=0.25, **settings):
    return CrossTaskLoss(PixelCrossEntropy(), DepthL1Loss(), share, share, **settings)


TARGETS = {'semantic': LABELS, 'depth': DEPTH}
DIRECT_SEMANTIC = -(math.log(0.8) + math.log(0.6)) / 2
DIRECT_DEPTH = (1 + 0) / 2
TO_DEPTH = (abs(2.5 - 2) + abs(7 - 3)) / 2
HARD = -(math.log(0.5) + math.log(0.75)) / 2
SOFT = -(math.log(0.5) + 0.4 * math.log(0.25) + 0.6 * math.log(0.75)) / 2


@pytest.mark.parametrize(('settings', 'to_semantic', 'to_depth'), [
    ({}, HARD, TO_DEPTH),
    ({'target': 'soft'}, SOFT, TO_DEPTH),
    ({'legacy_mean': True}, HARD * 2 / 3, TO_DEPTH),
    # labels 0 and 1 happen to be the most probable classes
    ({'kind': 'alignment'}, HARD, (abs(2.5 - 1) + abs(7 - 3)) / 2),
])
def test_cross_task_losses_of_a_hand_computed_case(settings, to_semantic, to_depth):
    found = loss(**settings)(*example(), TARGETS)

    assert float(found['semantic']) == pytest.approx(0.75 * DIRECT_SEMANTIC + 0.25 * to_depth)
    assert float(found['depth']) == pytest.approx(0.75 * DIRECT_DEPTH + 0.25 * to_semantic)


def test_the_target_of_the_consistency_gets_no_gradient_and_the_transferred_output_does():
    for settings in ({}, {'target': 'soft'}):
        outputs, transferred = example(leaf=True)
        sum(loss(1.0, **settings)(outputs, transferred, TARGETS).values()).backward()
        assert all(output.grad is None for output in outputs.values())
        assert all(value.grad.abs().max() > 0 for value in transferred.values())


def test_a_share_of_zero_leaves_the_direct_loss():
    found = loss(0.0)(*example(), TARGETS)

    assert float(found['semantic']) == pytest.approx(DIRECT_SEMANTIC)
    assert float(found['depth']) == pytest.approx(DIRECT_DEPTH)


@pytest.mark.parametrize('settings', [{}, {'target': 'soft'}, {'kind': 'alignment'}])
def test_pixels_without_a_label_of_the_other_task_have_no_effect(settings):
    outputs, transferred = example(leaf=True)
    sum(loss(**settings)(outputs, transferred, TARGETS).values()).backward()

    assert (transferred['semantic'].grad[..., 2] == 0).all()
    assert (outputs['semantic'].grad[..., 2] == 0).all()
    assert (transferred['depth'].grad[..., 1] == 0).all()
    assert (outputs['depth'].grad[..., 1] == 0).all()
    assert all(torch.isfinite(value.grad).all() for value in (*outputs.values(),
                                                              *transferred.values()))


def test_a_missing_label_removes_only_the_terms_that_need_it():
    only_depth = loss()(*example(), {'depth': DEPTH})

    assert float(only_depth['semantic']) == pytest.approx(0.25 * TO_DEPTH)
    assert float(only_depth['depth']) == pytest.approx(0.75 * DIRECT_DEPTH)

    only_semantic = loss()(*example(), {'semantic': LABELS})

    assert float(only_semantic['depth']) == pytest.approx(0.25 * HARD)
    assert loss()(*example(), {}) == {}
    assert loss(0.0)(*example(), {'depth': DEPTH}).keys() == {'depth'}


@pytest.mark.parametrize('settings', [{}, {'legacy_mean': True}, {'kind': 'alignment'}])
def test_labels_without_a_valid_pixel_count_as_missing(settings):
    empty = {'semantic': torch.full_like(LABELS, 255), 'depth': torch.full_like(DEPTH, math.nan)}
    assert loss(**settings)(*example(), empty) == {}


@pytest.mark.parametrize('settings', [
    {}, {'target': 'soft'}, {'legacy_mean': True}, {'kind': 'alignment'}])
def test_the_gradient_agrees_with_finite_differences(settings):
    torch.manual_seed(0)
    outputs = {'semantic': torch.randn(2, 3, 2, 3, dtype=torch.float64),
               'depth': torch.randn(2, 1, 2, 3, dtype=torch.float64)}
    labels = torch.randint(0, 3, (2, 2, 3)).to(torch.uint8)
    labels[0, 0, 0] = 255
    depth = torch.randn(2, 2, 3, dtype=torch.float64)
    depth[1, 1, 1] = math.nan

    def total(semantic, distance):
        found = loss(**settings)(
            outputs, {'semantic': semantic, 'depth': distance},
            {'semantic': labels, 'depth': depth})
        return found['semantic'] + found['depth']

    inputs = [torch.randn_like(outputs[task]).requires_grad_() for task in ('semantic', 'depth')]

    assert torch.autograd.gradcheck(total, inputs)


@pytest.mark.parametrize(('settings', 'message'), [
    ({'share': 1.5}, 'from 0 to 1'), ({'kind': 'xtc'}, "'consistency' or 'alignment'"),
    ({'target': 'argmax'}, "'hard' or 'soft'")])
def test_unknown_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        loss(**settings)


def test_the_proposition_of_the_paper_does_not_hold_as_it_is_printed():
    """Y = X in {0, 1} and a constant Z, by simulation."""
    x = torch.randint(0, 2, (10_000,), generator=torch.Generator().manual_seed(0)).double()
    y, z = x, torch.zeros_like(x)

    def mean_given(values, given):
        found = torch.empty_like(values)
        for one in given.unique():
            found[given == one] = values[given == one].mean()
        return found

    direct, other = mean_given(y, x), mean_given(z, x)
    consistency = ((mean_given(direct, other) - direct) ** 2).mean().item()
    alignment = ((mean_given(y, other) - direct) ** 2).mean().item()
    xi = ((y - direct) ** 2).mean().item()

    assert consistency == pytest.approx(alignment)  # printed: consistency is 0
    assert alignment == pytest.approx(0.25, abs=0.01)
    assert xi == 0  # printed: not below alignment
