# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Encoders: an image in, one feature map per stride out."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models import mobilenet_v2 as torchvision_mobilenet_v2
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from mtl_perception.preprocessing import check_size

STRIDES = (2, 4, 8, 16, 32)
"""Strides of the first convolution and of ``layer1`` to ``layer4``."""


class Encoder(nn.Module):
    """
    Base class of all encoders: a module that returns one feature map per stride, finest first.

    :param strides: stride of each returned stage.
    :param channels: channels of each returned stage.
    """

    def __init__(self, strides: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        self.strides: tuple[int, ...] = tuple(strides)
        """Stride of each returned stage; height and width must be multiples of the last."""
        self.channels: tuple[int, ...] = tuple(channels)
        """Channels of each returned stage."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """
        Return the feature maps, finest first.

        :param image: (N, 3, H, W) float, normalised; H and W divisible by the largest stride.
        :return: one (N, C_s, H / t_s, W / t_s) per stage with stride t_s.
        :raises ValueError: if H or W is not divisible by the largest stride.
        """
        raise NotImplementedError


class ResNetEncoder(Encoder):
    """
    A residual network without its classifier (He et al., Deep Residual Learning, CVPR 2016).

    Parameters carry torchvision's names, so a classifier's state dict fits once its ``fc.*``
    entries are removed. As in torchvision, the 3x3 convolution of a bottleneck has the stride.

    MultiNet++ names "ReLU layers 23, 39 and 46" of ResNet-50 as its taps. Counted in order, those
    would give 2560 channels, while the parameter counts of its table 2 need 3584 = 512 + 1024 +
    2048 and FCN8 needs strides 8, 16 and 32. The taps are therefore the outputs of ``layer2``,
    ``layer3`` and ``layer4``, that is ReLU 22, 40 and 49.

    With an output stride of 8 or 16 the last layers are dilated instead of strided (Chen et al.,
    Rethinking Atrous Convolution for Semantic Image Segmentation, 2017, as Kendall et al. use
    it): the same parameters see the same pixels, and every eighth or sixteenth pixel gets a
    feature. Where layers then share a stride, the deepest is returned.

    :param block: torchvision's ``BasicBlock`` or ``Bottleneck``.
    :param depths: number of blocks in each of the four layers.
    :param finest_stride: stride of the finest stage to return: 2 (the first convolution, after
        batch normalisation and ReLU), 4, 8, 16 or 32.
    :param output_stride: stride of the coarsest stage: 32, 16 or 8.
    :raises ValueError: if a stride is not one of these, or the finest exceeds the coarsest.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: Sequence[int],
        finest_stride: int = 8, output_stride: int = 32,
    ) -> None:
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is {output_stride}; it must be 8, 16 or 32')
        if finest_stride not in STRIDES or finest_stride > output_stride:
            raise ValueError(
                f'finest_stride is {finest_stride}; it must be one of {STRIDES} and not above '
                f'the output stride, {output_stride}')

        # which layers are returned: the deepest one of each stride
        widths = (64, *(block.expansion * width for width in (64, 128, 256, 512)))
        deepest = {min(stride, output_stride): index for index, stride in enumerate(STRIDES)}
        taken = {stride: index for stride, index in deepest.items() if stride >= finest_stride}
        super().__init__(tuple(taken), [widths[index] for index in taken.values()])
        self._taken = tuple(taken.values())

        # torchvision's layers under torchvision's names, without its classifier
        resnet = ResNet(block, list(depths))
        self.conv1: nn.Module = resnet.conv1
        self.bn1: nn.Module = resnet.bn1
        self.relu: nn.Module = resnet.relu
        self.maxpool: nn.Module = resnet.maxpool
        self.layer1: nn.Module = resnet.layer1
        self.layer2: nn.Module = resnet.layer2
        self.layer3: nn.Module = resnet.layer3
        self.layer4: nn.Module = resnet.layer4

        for index, layer in ((3, self.layer3), (4, self.layer4)):
            if STRIDES[index] > output_stride:
                _dilate(layer, STRIDES[index - 1] // output_stride)

    def forward(self, image: Tensor) -> list[Tensor]:
        """
        Return the feature maps from ``finest_stride`` on, finest first.

        :param image: (N, 3, H, W) float, normalised; H and W divisible by the output stride.
        :return: one (N, C_s, H / t_s, W / t_s) per stage with stride t_s.
        :raises ValueError: if H or W is not divisible by the output stride.
        """
        check_size(image.shape[-2], image.shape[-1], self.strides[-1])
        features: Tensor = self.relu(self.bn1(self.conv1(image)))
        stages = [features]
        features = self.maxpool(features)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = layer(features)
            stages.append(features)
        return [stages[index] for index in self._taken]


class MobileNetV2Encoder(Encoder):
    """
    MobileNetV2 without its classifier, for robots without a GPU.

    Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018. Parameters
    carry torchvision's names, ``features.*``. The stages are the last outputs at the strides 2,
    4, 8, 16 and 32, with 16, 24, 32, 96 and 1280 channels; the classifier would read the last.

    :param finest_stride: stride of the finest stage to return, 2, 4, 8, 16 or 32.
    :raises ValueError: if it is not one of these.
    """

    TAPS = (1, 3, 6, 13, 18)
    CHANNELS = (16, 24, 32, 96, 1280)

    def __init__(self, finest_stride: int = 8) -> None:
        if finest_stride not in STRIDES:
            raise ValueError(f'finest_stride is {finest_stride}; it must be one of {STRIDES}')
        first = STRIDES.index(finest_stride)
        super().__init__(STRIDES[first:], self.CHANNELS[first:])
        self.features: nn.Module = torchvision_mobilenet_v2().features

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps from ``finest_stride`` on, see :meth:`Encoder.forward`."""
        check_size(image.shape[-2], image.shape[-1])
        stages = []
        for index, layer in enumerate(self.features.children()):
            image = layer(image)
            if index in self.TAPS:
                stages.append(image)
        return stages[-len(self.strides):]


def _dilate(layer: nn.Module, before: int) -> None:
    """
    Replace the stride of two in a layer of a ResNet by a dilation of two after it.

    :param layer: one of ``layer2`` to ``layer4``; modified in place.
    :param before: dilation of the layers before it.
    """
    for convolution in layer.modules():
        if isinstance(convolution, nn.Conv2d):
            # the formerly strided convolution keeps the dilation of the layers before it
            rate = before if convolution.stride == (2, 2) else 2 * before
            convolution.stride = (1, 1)
            if convolution.kernel_size == (3, 3):
                convolution.dilation = convolution.padding = (rate, rate)


def resnet10(finest_stride: int = 8, output_stride: int = 32) -> ResNetEncoder:
    """Return ResNet-10: one basic block per layer, 4 905 792 parameters."""
    return ResNetEncoder(BasicBlock, (1, 1, 1, 1), finest_stride, output_stride)


def resnet18(finest_stride: int = 8, output_stride: int = 32) -> ResNetEncoder:
    """Return ResNet-18: two basic blocks per layer, 11 176 512 parameters."""
    return ResNetEncoder(BasicBlock, (2, 2, 2, 2), finest_stride, output_stride)


def resnet34(finest_stride: int = 8, output_stride: int = 32) -> ResNetEncoder:
    """Return ResNet-34: 3, 4, 6 and 3 basic blocks, 21 284 672 parameters."""
    return ResNetEncoder(BasicBlock, (3, 4, 6, 3), finest_stride, output_stride)


def resnet50(finest_stride: int = 8, output_stride: int = 32) -> ResNetEncoder:
    """
    Return ResNet-50: 3, 4, 6 and 3 bottlenecks, 23 508 032 parameters.

    MultiNet++ reports 23 587 712: Keras also counts the running means and variances of batch
    normalisation (2 x 26 560) and gives every convolution a bias (26 560).
    """
    return ResNetEncoder(Bottleneck, (3, 4, 6, 3), finest_stride, output_stride)


def resnet101(finest_stride: int = 8, output_stride: int = 32) -> ResNetEncoder:
    """Return ResNet-101: 3, 4, 23 and 3 bottlenecks, 42 500 160 parameters."""
    return ResNetEncoder(Bottleneck, (3, 4, 23, 3), finest_stride, output_stride)


def mobilenet_v2(finest_stride: int = 8, output_stride: int = 32) -> MobileNetV2Encoder:
    """
    Return MobileNetV2, 2 223 872 parameters.

    :raises ValueError: if the output stride is not 32, since there is no dilated version here.
    """
    if output_stride != 32:
        raise ValueError(
            f'output_stride is {output_stride}; mobilenet_v2 has 32 only, a ResNet 8, 16 or 32')
    return MobileNetV2Encoder(finest_stride)
