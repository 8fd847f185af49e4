# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""DB-MTL: logarithms of the losses, and gradients of one size in the encoder."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.gradient_norms import gradient_norms
from mtl_perception.weighting.history import SMALLEST_LOSS
from mtl_perception.weighting.shared import (
    Shared,
    required,
    task_gradient,
    total_with_gradient,
)


class DualBalancing(TaskWeighting):
    r"""
    Dual balancing: the losses by their logarithms, the gradients by their norms.

    Lin et al., Dual-Balancing for Multi-Task Learning, arXiv 2308.12029, algorithm 1 with
    :math:`\beta = 0`, which keeps no running mean of the gradients. Decoders learn from
    :math:`\log L_i`. In the encoder the gradient :math:`g_i` of each :math:`\log L_i` is brought
    to the norm of the largest, :math:`\sum_i g_i \max_j |g_j| / |g_i|`. ``weights`` returns the
    weights of the losses in the encoder, :math:`\max_j |g_j| / (|g_i| L_i)`. There is nothing to
    tune.

    Choices of ours: the norms are those at the last shared layer instead of all shared parameters,
    which costs no more than :class:`.GradNorm` does, see there; on several ranks they are those of
    the mean gradient. A task that does not reach that layer keeps the weight :math:`1 / L_i`. The
    total, :math:`\sum_i \log L_i`, may be negative: do not select models by it.

    >>> layer = torch.nn.Parameter(torch.ones(2))
    >>> taps = [layer * 1]
    >>> losses = {'semantic': (taps[0] * torch.tensor([3.0, 1.0])).sum(),  # 4, gradient (3, 1)
    ...           'depth': (taps[0] * torch.tensor([1.0, -3.0])).abs().sum()}  # 4, gradient (1, 3)
    >>> weighting = DualBalancing(['semantic', 'depth'])
    >>> weighting({**losses, 'depth': 10 * losses['depth']}, Shared(taps, layer)).backward()
    >>> weighting.weights(), layer.grad.tolist()
    ({'semantic': 0.25, 'depth': 0.02500000037252903}, [1.0, 1.0])

    :param tasks: names of all tasks.
    """

    needs_gradients = True

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """
        Return the sum of the logarithms; its gradient in the encoder is the balanced one.

        See :meth:`.TaskWeighting.forward`.

        :raises ValueError: also if ``shared`` is missing.
        """
        tasks = self.present(losses)
        shared = required(shared)
        gradients = [task_gradient(losses[task], shared.taps) for task in tasks]
        norms = gradient_norms(self.tasks, dict(zip(tasks, gradients)), shared)

        # |g| = |grad L| / L, and max |g| / |g| where it is known
        means = mean_over_ranks(self.values(losses)).clamp(min=SMALLEST_LOSS)
        sizes = norms.to(means) / means
        known = sizes.isfinite() & (sizes > 0)
        factors = torch.ones_like(means)
        if known.any():
            factors[known] = sizes[known].max() / sizes[known]

        self.note_weights(tasks, factors / means)
        batch = torch.tensor([self.tasks.index(task) for task in tasks], device=means.device)
        value = self.values(losses)[batch].clamp(min=SMALLEST_LOSS).log().sum()
        return total_with_gradient(
            value, gradients, (factors / means)[batch], 1 / means[batch], shared)
