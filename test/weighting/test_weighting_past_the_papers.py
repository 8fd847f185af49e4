# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Strategies that are younger than the four papers: values worked out by hand, and torchjd's."""

import math

import pytest
import torch
from batch_of_losses import TASKS, Losses, step
from torch import nn

from mtl_perception.weighting import (
    FAMO,
    Asynchronous,
    DualBalancing,
    GeometricMean,
    GradientMethod,
    ImpartialLosses,
    LogSum,
    RandomWeights,
    Shared,
    SmoothTchebycheff,
    SoftOptimalUncertainty,
    UncertaintyWeights,
    tapped,
)

VALUES = {'semantic': 0.7, 'depth': 2.5, 'motion': 0.08}
NEXT = {'semantic': 0.6, 'depth': 1.5, 'motion': 0.079}
NUMBERS = torch.tensor([*VALUES.values()])


def gradients(losses):
    return torch.stack([losses.own[task].grad for task in losses])


def torchjd(name):
    return getattr(pytest.importorskip('torchjd.scalarization'), name)


def theirs(scalarizer):
    """Return value and gradient of torchjd's scalarizer for the fixed losses."""
    values = NUMBERS.clone().requires_grad_()
    total = scalarizer(values)
    total.backward()
    return total.detach(), values.grad


def same(weighting, scalarizer):
    """Compare value and gradient with torchjd's."""
    losses = Losses(**VALUES)
    total = losses.total(weighting)
    total.backward()
    torch.testing.assert_close(
        (total.detach(), gradients(losses)), theirs(scalarizer), rtol=1e-5, atol=1e-6)


# log_sum and imtl_l


def test_the_sum_of_logarithms_descends_like_the_geometric_mean():
    weighting, geometric = LogSum(TASKS), GeometricMean(TASKS)
    losses = Losses(**VALUES)

    assert losses.total(weighting).item() == pytest.approx(math.log(0.7 * 2.5 * 0.08))

    mean = losses.total(geometric).item()
    for task, weight in weighting.weights().items():
        assert weight == pytest.approx(1 / VALUES[task])
        assert weight * mean / 3 == pytest.approx(geometric.weights()[task])


def test_imtl_l_is_torchjds_and_uncertainty_of_the_form_laplace_with_the_opposite_sign():
    weighting, other = ImpartialLosses(TASKS, {'depth': 0.5}), torchjd('IMTLL')(3)
    with torch.no_grad():
        other.log_scale[1] = 0.5
    same(weighting, other)
    learned = torch.stack([weighting.log_variances[task].grad for task in TASKS])

    torch.testing.assert_close(learned, -other.log_scale.grad, rtol=1e-5, atol=1e-6)

    laplace = UncertaintyWeights(TASKS, dict.fromkeys(TASKS, 'laplace'), {'depth': -0.5})
    assert Losses(**VALUES).total(laplace) == Losses(**VALUES).total(weighting)


def test_the_sum_of_logarithms_is_imtl_l_at_its_optimum():
    best = ImpartialLosses(TASKS, {task: -math.log(value) for task, value in VALUES.items()})
    losses = Losses(**VALUES)

    assert losses.total(best).item() == pytest.approx(losses.total(LogSum(TASKS)).item() + 3)
    assert best.weights() == pytest.approx({task: 1 / value for task, value in VALUES.items()})


# rlw


def test_random_weights_are_a_softmax_of_normal_numbers():
    weighting = RandomWeights(TASKS, seed=3)
    losses = Losses(**VALUES)
    drawn = []
    for _ in range(300):
        losses.total(weighting)
        drawn.append([*weighting.weights().values()])
    drawn = torch.tensor(drawn)

    torch.testing.assert_close(drawn.sum(1), torch.ones(300))
    torch.testing.assert_close(drawn.mean(0), torch.full((3,), 1 / 3), rtol=0, atol=0.05)

    # log w_i - log w_j is the difference of two normal numbers
    apart = drawn[:, 0].log() - drawn[:, 1].log()
    assert float(apart.var()) == pytest.approx(2, abs=0.5)


