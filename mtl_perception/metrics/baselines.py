# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image-blind baselines: predictions that never see the image. Every score is shown beside one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.tasks import UNLABELLED


class MajorityClass:
    """
    The most frequent class of each pixel, or of each cell of several pixels.

    >>> baseline = MajorityClass(classes=2, height=1, width=2)
    >>> for ids in ([0, 1], [0, 0], [1, 1]):
    ...     baseline.update(np.array([0, 1]), np.array(ids, np.uint8))
    >>> baseline.predict()
    array([[0, 1]], dtype=uint8)

    :param classes: number of classes.
    :param height: rows of the cells.
    :param width: columns of the cells.
    """

    def __init__(self, classes: int, height: int, width: int) -> None:
        self._counts = np.zeros((classes, height * width), np.int64)
        self.shape = (height, width)

    def update(self, cells: NDArray[np.integer[Any]], truth: NDArray[np.uint8]) -> None:
        """
        Count one frame.

        :param cells: (N,) number of the cell of each label, row by row.
        :param truth: (N,) uint8 class ids; ids outside the classes are ignored.
        """
        known = truth < len(self._counts)
        np.add.at(self._counts, (truth[known], cells[known]), 1)

    def predict(self) -> NDArray[np.uint8]:
        """Return (H, W) uint8 ids: 255 where no label was seen, the lower id of a tie."""
        ids: NDArray[np.uint8] = self._counts.argmax(axis=0).astype(np.uint8)
        ids[self._counts.max(axis=0) == 0] = UNLABELLED
        return ids.reshape(self.shape)


class MeanDepth:
    """
    The mean depth of each pixel, or of each cell of several pixels.

    >>> baseline = MeanDepth(maximum=80.0, height=1, width=2)
    >>> baseline.update(np.array([0, 1]), np.array([10.0, np.nan]))
    >>> baseline.update(np.array([0, 1]), np.array([20.0, np.nan]))
    >>> baseline.predict()
    array([[15., 80.]], dtype=float32)

    :param maximum: largest depth that counts, metres.
    :param height: rows of the cells.
    :param width: columns of the cells.
    """

    def __init__(self, maximum: float, height: int, width: int) -> None:
        self._maximum = maximum
        self.shape = (height, width)
        self._sum = np.zeros(height * width, np.float64)
        self._count = np.zeros(height * width, np.int64)

    def update(
            self, cells: NDArray[np.integer[Any]], truth: NDArray[np.floating[Any]]) -> None:
        """
        Count one frame.

        :param cells: (N,) number of the cell of each depth, row by row.
        :param truth: (N,) floating, metres; NaN, Inf, values of at most 0 and values beyond the
            maximum do not count.
        """
        valid = np.isfinite(truth) & (truth > 0) & (truth <= self._maximum)
        size = len(self._sum)
        self._sum += np.bincount(cells[valid], truth[valid], size)
        self._count += np.bincount(cells[valid], minlength=size)

    def predict(self) -> NDArray[np.float32]:
        """Return (H, W) float32 metres, the maximum where no depth was seen."""
        mean = self._sum / np.maximum(self._count, 1)
        found = np.where(self._count > 0, mean, self._maximum).astype(np.float32)
        return found.reshape(self.shape)


def points_in_cells(
        values: NDArray[Any], known: NDArray[np.bool_], shape: tuple[int, int],
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """
    Return the labelled pixels of a map, and the cells of a coarser grid that they lie in.

    >>> points_in_cells(np.array([[7, 0, 0, 8]]), np.array([[True, False, False, True]]), (1, 2))
    (array([0, 1], dtype=int32), array([7, 8]))

    :param values: (H, W).
    :param known: (H, W) bool, which pixels are labelled.
    :param shape: rows and columns of the grid.
    :return: (N,) int32 numbers of the cells, row by row, and (N,) values.
    """
    rows, columns = np.nonzero(known)
    cells = rows * shape[0] // known.shape[0] * shape[1] + columns * shape[1] // known.shape[1]
    return cells.astype(np.int32), values[rows, columns]
