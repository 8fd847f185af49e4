# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""GradNorm: weights that balance the sizes of the tasks' gradients at the shared layers."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.gradient_norms import gradient_norms
from mtl_perception.weighting.history import initial_losses, ratio
from mtl_perception.weighting.shared import (
    Shared,
    required,
    task_gradient,
    total_with_gradient,
)

SMALLEST_WEIGHT = 1e-3
"""No weight falls below this: a negative one would reverse a task's gradient."""


class GradNorm(TaskWeighting):
    r"""
    Gradient normalisation.

    Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
    Networks, ICML 2018, equations 1 and 2 and algorithm 1. With :math:`n_i` the norm of the
    gradient of loss i with respect to the last shared layer, :math:`G_i = w_i n_i`, the weights
    descend :math:`\sum_i |G_i - \bar G r_i^\alpha|`, where :math:`r_i` is the loss's ratio to its
    initial one over the mean of these ratios, and the target counts as constant. Its gradient is
    :math:`\mathrm{sign}(G_i - \bar G r_i^\alpha) n_i`; no second backward pass is needed.

    Choices of ours: the initial loss is the running mean of the first ``steps`` losses. The step
    is taken in units of the mean of :math:`n_i`, so the units of the losses do not matter. Weights
    do not fall below 0.001, and they add up to the number of tasks. The gradient of each decoder
    is computed once, down to the taps, so the encoder needs a single backward pass. Where the
    layer is a plain convolution with few positions, only the norm is computed, see
    :class:`mtl_perception.weighting.convolution.Convolution`. A task that does not depend on the
    layer keeps its weight and takes no part.

    In an encoder with several taps the last shared layer sees only the part of a gradient that
    comes through the taps behind it.

    >>> weighting = GradNorm(['semantic', 'depth'], alpha=0.0, rate=0.1)
    >>> weighting.descend(norms=torch.tensor([4.0, 1.0]), progress=torch.ones(2))
    >>> [round(weight, 3) for weight in weighting.current.tolist()]  # 0.84 and 1.04, scaled to 2
    [0.894, 1.106]

    :param tasks: names of all tasks.
    :param alpha: how strongly slow tasks are favoured, 0 for equal norms; 1.5 is the paper's value
        for NYUv2, 0.16 that of XTasC-Net.
    :param rate: step size of the weights' descent.
    :param steps: number of losses that the initial loss is the mean of.
    :raises ValueError: if a number is out of range.
    """

    current: Tensor
    needs_gradients = True

    def __init__(
            self, tasks: Sequence[str], alpha: float = 1.5, rate: float = 0.025,
            steps: int = 20) -> None:
        super().__init__(tasks)
        if not 0 <= alpha < math.inf:
            raise ValueError(f'alpha is {alpha}; it must be 0 or more')
        if not 0 < rate < math.inf:
            raise ValueError(f'rate is {rate}; it must be positive')

        self.alpha = alpha
        self.step_size = rate
        self.initial = initial_losses(len(self.tasks), steps)
        self.register_buffer('current', torch.ones(len(self.tasks)))

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """
        Return the weighted sum of the losses, then take a step with the weights.

        See :meth:`.TaskWeighting.forward`.

        :raises ValueError: also if ``shared`` is missing.
        """
        tasks = self.present(losses)
        shared = required(shared)
        value = self.weighted_sum(
            {task: loss.detach() for task, loss in losses.items()}, self.current)
        gradients = [task_gradient(losses[task], shared.taps) for task in tasks]
        weights = torch.stack([self.current[self.tasks.index(task)] for task in tasks])
        total = total_with_gradient(value, gradients, weights, weights, shared)

        # the step comes after the total, so this batch still has the old weights
        norms = gradient_norms(self.tasks, dict(zip(tasks, gradients)), shared)
        means = mean_over_ranks(self.values(losses))
        self.initial.add(means)
        self.descend(norms, ratio(means, self.initial.means()))
        return total

    def descend(self, norms: Tensor, progress: Tensor) -> None:
        """
        Take one step with the weights.

        :param norms: (tasks,) norms of the unweighted gradients, NaN for tasks that do not take
            part. If one is infinite, the weights do not change.
        :param progress: (tasks,) losses divided by their initial ones.
        """
        known = ~norms.isnan()
        if not known.any() or norms[known].isinf().any() or not norms[known].sum() > 0:
            return

        # w_i - rate * dL_grad / dw_i, in units of the mean norm; then scaled to the old sum
        weights = self.current[known]
        gradient = weight_gradient(weights, norms[known], progress[known], self.alpha)
        moved = weights - self.step_size * gradient / norms[known].mean()
        moved = moved.clamp(min=SMALLEST_WEIGHT)
        current = self.current.clone()
        current[known] = moved * (len(self.tasks) - current[~known].sum()) / moved.sum()
        self.current = current


def weight_gradient(weights: Tensor, norms: Tensor, progress: Tensor, alpha: float) -> Tensor:
    """
    Return the gradient of GradNorm's own loss with respect to the weights.

    >>> ones = torch.ones(2)
    >>> weight_gradient(ones, norms=torch.tensor([3.0, 1.0]), progress=ones, alpha=0.0)
    tensor([ 3., -1.])

    :param weights: (tasks,) positive.
    :param norms: (tasks,) norms of the gradients of the unweighted losses.
    :param progress: (tasks,) losses divided by their initial ones.
    :param alpha: exponent of the relative progress.
    """
    # sign(G_i - G_mean r_i^alpha) n_i
    weighted = weights * norms
    target = weighted.mean() * (progress / progress.mean()) ** alpha
    return torch.sign(weighted - target) * norms
