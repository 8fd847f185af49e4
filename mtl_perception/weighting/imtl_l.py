# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""IMTL-L: learned scales, the same as uncertainty with the likelihood of Laplace."""

from collections.abc import Mapping, Sequence

from mtl_perception.weighting.uncertainty import UncertaintyWeights


class ImpartialLosses(UncertaintyWeights):
    r"""
    The loss balance of IMTL, :math:`\sum_i (e^{s_i} L_i - s_i)` with learned :math:`s_i`.

    Liu et al., Towards Impartial Multi-Task Learning, ICLR 2021, section 3.2, IMTL-L. With
    :math:`-s` for :math:`s` this is the form ``laplace`` of :class:`.UncertaintyWeights`, so it is
    that class under another name; ``log_variances`` holds :math:`-s_i`. Its other half, IMTL-G, is
    a method of :class:`.GradientMethod`.

    >>> import torch
    >>> weighting = ImpartialLosses(['semantic', 'depth'], initial={'depth': 1.0})
    >>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(1.0)}
    >>> round(weighting(losses).item(), 4)  # 2 + e - 1
    3.7183

    :param tasks: names of all tasks.
    :param initial: task name -> s at the beginning, 0 by default.
    :param rate: learning rate of s as a multiple of the network's.
    :raises ValueError: if a task is unknown or a number is out of range.
    """

    def __init__(
            self, tasks: Sequence[str], initial: Mapping[str, float] | None = None,
            rate: float = 10.0) -> None:
        opposite = {task: -value for task, value in (initial or {}).items()}
        super().__init__(tasks, dict.fromkeys(tasks, 'laplace'), opposite, rate)
