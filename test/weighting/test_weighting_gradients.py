# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Strategies that use gradients: those cut at the taps must equal those of autograd."""

import sys

import pytest
import torch
from batch_of_losses import TASKS, Losses, step
from torch import nn

from mtl_perception.errors import ConfigurationError
from mtl_perception.weighting import GradientMethod, GradNorm, Shared, build_weighting
from mtl_perception.weighting.gradient_method import METHODS
from mtl_perception.weighting.gradnorm import weight_gradient
from mtl_perception.weighting.shared import (
    leaves_before,
    tapped,
    task_gradient,
    total_with_gradient,
)

UNITS = {'semantic': 1.0, 'depth': 3.0, 'motion': 0.5}


class Toy(nn.Module):
    """An encoder with two taps; the finer one does not depend on the last shared layer."""

    def __init__(self, detached=()):
        super().__init__()
        torch.manual_seed(0)
        self.fine, self.coarse = nn.Linear(6, 5), nn.Linear(5, 4)
        self.heads = nn.ModuleDict({task: nn.Linear(9, 3) for task in TASKS})
        self.detached = detached

    def forward(self, seed=1):
        """Return losses in different units and the shared part of the graph."""
        generator = torch.Generator().manual_seed(seed)
        fine = self.fine(torch.randn(8, 6, generator=generator)).tanh()
        taps = tapped([fine, self.coarse(fine).tanh()])
        losses = {}
        for task, head in self.heads.items():
            seen = torch.cat([tap.detach() if task in self.detached else tap for tap in taps], 1)
            target = torch.randn(8, 3, generator=generator)
            losses[task] = UNITS[task] * (head(seen) - target).square().mean()
        return losses, Shared(taps, self.coarse.weight)


def gradients(network):
    return {name: item.grad.clone() for name, item in network.named_parameters()}


@pytest.mark.parametrize(('known', 'wanted'), [
    (True, 2 * 10 + 3 * 100), (False, 5 * 10 + 7 * 100)])
def test_what_is_shared_behind_the_taps_gets_the_weights_of_the_shared_part(known, wanted):
    layer, behind, first, second = (
        nn.Parameter(torch.tensor(value)) for value in (1.0, 1.0, 10.0, 100.0))
    tap = layer * 1
    gradients = [task_gradient(tap * behind * own, [tap]) for own in (first, second)]
    total_with_gradient(
        torch.zeros(()), gradients, torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0]),
        Shared([tap], layer, [behind] if known else [])).backward()

    assert (layer.grad, first.grad, second.grad) == (320, 5, 7)
    assert behind.grad == wanted


def test_the_gradient_equals_that_of_the_weighted_sum():
    weights = torch.tensor([0.5, 2.0, 0.5])
    network, weighting = Toy(), GradNorm(TASKS)
    weighting.current.copy_(weights)
    total = weighting(*network())
    total.backward()
    found = gradients(network)
    network.zero_grad()
    losses, _ = network()
    plain = sum(weight * loss for weight, loss in zip(weights, losses.values()))
    plain.backward()

    assert total.item() == pytest.approx(plain.item())
    torch.testing.assert_close(found, gradients(network))


def test_a_loss_behind_another_decoder_gets_its_whole_gradient():
    network, extra = Toy(), nn.Linear(3, 1)

    def learned(total):
        losses, shared = network()
        features = torch.cat(list(shared.taps), 1)
        losses['motion'] = extra(network.heads['depth'](features)).abs().mean()
        network.zero_grad()
        extra.zero_grad()
        total(losses, shared).backward()
        return [extra.weight.grad.clone(), network.heads['depth'].weight.grad.clone(),
                network.fine.weight.grad.clone()]

    torch.testing.assert_close(
        learned(GradNorm(TASKS)), learned(lambda losses, shared: sum(losses.values())))


def test_the_graph_before_the_taps_ends_at_the_taps():
    network = Toy()
    losses, shared = network()
    found = {id(item) for item in leaves_before(losses['depth'], shared.taps)}

    assert found == {id(item) for item in network.heads['depth'].parameters()}


