# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random loss weighting: weights that are drawn anew at every step."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, of_first_rank
from mtl_perception.weighting.shared import Shared

STRIDE = 1_000_003
"""Distance between the random numbers of two seeds, in steps."""


class RandomWeights(TaskWeighting):
    r"""
    Random loss weighting: at every step, :math:`w = \mathrm{softmax}(v)` with :math:`v \sim N(0,
    I)`.

    Lin et al., Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning, TMLR 2022, algorithm 2. On average it weights all tasks equally. A strategy that is
    not better than this one does not owe its result to its weights.

    The weights of the tasks in a batch add up to 1. Each step's draw depends on the seed and the
    number of draws before it, so a resumed training continues as if it had not stopped.

    >>> weighting = RandomWeights(['semantic', 'depth'])
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(8.0)}
    >>> first, second = float(weighting(losses)), float(weighting(losses))
    >>> 2 < first < 8, 2 < second < 8, first == second
    (True, True, False)

    :param tasks: names of all tasks.
    :param seed: of the draws, 0 or more.
    :raises ValueError: if the seed is negative.
    """

    draws: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks)
        if seed < 0:
            raise ValueError(f'seed is {seed}; it must be 0 or more')
        self.seed = seed
        self.register_buffer('draws', torch.zeros((), dtype=torch.long))

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the weighted sum of the losses, see :meth:`.TaskWeighting.forward`."""
        self.present(losses)
        generator = torch.Generator().manual_seed(self.seed * STRIDE + int(self.draws))
        drawn = torch.randn(len(self.tasks), generator=generator).to(self.last_weights)
        self.draws += 1

        missing = self.values(losses).isnan()
        weights = torch.softmax(of_first_rank(drawn).masked_fill(missing, -torch.inf), 0)
        return self.weighted_sum(losses, weights)
