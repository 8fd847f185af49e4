# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Constant weights, set by hand or computed from the first losses."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.history import initial_losses, ratio
from mtl_perception.weighting.shared import Shared


class HandcraftedWeights(TaskWeighting):
    r"""
    Weights that bring all losses to one scale, :math:`w_i = L_r(0) / L_i(0)`, constant afterwards.

    Leang et al., Dynamic Task Weighting Methods for Multi-task Networks in Autonomous Driving
    Systems, ITSC 2020, equations 3 and 4, where the reference r is detection. The initial loss is
    the running mean of a task's first losses, which the paper takes from "the first iterations";
    after ``steps`` of them it is fixed. Until a task and the reference have been seen, the task's
    weight is 1.

    >>> weighting = HandcraftedWeights(['semantic', 'depth'], reference='depth', steps=1)
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(8.0)}
    >>> float(weighting(losses)), weighting.weights()  # 4 * 2 + 1 * 8
    (16.0, {'semantic': 4.0, 'depth': 1.0})

    :param tasks: names of all tasks.
    :param weights: task name -> weight, to set them all by hand; None computes them.
    :param reference: task whose weight is 1; empty for detection, or the first task if there is
        no detection.
    :param steps: number of losses that the initial loss is the mean of.
    :raises ValueError: if a task is unknown or has no weight, or a number is not positive.
    """

    fixed: Tensor | None

    def __init__(
            self, tasks: Sequence[str], weights: Mapping[str, float] | None = None,
            reference: str = '', steps: int = 20) -> None:
        super().__init__(tasks)
        self.reference = reference_of(self, reference)
        self.initial = initial_losses(len(self.tasks), steps)

        fixed = None
        if weights is not None:
            self.refuse_unknown(weights, 'weights')
            if missing := [task for task in self.tasks if task not in weights]:
                raise ValueError(f'weights has none for {missing}; give one for every task')
            if not all(0 < value < math.inf for value in weights.values()):
                raise ValueError(
                    f'weights is {dict(weights)}; all must be positive and finite')
            fixed = torch.tensor([float(weights[task]) for task in self.tasks])
        self.register_buffer('fixed', fixed, persistent=False)

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the weighted sum of the losses, see :meth:`.TaskWeighting.forward`."""
        self.present(losses)
        if self.fixed is not None:
            return self.weighted_sum(losses, self.fixed)

        self.initial.add(mean_over_ranks(self.values(losses)))
        means = self.initial.means()
        return self.weighted_sum(losses, ratio(means[self.reference], means).nan_to_num(nan=1.0))


def reference_of(weighting: TaskWeighting, name: str) -> int:
    """
    Return the index of the reference task.

    :param weighting: strategy whose tasks are searched.
    :param name: a task; empty for detection, or the first task if there is no detection.
    :raises ValueError: if it is unknown.
    """
    if name:
        weighting.refuse_unknown([name], 'reference')
        return weighting.tasks.index(name)
    return weighting.tasks.index('detection') if 'detection' in weighting.tasks else 0