@pytest.mark.parametrize('alpha', [0.0, 0.16, 1.5])
def test_the_closed_form_equals_the_gradient_of_a_double_backward(alpha):
    torch.set_default_dtype(torch.float64)
    try:
        network = Toy()
        losses, shared = network()
        weights = torch.tensor([0.7, 1.1, 1.2], requires_grad=True)
        progress = torch.tensor([0.5, 1.3, 0.9])

        plain = torch.stack([
            torch.autograd.grad(loss, shared.layer, retain_graph=True)[0].norm()
            for loss in losses.values()])
        norms = torch.stack([
            torch.autograd.grad(weight * loss, shared.layer, create_graph=True)[0].norm()
            for weight, loss in zip(weights, losses.values())])
        # the paper's loss, differentiated by autograd
        target = norms.mean().detach() * (progress / progress.mean()) ** alpha
        wanted, = torch.autograd.grad((norms - target).abs().sum(), weights)
        found = weight_gradient(weights.detach(), plain, progress, alpha)

        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
        assert len(set(torch.sign(wanted).tolist())) == 2  # both signs occur
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_hand_computed_step_of_gradnorm():
    # the gradient of each loss is the loss itself: norms 4 and 1, mean 2.5, same progress
    weighting = GradNorm(['semantic', 'depth'], rate=0.1)

    assert step(weighting, semantic=4.0, depth=1.0) == {'semantic': 1.0, 'depth': 1.0}

    semantic, depth = 1 - 0.1 * 4 / 2.5, 1 + 0.1 * 1 / 2.5
    scale = 2 / (semantic + depth)

    assert step(weighting, semantic=4.0, depth=1.0) == pytest.approx(
        {'semantic': scale * semantic, 'depth': scale * depth})


def test_with_alpha_0_norms_become_equal_whatever_the_units():
    network, weighting = Toy(), GradNorm(TASKS, alpha=0.0, rate=0.005)
    for _ in range(600):
        weighting(*network())
    losses, shared = network()
    norms = [weighting.weights()[task] * torch.autograd.grad(
        loss, shared.layer, retain_graph=True)[0].norm().item() for task, loss in losses.items()]

    assert max(norms) < 1.2 * min(norms)
    assert sum(weighting.weights().values()) == pytest.approx(3.0)
    assert min(weighting.weights().values()) > 0


def test_a_task_that_has_improved_less_gets_more_weight():
    weighting = GradNorm(['semantic', 'depth'], steps=1)
    step(weighting, semantic=1.0, depth=1.0)
    for _ in range(20):
        weights = step(weighting, semantic=1.0, depth=0.5)

    assert weights['semantic'] > weights['depth']


def test_the_initial_loss_is_the_mean_of_the_first_losses():
    weighting = GradNorm(['depth'], steps=2)
    for value in (2.0, 4.0, 100.0):
        step(weighting, depth=value)

    assert weighting.initial.means().tolist() == [3.0]


def test_weights_stay_positive_even_with_large_steps():
    weighting = GradNorm(['semantic', 'depth'], rate=10.0)
    for _ in range(5):
        weights = step(weighting, semantic=100.0, depth=0.01)
        assert min(weights.values()) > 0
        assert sum(weights.values()) == pytest.approx(2.0)


def test_a_task_on_detached_features_keeps_its_weight():
    network, weighting = Toy(detached=('motion',)), GradNorm(TASKS)
    for _ in range(3):
        network.zero_grad()
        weighting(*network()).backward()

    assert weighting.weights()['motion'] == 1.0
    assert weighting.weights()['depth'] != 1.0
    assert network.heads['motion'].weight.grad.abs().sum() > 0


