# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The norm from inner products equals that of a convolution's gradient."""

import pytest
import torch
from torch import nn

from mtl_perception.weighting import GradNorm, Shared, benchmark
from mtl_perception.weighting.convolution import _Axis, _terms, last_convolution
from mtl_perception.weighting.gradient_norms import gradient_norms
from mtl_perception.weighting.shared import gradient_at, tapped, task_gradient

TASKS = ('semantic', 'depth', 'motion')
KINDS = {
    'plain': {'kernel_size': 3, 'padding': 1},
    'without padding': {'kernel_size': 3},
    'valid': {'kernel_size': 3, 'padding': 'valid'},
    'one number': {'kernel_size': 3, 'stride': (2,), 'padding': (1,), 'dilation': (1,)},
    'points': {'kernel_size': 1},
    'stride': {'kernel_size': 3, 'stride': 2, 'padding': 1},
    'dilation': {'kernel_size': 3, 'dilation': 2, 'padding': 2},
    'oblong': {
        'kernel_size': (1, 5), 'padding': (0, 3), 'stride': (2, 1), 'dilation': (1, 2)},
    'same': {'kernel_size': (3, 5), 'padding': 'same'},
    'reflected': {'kernel_size': 3, 'padding': 1, 'padding_mode': 'reflect'},
    'bias': {'kernel_size': 3, 'padding': 1, 'bias': True},
}


class Network(nn.Module):
    """Two stages, the layer in the coarser one; motion reads the finer one, all others both."""

    def __init__(self, layer, after=None, channels=40):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.layer, self.after = layer, after or nn.BatchNorm2d(48)
        self.heads = nn.ModuleDict({
            task: nn.Conv2d(channels if task == 'motion' else channels + 48, 2, 1)
            for task in TASKS})

    def forward(self, size=(5, 7), count=2):
        """Return the losses and what they share."""
        image = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))
        fine = self.first(image).relu()
        taps = tapped([fine, self.after(self.layer(fine)).relu()])
        coarse = nn.functional.interpolate(taps[1], fine.shape[2:])
        losses = {}
        for number, (task, head) in enumerate(self.heads.items()):
            seen = taps[0] if task == 'motion' else torch.cat([taps[0], coarse], 1)
            losses[task] = 10.0 ** number * (head(seen) - 1).abs().mean()
        return losses, Shared(taps, self.layer.weight)


def layer(inner=40, outer=48, **settings):
    torch.manual_seed(1)
    return nn.Conv2d(inner, outer, **{'bias': False, **settings})


def both(network, **settings):
    """Return each task's norm from inner products and the norm of its gradient."""
    losses, shared = network(**settings)
    convolution = last_convolution(shared, len(losses))
    assert convolution is not None
    found, wanted = [], []
    for task in ('semantic', 'depth'):
        gradient = task_gradient(losses[task], shared.taps)
        found.append(float(convolution.gradient_norm(gradient)))
        wanted.append(float(gradient_at(shared.layer, gradient, shared.taps).double().norm()))
    return found, wanted


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def always(monkeypatch):
    """Use inner products for any number of positions."""
    monkeypatch.setattr('mtl_perception.weighting.convolution.MARGIN', 0)


@pytest.mark.parametrize('kind', list(KINDS))
@pytest.mark.parametrize('normalised', [True, False])
def test_the_norm_from_inner_products_is_that_of_the_gradient(double, always, kind, normalised):
    found, wanted = both(Network(layer(**KINDS[kind]), None if normalised else nn.Identity()))

    assert min(wanted) > 0
    assert found == pytest.approx(wanted, rel=1e-10)


def test_the_norm_of_a_hand_computed_position(always):
    # one pixel (5, 12); the loss's gradient at the output is (3, 4): norms 13 and 5
    weight = nn.Parameter(torch.ones(2, 2, 1, 1))
    taps = tapped([nn.functional.conv2d(torch.tensor([5.0, 12.0]).view(1, 2, 1, 1), weight)])
    loss = (taps[0] * torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).sum()
    shared = Shared(taps, weight)
    convolution = last_convolution(shared, 1)

    assert convolution.products.tolist() == [[169.0]]
    assert float(convolution.gradient_norm(task_gradient(loss, taps))) == pytest.approx(65.0)


