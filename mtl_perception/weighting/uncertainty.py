# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights from the learned uncertainty of every task."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_perception.weighting.base import TaskWeighting, mean_over_ranks
from mtl_perception.weighting.shared import Shared

FORMS = ('regression', 'classification', 'laplace', 'xtasc', 'omnidet')
CLASSIFICATION = ('semantic', 'motion')
"""Tasks whose form is ``classification`` by default."""

LARGEST_LOG_VARIANCE = 10.0
"""Log variances are clamped to plus and minus this."""


class UncertaintyWeights(TaskWeighting):
    r"""
    Homoscedastic uncertainty: each task learns :math:`s = \log \sigma^2`, its log variance.

    Kendall, Gal, Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
    Geometry and Semantics, CVPR 2018, section 3. For each form, the term that a task adds to the
    total, and the weight of the task's loss once s has converged:

    - ``regression`` (Gaussian): :math:`e^{-s} L / 2 + s / 2`, weight :math:`1 / (2 L)`
    - ``classification`` (softmax): :math:`e^{-s} L + s / 2`, weight :math:`1 / (2 L)`
    - ``laplace``, the likelihood of an L1 loss with :math:`s = \log b`: :math:`e^{-s} L + s`,
      weight :math:`1 / L`
    - ``xtasc``, as the authors of XTasC-Net compute it: :math:`e^{-s} L / 2 + s`, weight
      :math:`1 / L`
    - ``omnidet`` (Kumar et al., OmniDet, RA-L 2021): :math:`e^{-s} L / 2 + \log(1 + e^s)`, never
      negative

    The total may be negative: do not select models by it. The log variance of a task that is
    missing from a batch does not change.

    >>> weighting = UncertaintyWeights(['semantic', 'depth'])  # both log variances are 0
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(2.0)}
    >>> weighting(losses).item(), weighting.weights()
    (3.0, {'semantic': 1.0, 'depth': 0.5})

    :param tasks: names of all tasks.
    :param forms: task name -> form; by default classification for semantic and motion,
        regression for all others.
    :param initial: task name -> log variance at the beginning, 0 by default.
    :param rate: learning rate of the log variances as a multiple of the network's. Adam moves a
        parameter by about its learning rate per step, and log variances have far to move.
    :raises ValueError: if a task or a form is unknown or a number is out of range.
    """

    def __init__(
            self, tasks: Sequence[str], forms: Mapping[str, str] | None = None,
            initial: Mapping[str, float] | None = None, rate: float = 10.0) -> None:
        super().__init__(tasks)

        forms = forms or {}
        initial = initial or {}
        self.refuse_unknown(forms, 'forms')
        self.refuse_unknown(initial, 'initial')
        for task, form in forms.items():
            if form not in FORMS:
                raise ValueError(f'forms of {task!r} is {form!r}; it must be one of {FORMS}')

        for task, value in initial.items():
            if not abs(value) <= LARGEST_LOG_VARIANCE:
                raise ValueError(
                    f'initial of {task!r} is {value}; a log variance lies between '
                    f'{-LARGEST_LOG_VARIANCE} and {LARGEST_LOG_VARIANCE}')
        if not 0 < rate < math.inf:
            raise ValueError(f'rate is {rate}; it must be positive')

        self.rate = rate
        self.forms = {
            task: forms.get(task, 'classification' if task in CLASSIFICATION else 'regression')
            for task in self.tasks}
        self.log_variances = nn.ParameterDict({
            task: nn.Parameter(torch.tensor(float(initial.get(task, 0.0))))
            for task in self.tasks})

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """Return the negative log likelihood, see :meth:`.TaskWeighting.forward`."""
        self.present(losses)  # raises for losses that cannot be weighted

        # The optimiser's last step may have left the range.
        with torch.no_grad():
            for parameter in self.log_variances.values():
                parameter.clamp_(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)

        # The network learns from the sum of e^-s L, with s held fixed.
        factors = [self.factor(task) for task in self.tasks]
        total = self.weighted_sum(losses, torch.stack(factors).detach())

        # s learns from the mean loss of all ranks, so it stays the same on all of them.
        # factor - factor.detach() is 0: it adds a gradient for s and leaves the total unchanged.
        means = mean_over_ranks(self.values(losses))
        for task, factor, mean in zip(self.tasks, factors, means):
            if not mean.isnan():
                total = total + (factor - factor.detach()) * mean + self.penalty(task)
        return total

    def factor(self, task: str) -> Tensor:
        """Return the 0-dimensional weight of a task's loss."""
        precision: Tensor = torch.exp(-self.log_variances[task])
        half = self.forms[task] in ('regression', 'xtasc', 'omnidet')
        return precision / 2 if half else precision

    def penalty(self, task: str) -> Tensor:
        """Return the 0-dimensional term that keeps the variance from growing without bound."""
        value: Tensor = self.log_variances[task]
        form = self.forms[task]
        if form == 'omnidet':
            return nn.functional.softplus(value)
        return value if form in ('laplace', 'xtasc') else value / 2
