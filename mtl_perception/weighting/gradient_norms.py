# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Norms of the tasks' gradients at the last shared layer."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import mean_over_ranks, several_ranks
from mtl_perception.weighting.convolution import last_convolution
from mtl_perception.weighting.shared import Shared, TaskGradient, gradient_at


def gradient_norms(
        tasks: Sequence[str], gradients: Mapping[str, TaskGradient], shared: Shared) -> Tensor:
    """
    Return the (tasks,) float32 norm of each task's gradient, NaN for a task without one.

    Where the layer is a plain convolution with few positions, only the norm is computed, see
    :class:`mtl_perception.weighting.convolution.Convolution`. On several ranks it is the norm of
    their mean gradient, not the mean of their norms.

    :param tasks: names of all tasks.
    :param gradients: task of the batch -> gradient of its unweighted loss.
    :param shared: the shared features and layer.
    """
    found = torch.full((len(tasks),), math.nan, device=shared.layer.device)
    convolution = None if several_ranks() else last_convolution(shared, len(gradients))
    for number, task in enumerate(tasks):
        gradient = gradients.get(task)
        if convolution is None:
            own = None
            if gradient is not None:
                own = gradient_at(shared.layer, gradient, shared.taps)
            if own is None:  # another rank may have this task
                own = torch.full_like(shared.layer, math.nan)
            found[number] = mean_over_ranks(own.float()).norm()
        elif gradient is not None:
            found[number] = convolution.gradient_norm(gradient)
    return found
