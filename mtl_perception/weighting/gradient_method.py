# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Methods from torchjd that combine the tasks' gradients instead of their losses."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks, of_first_rank
from mtl_perception.weighting.shared import (
    Shared,
    TaskGradient,
    required,
    task_gradient,
    total_with_gradient,
)

METHODS = {
    'pcgrad': 'PCGradWeighting',
    'mgda': 'MGDAWeighting',
    'imtl_g': 'IMTLGWeighting',
    'aligned_mtl': 'AlignedMTLWeighting',
    'cagrad': 'CAGradWeighting',
    'fairgrad': 'FairGradWeighting',
    'nash': 'FairGradWeighting',
}
"""Name -> class in ``torchjd.aggregation``: weights from the inner products of gradients."""

OPTIONS: dict[str, dict[str, float]] = {
    'cagrad': {'c': 0.4}, 'fairgrad': {'alpha': 2.0}, 'nash': {'alpha': 1.0}}
"""Arguments without a default; CAGrad has the value of its paper on Cityscapes."""

SCALED = ('fairgrad', 'nash')
"""Methods whose weights would depend on the units of the gradients."""


class GradientMethod(TaskWeighting):
    r"""
    Weights of the gradients at the taps, from their inner products; needs ``torchjd`` (MIT).

    - ``pcgrad``: Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020
    - ``mgda``: Sener, Koltun, Multi-Task Learning as Multi-Objective Optimization, NeurIPS 2018
    - ``imtl_g``: Liu et al., Towards Impartial Multi-Task Learning, ICLR 2021
    - ``aligned_mtl``: Senushkin et al., Independent Component Alignment for Multi-Task Learning,
      CVPR 2023
    - ``cagrad``: Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS
      2021, c = 0.4; needs ``torchjd[cagrad]``
    - ``fairgrad``: Ban, Ji, Fair Resource Allocation in Multi-Task Learning, ICML 2024, equation
      4, :math:`G w = w^{-1 / \alpha}` with the inner products G and :math:`\alpha = 2`; needs
      ``torchjd[fairgrad]``
    - ``nash``: the same with :math:`\alpha = 1`, so :math:`w_i (G w)_i = 1` for all tasks: the
      bargain of Navon et al., Multi-Task Learning as a Bargaining Game, ICML 2022, without its
      solver (ecos), which is under the GPL

    UPGrad is left out: its solver in torchjd (quadprog) is under the GPL. The last two methods get
    the inner products divided by the mean of their diagonal, a choice of ours, so that the weights
    do not depend on the units of the gradients.

    The papers take the gradients with respect to all shared parameters, which costs one backward
    pass of the encoder per task. Here they are taken with respect to the taps, which costs none
    and is an approximation (for MGDA that of Sener and Koltun's section 3.3). Decoders learn from
    their own loss with weight 1; ``weights`` returns the weights in the encoder. A task whose
    loss does not reach the taps takes no part. On several ranks the inner products are those of
    the whole batch: its gradients at the taps are those of the ranks side by side.

    :param tasks: names of all tasks.
    :param method: one of :data:`METHODS`.
    :raises ValueError: if the method is unknown or torchjd is not installed.
    """

    needs_gradients = True

    def __init__(self, tasks: Sequence[str], method: str = 'pcgrad') -> None:
        super().__init__(tasks)
        if method not in METHODS:
            raise ValueError(f'method is {method!r}; it must be one of {list(METHODS)}')
        self.scaled = method in SCALED
        try:
            from torchjd import aggregation
        except ImportError as error:
            raise ValueError(
                "torchjd is not installed; pip install 'mtl_perception[gradients]'") from error
        try:
            self.method: Any = getattr(aggregation, METHODS[method])(**OPTIONS.get(method, {}))
        except ImportError as error:
            raise ValueError(
                f"{method} needs more of torchjd ({error}); pip install "
                "'mtl_perception[gradients]'") from error

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """
        Return the sum of the losses; its gradient in the encoder is the method's.

        See :meth:`.TaskWeighting.forward`.

        :raises ValueError: also if ``shared`` is missing.
        """
        tasks = self.present(losses)
        shared = required(shared)
        gradients = [task_gradient(losses[task], shared.taps) for task in tasks]
        ones = torch.ones_like(self.last_weights)
        weights = ones.clone()

        # inner products between the tasks that reach the taps; the others keep a zero row
        reaching = [number for number, gradient in enumerate(gradients)
                    if any(part is not None for part in gradient.taps)]
        products = torch.zeros(len(self.tasks), len(self.tasks), device=weights.device)
        if reaching:
            places = torch.tensor([self.tasks.index(tasks[number]) for number in reaching])
            products[places[:, None], places] = inner_products(
                [gradients[number] for number in reaching]).to(products)
        products = mean_over_ranks(products)

        known = products.diagonal() != 0
        if known.any():
            products = products[known][:, known]
            if self.scaled:
                products = products / products.diagonal().mean()
            weights[known] = self.method(products).to(weights)
        weights = of_first_rank(weights)  # methods that draw random numbers differ between ranks

        value = self.weighted_sum({task: losses[task].detach() for task in tasks}, ones)
        self.note_weights(tasks, weights)
        batch = torch.tensor([self.tasks.index(task) for task in tasks], device=weights.device)
        return total_with_gradient(value, gradients, weights[batch], ones[batch], shared)


def inner_products(gradients: Sequence[TaskGradient]) -> Tensor:
    """Return the (tasks, tasks) float32 inner products of gradients at all taps."""
    products = []
    for parts in zip(*(gradient.taps for gradient in gradients)):
        known = next((part for part in parts if part is not None), None)
        if known is not None:
            rows = torch.stack([
                torch.zeros_like(known) if part is None else part for part in parts])
            rows = rows.reshape(len(parts), -1).float()
            products.append(rows @ rows.T)
    return torch.stack(products).sum(0)
