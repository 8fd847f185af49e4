# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decode the output of a detection head into boxes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

LARGEST_STEP = math.log(1000 / 16)
"""Largest log ratio of a box's size to its anchor's, as in torchvision; keeps boxes finite."""


class Boxes(NamedTuple):
    """
    The boxes of one image, the highest score first.

    :param corners: (B, 4) float32 pixels of the network's input: x_min, y_min, x_max, y_max.
    :param scores: (B,) float32, probability of an object of the class, 0 to 1.
    :param classes: (B,) int64 class ids.
    """

    corners: Tensor
    scores: Tensor
    classes: Tensor


def decode_boxes(
    output: Tensor, anchors: Sequence[Sequence[float]], stride: int,
) -> tuple[Tensor, Tensor]:
    r"""
    Return every anchor's box and its scores.

    With the cell's corner c and the anchor's size p the centre is :math:`\sigma(t) + c`, the size
    :math:`p e^t`; the score of a class is the probability of an object times that of the class
    (Redmon and Farhadi, YOLO9000, CVPR 2017, section 2).

    :param output: (N, A (5 + C), h, w) float of a
        :class:`mtl_perception.models.detection_head.DetectionHead`.
    :param anchors: A (width, height), as fractions of the image's width and height.
    :param stride: size of a cell, pixels.
    :return: (N, A h w, 4) corners in pixels x_min, y_min, x_max, y_max, and (N, A h w, C) scores.
    """
    count, channels, height, width = output.shape
    found = output.float().view(count, len(anchors), channels // len(anchors), height, width)
    rows = torch.arange(height, device=output.device)[:, None]
    columns = torch.arange(width, device=output.device)
    size = found.new_tensor(anchors)[:, :, None, None] * found.new_tensor(
        [width, height])[:, None, None]

    # centre = sigma(t) + c and size = p e^t, in cells; then pixels
    half = found[:, :, 2:4].clamp(max=LARGEST_STEP).exp() * size / 2
    centre = torch.stack((
        found[:, :, 0].sigmoid() + columns, found[:, :, 1].sigmoid() + rows), dim=2)
    corners = torch.cat((centre - half, centre + half), dim=2) * stride

    # score = P(object) P(class | object)
    scores = found[:, :, 4:5].sigmoid() * found[:, :, 5:].softmax(2)
    return _per_box(corners), _per_box(scores)


def find_boxes(
    output: Tensor, anchors: Sequence[Sequence[float]], stride: int, *,
    minimum_score: float = 0.3, overlap: float = 0.5, limit: int = 100,
) -> list[Boxes]:
    """
    Return the boxes of each image above a score, after non-maximum suppression.

    Of boxes of the same class that overlap, the one with the highest score is kept. Boxes are
    clipped to the image.

    :param output: (N, A (5 + C), h, w) float, as for :func:`decode_boxes`.
    :param anchors: A (width, height), as fractions of the image's width and height.
    :param stride: size of a cell, pixels.
    :param minimum_score: lowest score of a box; for an average precision take 0.01 or less.
    :param overlap: intersection over union above which two boxes count as the same object.
    :param limit: largest number of boxes per image.
    """
    size = (output.shape[2] * stride, output.shape[3] * stride)
    result = []
    for corners, scores in zip(*decode_boxes(output, anchors, stride)):
        best, classes = scores.max(1)
        likely = best >= minimum_score
        corners = clip_boxes_to_image(corners[likely], size)
        best, classes = best[likely], classes[likely]
        kept = batched_nms(corners, best, classes, overlap)[:limit]
        result.append(Boxes(corners[kept], best[kept], classes[kept]))
    return result


def _per_box(values: Tensor) -> Tensor:
    """Return (N, A, K, h, w) as (N, A h w, K)."""
    return values.movedim(2, -1).flatten(1, 3)
