# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A feature pyramid between the encoder and the decoders."""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class FeaturePyramid(nn.Module):
    """
    Pass the context of the coarse stages down to the fine ones.

    A 1x1 convolution brings every stage to the same width; from the coarsest on, the stage above
    is upsampled by two (nearest pixel) and added, and a 3x3 convolution with batch normalisation
    and ReLU follows (after Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017;
    there the 3x3 convolutions are linear and beside the downward path, here they are part of it).
    All tasks share it. The papers' FCN8 passes only class scores from stage to stage; with a
    pyramid in front of it, thin objects and depth edges come out sharper.

    The 1x1 convolutions are the first layer on the concatenated frames, and they are linear. A
    stream therefore keeps only ``width`` channels per stage of the previous frame, see
    :class:`mtl_perception.models.streaming.StreamingNetwork`.

    A stage of stride 2 has half the width, because it has four times the pixels of the next.

    :param channels: channels of each stage, finest first, summed over all frames.
    :param finest_stride: stride of the first stage.
    :param width: channels of each returned stage.
    :raises ValueError: if the width is not even and positive.
    """

    def __init__(self, channels: Sequence[int], finest_stride: int, width: int = 64) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f'width of the pyramid is {width}; it must be even and positive')
        widths = [width] * len(channels)
        if finest_stride == 2:
            widths[0] = width // 2
        self.channels = tuple(widths)
        """Channels of each returned stage, finest first."""

        self.lateral = nn.ModuleList(
            nn.Conv2d(count, own, 1) for count, own in zip(channels, widths))
        self.down = nn.ModuleList(
            nn.Identity() if above == own else nn.Conv2d(above, own, 1, bias=False)
            for own, above in itertools.pairwise(widths))
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(own, own, 3, padding=1, bias=False), nn.BatchNorm2d(own), nn.ReLU())
            for own in widths)

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """
        Return one (N, ``channels[s]``, H / t_s, W / t_s) per stage, finest first.

        :param stages: one (N, C_s, H / t_s, W / t_s) per stage with stride t_s, finest first.
        """
        return self.combine([lateral(stage) for lateral, stage in zip(self.lateral, stages)])

    def combine(self, laterals: Sequence[Tensor]) -> list[Tensor]:
        """
        Return the pyramid from the outputs of the 1x1 convolutions.

        :param laterals: one (N, ``channels[s]``, H / t_s, W / t_s) per stage, finest first.
        """
        pyramid: list[Tensor] = [self.smooth[-1](laterals[-1])]
        for own in range(len(laterals) - 2, -1, -1):
            above = functional.interpolate(
                self.down[own](pyramid[0]), scale_factor=2.0, mode='nearest')
            pyramid.insert(0, self.smooth[own](laterals[own] + above))
        return pyramid
