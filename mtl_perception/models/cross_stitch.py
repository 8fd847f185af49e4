# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-stitch networks: an encoder per task, joined after every stage."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_perception.models.encoders import Encoder
from mtl_perception.preprocessing import check_size

OTHERS = 0.1
"""Initial weight of the other tasks' features together; the task's own have the rest."""


class CrossStitchUnit(nn.Module):
    r"""
    Replace the features of every task by a learned sum of those of all tasks.

    :math:`\tilde x_i = \sum_j \alpha_{ij} x_j`, with one :math:`\alpha` per channel (Misra,
    Shrivastava, Gupta and Hebert, Cross-stitch Networks for Multi-task Learning, CVPR 2016,
    equation 1). At first it is 0.9 for the task's own features and 0.1 for those of the others, as
    in the paper for two tasks; more than two share the 0.1 equally, a choice of ours.

    :param tasks: number T of tasks.
    :param channels: number C of channels.
    """

    def __init__(self, tasks: int, channels: int) -> None:
        super().__init__()
        self.tasks = tasks
        others = OTHERS / (tasks - 1) if tasks > 1 else 0.0
        weights = torch.full((tasks, tasks, channels), others)
        weights[range(tasks), range(tasks)] = 1 - others * (tasks - 1)
        # one dimension, as a bias has: weight decay would pull the features to zero
        self.weights = nn.Parameter(weights.flatten())
        """(T T C,): the weight of task j in task i for channel c is at (i T + j) C + c."""

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """
        Return the joined features, one (N, C, h, w) per task.

        :param features: one (N, C, h, w) per task.
        """
        weights = self.weights.to(features[0].dtype).view(self.tasks, self.tasks, 1, -1, 1, 1)
        joined = []
        for row in weights:
            total = row[0] * features[0]
            for weight, other in zip(row[1:], features[1:]):
                total = torch.addcmul(total, weight, other)
            joined.append(total)
        return joined


class CrossStitchEncoder(Encoder):
    """
    One encoder per task, with a :class:`CrossStitchUnit` after every stage.

    The paper stitches AlexNets after their pooling and fully connected layers. Here a unit follows
    every stage, also those finer than the finest that is returned. Choices of ours: the encoders
    start with random or ImageNet weights, not with those of single-task trainings, and the units
    have the learning rate of the network. The paper gives them 100 to 1000 times as much under
    SGD; Adam's steps do not depend on the size of a gradient.

    :param encoders: task -> its encoder, all of one kind.
    """

    def __init__(self, encoders: Mapping[str, Encoder]) -> None:
        first = next(iter(encoders.values()))
        super().__init__(first.strides, first.widths, first.taken)
        self.encoders = nn.ModuleDict(encoders)
        self.units = nn.ModuleList(
            CrossStitchUnit(len(encoders), width) for width in self.widths)

    def plain(self) -> list[Encoder]:
        """Return the encoders of the tasks."""
        return [encoder for encoder in self.encoders.values() if isinstance(encoder, Encoder)]

    def forward(self, image: Tensor) -> list[Tensor]:
        """
        Return the stages of the first task, then those of the second, and so on.

        :param image: (N, 3, H, W) float, normalised; H and W divisible by the largest stride.
        :return: for every task one (N, C_s, H / t_s, W / t_s) per stage, finest first.
        :raises ValueError: if H or W is not divisible by the largest stride.
        """
        check_size(image.shape[-2], image.shape[-1], self.strides[-1])
        parts = zip(*(encoder.parts() for encoder in self.plain()))
        features = [image] * len(self.encoders)
        stages = []
        for index, (unit, row) in enumerate(zip(self.units, parts)):
            features = unit([part(one) for part, one in zip(row, features)])
            if index in self.taken:
                stages.append(features)
        return [stage for own in zip(*stages) for stage in own]
