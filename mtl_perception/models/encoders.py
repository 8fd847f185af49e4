# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Residual networks as encoders: an image in, one feature map per stride out."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

STRIDE = 32
"""Stride of the coarsest stage: height and width of an image must be multiples of it."""

STRIDES = (2, 4, 8, 16, 32)
"""Strides of the first convolution and of ``layer1`` to ``layer4``."""


class ResNetEncoder(nn.Module):
    """
    A residual network without its classifier (He et al., Deep Residual Learning, CVPR 2016).

    Parameters carry torchvision's names, so a classifier's state dict fits once its ``fc.*``
    entries are removed. As in torchvision, the 3x3 convolution of a bottleneck has the stride.

    MultiNet++ names "ReLU layers 23, 39 and 46" of ResNet-50 as its taps. Counted in order, those
    would give 2560 channels, while the parameter counts of its table 2 need 3584 = 512 + 1024 +
    2048 and FCN8 needs strides 8, 16 and 32. The taps are therefore the outputs of ``layer2``,
    ``layer3`` and ``layer4``, that is ReLU 22, 40 and 49.

    :param block: torchvision's ``BasicBlock`` or ``Bottleneck``.
    :param depths: number of blocks in each of the four layers.
    :param finest_stride: stride of the finest stage to return: 2 (the first convolution, after
        batch normalisation and ReLU), 4, 8, 16 or 32.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: Sequence[int],
        finest_stride: int = 8,
    ) -> None:
        super().__init__()
        if finest_stride not in STRIDES:
            raise ValueError(f'finest_stride is {finest_stride}; it must be one of {STRIDES}')
        resnet = ResNet(block, list(depths))
        self.conv1: nn.Module = resnet.conv1
        self.bn1: nn.Module = resnet.bn1
        self.relu: nn.Module = resnet.relu
        self.maxpool: nn.Module = resnet.maxpool
        self.layer1: nn.Module = resnet.layer1
        self.layer2: nn.Module = resnet.layer2
        self.layer3: nn.Module = resnet.layer3
        self.layer4: nn.Module = resnet.layer4
        self.strides = STRIDES[STRIDES.index(finest_stride):]
        """Stride of each returned stage."""
        self.channels: tuple[int, ...] = tuple(
            width for stride, width in zip(
                STRIDES, (64, *(block.expansion * width for width in (64, 128, 256, 512))))
            if stride >= finest_stride)
        """Channels of each returned stage."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """
        Return the feature maps from ``finest_stride`` on, finest first.

        :param image: (N, 3, H, W) float, normalised; H and W divisible by 32.
        :return: one (N, C_s, H / t_s, W / t_s) per stage with stride t_s.
        :raises ValueError: if H or W is not divisible by 32.
        """
        check_size(image.shape[-2], image.shape[-1])
        features: Tensor = self.relu(self.bn1(self.conv1(image)))
        stages = [features]
        features = self.maxpool(features)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = layer(features)
            stages.append(features)
        return stages[-len(self.strides):]


def check_size(height: int, width: int) -> None:
    """
    Refuse a size that the strides do not divide.

    :param height: pixels.
    :param width: pixels.
    :raises ValueError: naming the nearest size that fits.
    """
    if height % STRIDE or width % STRIDE or height < STRIDE or width < STRIDE:
        fits = [max(STRIDE, round(size / STRIDE) * STRIDE) for size in (height, width)]
        raise ValueError(
            f'the image is {height} x {width} (height x width); both must be multiples of '
            f'{STRIDE}; the nearest that fits is {fits[0]} x {fits[1]}')


def resnet10(finest_stride: int = 8) -> ResNetEncoder:
    """Return ResNet-10: one basic block per layer, 4 905 792 parameters."""
    return ResNetEncoder(BasicBlock, (1, 1, 1, 1), finest_stride)


def resnet18(finest_stride: int = 8) -> ResNetEncoder:
    """Return ResNet-18: two basic blocks per layer, 11 176 512 parameters."""
    return ResNetEncoder(BasicBlock, (2, 2, 2, 2), finest_stride)


def resnet50(finest_stride: int = 8) -> ResNetEncoder:
    """
    Return ResNet-50: 3, 4, 6 and 3 bottlenecks, 23 508 032 parameters.

    MultiNet++ reports 23 587 712: Keras also counts the running means and variances of batch
    normalisation (2 x 26 560) and gives every convolution a bias (26 560).
    """
    return ResNetEncoder(Bottleneck, (3, 4, 6, 3), finest_stride)
