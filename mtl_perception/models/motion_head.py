# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A small network that tells moving objects from parked ones by their residual flow."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualMotionHead(nn.Module):
    """
    Score each pixel from residual flow, depth and the masks of movable classes.

    The head does not read images, only the features that
    :func:`~mtl_perception.egomotion.residual.motion_features` computes from two of them. So it
    must decide by motion and not by appearance. Three scales with skips; the coarsest is dilated,
    so that its receptive field covers whole objects.

    Shapes:

    - features: (N, C, h, w) float32; h and w divisible by 4
    - output: (N, h, w) float32, the logit of moving

    :param channels: C.
    :param width: channels at the finest scale; 8 gives 24 000 parameters.
    """

    def __init__(self, channels: int, width: int = 8) -> None:
        super().__init__()
        self.fine = _block(channels, width)
        self.middle = _block(width, 2 * width, stride=2)
        self.coarse = nn.Sequential(
            _block(2 * width, 3 * width, stride=2), _block(3 * width, 3 * width, dilation=2),
            _block(3 * width, 3 * width, dilation=4))
        self.join_middle = _block(5 * width, 2 * width)
        self.join_fine = _block(3 * width, width)
        self.score = nn.Conv2d(width, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logit of moving for each pixel."""
        fine = self.fine(features)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        joined = self.join_middle(torch.cat([_twice(coarse), middle], 1))
        logits: Tensor = self.score(self.join_fine(torch.cat([_twice(joined), fine], 1)))
        return logits[:, 0]


def _block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a convolution, its normalisation and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
        nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _twice(features: Tensor) -> Tensor:
    """Return features at twice the resolution."""
    return functional.interpolate(features, scale_factor=2.0, mode='nearest')
