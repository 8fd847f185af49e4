# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mean losses that strategies remember, in buffers that survive a checkpoint."""

import torch
from torch import Tensor, nn

SMALLEST_LOSS = 1e-12
"""Losses are clamped to this before a division or a logarithm."""


class MeanLosses(nn.Module):
    """
    Mean loss of every task, over an epoch or over the first steps of a training.

    >>> mean = MeanLosses(tasks=2, steps=2)
    >>> for depth in (2.0, 4.0, 100.0):  # the third is beyond the two steps
    ...     mean.add(torch.tensor([torch.nan, depth]))
    >>> mean.means()
    tensor([nan, 3.])

    :param tasks: number of tasks.
    :param steps: number of losses of each task that count; 0 counts all.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, tasks: int, steps: int = 0) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer('sums', torch.zeros(tasks))
        self.register_buffer('counts', torch.zeros(tasks))

    def add(self, values: Tensor) -> None:
        """Count one step: (tasks,) losses, NaN for missing ones."""
        counted = ~values.isnan()
        if self.steps:
            counted &= self.counts < self.steps
        self.sums += torch.where(counted, values, 0.0)
        self.counts += counted

    def means(self) -> Tensor:
        """Return (tasks,) float32 mean losses, NaN for a task that never had one."""
        return self.sums / self.counts

    def clear(self) -> None:
        """Start again, for the next epoch."""
        self.sums.zero_()
        self.counts.zero_()


def initial_losses(tasks: int, steps: int) -> MeanLosses:
    """
    Return an empty mean of the first losses of each task.

    :param tasks: number of tasks.
    :param steps: number of losses that are averaged.
    :raises ValueError: if ``steps`` is not positive.
    """
    if steps < 1:
        raise ValueError(f'steps is {steps}; average the losses of at least 1 step')
    return MeanLosses(tasks, steps)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return a quotient that stays finite for a denominator of 0; NaN stays NaN."""
    return numerator / denominator.clamp(min=SMALLEST_LOSS)
