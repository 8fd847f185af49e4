# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Encoders: an image in, one feature map per stride out."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torchvision.models import mobilenet_v2 as torchvision_mobilenet_v2
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from mtl_perception.preprocessing import check_size

STRIDES = (2, 4, 8, 16, 32)
"""Strides of the first convolution and of ``layer1`` to ``layer4``."""

Part = Callable[[Tensor], Tensor]
"""A part of an encoder, from (N, C, h, w) to (N, C', h', w')."""


class Encoder(nn.Module):
    """
    Base class of all encoders: a module that returns one feature map per stride, finest first.

    An encoder is a chain of parts, each of which reads what the one before returns.

    :param strides: stride of each returned stage.
    :param widths: channels after each part.
    :param taken: index of the part after which each returned stage is taken.
    """

    def __init__(
        self, strides: Sequence[int], widths: Sequence[int], taken: Sequence[int],
    ) -> None:
        super().__init__()
        self.strides: tuple[int, ...] = tuple(strides)
        """Stride of each returned stage; height and width must be multiples of the last."""
        self.channels: tuple[int, ...] = tuple(widths[index] for index in taken)
        """Channels of each returned stage."""
        self.widths: tuple[int, ...] = tuple(widths)
        self.taken: tuple[int, ...] = tuple(taken)

    def parts(self) -> list[Part]:
        """Return the parts in their order; an encoder that runs as a whole has none."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> list[Tensor]:
        """
        Return the feature maps, finest first.

        :param image: (N, 3, H, W) float, normalised; H and W divisible by the largest stride.
        :return: one (N, C_s, H / t_s, W / t_s) per stage with stride t_s.
        :raises ValueError: if H or W is not divisible by the largest stride.
        """
        check_size(image.shape[-2], image.shape[-1], self.strides[-1])
        stages = []
        for part in self.parts():
            image = part(image)
            stages.append(image)
        return [stages[index] for index in self.taken]


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
        super().__init__(tuple(taken), widths, tuple(taken.values()))

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

    def parts(self) -> list[Part]:
        """Return the first convolution, and the four layers."""
        return [self._stem, self._layer1, self.layer2, self.layer3, self.layer4]

    def _stem(self, image: Tensor) -> Tensor:
        features: Tensor = self.relu(self.bn1(self.conv1(image)))
        return features

    def _layer1(self, features: Tensor) -> Tensor:
        features = self.layer1(self.maxpool(features))
        return features


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
        super().__init__(STRIDES[first:], self.CHANNELS, range(first, len(STRIDES)))
        self.features: nn.Sequential = torchvision_mobilenet_v2().features

    def parts(self) -> list[Part]:
        """Return the layers from one tap to the next."""
        ends = [tap + 1 for tap in self.TAPS]
        return [partial(chain, self.features, *span) for span in zip([0, *ends], ends)]


def chain(
    layers: nn.Sequential | nn.ModuleList, first: int, end: int, features: Tensor,
) -> Tensor:
    """
    Return the output of consecutive layers.

    :param layers: of an encoder.
    :param first: index of the first layer.
    :param end: index after the last layer.
    :param features: (N, C, h, w).
    """
    for index in range(first, end):
        features = layers[index](features)
    return features


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
