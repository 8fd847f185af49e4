# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The geometric loss strategy of MultiNet++."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting
from mtl_perception.weighting.history import SMALLEST_LOSS
from mtl_perception.weighting.shared import Shared


class GeometricMean(TaskWeighting):
    r"""
    Geometric loss strategy, :math:`\prod_i L_i^{1/n}`.

    Chennupati et al., MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy
    for Multi-Task Learning, CVPRW 2019, equation 1. There is nothing to tune: multiplying one loss
    by a constant does not change the direction of descent. The gradient of task i has the weight
    :math:`L / (n L_i)`.

    It is computed as the exponential of the mean logarithm in float32, because the product of
    small losses underflows; a loss below 1e-12 counts as 1e-12. A task without labels in the
    batch drops out and n shrinks.

    >>> weighting = GeometricMean(['semantic', 'depth'])
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(8.0)}
    >>> round(float(weighting(losses)), 4)  # sqrt(2 * 8)
    4.0

    :param tasks: names of all tasks.
    """

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the geometric mean of the losses, see :meth:`.TaskWeighting.forward`."""
        tasks = self.present(losses)
        total = geometric_mean([losses[task] for task in tasks])
        self.note_weights(tasks, total / len(tasks) * inverse(self.values(losses)))
        return total


def inverse(values: Tensor) -> Tensor:
    """Return 1 / values, and 0 for losses that are clamped and therefore have no gradient."""
    return torch.where(values < SMALLEST_LOSS, 0.0, 1 / values.clamp(min=SMALLEST_LOSS))


def geometric_mean(losses: list[Tensor]) -> Tensor:
    """Return the 0-dimensional float32 geometric mean of positive losses."""
    return torch.stack([logarithm(loss) for loss in losses]).mean().exp()


def logarithm(loss: Tensor) -> Tensor:
    """Return the float32 logarithm of a positive loss, clamped where it is tiny."""
    return loss.float().clamp(min=SMALLEST_LOSS).log()
