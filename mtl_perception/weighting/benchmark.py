# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Cost of each strategy per training step: ``python -m mtl_perception.weighting.benchmark``.

ResNet-18 with two FCN8-like decoders (semantic with 12 classes, depth), 128x256, batch 4, AdamW.
In every round each strategy does the same number of steps, one strategy after the other, and each
round begins with another one. The table shows the median over the rounds of a ratio: CPU time of a
strategy's steps over that of equal weights in the same round. Other programs hardly disturb it.

Beside it stands the time of the strategy alone, on losses without a network, in ms and in percent
of a step. Strategies that use gradients have none: their work is in the backward pass.

``--libmtl CHECKOUT`` times LibMTL's own strategies beside them, on the same network in LibMTL's
architecture for hard parameter sharing (:mod:`mtl_perception.weighting.libmtl` tells how to get
it). Its GradNorm and PCGrad go through the whole encoder once for each task.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from mtl_perception.errors import ConfigurationError
from mtl_perception.signals import interruptible
from mtl_perception.weighting import WEIGHTINGS, Shared, TaskWeighting, build_weighting
from mtl_perception.weighting.libmtl import import_libmtl
from mtl_perception.weighting.shared import tapped

CHANNELS = {'semantic': 12, 'depth': 1}
OPTIONS = {'asynchronous': {'frequencies': {'semantic': 7}}}
PEERS: dict[str, dict[str, float]] = {
    'EW': {}, 'UW': {}, 'GradNorm': {'alpha': 1.5}, 'DWA': {'T': 2.0}, 'GLS': {}, 'PCGrad': {}}
"""Timed strategies of LibMTL and their options."""
STEPS = 7
"""Steps per round, which is one period of the asynchronous strategy."""


class Network(nn.Module):
    """ResNet-18; each task has an FCN8-like decoder on the strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        body = resnet18(weights=None)
        self.stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool, body.layer1)
        self.layers = nn.ModuleList([body.layer2, body.layer3, body.layer4])
        self.last: nn.Parameter = body.layer4[-1].conv2.weight
        self.heads = nn.ModuleDict({
            task: nn.ModuleList([nn.Conv2d(width, count, 1) for width in (128, 256, 512)])
            for task, count in CHANNELS.items()})
        self.upsample = nn.ModuleDict({
            task: nn.ConvTranspose2d(count, count, 16, 8, 4) for task, count in CHANNELS.items()})

    def forward(self, image: Tensor, tasks: tuple[str, ...]) -> tuple[dict[str, Tensor], Shared]:
        """Return the (N, K, H, W) outputs of the tasks and the shared part of the graph."""
        taps = tapped(self.encode(image))
        return {task: self.decode(task, taps) for task in tasks}, Shared(taps, self.last)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the features at the strides 8, 16 and 32."""
        stages = [self.stem(image)]
        for layer in self.layers:
            stages.append(layer(stages[-1]))
        return stages[1:]

    def decode(self, task: str, taps: Sequence[Tensor]) -> Tensor:
        """Return the (N, K, H, W) output of a task."""
        heads = self.heads[task]
        assert isinstance(heads, nn.ModuleList)
        fine, middle, total = (head(tap) for head, tap in zip(heads, taps))
        for score in (middle, fine):
            total = score + functional.interpolate(total, scale_factor=2.0, mode='bilinear')
        output: Tensor = self.upsample[task](total)
        return output


