# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What can be predicted without looking at the image; every score is shown beside it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.tasks import UNLABELLED


class MajorityClass:
    """
    The most frequent class of each pixel position.

    :param classes: number of classes.
    :param height: rows of the maps.
    :param width: columns of the maps.
    """

    def __init__(self, classes: int, height: int, width: int) -> None:
        self._counts = np.zeros((classes, height * width), np.int64)
        self._shape = (height, width)

    def update(self, truth: NDArray[np.uint8]) -> None:
        """Count one (H, W) uint8 map of class ids; ids that are no class are ignored."""
        if truth.shape != self._shape:
            raise ValueError(f'map of shape {truth.shape}, expected {self._shape}')
        flat = truth.ravel()
        pixels = np.flatnonzero(flat < len(self._counts))
        self._counts[flat[pixels], pixels] += 1

    def predict(self) -> NDArray[np.uint8]:
        """Return (H, W) uint8 ids, 255 where nothing was seen; of a tie the lower id."""
        ids: NDArray[np.uint8] = self._counts.argmax(axis=0).astype(np.uint8)
        ids[self._counts.max(axis=0) == 0] = UNLABELLED
        return ids.reshape(self._shape)


class MeanDepth:
    """
    The mean depth of each pixel position.

    :param maximum: largest depth that counts, metres.
    :param height: rows of the maps.
    :param width: columns of the maps.
    """

    def __init__(self, maximum: float, height: int, width: int) -> None:
        self._maximum = maximum
        self._sum = np.zeros((height, width), np.float64)
        self._count = np.zeros((height, width), np.int64)

    def update(self, truth: NDArray[np.floating[Any]]) -> None:
        """Add one (H, W) map in metres; NaN, Inf, 0 and beyond the maximum do not count."""
        if truth.shape != self._sum.shape:
            raise ValueError(f'map of shape {truth.shape}, expected {self._sum.shape}')
        valid = np.isfinite(truth) & (truth > 0) & (truth <= self._maximum)
        self._sum[valid] += truth[valid]
        self._count += valid

    def predict(self) -> NDArray[np.float32]:
        """Return (H, W) float32 metres; the maximum where nothing was seen."""
        mean = self._sum / np.maximum(self._count, 1)
        return np.where(self._count > 0, mean, self._maximum).astype(np.float32)
