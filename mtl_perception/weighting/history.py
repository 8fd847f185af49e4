# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What strategies remember of the losses, in buffers that survive a checkpoint."""

import torch
from torch import Tensor, nn

SMALLEST = 1e-12
"""A loss below this counts as this where it is divided by or its logarithm is taken."""


class MeanLosses(nn.Module):
    """
    Mean loss of every task, either of an epoch or of the first steps of a training.

    :param tasks: number of tasks.
    :param steps: how many losses of each task are counted; 0 counts all.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, tasks: int, steps: int = 0) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer('sums', torch.zeros(tasks))
        self.register_buffer('counts', torch.zeros(tasks))

    def add(self, values: Tensor) -> None:
        """Count one step: (tasks,) losses, NaN where there is none."""
        counted = ~values.isnan()
        if self.steps:
            counted &= self.counts < self.steps
        self.sums += torch.where(counted, values, 0.0)
        self.counts += counted

    def means(self) -> Tensor:
        """Return (tasks,) float32 mean losses, NaN where nothing was counted."""
        return self.sums / self.counts

    def clear(self) -> None:
        """Forget everything, for the next epoch."""
        self.sums.zero_()
        self.counts.zero_()


def initial_losses(tasks: int, steps: int) -> MeanLosses:
    """
    Return the memory of the first losses of each task.

    :param tasks: number of tasks.
    :param steps: how many are averaged.
    :raises ValueError: if it is not positive.
    """
    if steps < 1:
        raise ValueError(f'steps is {steps}; average the losses of at least 1 step')
    return MeanLosses(tasks, steps)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return a quotient that stays finite where the denominator vanishes; NaN stays NaN."""
    return numerator / denominator.clamp(min=SMALLEST)
