# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Instance loss: every pixel of an object points at its centroid."""

import torch
from torch import Tensor, nn

from mtl_perception.losses.masking import precise


class InstanceL1Loss(nn.Module):
    """
    Absolute difference of the vectors from each pixel to the centroid of its object.

    Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR 2018: the
    sum over both components, averaged over all pixels that belong to an object.

    >>> ids = torch.tensor([[[1, 1, 1, 0]]])  # the centroid is the middle pixel
    >>> round(float(InstanceL1Loss()(torch.zeros(1, 2, 1, 4), ids)), 4)  # (1 + 0 + 1) / 3
    0.6667

    :param balance: exponent; each pixel has the weight (area of its object) ** -balance. 0, the
        paper's, counts every pixel alike, so large objects outweigh small ones; 1 counts every
        object alike.
    :raises ValueError: if it is not between 0 and 1.
    """

    def __init__(self, balance: float = 0.0) -> None:
        super().__init__()
        if not 0 <= balance <= 1:
            raise ValueError(f'balance is {balance}; it must be from 0 to 1')
        self.balance = balance

    def forward(self, output: Tensor, ids: Tensor) -> Tensor | None:
        """
        Return the 0-dimensional loss in pixels, None if no pixel belongs to an object.

        :param output: (N, 2, H, W) float, x and y to the centroid, pixels.
        :param ids: (N, H, W) integer, an id per object of an image; 0 = no object, negative =
            unknown.
        """
        valid = ids > 0
        if not bool(valid.any()):
            return None

        true = centroid_offsets(ids)
        both = valid[:, None].expand_as(output)  # x and y
        difference = (precise(output)[both] - true[both].to(precise(output).dtype)).abs()
        if not self.balance:
            return difference.sum() / valid.sum()

        weight = areas(ids).to(difference.dtype).pow(-self.balance)
        return (difference * weight[:, None].expand_as(output)[both]).sum() / weight[valid].sum()

    def amount(self, ids: Tensor) -> Tensor:
        """Return the 0-dimensional float64 sum of the weights that the loss is a mean over."""
        valid = ids > 0
        if not self.balance or not bool(valid.any()):
            return valid.sum().double()
        return areas(ids)[valid].double().pow(-self.balance).sum()


def areas(ids: Tensor) -> Tensor:
    """
    Return the area of the object of each pixel.

    >>> areas(torch.tensor([[[1, 1, 0]]]))
    tensor([[[2, 2, 1]]])

    :param ids: (N, H, W) integer, an id per object of an image; 0 and negative = no object.
    :return: (N, H, W) int64 pixels; the background of an image counts as one object.
    """
    objects = _objects(ids)
    sizes: Tensor = torch.bincount(objects)[objects].view_as(ids)
    return sizes


def centroid_offsets(ids: Tensor) -> Tensor:
    """
    Return the vectors from each pixel to the centroid of the visible pixels of its object.

    >>> centroid_offsets(torch.tensor([[[1, 1, 0]]]))[0, 0]  # along x
    tensor([[ 0.5000, -0.5000,     nan]])

    :param ids: (N, H, W) integer, an id per object of an image; 0 and negative = no object.
    :return: (N, 2, H, W) float32 pixels, x and y; NaN where there is no object.
    """
    count, height, width = ids.shape
    objects = _objects(ids)
    pixels = torch.bincount(objects)

    # centroid = sum of positions / number of pixels, per axis; double, for float32 would round
    # the sums of large objects
    offsets = []
    for axis in (
            torch.arange(width, device=ids.device).expand(count, height, width),
            torch.arange(height, device=ids.device)[:, None].expand(count, height, width)):
        position = axis.flatten().double()
        centroid = torch.bincount(objects, position) / pixels
        offsets.append((centroid[objects] - position).view(count, height, width))

    stacked = torch.stack(offsets, dim=1).float()
    return torch.where(ids[:, None] > 0, stacked, torch.full_like(stacked, torch.nan))


def _objects(ids: Tensor) -> Tensor:
    """Return (N * H * W,) int64: the object of each pixel, numbered through all images."""
    own = ids.long().clamp(min=0)
    image = torch.arange(len(ids), device=ids.device)[:, None, None]
    objects: Tensor = torch.unique(own + image * (own.max() + 1), return_inverse=True)[1]
    return objects.flatten()
