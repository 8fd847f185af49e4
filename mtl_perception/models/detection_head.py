# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The box decoder: anchors on a grid, as in YOLO."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LIKELY_OBJECT = 0.01
"""Initial probability of an object in an anchor."""


class DetectionHead(nn.Module):
    """
    Score A anchors per cell of one stage: 4 numbers for the box, 1 for an object, C for the class.

    A 1x1 convolution to A (5 + C) channels, the "YOLO style bounding box decoder" of Leang et
    al., Dynamic Task Weighting Methods for Multi-task Networks in Autonomous Driving Systems,
    ITSC 2020. The paper gives no more detail; the numbers have the meaning of Redmon and Farhadi,
    YOLO9000, CVPR 2017, see :func:`mtl_perception.models.boxes.decode_boxes`. The initial bias of
    the objects takes most cells for empty (Lin et al., Focal Loss, ICCV 2017).

    The head is linear in the features, and computed in float32 also under autocast.

    :param channels: channels of the stage.
    :param anchors: number A of anchors.
    :param classes: number C of classes.
    :param stride: stride of the stage, the size of a cell in pixels.
    :param stage: index of the stage among those of the network, not negative.
    """

    def __init__(
        self, channels: int, anchors: int, classes: int, stride: int, stage: int,
    ) -> None:
        super().__init__()
        self.outputs = anchors * (5 + classes)
        self.stride = stride
        self.reads = (stage,)
        """Index of the stage that each score convolution reads."""
        self.score = nn.ModuleList([nn.Conv2d(channels, self.outputs, 1)])

        # sigma(b) = p for b = ln(p / (1 - p))
        bias = torch.zeros(anchors, 5 + classes)
        bias[:, 4] = math.log(LIKELY_OBJECT / (1 - LIKELY_OBJECT))
        nn.init.normal_(self.score[0].weight, std=0.01)  # type: ignore[arg-type]
        with torch.no_grad():
            self.score[0].bias.copy_(bias.flatten())  # type: ignore[operator]

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """
        Return the (N, A (5 + C), h, w) float32 output, anchor after anchor.

        :param stages: one (N, C_s, H / t_s, W / t_s) per stage, finest first.
        """
        with torch.autocast(stages[0].device.type, enabled=False):
            return self.combine([self.score[0](stages[self.reads[0]].float())])

    def combine(self, scores: Sequence[Tensor]) -> Tensor:
        """Return the output from the scores of the one stage."""
        return scores[0]