def test_random_weights_depend_on_seed_and_step_alone():
    def first(seed, **values):
        weighting = RandomWeights(TASKS, seed)
        step(weighting, **values)
        return step(weighting, **VALUES)

    torch.manual_seed(1)
    once = first(0, depth=2.0)
    torch.manual_seed(2)

    assert once == first(0, semantic=1.0, motion=3.0)
    assert once != first(1, depth=2.0)


# uw_so


def test_uw_so_is_a_softmax_of_the_inverse_losses_which_count_as_constants():
    weighting = SoftOptimalUncertainty(TASKS, temperature=4.0)
    exponents = [math.exp(1 / (4 * value)) for value in VALUES.values()]
    losses = Losses(**VALUES)
    losses.total(weighting).backward()

    wanted = torch.tensor(exponents) / sum(exponents)
    torch.testing.assert_close(gradients(losses), wanted)


# stch


def test_the_smooth_maximum_is_torchjds_on_logarithms_over_the_nadir():
    weighting = SmoothTchebycheff(TASKS, mu=0.5, warm_up=2)
    nadirs = torch.tensor([1.0, 2.0, 0.5])
    step(weighting, semantic=100.0, depth=100.0, motion=100.0)  # not in the last epoch
    weighting.end_epoch()
    for factor in (0.5, 1.5):
        values = (factor * nadirs).tolist()

        assert step(weighting, **dict(zip(TASKS, values))) == pytest.approx(
            {task: 1 / value for task, value in zip(TASKS, values)})  # the warm-up
    weighting.end_epoch()

    peer = torchjd('STCH')(0.5, weights=torch.ones(3))
    same(weighting, lambda values: 3 * peer((values / nadirs).log()))


def test_a_task_without_a_nadir_adds_its_logarithm_until_it_has_one():
    weighting = SmoothTchebycheff(['semantic', 'depth'])
    step(weighting, semantic=2.0)
    weighting.end_epoch()

    assert step(weighting, semantic=1.0, depth=4.0) == {'semantic': 1.0, 'depth': 0.25}

    weighting.end_epoch()
    # 1 / 2 and 3 / 4 over the nadirs: 0.4 and 0.6 of two tasks
    assert step(weighting, semantic=1.0, depth=3.0) == pytest.approx(
        {'semantic': 0.8, 'depth': 0.4})


# famo


def test_famo_is_torchjds_over_steps():
    weighting, other = FAMO(TASKS), torchjd('FAMO')(3)
    for number in range(4):
        same(weighting, other)
        after = {task: value * (1 - 0.1 * number) for task, value in NEXT.items()}
        weighting.after_step({task: torch.tensor(value) for task, value in after.items()})
        other.update(torch.tensor([*after.values()]))

        torch.testing.assert_close(weighting.logits, other._w.detach(), rtol=1e-5, atol=1e-6)

    assert weighting.logits.abs().min() > 0.01  # the control


def test_without_the_losses_after_a_step_famo_learns_from_the_next_batch():
    told, waiting = FAMO(TASKS), FAMO(TASKS)
    step(told, **VALUES)
    step(waiting, **VALUES)
    told.after_step({task: torch.tensor(value) for task, value in NEXT.items()})

    assert waiting.logits.tolist() == [0, 0, 0] != told.logits.tolist()
    assert step(told, **NEXT) == step(waiting, **NEXT)
    assert waiting.logits.tolist() == told.logits.tolist()
    # what has been told counts once
    assert told.updates.tolist() == [1, 1, 1]


def test_a_task_that_is_missing_before_or_after_keeps_its_logit():
    weighting = FAMO(TASKS)
    step(weighting, semantic=1.0, depth=1.0)
    step(weighting, semantic=0.5, motion=1.0)

    assert weighting.updates.tolist() == [1, 0, 0]

    step(weighting, semantic=0.2, motion=0.9)
    semantic, depth, motion = weighting.logits.tolist()

    assert semantic < depth == 0 < motion
    assert sum(weighting.weights().values()) == pytest.approx(1)


