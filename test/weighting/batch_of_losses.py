# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of chosen values, with a graph down to a shared layer."""

import torch
from torch import nn

from mtl_perception.weighting import Shared

TASKS = ['semantic', 'depth', 'motion']


class Losses(dict):
    """
    Task -> loss of that value; ``own[task]`` is a leaf whose gradient is the loss's weight.

    The gradient of a loss with respect to the shared layer, which is 1, is the loss itself.
    """

    def __init__(self, dtype=torch.float32, **values):
        layer = nn.Parameter(torch.ones((), dtype=dtype))
        tap = layer * 1
        self.own = {task: torch.tensor(value, dtype=dtype, requires_grad=True)
                    for task, value in values.items()}
        super().__init__({task: leaf * tap for task, leaf in self.own.items()})
        self.shared = Shared([tap], layer)

    def total(self, weighting):
        return weighting(self, self.shared)


def step(weighting, **values):
    """Give a strategy one batch and return its weights."""
    Losses(**values).total(weighting).backward()
    return weighting.weights()
