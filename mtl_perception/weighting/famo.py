# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""FAMO: weights that let all losses fall at one rate, from the losses alone."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.geometric import inverse, logarithm
from mtl_perception.weighting.history import SMALLEST_LOSS
from mtl_perception.weighting.shared import Shared

DECAYS = (0.9, 0.999)
"""Of the running means of Adam."""
SMALLEST_SPREAD = 1e-8
"""Adam adds this to the root that it divides by."""


class FAMO(TaskWeighting):
    r"""
    Fast adaptive multitask optimisation, :math:`c \sum_i z_i \log L_i`.

    Liu et al., FAMO: Fast Adaptive Multitask Optimization, NeurIPS 2023, algorithm 1: with
    :math:`z = \mathrm{softmax}(\xi)` and the constant :math:`c = 1 / \sum_i (z_i / L_i)`, the
    gradient of task i has the weight :math:`c z_i / L_i`, and these weights add up to 1. After
    each step, :math:`\xi` descends :math:`\sum_i z_i \delta_i`, where :math:`\delta_i = \log L_i -
    \log L_i'` says how far the step has lowered loss i: a task that falls faster than the others
    loses weight. All this costs a few operations on K numbers, for any number of tasks.

    The authors take the losses after the step, :math:`L'`, from the same batch (``again``), which
    costs a forward pass, or from the next batch, which costs nothing and is noisier; the default.
    In a loop of your own, call :meth:`after_step` with the losses of the same batch, or do not.

    Choices of ours: the losses' lower bounds are 0, and a loss below 1e-12 counts as 1e-12. A task
    that is missing before or after a step keeps its :math:`\xi`. The total may be negative: do not
    select models by it.

    >>> weighting = FAMO(['semantic', 'depth'], rate=0.1)
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(1.0)}
    >>> round(weighting(losses).item(), 4)  # c = 4 / 3, times log(2) / 2
    0.4621
    >>> weighting.after_step({'semantic': torch.tensor(1.0), 'depth': torch.tensor(1.0)})
    >>> [round(logit, 4) for logit in weighting.logits.tolist()]  # semantics has fallen faster
    [-0.1, 0.1]

    :param tasks: names of all tasks.
    :param rate: learning rate of :math:`\xi`, under Adam.
    :param decay: weight decay of :math:`\xi`, the paper's gamma.
    :param again: whether a training computes the losses of each batch again after the step.
    :raises ValueError: if a number is out of range.
    """

    logits: Tensor
    gradient_mean: Tensor
    gradient_square: Tensor
    updates: Tensor
    before: Tensor

    def __init__(
            self, tasks: Sequence[str], rate: float = 0.025, decay: float = 0.001,
            again: bool = False) -> None:
        super().__init__(tasks)
        if not 0 < rate < math.inf:
            raise ValueError(f'rate is {rate}; it must be positive')
        if not 0 <= decay < math.inf:
            raise ValueError(f'decay is {decay}; it must be 0 or more')

        self.step_size = rate
        self.decay = decay
        self.losses_after_step = again
        for name in ('logits', 'gradient_mean', 'gradient_square', 'updates'):
            self.register_buffer(name, torch.zeros(len(self.tasks)))
        self.register_buffer('before', torch.full((len(self.tasks),), math.nan))

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the weighted sum of the logarithms, see :meth:`.TaskWeighting.forward`."""
        tasks = self.present(losses)
        values = self.values(losses)
        means = mean_over_ranks(values)
        self.learn(means)  # unless after_step has already told what the last step did
        self.before = means

        # z = softmax(logits), c = 1 / sum(z / L)
        shares = torch.softmax(self.logits.masked_fill(values.isnan(), -torch.inf), 0)
        scale = 1 / (shares / values.clamp(min=SMALLEST_LOSS)).nansum()
        self.note_weights(tasks, scale * shares * inverse(values))
        return torch.stack([
            share * logarithm(losses[task]) for task, share in zip(self.tasks, scale * shares)
            if task in losses]).sum()

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Learn from the losses of the same batch, see :meth:`.TaskWeighting.after_step`."""
        self.refuse_unknown(losses, 'losses')
        self.learn(mean_over_ranks(self.values(losses)))
        self.before = torch.full_like(self.before, math.nan)

    def learn(self, after: Tensor) -> None:
        """
        Take one step of Adam with the logits.

        :param after: (tasks,) losses after the network's step, NaN for missing ones.
        """
        known = self.before.isfinite() & after.isfinite()
        if not known.any():
            return

        # the gradient of sum z_i delta_i, with delta = log L - log L'
        delta = self.before[known].clamp(min=SMALLEST_LOSS).log()
        delta = delta - after[known].clamp(min=SMALLEST_LOSS).log()
        shares = torch.softmax(self.logits[known], 0)
        gradient = torch.zeros_like(self.logits)
        gradient[known] = shares * (delta - (shares * delta).sum())
        gradient = gradient + self.decay * self.logits

        # Adam, where a missing task has not been updated
        first, second = DECAYS
        updates = self.updates + 1
        mean = first * self.gradient_mean + (1 - first) * gradient
        square = second * self.gradient_square + (1 - second) * gradient.square()
        root = (square / (1 - second ** updates)).sqrt() + SMALLEST_SPREAD
        logits = self.logits - self.step_size * mean / (1 - first ** updates) / root
        for name, moved in (('logits', logits), ('gradient_mean', mean),
                            ('gradient_square', square), ('updates', updates)):
            setattr(self, name, torch.where(known, moved, getattr(self, name)))
