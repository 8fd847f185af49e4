# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy per pixel, and weights against unbalanced classes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.losses.masking import precise
from mtl_perception.tasks import UNLABELLED


class PixelCrossEntropy(nn.Module):
    """
    Cross-entropy per pixel, averaged over all labelled pixels of the batch.

    With class weights the average is the weighted one: pixels of class c count ``weights[c]``
    times, and the sum is divided by the sum of these counts.

    >>> target = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    >>> round(float(PixelCrossEntropy()(torch.zeros(1, 4, 1, 2), target)), 4)  # ln 4
    1.3863

    :param weights: one positive number per class, None for ones.
    """

    weights: Tensor | None

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.register_buffer('weights', None if weights is None else torch.tensor(weights))

    def forward(self, output: Tensor, target: Tensor) -> Tensor | None:
        """
        Return the 0-dimensional float32 loss, None if no pixel is labelled.

        :param output: (N, K, H, W) float, unnormalised.
        :param target: (N, H, W) uint8 class ids, 255 = unlabelled.
        """
        if not bool(self.valid(target).any()):
            return None
        output = precise(output)
        weights = None if self.weights is None else self.weights.to(output.dtype)
        return functional.cross_entropy(
            output, target.long(), weights, ignore_index=UNLABELLED)

    def valid(self, target: Tensor) -> Tensor:
        """Return (N, H, W) bool, which pixels count."""
        return target != UNLABELLED

    def amount(self, target: Tensor) -> Tensor:
        """Return the 0-dimensional float64 count of pixels that the loss is a mean over."""
        ids = target[self.valid(target)].long()
        if self.weights is None:
            return ids.new_tensor(ids.numel(), dtype=torch.float64)
        return self.weights.double()[ids].sum()


def median_frequency_weights(
        pixels: NDArray[np.integer], pixels_where_present: NDArray[np.integer],
        exponent: float) -> list[float]:
    """
    Return the median-frequency class weights, raised to a power.

    The frequency of a class is its share of the pixels of those images that show it; its weight
    is the median frequency divided by its own (Eigen and Fergus, ICCV 2015, section 6). The power
    is a choice of ours: with the exponent 1 rare classes are predicted far too often; 0.5 learns
    them quickly from little data; a smaller one keeps their outlines tight, which gives the best
    intersection over union in the end.

    >>> pixels, where_present = np.array([80, 10, 10]), np.array([100, 50, 100])
    >>> median_frequency_weights(pixels, where_present, exponent=1.0)  # median of 0.8, 0.2, 0.1
    [0.25, 1.0, 2.0]

    :param pixels: (K,) labelled pixels of each class.
    :param pixels_where_present: (K,) labelled pixels of all images that show the class.
    :param exponent: 0 gives every class the weight 1.
    :return: K weights; 1 for a class that never occurs.
    """
    present = pixels > 0
    frequency = pixels / np.maximum(pixels_where_present, 1)
    if not present.any():
        return [1.0] * len(pixels)

    # w_c = (median / frequency_c) ^ exponent
    median = float(np.median(frequency[present]))
    weights = np.where(present, median / np.maximum(frequency, 1e-12), 1.0)
    return [float(weight) for weight in weights ** exponent]