def test_only_tasks_of_the_batch_are_balanced():
    weighting = GradNorm(TASKS)
    step(weighting, semantic=4.0, depth=1.0)
    weights = step(weighting, semantic=4.0, depth=1.0, motion=1.0)

    assert weights['motion'] == 1.0
    assert weights['semantic'] + weights['depth'] == pytest.approx(2.0)
    assert weights['semantic'] < 1.0


def test_an_infinite_gradient_leaves_the_weights_unchanged():
    weighting = GradNorm(['semantic', 'depth'])
    losses = Losses(semantic=1.0, depth=1.0)
    losses['depth'] = losses['depth'] + 1e38 * (losses['depth'] - 1) * 1e38
    losses.total(weighting)

    assert weighting.current.tolist() == [1.0, 1.0]


def test_gradnorm_without_the_shared_part_is_refused():
    with pytest.raises(ValueError, match='give it the taps and the last shared layer'):
        GradNorm(TASKS)(Losses(depth=1.0))


# gradients combined by torchjd

ROWS = {'semantic': [1.0, 0.0, 2.0], 'depth': [-0.5, 1.0, 0.0]}


def cagrad(c):
    """Return the weights of the paper's equation 3, whose dual is searched on a grid."""
    rows = torch.tensor(list(ROWS.values()))
    mean, shares = rows.mean(0), torch.linspace(0, 1, 100001)[:, None]
    both = shares * rows[0] + (1 - shares) * rows[1]
    best = int((both @ mean + c * mean.norm() * both.norm(dim=1)).argmin())
    factor = float(c * mean.norm() / both[best].norm())
    share = float(shares[best])
    return 0.5 + factor * share, 0.5 + factor * (1 - share)


@pytest.mark.parametrize(('method', 'semantic', 'depth'), [
    # inner products 5, 1.25 and -0.5: each without its projection on the other
    ('pcgrad', 1 + 0.5 / 5, 1 + 0.5 / 1.25),
    # shortest vector between the two: (1.25 + 0.5) / (5 + 1.25 + 1)
    ('mgda', 1.75 / 7.25, 5.5 / 7.25),
    # equal projections on both unit vectors: in inverse proportion to the norms
    ('imtl_g', 1 / 3, 2 / 3),
    ('cagrad', *cagrad(0.4)),
])
def test_weights_of_two_conflicting_gradients(method, semantic, depth):
    pytest.importorskip('torchjd')
    layer = nn.Parameter(torch.ones(3))
    taps = tapped([layer[:1] * 1, layer[1:] * 1])
    losses = {task: (torch.cat(taps) * torch.tensor(row)).sum() + 5 for task, row in ROWS.items()}
    weighting = GradientMethod(list(ROWS), method)
    total = weighting(losses, Shared(taps, layer))

    assert total.item() == pytest.approx(8.0 + 5.5)

    total.backward()

    assert weighting.weights() == pytest.approx(
        {'semantic': semantic, 'depth': depth}, abs=1e-3)

    wanted = semantic * torch.tensor(ROWS['semantic']) + depth * torch.tensor(ROWS['depth'])

    torch.testing.assert_close(layer.grad, wanted, rtol=0, atol=3e-3)


@pytest.mark.parametrize('method', list(METHODS))
def test_decoders_learn_from_their_own_loss_and_detached_tasks_take_no_part(method):
    pytest.importorskip('torchjd')
    network, weighting = Toy(detached=('motion',)), GradientMethod(TASKS, method)
    weighting(*network()).backward()
    found = gradients(network)
    network.zero_grad()
    sum(network()[0].values()).backward()
    wanted = gradients(network)
    for name in wanted:
        same = torch.allclose(found[name], wanted[name], atol=1e-6)
        assert same == name.startswith('heads'), name

    assert weighting.weights()['motion'] == 1.0


def test_a_missing_torchjd_and_an_unknown_method_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchjd', None)

    with pytest.raises(ConfigurationError, match=r'pip install .mtl_perception\[gradients\]'):
        build_weighting('gradient_method', TASKS)
    with pytest.raises(ValueError, match='it must be one of'):
        GradientMethod(TASKS, 'pcgard')
