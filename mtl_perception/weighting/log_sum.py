# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The sum of the losses' logarithms."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting
from mtl_perception.weighting.geometric import inverse, logarithm
from mtl_perception.weighting.shared import Shared


class LogSum(TaskWeighting):
    r"""
    The sum of logarithms, :math:`\sum_i \log L_i`; the gradient of task i has the weight
    :math:`1 / L_i`.

    The plainest strategy that does not see the units of the losses. It is what uncertainty
    weighting of the form ``laplace``, and so IMTL-L, becomes when its parameters follow the
    losses at once, and the UW-O of Kirchdorfer et al., GCPR 2024. The geometric mean descends in
    the same direction: its gradient is this one times :math:`\prod_i L_i^{1/n} / n`. Under an
    optimiser that divides by the gradient's size, such as Adam, the two hardly differ.

    The total is negative once the losses are small: do not select models by it. A loss below 1e-12
    counts as 1e-12.

    >>> weighting = LogSum(['semantic', 'depth'])
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(8.0)}
    >>> round(weighting(losses).item(), 4), weighting.weights()  # log 16
    (2.7726, {'semantic': 0.5, 'depth': 0.125})

    :param tasks: names of all tasks.
    """

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the sum of the logarithms, see :meth:`.TaskWeighting.forward`."""
        tasks = self.present(losses)
        self.note_weights(tasks, inverse(self.values(losses)))
        return torch.stack([logarithm(losses[task]) for task in tasks]).sum()
