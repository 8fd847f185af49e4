# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Equal weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting


class EqualWeights(TaskWeighting):
    """
    The plain sum of all losses.

    The baseline of every paper on weighting. What the tasks' losses are measured in decides who
    is heard: multiplying one loss by a constant changes the direction of descent.

    :param tasks: names of all tasks.
    """

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the losses, see :meth:`TaskWeighting.forward`."""
        tasks = self.present(losses)
        self.note_weights({task: torch.ones(()) for task in tasks})
        return torch.stack([losses[task].float() for task in tasks]).sum()
