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

    One block per stage: the output of the coarser block is concatenated with the stage, passes
    three 3x3 convolutions of 128 channels with batch normalisation and ReLU, and is upsampled by
    two. A 1x1 convolution without bias gives the outputs (Nakano, Chen and Demachi, Cross-Task
    Consistency Learning Framework for Multi-Task Learning, 2021, section IV-A). The paper's five
    blocks are those of the strides 32 to 2. As in the authors' code, upsampling is bilinear with
    aligned corners.

    :param channels: channels of each stage, finest first, summed over all frames.
    :param outputs: number K of output channels.
    :param finest_stride: stride of the first stage, by which the result is upsampled. The 1x1
        convolution comes before that step and not after it: same result, fewer pixels.
    :param initial: constant that is added to every output, such as the logarithm of a typical
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

        # every block but the coarsest also takes the output of the block before it
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
        features: Tensor = self.blocks[-1](stages[-1])
        for index in range(len(stages) - 2, -1, -1):
            features = self.blocks[index](
                torch.cat((upsampled(features, 2), stages[index]), dim=1))
        with torch.autocast(features.device.type, enabled=False):
            result: Tensor = upsampled(self.score(features.float()), self.finest_stride)
            return result + self.initial


def upsampled(values: Tensor, factor: int) -> Tensor:
    """Return (N, C, factor * h, factor * w), bilinear with aligned corners."""
    return functional.interpolate(
        values, scale_factor=float(factor), mode='bilinear', align_corners=True)


def _layer(channels: int, width: int) -> list[nn.Module]:
    """Return a 3x3 convolution with bias, batch normalisation and ReLU."""
    return [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
