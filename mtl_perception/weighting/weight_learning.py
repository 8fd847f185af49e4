# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that are learned like parameters of the network."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.history import initial_losses, ratio
from mtl_perception.weighting.shared import Shared


class WeightLearning(TaskWeighting):
    r"""
    One learned parameter, :math:`\alpha L_1 + (1 - \alpha) L_2` with :math:`\alpha = \sigma(w)`.

    Leang et al., Dynamic Task Weighting Methods for Multi-task Networks in Autonomous Driving
    Systems, ITSC 2020, equations 8 and 9. For more than two tasks the weights are the softmax of
    one parameter each, a choice of ours. The total alone drives the parameters, and
    :math:`dL / dw = \alpha (1 - \alpha) (L_1 - L_2)`: weight drifts to the task with the smaller
    loss until the other task hardly counts. The two options against that are ours and off by
    default.

    The weights of the tasks in a batch add up to 1.

    >>> weighting = WeightLearning(['semantic', 'depth'])
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(0.5)}
    >>> weighting(losses).item()  # alpha = 1 / 2
    1.25

    :param tasks: names of all tasks.
    :param smallest: no weight falls below this.
    :param normalise: whether each loss is divided by its initial one, the running mean of its
        first 20 losses; the drift is then towards the task that has improved most.
    :raises ValueError: if ``smallest`` is negative or too large for the number of tasks.
    """

    def __init__(
            self, tasks: Sequence[str], smallest: float = 0.0, normalise: bool = False) -> None:
        super().__init__(tasks)
        if not 0 <= smallest < 1 / len(self.tasks):
            raise ValueError(
                f'smallest is {smallest}; it must be at least 0 and below 1 / {len(self.tasks)}, '
                'one over the number of tasks')
        self.smallest = smallest
        self.initial = initial_losses(len(self.tasks), 20) if normalise else None
        free = self.tasks if len(self.tasks) > 2 else self.tasks[:-1]
        self.logits = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in free})

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the weighted sum of the losses, see :meth:`.TaskWeighting.forward`."""
        self.present(losses)  # raises for losses that cannot be weighted
        means = mean_over_ranks(self.values(losses))
        scale = torch.ones_like(means)
        if self.initial is not None:
            self.initial.add(means)
            scale = ratio(torch.ones_like(means), self.initial.means())

        total = self.weighted_sum(
            losses, self.shares([task in losses for task in self.tasks]).detach() * scale)

        # w learns from the mean losses of all ranks, so it stays the same on all of them.
        # learned - learned.detach() is 0: it adds a gradient for w and leaves the total unchanged.
        learned = self.shares((~means.isnan()).tolist())
        return total + ((learned - learned.detach()) * (scale * means).nan_to_num(nan=0.0)).sum()

    def shares(self, present: Sequence[bool]) -> Tensor:
        """
        Return the (tasks,) weights, which add up to 1 over the tasks of the batch.

        :param present: for each of ``tasks``, whether the batch has it; at least one.
        """
        names = [task for task, known in zip(self.tasks, present) if known]
        zero = torch.zeros_like(self.last_weights[0])
        logits = [self.logits.get(task, zero) for task in names]
        free = torch.softmax(torch.stack(logits), 0)
        shares = dict(zip(names, self.smallest + (1 - len(names) * self.smallest) * free))
        return torch.stack([shares.get(task, zero) for task in self.tasks])
