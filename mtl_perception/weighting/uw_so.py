# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""UW-SO: the optimum of uncertainty weighting in closed form, through a softmax."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.history import SMALLEST_LOSS
from mtl_perception.weighting.shared import Shared


class SoftOptimalUncertainty(TaskWeighting):
    r"""
    Soft optimal uncertainty weighting, :math:`w_i = e^{1 / (L_i T)} / \sum_j e^{1 / (L_j T)}`.

    Kirchdorfer et al., Analytical Uncertainty-Based Loss Weighting in Multi-Task Learning, GCPR
    2024. The weight that uncertainty weighting learns for a constant loss is proportional to
    :math:`1 / L_i`; here it is computed at every step, without parameters that lag behind, and the
    softmax bounds it. The losses in the weights count as constants.

    **Tune the temperature.** A small T gives all the weight to the task with the smallest loss, a
    large one equal weights, and where that happens depends on the units of the losses: the
    exponents are :math:`1 / (L_i T)`.

    >>> weighting = SoftOptimalUncertainty(['semantic', 'depth'], temperature=0.5)
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(1.0)}
    >>> total = weighting(losses)
    >>> {task: round(weight, 4) for task, weight in weighting.weights().items()}  # e / (e + e^2)
    {'semantic': 0.2689, 'depth': 0.7311}

    :param tasks: names of all tasks.
    :param temperature: T.
    :raises ValueError: if the temperature is not positive and finite.
    """

    def __init__(self, tasks: Sequence[str], temperature: float = 1.0) -> None:
        super().__init__(tasks)
        if not 0 < temperature < math.inf:
            raise ValueError(f'temperature is {temperature}; it must be positive')
        self.temperature = temperature

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the weighted sum of the losses, see :meth:`.TaskWeighting.forward`."""
        self.present(losses)
        means = mean_over_ranks(self.values(losses))
        exponents = 1 / (means.clamp(min=SMALLEST_LOSS) * self.temperature)

        weights = torch.softmax(exponents.masked_fill(means.isnan(), -torch.inf), 0)
        return self.weighted_sum(losses, weights)