def test_asynchronous_tells_famo_the_losses_of_the_due_tasks():
    weighting = Asynchronous(TASKS, {'depth': 2}, strategy=FAMO(TASKS, again=True))
    weighting.active(1)
    Losses(**VALUES).total(weighting)
    weighting.after_step({task: torch.tensor(value) for task, value in NEXT.items()})

    assert weighting.losses_after_step
    assert weighting.strategy.updates.tolist() == [1, 0, 1]


# db_mtl


def test_dual_balancing_of_two_gradients_worked_out_by_hand():
    layer = nn.Parameter(torch.ones(2))
    taps = tapped([layer * 1])
    own = torch.ones(2, requires_grad=True)
    # losses 8 and 0.5 with gradients (8, 0) and (0.15, 0.2); of the logarithms: (1, 0), (0.3, 0.4)
    losses = {'semantic': own[0] * 8 * taps[0][0],
              'depth': own[1] * ((taps[0] * torch.tensor([0.15, 0.2])).sum() + 0.15)}
    weighting = DualBalancing(['semantic', 'depth'])
    total = weighting(losses, Shared(taps, layer))
    total.backward()

    assert total.item() == pytest.approx(math.log(8 * 0.5))
    # norms 1 and 0.5: the second is doubled
    assert weighting.weights() == pytest.approx({'semantic': 1 / 8, 'depth': 2 / 0.5})
    torch.testing.assert_close(layer.grad, torch.tensor([1 + 0.6, 0.8]))
    # decoders learn from the logarithms
    torch.testing.assert_close(own.grad, torch.tensor([1.0, 1.0]))


def test_dual_balancing_brings_all_gradients_in_the_encoder_to_the_norm_of_the_largest():
    torch.manual_seed(0)
    encoder = nn.Linear(4, 5)
    taps = tapped([encoder(torch.randn(8, 4)).tanh()])
    shared = Shared(taps, encoder.weight)
    losses = {task: scale * (nn.Linear(5, 2)(taps[0]) - 1).square().mean()
              for task, scale in zip(TASKS, (1.0, 50.0, 0.01))}
    logarithms = [torch.autograd.grad(loss.log(), encoder.weight, retain_graph=True)[0]
                  for loss in losses.values()]

    largest = max(gradient.norm() for gradient in logarithms)
    wanted = sum(gradient * largest / gradient.norm() for gradient in logarithms)
    DualBalancing(TASKS)(losses, shared).backward()

    torch.testing.assert_close(encoder.weight.grad, wanted, rtol=1e-5, atol=1e-6)


def test_a_task_that_does_not_reach_the_shared_layer_keeps_the_weight_of_its_logarithm():
    losses = Losses(semantic=4.0, depth=0.5)
    losses['depth'] = losses.own['depth'] * 1
    weighting = DualBalancing(['semantic', 'depth'])
    losses.total(weighting).backward()

    assert weighting.weights() == pytest.approx({'semantic': 0.25, 'depth': 2.0})
    assert losses.own['depth'].grad.item() == pytest.approx(2.0)


# fairgrad and nash


@pytest.mark.parametrize(('method', 'alpha'), [('fairgrad', 2.0), ('nash', 1.0)])
@pytest.mark.parametrize('unit', [1.0, 1e-4])
def test_the_fair_weights_solve_their_equation_in_any_unit(method, alpha, unit):
    pytest.importorskip('torchjd')
    rows = unit * torch.tensor([[1.0, 0.0, 2.0], [-0.5, 1.0, 0.0]])
    layer = nn.Parameter(torch.ones(3))
    taps = tapped([layer * 1])
    losses = {task: (taps[0] * row).sum() + 5 for task, row in zip(TASKS, rows)}
    weighting = GradientMethod(TASKS[:2], method)
    weighting(losses, Shared(taps, layer))

    # G w = w^(-1 / alpha), with the mean of the diagonal 1
    products = rows @ rows.T
    products = products / products.diagonal().mean()
    weights = torch.tensor([*weighting.weights().values()])
    torch.testing.assert_close(
        products @ weights, weights ** (-1 / alpha), rtol=1e-4, atol=0)
