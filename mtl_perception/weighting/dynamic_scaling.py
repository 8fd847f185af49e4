# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Dynamic task loss scaling: weights from the losses of the last epoch."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.handcrafted import reference_of
from mtl_perception.weighting.history import MeanLosses, ratio
from mtl_perception.weighting.shared import Shared


class DynamicScaling(TaskWeighting):
    r"""
    Losses on one scale in every epoch, :math:`w_i(t) = \tilde L_r(t-1) / \tilde L_i(t-1)`.

    Leang et al., Dynamic Task Weighting Methods for Multi-task Networks in Autonomous Driving
    Systems, ITSC 2020, equations 5 and 6, where the reference r is detection and has weight 1.
    :math:`\tilde L` is the mean of a task's unweighted losses in an epoch. All weights are 1 in
    the first epoch. A task that learns fast gets ever more weight, the opposite of the usual aim:
    in the paper, detection on KITTI collapses.

    >>> weighting = DynamicScaling(['semantic', 'depth'], reference='depth')
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(8.0)}
    >>> total = weighting(losses)
    >>> weighting.end_epoch()
    >>> float(weighting(losses)), weighting.weights()  # 4 * 2 + 1 * 8
    (16.0, {'semantic': 4.0, 'depth': 1.0})

    :param tasks: names of all tasks.
    :param reference: task whose weight is 1; empty for detection, or the first task if there is
        no detection.
    :raises ValueError: if the reference is unknown.
    """

    current: Tensor

    def __init__(self, tasks: Sequence[str], reference: str = '') -> None:
        super().__init__(tasks)
        self.reference = reference_of(self, reference)
        self.epoch = MeanLosses(len(self.tasks))
        self.register_buffer('current', torch.ones(len(self.tasks)))

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the weighted sum of the losses, see :meth:`.TaskWeighting.forward`."""
        self.present(losses)
        self.epoch.add(self.values(losses))
        return self.weighted_sum(losses, self.current)

    def end_epoch(self) -> None:
        """Compute the new weights; a task that was missing from the epoch keeps its weight."""
        means = mean_over_ranks(self.epoch.means())
        found = ratio(means[self.reference], means)
        self.current = torch.where(found.isnan(), self.current, found)
        self.epoch.clear()