def test_single_precision_is_enough(always):
    found, wanted = both(Network(layer(**KINDS['plain'])))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_the_layer_is_found_under_mixed_precision(always):
    network = Network(layer(**KINDS['plain']))
    found, wanted = both(network)
    with torch.autocast('cpu', torch.bfloat16):
        mixed, gradients = both(network)

    assert mixed == pytest.approx(gradients, rel=1e-2)
    assert mixed == pytest.approx(wanted, rel=5e-2)
    assert mixed != pytest.approx(found, rel=1e-4)  # the control: it was mixed


def test_the_norm_is_not_computed_in_mixed_precision(always):
    losses, shared = Network(layer(**KINDS['plain']))()
    gradient = task_gradient(losses['depth'], shared.taps)
    wanted = last_convolution(shared, 3)
    with torch.autocast('cpu', torch.bfloat16):
        found = last_convolution(shared, 3)
        assert torch.equal(found.products, wanted.products)
        norm = found.gradient_norm(gradient)

    assert norm == wanted.gradient_norm(gradient)


def test_a_loss_that_does_not_depend_on_the_layer_has_no_norm(always):
    losses, shared = Network(layer(**KINDS['plain']))()
    gradient = task_gradient(losses['motion'], shared.taps)

    assert torch.tensor(last_convolution(shared, 3).gradient_norm(gradient)).isnan()


def test_with_many_positions_the_gradients_are_computed():
    network = Network(layer(**KINDS['plain']))
    found = {}
    for size in ((4, 4), (5, 5), (5, 6), (32, 32)):
        _, shared = network(size=size, count=1)
        found[size] = last_convolution(shared, 2) is not None

    # 5x5: products 25 * 25 * (40 + 2 * 48) = 85 000, sums over rows and columns each
    # 50 * (7 * 5 * 7 * 5 + 3 * 25 * 25) = 155 000: twice 395 000 against
    # 2 * 25 * 40 * 48 * 9 = 864 000
    # 5x6: twice 560 600 against 1 036 800
    assert found == {(4, 4): True, (5, 5): True, (5, 6): False, (32, 32): False}


def test_with_many_sums_the_gradients_are_computed():
    network = Network(nn.Conv2d(40, 48, 3, padding=40, dilation=40))
    assert last_convolution(network(size=(4, 4), count=1)[1], 2) is None


def test_inner_products_are_preferred_for_resnet18_on_small_images():
    data = benchmark.Data(128, 256, 4)
    _, shared = benchmark.Network()(data.image, tuple(benchmark.CHANNELS))

    assert last_convolution(shared, 2).products.shape == (4 * 4 * 8, 4 * 4 * 8)


def test_the_number_of_terms_of_hand_computed_sums():
    # rows: two images of 5x4 padded, 3 terms for each of 3x4; columns: 3x4, 1 term for 3x2
    axes = [_Axis(3, 3, 1, 1, 1), _Axis(4, 1, 2, 0, 1)]
    assert _terms(2, axes) == 40 ** 2 + 3 * 24 ** 2 + 24 ** 2 + 12 ** 2


def test_a_sum_that_cancels_gives_a_norm_of_almost_zero_and_not_nan(always):
    # gradients at the positions that are orthogonal to every channel of the input: none is left
    weight = nn.Parameter(torch.randn(8, 8, 1, 1))
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        image = torch.randn(8, 16, generator=generator)
        factor = torch.randn(8, 16, generator=generator)
        factor = factor - factor @ torch.linalg.pinv(image) @ image
        taps = tapped([nn.functional.conv2d(image.view(1, 8, 4, 4), weight)])
        loss = (taps[0] * factor.view(1, 8, 4, 4)).sum()
        norm = last_convolution(Shared(taps, weight), 1).gradient_norm(task_gradient(loss, taps))
        assert 0 <= float(norm) < 1e-2


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_have_norms_in_single_precision(always, dtype):
    weight = nn.Parameter(torch.ones(256, 256, 1, 1, dtype=dtype))
    taps = tapped([nn.functional.conv2d(torch.full((1, 256, 2, 2), 8.0, dtype=dtype), weight)])
    shared = Shared(taps, weight)
    convolution = last_convolution(shared, 1)

    assert convolution.products.dtype == torch.float32

    gradient = task_gradient((16 * taps[0]).sum(), taps)

    # every element of the gradient is 4 * 8 * 16; the square of the norm overflows float16
    assert float(convolution.gradient_norm(gradient)) == pytest.approx(512 * 256)


