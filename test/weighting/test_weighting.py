# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mtl_perception.errors import ConfigurationError
from mtl_perception.weighting import WEIGHTINGS, EqualWeights, GeometricMean, build_weighting

TASKS = ['semantic', 'depth', 'motion']


def tensors(**values):
    return {task: torch.tensor(value, requires_grad=True) for task, value in values.items()}


@pytest.fixture(params=sorted(WEIGHTINGS))
def strategy(request):
    return build_weighting(request.param, TASKS)


def test_total_is_positive_and_its_gradient_reaches_every_task(strategy):
    losses = tensors(semantic=2.0, depth=0.25, motion=16.0)
    total = strategy(losses)
    total.backward()
    assert total.shape == ()
    assert float(total) > 0
    assert all(float(loss.grad) > 0 for loss in losses.values())


def test_logged_weights_are_the_weights_of_the_gradients(strategy):
    losses = tensors(semantic=2.0, depth=0.25, motion=16.0)
    strategy(losses).backward()
    gradients = {task: float(loss.grad) for task, loss in losses.items()}
    assert strategy.weights() == pytest.approx(gradients)


def test_state_survives_a_checkpoint(strategy):
    strategy(tensors(semantic=2.0, depth=0.25, motion=16.0))
    resumed = type(strategy)(TASKS)
    resumed.load_state_dict(strategy.state_dict())
    assert resumed.weights() == strategy.weights()


def test_a_missing_task_drops_out(strategy):
    two = type(strategy)(['semantic', 'depth'])
    losses = tensors(semantic=2.0, depth=8.0)
    assert float(strategy(losses)) == float(two(losses))
    assert strategy.weights() == {**two.weights(), 'motion': 0.0}


def test_unknown_tasks_and_empty_batches_are_refused(strategy):
    with pytest.raises(ValueError, match=r"unknown tasks \['detection'\]"):
        strategy(tensors(semantic=1.0, detection=1.0))
    with pytest.raises(ValueError, match='no loss at all'):
        strategy({})


@pytest.mark.parametrize('value', [0.0, -1.0])
def test_a_loss_that_is_not_positive_is_refused(strategy, value):
    with pytest.raises(ValueError, match=r"loss of 'depth' is .* positive"):
        strategy(tensors(semantic=1.0, depth=value))


def test_tasks_named_twice_are_refused(strategy):
    with pytest.raises(ValueError, match='only once'):
        type(strategy)(['depth', 'depth'])


def test_equal_weights_add_up():
    assert float(EqualWeights(TASKS)(tensors(semantic=2.0, depth=0.5, motion=1.0))) == 3.5


def test_geometric_mean_worked_out_by_hand():
    geometric = GeometricMean(TASKS)
    assert float(geometric(tensors(semantic=1.0, depth=2.0, motion=4.0))) == pytest.approx(2.0)
    # total / (n L_i)
    assert geometric.weights() == pytest.approx(
        {'semantic': 2 / 3, 'depth': 1 / 3, 'motion': 1 / 6})


def test_tiny_losses_do_not_underflow():
    losses = tensors(semantic=1e-18, depth=1e-18, motion=1e-18)
    total = GeometricMean(TASKS)(losses)
    total.backward()
    assert float(total) == pytest.approx(1e-12)
    assert all(torch.isfinite(loss.grad) for loss in losses.values())


def test_scaling_one_loss_keeps_the_direction_of_descent():
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


def test_half_precision_losses_give_a_float32_total(strategy):
    losses = {task: torch.tensor(1.0).half() for task in TASKS}
    assert strategy(losses).dtype == torch.float32


def test_an_unknown_strategy_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match="did you mean 'geometric'"):
        build_weighting('geometrik', TASKS)
