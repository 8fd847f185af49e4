# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Smooth Tchebycheff scalarization: descend mainly what is worst."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.geometric import inverse, logarithm
from mtl_perception.weighting.history import SMALLEST_LOSS, MeanLosses
from mtl_perception.weighting.shared import Shared


class SmoothTchebycheff(TaskWeighting):
    r"""
    A smooth maximum of the losses, :math:`K \mu \log \sum_i e^{\log(L_i / n_i) / \mu}`.

    Lin et al., Smooth Tchebycheff Scalarization for Multi-Objective Optimization, ICML 2024, as
    the authors apply it to multi-task learning: on the logarithms of the losses over their nadir
    n, with equal preferences and the factor K, the number of tasks. The gradient of task i has the
    weight :math:`K p_i / L_i`, where :math:`p = \mathrm{softmax}(\log(L / n) / \mu)`.

    In the warm-up the total is :math:`\sum_i \log L_i`. The nadir is the mean loss of its last
    epoch. A training that ends before is one on the sum of logarithms. Choice of ours: a
    task that had no labels in the warm-up gets its nadir at the end of its first epoch with some,
    and until then adds its logarithm. The total may be negative: do not select models by it.

    >>> weighting = SmoothTchebycheff(['semantic', 'depth'])
    >>> total = weighting({'semantic': torch.tensor(2.0), 'depth': torch.tensor(8.0)})
    >>> weighting.end_epoch()
    >>> total = weighting({'semantic': torch.tensor(1.0), 'depth': torch.tensor(2.0)})
    >>> round(total.item(), 4)  # 2 log(1 / 2 + 2 / 8)
    -0.5754

    :param tasks: names of all tasks.
    :param mu: the smaller, the nearer to the maximum.
    :param warm_up: epochs of the warm-up, at least 1.
    :raises ValueError: if a number is out of range.
    """

    nadir: Tensor
    epochs: Tensor

    def __init__(self, tasks: Sequence[str], mu: float = 1.0, warm_up: int = 1) -> None:
        super().__init__(tasks)
        if not 0 < mu < math.inf:
            raise ValueError(f'mu is {mu}; it must be positive')
        if warm_up < 1:
            raise ValueError(f'warm_up is {warm_up}; the nadir takes at least 1 epoch')

        self.mu = mu
        self.warm_up = warm_up
        self.epoch = MeanLosses(len(self.tasks))
        self.register_buffer('nadir', torch.full((len(self.tasks),), math.nan))
        self.register_buffer('epochs', torch.zeros((), dtype=torch.long))

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the smooth maximum, see :meth:`.TaskWeighting.forward`."""
        tasks = self.present(losses)
        values = self.values(losses)
        self.epoch.add(values)

        # tasks without a nadir: log L; the others: K mu log sum exp(log(L / n) / mu)
        rated = ~(self.nadir.isnan() | values.isnan())
        logarithms = {task: logarithm(losses[task]) for task in tasks}
        parts = [logarithms[task] for task, known in zip(self.tasks, rated.tolist())
                 if task in losses and not known]
        factors = torch.ones_like(values)
        if rated.any():
            above = torch.stack([
                logarithms[task] for task, known in zip(self.tasks, rated.tolist()) if known])
            exponents = (above - self.nadir[rated].clamp(min=SMALLEST_LOSS).log()) / self.mu
            parts.append(len(exponents) * self.mu * torch.logsumexp(exponents, 0))
            factors[rated] = len(exponents) * torch.softmax(exponents.detach(), 0)

        self.note_weights(tasks, factors * inverse(values))
        return torch.stack(parts).sum()

    def end_epoch(self) -> None:
        """Count the epoch, and fix the nadir after the warm-up."""
        means = mean_over_ranks(self.epoch.means())
        self.epoch.clear()
        self.epochs += 1
        if self.epochs >= self.warm_up:
            self.nadir = torch.where(self.nadir.isnan(), means, self.nadir)
