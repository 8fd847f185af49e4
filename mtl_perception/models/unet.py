# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The decoder of a U-Net, as in XTasC-Net."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNetDecoder(nn.Module):
    """
    Decode the stages of an encoder from the coarsest to the finest.

    One block per stage: the block before it, concatenated with the stage, goes through three 3x3
    convolutions of 128 channels with batch normalisation and ReLU and is enlarged by two; a 1x1
    convolution without bias makes the outputs (Nakano, Chen and Demachi, Cross-Task Consistency
    Learning Framework for Multi-Task Learning, 2021, section IV-A). The paper's five blocks are
    those of the strides 32 to 2. As in the authors' code, a block is enlarged bilinearly with
    aligned corners.

    :param channels: channels of each stage, finest first, all frames counted.
    :param outputs: number K of output channels.
    :param finest_stride: stride of the first stage, by which the result is enlarged. The 1x1
        convolution comes before that instead of after it, which gives the same for less.
    :param initial: constant that is added to every output, such as the logarithm of a usual
        depth; not a parameter.
    :param width: channels of the convolutions.
    """

    WIDTH = 128

    def __init__(
        self, channels: Sequence[int], outputs: int, finest_stride: int = 2,
        initial: float = 0.0, width: int = WIDTH,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.initial = initial
        self.finest_stride = finest_stride
        above = [width] * (len(channels) - 1) + [0]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *_layer(count + more, width), *_layer(width, width), *_layer(width, width))
            for count, more in zip(channels, above))
        self.score = nn.Conv2d(width, outputs, 1, bias=False)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """
        Return the (N, K, H, W) float32 output.

        :param stages: one (N, C_s, H / t_s, W / t_s) per stage, finest first.
        """
        found: Tensor = self.blocks[-1](stages[-1])
        for index in range(len(stages) - 2, -1, -1):
            found = self.blocks[index](torch.cat((enlarged(found, 2), stages[index]), dim=1))
        with torch.autocast(found.device.type, enabled=False):
            result: Tensor = enlarged(self.score(found.float()), self.finest_stride)
            return result + self.initial


def enlarged(values: Tensor, factor: int) -> Tensor:
    """Return (N, C, factor * h, factor * w), bilinear with aligned corners."""
    return functional.interpolate(
        values, scale_factor=float(factor), mode='bilinear', align_corners=True)


def _layer(channels: int, width: int) -> list[nn.Module]:
    """Return a 3x3 convolution with bias, batch normalisation and ReLU."""
    return [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
