# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facts that hold for every strategy of the table."""

import importlib.util

import pytest
import torch
from batch_of_losses import TASKS, Losses

from mtl_perception.weighting import WEIGHTINGS, EqualWeights, GeometricMean, build_weighting

OPTIONS = {
    'handcrafted': {'reference': 'depth', 'steps': 3},
    'asynchronous': {'frequencies': {'depth': 2}, 'unit': 'epoch', 'strategy': 'dwa'}}


def strategies():
    """Return the names of the table; a strategy that needs torchjd is skipped without it."""
    missing = importlib.util.find_spec('torchjd') is None
    skip = pytest.mark.skipif(missing, reason='torchjd is not installed')
    return [pytest.param(name, marks=skip) if name == 'gradient_method' else name
            for name in WEIGHTINGS]


@pytest.fixture(params=strategies())
def name(request):
    return request.param


@pytest.fixture
def strategy(name):
    return build_weighting(name, TASKS)


def test_the_total_is_positive_and_its_gradient_reaches_every_task_and_the_shared_layer(strategy):
    losses = Losses(semantic=2.0, depth=0.25, motion=16.0)
    total = losses.total(strategy)
    total.backward()

    assert total.shape == ()
    assert total.item() > 0
    assert all(own.grad.item() > 0 for own in losses.own.values())

    wanted = sum(
        weight * losses[task].item() for task, weight in strategy.weights().items())

    assert losses.shared.layer.grad.item() == pytest.approx(wanted)


def test_logged_weights_are_the_weights_of_the_gradients(name, strategy):
    if name in ('gradient_method', 'db_mtl'):
        pytest.skip('its weights are those in the encoder; decoders have others')
    for _ in range(3):
        losses = Losses(semantic=2.0, depth=0.25, motion=16.0)
        losses.total(strategy).backward()
        gradients = {task: own.grad.item() for task, own in losses.own.items()}
        assert strategy.weights() == pytest.approx(gradients)
        strategy.end_epoch()


def trained(strategy):
    """Return the strategy after three epochs of two steps."""
    optimiser = torch.optim.SGD([*strategy.parameters(), torch.zeros((), requires_grad=True)], 0.1)
    for epoch in range(3):
        for number in range(2):
            strategy.active(2 * epoch + number)
            losses = Losses(semantic=2.0 + number, depth=0.5 / (1 + epoch), motion=1.0)
            optimiser.zero_grad()
            losses.total(strategy).backward()
            optimiser.step()
        if epoch < 2:
            strategy.end_epoch()
    return strategy


def test_state_survives_a_checkpoint(name):
    before = trained(build_weighting(name, TASKS, OPTIONS))
    resumed, fresh = (build_weighting(name, TASKS, OPTIONS) for _ in range(2))
    resumed.load_state_dict(before.state_dict())

    assert resumed.weights() == before.weights()

    after = []
    for one in (before, resumed, fresh):
        steps = []
        for step in (6, 7):
            one.active(step)
            losses = Losses(semantic=1.0, depth=3.0, motion=0.5)
            steps.append((losses.total(one).item(), one.weights()))
            one.end_epoch()
        after.append(steps)

    assert after[0] == after[1]

    remembers = before.state_dict().keys() - {'last_weights'}

    assert (after[0] != after[2]) == bool(remembers)  # the control


def test_a_missing_task_drops_out(name, strategy):
    two = build_weighting(name, ['semantic', 'depth'])
    values = {'semantic': 2.0, 'depth': 8.0}

    assert Losses(**values).total(strategy).item() == Losses(**values).total(two).item()
    assert strategy.weights() == {**two.weights(), 'motion': 0.0}


def test_a_single_task_can_be_weighted(name):
    losses = Losses(depth=8.0)
    losses.total(build_weighting(name, ['depth'])).backward()

    assert losses.shared.layer.grad.item() > 0


def test_unknown_tasks_and_empty_batches_are_refused(strategy):
    with pytest.raises(ValueError, match=r"unknown tasks \['detection'\]"):
        Losses(semantic=1.0, detection=1.0).total(strategy)
    with pytest.raises(ValueError, match='no loss at all'):
        strategy({})


@pytest.mark.parametrize('value', [0.0, -1.0, float('nan'), float('inf')])
def test_a_loss_that_is_not_positive_and_finite_is_refused(strategy, value):
    with pytest.raises(ValueError, match=r"loss of 'depth' is .* positive"):
        Losses(semantic=1.0, depth=value).total(strategy)


def test_tasks_named_twice_are_refused(strategy):
    with pytest.raises(ValueError, match='only once'):
        type(strategy)(['depth', 'depth'])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_losses_give_a_float32_total(strategy, dtype):
    losses = Losses(dtype, semantic=1.0, depth=0.5, motion=2.0)
    total = losses.total(strategy)
    total.backward()

    assert total.dtype == torch.float32
    assert all(own.grad.item() > 0 for own in losses.own.values())


def test_tiny_losses_do_not_underflow(strategy):
    for _ in range(2):
        losses = Losses(semantic=1e-18, depth=1e-18, motion=1e-18)
        total = losses.total(strategy)
        total.backward()
        strategy.end_epoch()
        assert torch.isfinite(total)
        assert all(torch.isfinite(own.grad) for own in losses.own.values())
        assert all(torch.isfinite(item).all() for item in strategy.parameters())


def test_every_task_is_due_at_every_step_by_default(strategy):
    assert strategy.active(0) == strategy.active(7) == tuple(TASKS)


def test_equal_weights_give_the_sum_of_the_losses():
    assert Losses(semantic=2.0, depth=0.5, motion=1.0).total(EqualWeights(TASKS)).item() == 3.5


def test_scaling_one_loss_keeps_the_direction_of_descent_of_the_geometric_mean():
    def direction(strategy, scale):
        shared = torch.tensor([1.0, 2.0], requires_grad=True)
        losses = {'semantic': (shared ** 2).sum(), 'depth': scale * (shared - 3).abs().sum()}
        gradient, = torch.autograd.grad(strategy(losses), shared)
        return gradient / gradient.norm()

    torch.testing.assert_close(
        direction(GeometricMean(TASKS), 1.0), direction(GeometricMean(TASKS), 1000.0))
    # the control: equal weights do not have this property
    assert not torch.allclose(
        direction(EqualWeights(TASKS), 1.0), direction(EqualWeights(TASKS), 1000.0), atol=0.1)
