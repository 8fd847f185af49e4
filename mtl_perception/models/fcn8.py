# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The FCN8 decoder: score each stage, upsample, add the next finer one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FCN8(nn.Module):
    """
    Decode feature maps of strides 8, 16 and 32 to full resolution.

    A 1x1 convolution scores every stage; the coarsest score map is upsampled by two and added to
    the next finer one until the finest is reached, which is upsampled to full resolution (Long et
    al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015; MultiNet++, section
    3.1). With the stages of ResNet-50 (3584 channels in all), K outputs and f frames it has
    3584 f K + 288 K^2 + 6 K parameters. A stage of stride 4 in front adds one more skip, one of
    stride 2 another. Thin objects need them, because only the K scores carry detail from stage to
    stage. The last upsampling is then by four or two.

    The scores are linear in the features, and so is everything after them: there is no activation.
    :class:`mtl_perception.models.streaming.StreamingNetwork` depends on the linear scores.

    The decoder runs in float32, also under autocast: on CPUs with AMX the bfloat16 gradient of a
    transposed convolution with respect to its input is wrong.

    :param channels: channels of each stage, finest first, summed over all frames.
    :param outputs: number K of output channels.
    :param finest_stride: stride of the first stage.
    :param initial: initial value of every output, such as the logarithm of a typical depth.
    """

    def __init__(
        self, channels: Sequence[int], outputs: int, finest_stride: int = 8,
        initial: float = 0.0,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.reads = tuple(range(len(channels)))
        """Index of the stage that each score convolution reads."""
        self.score = nn.ModuleList(nn.Conv2d(count, outputs, 1) for count in channels)
        self.upsample = nn.ModuleList(
            [BilinearUpsample(outputs, finest_stride)]
            + [BilinearUpsample(outputs, 2) for _ in channels[1:]])

        # small scores at first: the output is nearly the initial value everywhere
        for score in self.score:
            nn.init.normal_(score.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(score.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.upsample[0].bias, initial)  # type: ignore[arg-type]

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """
        Return the (N, K, H, W) float32 output.

        :param stages: one (N, C_s, H / t_s, W / t_s) per stage, finest first.
        """
        with torch.autocast(stages[0].device.type, enabled=False):
            scores = [score(stage.float()) for score, stage in zip(self.score, stages)]
            return self.combine(scores)

    def combine(self, scores: Sequence[Tensor]) -> Tensor:
        """
        Return the (N, K, H, W) output from the scores of all stages.

        :param scores: one (N, K, H / t_s, W / t_s) float32 per stage, finest first.
        """
        with torch.autocast(scores[0].device.type, enabled=False):
            total = scores[-1]
            for finer in range(len(scores) - 2, -1, -1):
                total = self.upsample[finer + 1](total) + scores[finer]
            result: Tensor = self.upsample[0](total)
            return result


class BilinearUpsample(nn.ConvTranspose2d):
    """
    A learned transposed convolution that starts as bilinear interpolation.

    The kernel is twice the factor wide. With zero padding the border of a transposed convolution
    would fade towards the bias, so the border pixel is repeated instead: output size and
    parameters are the same, and a constant map stays constant up to the edge.

    :param channels: channels in and out, fully connected.
    :param factor: even upsampling factor.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__(channels, channels, 2 * factor, factor, padding=factor + factor // 2)

        # bilinear kernel: the outer product of a triangle with itself, channel by channel
        ramp = 1 - (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
        with torch.no_grad():
            self.weight.copy_(torch.eye(channels)[:, :, None, None] * torch.outer(ramp, ramp))
            assert self.bias is not None
            self.bias.zero_()

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """
        Return (N, C, factor * h, factor * w).

        :param input: (N, C, h, w).
        :param output_size: passed on to the transposed convolution.
        """
        return super().forward(functional.pad(input, (1, 1, 1, 1), 'replicate'), output_size)