class Twice(nn.Module):
    """A layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.inner = layer(48, 48, **KINDS['plain'])
        self.weight = self.inner.weight

    def forward(self, features):
        return self.inner(self.inner(features).relu())


class Scaled(nn.Conv2d):
    """A layer whose weight is not the tensor that the convolution takes."""

    def forward(self, features):
        return self._conv_forward(features, self.weight * 2, self.bias)


@pytest.mark.parametrize('kind', ['groups', 'transposed', 'twice', 'scaled', 'input', 'volume'])
def test_for_any_other_layer_the_gradients_are_computed(always, kind):
    network = Network({
        'groups': lambda: layer(groups=2, **KINDS['plain']),
        'transposed': lambda: nn.ConvTranspose2d(40, 48, 3),
        'twice': Twice,
        'scaled': lambda: Scaled(40, 48, 3),
    }.get(kind, lambda: layer(**KINDS['plain']))(), channels=48 if kind == 'twice' else 40)

    losses, shared = network()
    if kind == 'input':  # the parameter is the input of a convolution, not its weight
        weight = nn.Parameter(torch.randn(1, 40, 3, 3))
        taps = tapped([nn.functional.conv2d(weight, torch.randn(48, 40, 3, 3))])
    if kind == 'volume':
        weight = nn.Parameter(torch.randn(4, 4, 3, 3, 3))
        taps = tapped([nn.functional.conv3d(torch.randn(1, 4, 5, 5, 5), weight)])
    if kind in ('input', 'volume'):
        shared = Shared(taps, weight)
        losses = {'semantic': taps[0].square().sum()}

    assert last_convolution(shared, len(losses)) is None

    norms = gradient_norms(
        list(losses),
        {task: task_gradient(loss, shared.taps) for task, loss in losses.items()}, shared)
    wanted, = torch.autograd.grad(losses['semantic'], shared.layer)

    assert float(norms[0]) == pytest.approx(float(wanted.norm()), rel=1e-4)


def test_gradnorm_learns_the_same_from_inner_products_and_from_gradients(always, monkeypatch):
    def learned(gradients):
        if gradients:
            monkeypatch.setattr(
                'mtl_perception.weighting.gradient_norms.last_convolution', lambda *_: None)
        network, weighting = Network(layer(**KINDS['plain'])), GradNorm(TASKS, steps=2)
        optimiser = torch.optim.SGD(network.parameters(), 1e-3)
        for _ in range(20):
            optimiser.zero_grad()
            weighting(*network()).backward()
            optimiser.step()
        return weighting.weights(), network.layer.weight.detach()

    (weights, weight), (others, other) = learned(False), learned(True)

    assert weights == pytest.approx(others, rel=1e-4)
    assert weights['motion'] == 1.0
    assert abs(weights['semantic'] - weights['depth']) > 0.2
    torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-7)


def test_the_gradient_of_the_layer_is_computed_only_once(always, monkeypatch):
    """The purpose of the inner products, counted by the kernels that run."""
    def kernels(network, by_gradients):
        if by_gradients:
            monkeypatch.setattr(
                'mtl_perception.weighting.gradient_norms.last_convolution', lambda *_: None)
        weighting = GradNorm(TASKS)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
            weighting(*network()).backward()
        return sum(
            event.count for event in found.key_averages()
            if event.key == 'aten::convolution_backward')

    network = Network(layer(**KINDS['plain']))

    # three decoders, the layer, the first convolution; and twice the layer
    assert kernels(network, False) == 5
    assert kernels(network, True) == 7
