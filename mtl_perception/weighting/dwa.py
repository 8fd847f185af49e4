# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Dynamic weight average: more weight for tasks whose losses fall slowly."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.history import MeanLosses, ratio
from mtl_perception.weighting.shared import Shared


class DynamicWeightAverage(TaskWeighting):
    r"""
    Weights from how the losses changed, :math:`K e^{r_i / T} / \sum_j e^{r_j / T}`.

    Liu, Johns, Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019:
    :math:`r_i = \tilde L_i(t-1) / \tilde L_i(t-2)` compares the mean losses of the two epochs
    before. All weights are 1 in the first two epochs. Choices of ours: a task that is missing from
    an epoch keeps its last two means, and a task with fewer than two has r = 1.

    >>> weighting = DynamicWeightAverage(['semantic', 'depth'], temperature=1.0)
    >>> for semantic in (1.0, 0.5):  # falls to a half, depth stays
    ...     total = weighting({'semantic': torch.tensor(semantic), 'depth': torch.tensor(1.0)})
    ...     weighting.end_epoch()
    >>> total = weighting({'semantic': torch.tensor(0.5), 'depth': torch.tensor(1.0)})
    >>> {task: round(weight, 3) for task, weight in weighting.weights().items()}
    {'semantic': 0.755, 'depth': 1.245}

    :param tasks: names of all tasks, K of them.
    :param temperature: T; the larger, the nearer to equal weights.
    :raises ValueError: if the temperature is not positive.
    """

    past: Tensor

    def __init__(self, tasks: Sequence[str], temperature: float = 2.0) -> None:
        super().__init__(tasks)
        if not temperature > 0:
            raise ValueError(f'temperature is {temperature}; it must be positive')
        self.temperature = temperature
        self.epoch = MeanLosses(len(self.tasks))
        self.register_buffer('past', torch.full((2, len(self.tasks)), math.nan))

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the weighted sum of the losses, see :meth:`.TaskWeighting.forward`."""
        self.present(losses)
        self.epoch.add(self.values(losses))

        # r_i = L_i(t-1) / L_i(t-2), then K softmax(r / T)
        change = ratio(self.past[1], self.past[0]).nan_to_num(nan=1.0)
        weights = len(self.tasks) * torch.softmax(change / self.temperature, 0)
        return self.weighted_sum(losses, weights)

    def end_epoch(self) -> None:
        """Roll the history of mean losses."""
        means = mean_over_ranks(self.epoch.means())
        self.past = torch.where(means.isnan(), self.past, torch.stack((self.past[1], means)))
        self.epoch.clear()
