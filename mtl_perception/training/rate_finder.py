# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Find a learning rate: raise it step by step until the losses rise."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from mtl_perception.errors import NumericError
from mtl_perception.signals import StopRequest
from mtl_perception.training.dataloading import Batch
from mtl_perception.training.trainer import Trainer

SMOOTHING = 0.9
"""Share of the old mean in the running mean of the losses."""

DIVERGED = 4.0
"""The search ends where the losses are this many times their smallest mean."""

FEWEST = 3
"""Steps of the shortest curve."""


@dataclass(frozen=True)
class RateCurve:
    """
    Losses over learning rates.

    :param rates: the learning rate of each step, as a stage of a recipe has it.
    :param losses: running geometric mean of the tasks' losses before each step.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    def steepest(self) -> float | None:
        """Return the rate at which the losses fall fastest, None if they never fall."""
        slopes = np.gradient(np.log(self.losses), np.log(self.rates))
        # behind the minimum only chance makes them fall
        slopes = slopes[:int(np.argmin(self.losses)) + 1]
        return self.rates[int(np.argmin(slopes))] if slopes.min() < 0 else None

    def table(self) -> str:
        """Return the curve as CSV."""
        rows = [f'{rate:.6g},{loss:.6g}' for rate, loss in zip(self.rates, self.losses)]
        return '\n'.join(['learning_rate,loss', *rows]) + '\n'

    def figure(self) -> Figure:
        """Return the curve as a picture."""
        figure = Figure(figsize=(7, 4), layout='constrained')
        axes = figure.subplots()
        axes.plot(self.rates, self.losses)
        if (rate := self.steepest()) is not None:
            axes.axvline(rate, color='grey', linestyle='--', label=f'steepest at {rate:.1e}')
            axes.legend()
        axes.set_xscale('log')
        axes.set_yscale('log')
        axes.set_xlabel('learning rate')
        axes.set_ylabel('geometric mean of the losses')
        axes.grid(alpha=0.3)
        return figure


def rates_between(lowest: float, highest: float, steps: int) -> list[float]:
    """
    Return rates that grow by the same factor from step to step.

    :raises ValueError: unless 0 < lowest < highest and there are at least 10 steps.
    """
    if not 0 < lowest < highest:
        raise ValueError(f'rates from {lowest:g} to {highest:g}; wanted 0 < FIRST < LAST')
    if steps < 10:
        raise ValueError(f'{steps} steps; a curve needs at least 10')
    return [lowest * (highest / lowest) ** (index / (steps - 1)) for index in range(steps)]


def find_rate(
        trainer: Trainer, read: Iterator[Batch], rates: Sequence[float], stop: StopRequest,
) -> RateCurve | None:
    """
    Train with rising learning rates (Smith, Cyclical Learning Rates, WACV 2017, section 3.3).

    The strategy weights the losses as in a training. The curve shows their geometric mean, whose
    shape does not depend on the units of the tasks: a choice of ours. It ends where the losses are
    four times their smallest mean or not finite, or where a signal asks to stop.

    :param trainer: not trained yet; it is of no use afterwards.
    :param read: one batch per rate.
    :param rates: in rising order.
    :param stop: checked after every step.
    :return: None if it was asked to stop before the third step: that is no curve.
    :raises NumericError: if fewer than three steps are finite.
    """
    trainer.learner.train()
    found: list[tuple[float, float]] = []
    mean = 0.0
    for rate, batch in zip(rates, read):
        if stop.received:
            break

        on_device = {name: item.to(trainer.ranks.device) for name, item in batch.items()}
        losses = trainer.stepper(
            on_device, trainer.weighting.tasks, rate * trainer.config.optimiser.lr)
        if losses is None:
            break
        positive = [loss.item() for loss in losses.values() if loss.item() > 0]
        if not positive:
            continue

        # running mean, divided by the sum of its weights as in Adam
        now = math.exp(sum(map(math.log, positive)) / len(positive))
        mean = SMOOTHING * mean + (1 - SMOOTHING) * now
        found.append((rate, mean / (1 - SMOOTHING ** (len(found) + 1))))
        if found[-1][1] > DIVERGED * min(loss for _, loss in found):
            break

    if len(found) < FEWEST and stop.received:
        return None
    if len(found) < FEWEST:
        raise NumericError(
            f'only {len(found)} steps were finite, from a learning rate of {rates[0]:g} on; '
            'begin with a lower one')
    return RateCurve(tuple(rate for rate, _ in found), tuple(loss for _, loss in found))