class Data:
    """
    One batch of random images and labels.

    :param height: pixels, divisible by 32.
    :param width: pixels, divisible by 32.
    :param batch: images.
    """

    def __init__(self, height: int, width: int, batch: int) -> None:
        torch.manual_seed(0)
        self.image = torch.randn(batch, 3, height, width).to(memory_format=torch.channels_last)
        self.classes = torch.randint(CHANNELS['semantic'], (batch, height, width))
        self.depth = torch.rand(batch, 1, height, width)

    def losses(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of each output."""
        losses = {}
        if 'semantic' in outputs:
            losses['semantic'] = functional.cross_entropy(outputs['semantic'], self.classes)
        if 'depth' in outputs:
            losses['depth'] = functional.l1_loss(outputs['depth'], self.depth)
        return losses


class Training:
    """A network that is trained with one strategy on one batch."""

    def __init__(self, weighting: TaskWeighting, data: Data) -> None:
        torch.manual_seed(0)
        self.data = data
        self.weighting = weighting
        self.network = Network().to(memory_format=torch.channels_last)
        groups: list[dict[str, Any]] = [
            {'params': self.network.parameters()},
            {'params': list(weighting.parameters()), 'weight_decay': 0.0}]
        self.optimiser = torch.optim.AdamW(groups, 1e-3)
        self.steps = 0

    def step(self) -> None:
        """Do one step of the optimiser on the tasks that are due."""
        due = self.weighting.active(self.steps)
        self.steps += 1
        if not due:
            return
        outputs, shared = self.network(self.data.image, due)
        losses = self.data.losses(outputs)
        self.optimiser.zero_grad(set_to_none=True)
        self.weighting(losses, shared).backward()
        self.optimiser.step()


class Peer:
    """The same training with a strategy of LibMTL, in LibMTL's architecture."""

    def __init__(self, libmtl: Any, name: str, data: Data) -> None:
        torch.manual_seed(0)
        self.data = data
        self.name = name
        network = Network()  # LibMTL's GradNorm and PCGrad fail on weights in channels_last

        class Model(libmtl.architecture.HPS, getattr(libmtl.weighting, name)):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(
                    list(CHANNELS), lambda: _Encoder(network),
                    nn.ModuleDict({task: _Decoder(network, task) for task in CHANNELS}), False,
                    False, torch.device('cpu'))
                self.init_param()

        self.model = Model()
        # as after two epochs; earlier, its GradNorm and DWA have equal weights
        self.model.epoch = 2
        self.model.train_loss_buffer = np.ones((len(CHANNELS), 3))
        self.optimiser = torch.optim.AdamW(self.model.parameters(), 1e-3)

    def step(self) -> None:
        """Do one step as LibMTL's trainer does."""
        losses = self.data.losses(self.model(self.data.image))
        self.optimiser.zero_grad(set_to_none=False)
        self.model.backward(torch.stack(list(losses.values())), **PEERS[self.name])
        self.optimiser.step()


class _Encoder(nn.Module):
    """The shared part; returns a tuple, as LibMTL gives each task only one item of a list."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.stem = network.stem
        self.layers = network.layers
        self.encode = network.encode

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encode(image))


class _Decoder(nn.Module):
    """The part of one task."""

    def __init__(self, network: Network, task: str) -> None:
        super().__init__()
        self.heads = network.heads[task]
        self.upsample = network.upsample[task]
        self.decode = network.decode
        self.task = task

    def forward(self, taps: tuple[Tensor, ...]) -> Tensor:
        return self.decode(self.task, taps)


def ratios(
        names: list[str], rounds: int, steps: int = STEPS, height: int = 128, width: int = 256,
        batch: int = 4, libmtl: Any = None) -> tuple[float, dict[str, list[float]]]:
    """
    Return the median CPU seconds of a step with equal weights, and each strategy's ratios to it.

    :param names: keys of :data:`mtl_perception.weighting.WEIGHTINGS`.
    :param rounds: number of ratios of each strategy.
    :param steps: steps of each strategy per round.
    :param height: pixels, divisible by 32.
    :param width: pixels, divisible by 32.
    :param batch: images per step.
    :param libmtl: the package ``LibMTL``, to time its strategies too.
    """
    data = Data(height, width, batch)
    trainings: dict[str, Training | Peer] = {
        name: Training(build_weighting(name, list(CHANNELS), OPTIONS), data)
        for name in dict.fromkeys(['equal', *names])}
    if libmtl is not None:
        trainings |= {f'LibMTL {name}': Peer(libmtl, name, data) for name in PEERS}

    # the first step allocates memory and is not timed
    for training in trainings.values():
        training.step()
        if isinstance(training, Training):
            training.steps = 0

    order = list(trainings)
    base: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in trainings}
    for number in range(rounds):
        # each round begins with another strategy, so that none is always the first
        seconds = {}
        first = number % len(order)
        for name in [*order[first:], *order[:first]]:
            begin = time.process_time()
            for _ in range(steps):
                trainings[name].step()
            seconds[name] = time.process_time() - begin

        base.append(seconds['equal'] / steps)
        for name, taken in seconds.items():
            found[name].append(taken / seconds['equal'])
    return statistics.median(base), found


def own_time(name: str, calls: int = 200) -> float | None:
    """
    Return the median CPU seconds of a strategy's total and its gradient, of losses alone.

    :param name: key of :data:`mtl_perception.weighting.WEIGHTINGS`.
    :param calls: number of timed calls.
    :return: None for a strategy that needs the gradients of a network.
    """
    weighting = build_weighting(name, list(CHANNELS), OPTIONS)
    if weighting.needs_gradients:
        return None

    losses = {task: torch.tensor(0.5, requires_grad=True) for task in CHANNELS}
    seconds = []
    for number in range(calls):
        weighting.active(OPTIONS['asynchronous']['frequencies']['semantic'] * number)
        begin = time.process_time()
        weighting(losses).backward()
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def available() -> list[str]:
    """Return the strategies whose requirements are installed."""
    found = []
    for name in WEIGHTINGS:
        with contextlib.suppress(ConfigurationError):
            build_weighting(name, list(CHANNELS), OPTIONS)
            found.append(name)
    return found


def main() -> None:
    """Print a table of median, lowest and highest ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().splitlines()[0])
    parser.add_argument('--rounds', type=int, default=15, help='default: 15')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch (default: 1)')
    parser.add_argument(
        '--strategies', nargs='+', default=available(), choices=available(),
        metavar='NAME', help='default: all that are installed')
    parser.add_argument(
        '--libmtl', type=Path, help='checkout of LibMTL, to time its strategies too')
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    libmtl = import_libmtl(arguments.libmtl) if arguments.libmtl else None
    base, found = ratios(arguments.strategies, arguments.rounds, libmtl=libmtl)

    print(f'equal: {1000 * base:.0f} ms CPU per step; {arguments.rounds} rounds of {STEPS} steps; '
          f'asynchronous trains semantic every {STEPS} steps')
    print('| strategy | median ratio to equal | lowest | highest | alone |\n|---|---|---|---|---|')
    for name, values in found.items():
        own = own_time(name) if name in WEIGHTINGS else None
        alone = '' if own is None else f'{1000 * own:.2f} ms, {100 * own / base:.2f} %'
        print(f'| {name} | {statistics.median(values):.3f} | {min(values):.3f} | '
              f'{max(values):.3f} | {alone} |')


if __name__ == '__main__':
    raise SystemExit(interruptible(main, 'benchmark'))
