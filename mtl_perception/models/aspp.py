# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Atrous spatial pyramid pooling, and the small decoder that follows it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

RATES = (12, 24, 36)
"""Dilations of the 3x3 convolutions; the 1x1 convolution is the paper's rate 1."""


class ASPP(nn.Module):
    """
    Atrous spatial pyramid pooling: features at several scales, shared by all tasks.

    Five branches, each with batch normalisation and ReLU, are concatenated: a 1x1 convolution,
    three dilated 3x3 convolutions, and a 1x1 convolution of the image's mean (Kendall, Gal and
    Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR 2018, appendix A; the ReLU
    is that of Chen et al., 2017). Five times 256 channels give the paper's 1280. Torchvision's
    ``ASPP`` adds a layer that reduces them to 256; in the paper the first layer of each decoder
    does that, see :class:`TwoLayerDecoder`.

    :param channels: channels of the coarsest stage, summed over all frames.
    :param width: channels of each of the five branches.
    :raises ValueError: if the width is not positive.
    """

    def __init__(self, channels: int, width: int = 256) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f'width of the ASPP is {width}; it must be positive')
        self.channels = 5 * width
        """Channels of the result."""
        self.branches = nn.ModuleList(
            [_conv_norm_relu(channels, width, rate) for rate in (1, *RATES)])
        self.pooled = _conv_norm_relu(channels, width, 1)

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """
        Return a single stage, (N, 5 * width, h, w), at the size of the coarsest one.

        :param stages: one (N, C_s, h, w) per stage; only the last is used.
        :raises ValueError: in training on a single image, whose mean has no batch statistics.
        """
        stage = stages[-1]
        if self.training and len(stage) == 1:
            raise ValueError(
                'the batch is one image; batch normalisation of the image mean needs at least two '
                'in training: use a batch of 2 or more, or put the network into evaluation mode')

        mean: Tensor = self.pooled(stage.mean((2, 3), keepdim=True))
        features = [branch(stage) for branch in self.branches]
        features.append(mean.expand(-1, -1, *stage.shape[2:]))
        return [torch.cat(features, dim=1)]


class TwoLayerDecoder(nn.Module):
    """
    Decode one stage: 1x1 convolution, batch normalisation, ReLU, 1x1 convolution, upsampling.

    The decoder of Kendall et al., appendix A: 256 features, bilinear upsampling to the size of
    the image.

    :param channels: channels of the stage.
    :param outputs: number K of output channels.
    :param stride: stride of the stage.
    :param stage: index of the stage among those of the network.
    :param initial: initial value of every output, such as the logarithm of a typical depth.
    :param width: channels of the hidden layer.
    """

    WIDTH = 256

    def __init__(
        self, channels: int, outputs: int, stride: int, stage: int = -1, initial: float = 0.0,
        width: int = WIDTH,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.stride = stride
        self.stage = stage
        self.hidden = _conv_norm_relu(channels, width, 1)
        self.score = nn.Conv2d(width, outputs, 1)


        # small scores at first: the output is nearly the initial value everywhere
        # small scores at first: the output is nearly the initial value everywhere
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.constant_(self.score.bias, initial)  # type: ignore[arg-type]

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """
        Return the (N, K, H, W) float32 output.

        :param stages: one (N, C_s, H / t_s, W / t_s) per stage.
        """
        hidden: Tensor = self.hidden(stages[self.stage])
        # float32 also under autocast: bfloat16 rounds the logarithm of a depth by up to 1 %
        with torch.autocast(hidden.device.type, enabled=False):
            return functional.interpolate(
                self.score(hidden.float()), scale_factor=float(self.stride), mode='bilinear')


def _conv_norm_relu(channels: int, width: int, rate: int) -> nn.Sequential:
    """Return a 1x1 convolution for rate 1, else a dilated 3x3 one, with batch norm and ReLU."""
    convolution = (
        nn.Conv2d(channels, width, 1, bias=False) if rate == 1 else
        nn.Conv2d(channels, width, 3, padding=rate, dilation=rate, bias=False))
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
