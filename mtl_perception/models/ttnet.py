# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Task-transfer networks: predict one task from the prediction of another."""

import torch
from torch import Tensor, nn

from mtl_perception.models.unet import upsampled


class TTNet(nn.Module):
    """
    Predict one task from the prediction of another, for the consistency losses of a training.

    A small U-Net (Nakano, Chen and Demachi, Cross-Task Consistency Learning Framework for
    Multi-Task Learning, 2021, section IV-A): three blocks of two 3x3 convolutions with ReLU and
    64, 128 and 256 channels, each followed by max-pooling; three of 128, 64 and 64 channels on
    the way back, each upsampled by two; a 1x1 convolution. The paper does not give all details,
    but its parameter count settles them: the skips come from the pooled features, the 3x3
    convolutions have a bias, the last convolution has none, and there is no batch normalisation.
    Without the skips XTasC-Net would have 31.33 million parameters instead of the paper's 31.5.

    :param inputs: channels of the prediction that is read.
    :param outputs: channels of the predicted output.
    :param width: channels of the first block.
    """

    WIDTH = 64

    def __init__(self, inputs: int, outputs: int, width: int = WIDTH) -> None:
        super().__init__()
        self.down = nn.ModuleList([
            _double(inputs, width), _double(width, 2 * width), _double(2 * width, 4 * width)])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList([
            _double(4 * width, 2 * width), _double(2 * width + 2 * width, width),
            _double(width + width, width)])
        self.score = nn.Conv2d(width, outputs, 1, bias=False)

    def forward(self, prediction: Tensor) -> Tensor:
        """
        Return (N, outputs, H, W), unnormalised.

        :param prediction: (N, inputs, H, W); H and W divisible by 8.
        """
        pooled = []
        for block in self.down:
            prediction = self.pool(block(prediction))
            pooled.append(prediction)

        features = upsampled(self.up[0](pooled[2]), 2)
        features = upsampled(self.up[1](torch.cat((features, pooled[1]), dim=1)), 2)
        features = self.up[2](torch.cat((features, pooled[0]), dim=1))

        # A 1x1 convolution and an interpolation commute; before it there are fewer pixels.
        return upsampled(self.score(features), 2)


def _double(channels: int, width: int) -> nn.Sequential:
    """Return two 3x3 convolutions with ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
