# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MTAN: every task attends to its part of the shared features."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class TaskAttention(nn.Module):
    r"""
    Multiply the shared features by a mask of each task (Liu, Johns and Davison, MTAN, CVPR 2019).

    End-to-End Multi-Task Learning with Attention, section 3.2: for task i and stage j, from the
    finest on,

    .. math::

        \hat a_i^{(j)} = a_i^{(j)} \odot p^{(j)}, \qquad
        a_i^{(j)} = h_i^{(j)}(g_i^{(j)}([u^{(j)}; f^{(j)}(\hat a_i^{(j-1)})]))

    g and h are 1x1 convolutions with batch normalisation, followed by ReLU and by a sigmoid; f is
    a 3x3 convolution with batch normalisation and ReLU, and max pooling. As in the authors' code,
    f is the same for all tasks, and g has as many channels as the stage.

    The paper takes u and p from the first and the last convolution of a stage, and its decoder has
    masks too. Choices of ours: u and p are both the stage, since our encoders return one map each,
    and the decoders are those of the recipe. The masks read what all decoders would read without
    them: the joined features of all frames, after the pyramid or the ASPP if there is one.

    :param channels: channels of each stage, finest first; each stage has twice the stride of the
        one before.
    :param reads: task -> number of stages that its decoder needs; coarser ones get no mask.
    """

    def __init__(self, channels: Sequence[int], reads: Mapping[str, int]) -> None:
        super().__init__()
        self.masks = nn.ModuleDict({
            task: nn.ModuleList(
                _mask(2 * count if index else count, count)
                for index, count in enumerate(channels[:needed]))
            for task, needed in reads.items()})
        self.extract = nn.ModuleList(
            nn.Sequential(nn.Conv2d(finer, coarser, 3, padding=1), nn.BatchNorm2d(coarser),
                          nn.ReLU())
            for finer, coarser in itertools.pairwise(channels[:max(reads.values())]))

    def forward(self, task: str, stages: Sequence[Tensor]) -> list[Tensor]:
        """
        Return what the decoder of a task reads, one map per stage that it needs.

        :param task: its name.
        :param stages: the shared features, one (N, C_s, H / t_s, W / t_s) per stage, finest first.
        """
        masks = self.masks[task]
        assert isinstance(masks, nn.ModuleList)
        attended: list[Tensor] = []
        for index, (mask, stage) in enumerate(zip(masks, stages)):
            read = stage
            if index:
                finer = functional.max_pool2d(self.extract[index - 1](attended[-1]), 2)
                read = torch.cat((stage, finer), dim=1)
            attended.append(mask(read) * stage)
        return attended


def _mask(read: int, channels: int) -> nn.Sequential:
    """Return g and h: two 1x1 convolutions with batch norm, then ReLU and a sigmoid."""
    return nn.Sequential(
        nn.Conv2d(read, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.Sigmoid())
