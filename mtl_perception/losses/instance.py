# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loss for instances: every pixel of an object points at its centroid."""

import torch
from torch import Tensor, nn

from mtl_perception.losses.masking import precise


class InstanceL1Loss(nn.Module):
    """
    Absolute difference of the vectors from each pixel to the centroid of its object.

    Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR 2018: the
    sum over both components, averaged over all pixels that belong to an object.
    """

    def forward(self, output: Tensor, ids: Tensor) -> Tensor | None:
        """
        Return the 0-dimensional loss in pixels, None if no pixel belongs to an object.

        :param output: (N, 2, H, W) float, x and y to the centroid, pixels.
        :param ids: (N, H, W) integer, an id per object of an image; 0 and negative = no object,
            or none known.
        """
        valid = ids > 0
        if not bool(valid.any()):
            return None
        wanted = centroid_offsets(ids)
        both = valid[:, None].expand_as(output)
        difference = (precise(output)[both] - wanted[both].to(precise(output).dtype)).abs()
        return difference.sum() / valid.sum()


def centroid_offsets(ids: Tensor) -> Tensor:
    """
    Return the vectors from each pixel to the centroid of the visible pixels of its object.

    :param ids: (N, H, W) integer, an id per object of an image; 0 and negative = no object.
    :return: (N, 2, H, W) float32 pixels, x and y; NaN where there is no object.
    """
    count, height, width = ids.shape
    own = ids.long().clamp(min=0)
    image = torch.arange(count, device=ids.device)[:, None, None]
    _, objects = torch.unique(own + image * (own.max() + 1), return_inverse=True)
    objects = objects.flatten()
    pixels = torch.bincount(objects)
    offsets = []
    for axis in (
            torch.arange(width, device=ids.device).expand(count, height, width),
            torch.arange(height, device=ids.device)[:, None].expand(count, height, width)):
        position = axis.flatten().double()
        centroid = torch.bincount(objects, position) / pixels
        offsets.append((centroid[objects] - position).view(count, height, width))
    found = torch.stack(offsets, dim=1).float()
    return torch.where(ids[:, None] > 0, found, torch.full_like(found, torch.nan))
