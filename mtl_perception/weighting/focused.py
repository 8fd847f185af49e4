# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The focused loss strategy of MultiNet++."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting
from mtl_perception.weighting.geometric import geometric_mean, inverse
from mtl_perception.weighting.shared import Shared


class FocusedGeometricMean(TaskWeighting):
    r"""
    Focused loss strategy, :math:`\prod_{i \le n} L_i^{1/n} \prod_{j \le m} L_j^{1/m}`.

    Chennupati et al., MultiNet++, CVPRW 2019, equation 3: the geometric mean of all losses times
    that of the m focused ones. The gradient of task i has the weight
    :math:`L (1 / (n L_i) + [i \le m] / (m L_i))`.

    The total is of the second degree in the losses, so it changes faster than the geometric mean;
    ``normalise`` takes its square root, a choice of ours. Without a focused task in the batch it
    is the geometric mean of the others, or its square root.

    >>> weighting = FocusedGeometricMean(['semantic', 'depth'], focus=['semantic'])
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(8.0)}
    >>> round(float(weighting(losses)), 4)  # sqrt(2 * 8) * 2
    8.0

    :param tasks: names of all tasks.
    :param focus: the focused tasks; empty for the first of ``tasks``.
    :param normalise: whether the square root is taken.
    :raises ValueError: if a focused task is unknown.
    """

    def __init__(
            self, tasks: Sequence[str], focus: Sequence[str] = (),
            normalise: bool = False) -> None:
        super().__init__(tasks)
        self.refuse_unknown(focus, 'focus')
        self.focus = tuple(focus) or self.tasks[:1]
        self.normalise = normalise

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the product of the two means, see :meth:`.TaskWeighting.forward`."""
        tasks = self.present(losses)
        focused = [task for task in tasks if task in self.focus]
        total = geometric_mean([losses[task] for task in tasks])
        if focused:
            total = total * geometric_mean([losses[task] for task in focused])

        # dL / dL_i = L share_i / L_i, with share_i = 1 / n + [i focused] / m
        shares = torch.tensor([
            1 / len(tasks) + (1 / len(focused) if task in focused else 0)
            for task in self.tasks]).to(self.last_weights)
        if self.normalise:
            total = total.sqrt()
            shares = shares / 2
        self.note_weights(tasks, total * shares * inverse(self.values(losses)))
        return total
