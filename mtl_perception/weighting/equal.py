# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Equal weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting
from mtl_perception.weighting.shared import Shared


class EqualWeights(TaskWeighting):
    """
    The plain sum of all losses.

    The baseline of every paper on weighting. The units of the losses decide which task dominates:
    multiplying one loss by a constant changes the direction of descent.

    >>> weighting = EqualWeights(['semantic', 'depth'])
    >>> float(weighting({'semantic': torch.tensor(2.0), 'depth': torch.tensor(0.5)}))
    2.5

    :param tasks: names of all tasks.
    """

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the sum of the losses, see :meth:`.TaskWeighting.forward`."""
        self.present(losses)
        return self.weighted_sum(losses, torch.ones_like(self.last_weights))
