# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 to Lite2: encoders for CPUs with free ImageNet weights."""

import math
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.models.depthwise import depthwise
from mtl_perception.models.encoders import STRIDES, Encoder, Part, chain

EPSILON = 1e-3
"""Added to the variance in batch normalisation, as in the network of the published weights."""

STEM = 32
"""Channels of the first convolution, in all three."""

SCALES = {'efficientnet_lite0': (1.0, 1.0), 'efficientnet_lite1': (1.0, 1.1),
          'efficientnet_lite2': (1.1, 1.2)}
"""Encoder -> factors of the channels and of the blocks of a group (Tan and Le, section 3.3)."""


@dataclass(frozen=True)
class Group:
    """
    Consecutive blocks of one kind.

    :param expansion: ratio of the channels inside a block to those of its input.
    :param channels: output channels.
    :param blocks: number of blocks.
    :param stride: of the first block; the others have 1.
    :param kernel: side of the depthwise convolution.
    """

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


GROUPS = (
    Group(1, 16, 1, 1, 3),
    Group(6, 24, 2, 2, 3),
    Group(6, 40, 2, 2, 5),
    Group(6, 80, 3, 2, 3),
    Group(6, 112, 3, 1, 5),
    Group(6, 192, 4, 2, 5),
    Group(6, 320, 1, 1, 3),
)
"""Table 1 of Tan and Le (EfficientNet, ICML 2019): B0, and so Lite0."""


