# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image-blind baselines: predictions that never see the image. Every score is shown beside one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.tasks import UNLABELLED


class MajorityClass:
    """
    The most frequent class of each pixel position.

    >>> baseline = MajorityClass(classes=2, height=1, width=2)
    >>> for ids in ([[0, 1]], [[0, 0]], [[1, 1]]):
    ...     baseline.update(np.array(ids, np.uint8))
    >>> baseline.predict()
    array([[0, 1]], dtype=uint8)

    :param classes: number of classes.
    :param height: rows of the maps.
    :param width: columns of the maps.
    """

    def __init__(self, classes: int, height: int, width: int) -> None:
        self._counts = np.zeros((classes, height * width), np.int64)
        self._shape = (height, width)

    def update(self, truth: NDArray[np.uint8]) -> None:
        """
        Count one frame.

        :param truth: (H, W) uint8 class ids; ids outside the classes are ignored.
        :raises ValueError: if the shape is not that of the baseline.
        """
        if truth.shape != self._shape:
            raise ValueError(f'map of shape {truth.shape}, expected {self._shape}')
        flat = truth.ravel()
        pixels = np.flatnonzero(flat < len(self._counts))
        self._counts[flat[pixels], pixels] += 1

    def predict(self) -> NDArray[np.uint8]:
        """Return (H, W) uint8 ids: 255 where no label was seen, the lower id of a tie."""
        ids: NDArray[np.uint8] = self._counts.argmax(axis=0).astype(np.uint8)
        ids[self._counts.max(axis=0) == 0] = UNLABELLED
        return ids.reshape(self._shape)


class MeanDepth:
    """
    The mean depth of each pixel position.

    >>> baseline = MeanDepth(maximum=80.0, height=1, width=2)
    >>> baseline.update(np.array([[10.0, np.nan]]))
    >>> baseline.update(np.array([[20.0, np.nan]]))
    >>> baseline.predict()
    array([[15., 80.]], dtype=float32)

    :param maximum: largest depth that counts, metres.
    :param height: rows of the maps.
    :param width: columns of the maps.
    """

    def __init__(self, maximum: float, height: int, width: int) -> None:
        self._maximum = maximum
        self._sum = np.zeros((height, width), np.float64)
        self._count = np.zeros((height, width), np.int64)

    def update(self, truth: NDArray[np.floating[Any]]) -> None:
        """
        Count one frame.

        :param truth: (H, W) floating, metres; NaN, Inf, values of at most 0 and values beyond the
            maximum do not count.
        :raises ValueError: if the shape is not that of the baseline.
        """
        if truth.shape != self._sum.shape:
            raise ValueError(f'map of shape {truth.shape}, expected {self._sum.shape}')
        valid = np.isfinite(truth) & (truth > 0) & (truth <= self._maximum)
        self._sum[valid] += truth[valid]
        self._count += valid

    def predict(self) -> NDArray[np.float32]:
        """Return (H, W) float32 metres, the maximum where no depth was seen."""
        mean = self._sum / np.maximum(self._count, 1)
        return np.where(self._count > 0, mean, self._maximum).astype(np.float32)