def scaled_groups(name: str) -> list[Group]:
    """
    Return the groups of an encoder.

    Channels become multiples of 8, and blocks are rounded up. The Lite models leave the number of
    blocks of the first and the last group as it is.

    :param name: in :data:`SCALES`.
    """
    width, depth = SCALES[name]
    scaled = []
    for index, group in enumerate(GROUPS):
        channels = max(8, int(group.channels * width + 4) // 8 * 8)
        if channels < 0.9 * group.channels * width:
            channels += 8
        ends = index in (0, len(GROUPS) - 1)
        blocks = group.blocks if ends else math.ceil(group.blocks * depth)
        scaled.append(replace(group, channels=channels, blocks=blocks))
    return scaled


class SameConv2d(nn.Conv2d):
    """
    A convolution with TensorFlow's ``SAME`` padding.

    With a stride of two and an even size it pads one row and column less in front than behind,
    which symmetric padding cannot do. Weights that were trained with it need the same windows.
    """

    def forward(self, image: Tensor) -> Tensor:
        """
        Return the output, (N, C, ceil(H / stride), ceil(W / stride)).

        :param image: (N, C, H, W).
        """
        if self.stride[0] == 1:
            return self._convolved(image, self.kernel_size[0] // 2)

        # the last window starts at (outputs - 1) * stride and must be filled
        lacking = []
        for size in (image.shape[-1], image.shape[-2]):
            outputs = -(-size // 2)
            total = max(0, (outputs - 1) * 2 + self.kernel_size[0] - size)
            lacking += [total // 2, total - total // 2]
        return self._convolved(functional.pad(image, lacking), 0)

    def _convolved(self, image: Tensor, side: int) -> Tensor:
        """Return the convolution of an image with zeros of this width on each side."""
        if self.groups > 1 and self.bias is None:
            return depthwise(image, self.weight, self.stride[0], side)
        return functional.conv2d(
            image, self.weight, self.bias, self.stride[0], side, 1, self.groups)


class Block(nn.Module):
    """
    An inverted residual: expand, depthwise convolution, project (Sandler et al., 2018).

    The Lite models have no squeeze-and-excitation, and ReLU6 instead of Swish.

    :param before: input channels.
    :param group: its kind.
    :param stride: 1 or 2.
    """

    def __init__(self, before: int, group: Group, stride: int) -> None:
        super().__init__()
        inside = before * group.expansion
        self.expand: nn.Module | None = None
        if group.expansion > 1:
            self.expand = SameConv2d(before, inside, 1, bias=False)
            self.expand_norm: nn.Module = nn.BatchNorm2d(inside, EPSILON)
        self.depthwise = SameConv2d(
            inside, inside, group.kernel, stride, groups=inside, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inside, EPSILON)
        self.project = SameConv2d(inside, group.channels, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(group.channels, EPSILON)
        self.residual = stride == 1 and before == group.channels

    def forward(self, features: Tensor) -> Tensor:
        """
        Return the features of the next block.

        :param features: (N, C, H, W).
        """
        inside = features
        if self.expand is not None:
            inside = functional.relu6(self.expand_norm(self.expand(inside)))
        inside = functional.relu6(self.depthwise_norm(self.depthwise(inside)))
        projected: Tensor = self.project_norm(self.project(inside))
        return features + projected if self.residual else projected


class EfficientNetLiteEncoder(Encoder):
    """
    EfficientNet-Lite without its classifier.

    The stages are the last outputs at the strides 2, 4, 8, 16 and 32, of Lite0 and Lite1 with 16,
    24, 40, 112 and 320 channels, of Lite2 with 16, 24, 48, 120 and 352; the 1x1 convolution to
    1280 channels belongs to the classifier and is left out.

    :param name: in :data:`SCALES`.
    :param finest_stride: stride of the finest stage to return, 2, 4, 8, 16 or 32.
    :raises ValueError: if it is not one of these.
    """

    def __init__(self, name: str = 'efficientnet_lite0', finest_stride: int = 8) -> None:
        if finest_stride not in STRIDES:
            raise ValueError(f'finest_stride is {finest_stride}; it must be one of {STRIDES}')

        groups = scaled_groups(name)
        # a stage ends where the next group has a stride of two
        ends = [index for index in range(len(groups))
                if index + 1 == len(groups) or groups[index + 1].stride == 2]
        first = STRIDES.index(finest_stride)
        super().__init__(
            STRIDES[first:], [groups[index].channels for index in ends],
            range(first, len(STRIDES)))

        self.stem = SameConv2d(3, STEM, 3, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(STEM, EPSILON)

        blocks: list[nn.Module] = []
        self._ends: list[int] = []
        before = STEM
        for index, group in enumerate(groups):
            for number in range(group.blocks):
                blocks.append(Block(before, group, 1 if number else group.stride))
                before = group.channels
            if index in ends:
                self._ends.append(len(blocks))
        self.blocks = nn.ModuleList(blocks)

    def parts(self) -> list[Part]:
        """Return the blocks from one stride to the next, the first after the stem."""
        spans = zip(self._ends, self._ends[1:])
        return [self._first, *(partial(chain, self.blocks, *span) for span in spans)]

    def _first(self, image: Tensor) -> Tensor:
        features = functional.relu6(self.stem_norm(self.stem(image)))
        return chain(self.blocks, 0, self._ends[0], features)


def efficientnet_lite0(
        finest_stride: int = 8, output_stride: int = 32) -> EfficientNetLiteEncoder:
    """
    Return EfficientNet-Lite0, 2 958 848 parameters.

    :raises ValueError: if the output stride is not 32, since there is no dilated version here.
    """
    return _encoder('efficientnet_lite0', finest_stride, output_stride)


def efficientnet_lite1(
        finest_stride: int = 8, output_stride: int = 32) -> EfficientNetLiteEncoder:
    """
    Return EfficientNet-Lite1, 3 723 520 parameters.

    :raises ValueError: as :func:`efficientnet_lite0`.
    """
    return _encoder('efficientnet_lite1', finest_stride, output_stride)


def efficientnet_lite2(
        finest_stride: int = 8, output_stride: int = 32) -> EfficientNetLiteEncoder:
    """
    Return EfficientNet-Lite2, 4 357 952 parameters.

    :raises ValueError: as :func:`efficientnet_lite0`.
    """
    return _encoder('efficientnet_lite2', finest_stride, output_stride)


def _encoder(name: str, finest_stride: int, output_stride: int) -> EfficientNetLiteEncoder:
    if output_stride != 32:
        raise ValueError(
            f'output_stride is {output_stride}; {name} has 32 only, a ResNet 8, 16 or 32')
    return EfficientNetLiteEncoder(name, finest_stride)
