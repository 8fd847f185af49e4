# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of the outlines of classes."""

from collections.abc import Hashable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.bootstrap import Interval, Statistic, bootstrap_intervals
from mtl_perception.metrics.depth import check_shapes


class BoundaryMetrics:
    """
    F measure of the outlines of each class, accumulated over frames.

    After the BF score (Csurka et al., What is a good evaluation measure for semantic
    segmentation?, BMVC 2013): precision is the share of the predicted outline pixels that lie near
    a ground-truth outline of the class, recall the same with the roles swapped. A choice of ours:
    both are taken over all frames together, where the paper averages the scores of the images.

    A pixel is on the outline of a class if it has the class and one of its four neighbours has
    another. Borders with unlabelled pixels and with the edge of the image do not count.

    >>> metrics = BoundaryMetrics(['road', 'car'], tolerance=0)
    >>> truth = np.array([[0, 0, 1, 1]], np.uint8)
    >>> metrics.update(np.array([[0, 1, 1, 1]], np.uint8), truth)  # off by one pixel
    >>> metrics.compute()['f']
    0.0
    >>> metrics.update(truth, truth)
    >>> metrics.compute()['f']
    0.5

    :param classes: class names, the index is the id.
    :param tolerance: largest distance at which two outline pixels match, in pixels along rows and
        along columns.
    """

    def __init__(self, classes: Sequence[str], tolerance: int = 2) -> None:
        self.classes = tuple(classes)
        self.tolerance = tolerance
        self._frames: list[NDArray[np.int64]] = []

    def update(self, prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """
        Count one frame.

        :param prediction: (H, W) uint8 class ids.
        :param truth: (H, W) uint8 class ids; in both, ids outside the classes are ignored.
        :raises ValueError: if the shapes differ.
        """
        check_shapes(prediction, truth)
        known = truth < len(self.classes)
        side = 2 * self.tolerance + 1
        window = np.ones((side, side), np.uint8)

        # per class: predicted outline pixels, those near a true one, true ones, those found
        counts = np.zeros((len(self.classes), 4), np.int64)
        for kind in np.unique(np.concatenate([truth[known], prediction[known]])):
            if kind >= len(self.classes):
                continue
            predicted = _outline(prediction, int(kind), known)
            true = _outline(truth, int(kind), known)
            near_predicted = cv2.dilate(predicted.astype(np.uint8), window) > 0
            near_true = cv2.dilate(true.astype(np.uint8), window) > 0
            counts[kind] = (
                predicted.sum(), (predicted & near_true).sum(),
                true.sum(), (true & near_predicted).sum())
        self._frames.append(counts)

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics so far; a metric without data is None.

        :return: ``f``, the mean over the classes that have a ground-truth outline, and ``f_of``
            per class (None without one).
        """
        total = sum(self._frames, np.zeros((len(self.classes), 4), np.int64))
        return {'f': _mean(total), 'f_of': {
            name: _f_measure(row) for name, row in zip(self.classes, total)}}

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Interval | None]:
        """
        Return the bootstrap interval of ``f``.

        :param level: share of the resampled values inside.
        :param groups: group of each frame, such as its drive; see :func:`.bootstrap_interval`.
        """
        statistics: dict[str, Statistic] = {'f': _mean}
        return bootstrap_intervals(self._frames, statistics, level, groups)


def _outline(ids: NDArray[np.uint8], kind: int, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (H, W) bool: pixels of a class with a known neighbour of another class."""
    mine = ids == kind
    outline = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        # each pixel and its neighbour below (axis 0) or to the right (axis 1)
        here, there = [slice(None), slice(None)], [slice(None), slice(None)]
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        one, other = tuple(here), tuple(there)

        edge = (mine[one] != mine[other]) & known[one] & known[other]
        outline[one] |= edge
        outline[other] |= edge

    # an edge marks both of its pixels; only those of the class are its outline
    result: NDArray[np.bool_] = outline & mine
    return result


def _f_measure(counts: NDArray[np.int64]) -> float | None:
    """Return the F measure of one class, None without a ground-truth outline."""
    predicted, right, true, met = counts.tolist()
    if not true:
        return None
    precision = right / predicted if predicted else 0.0
    recall = met / true
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _mean(total: NDArray[np.int64]) -> float | None:
    """Return the mean over the classes with a ground-truth outline, None without any."""
    measures = [one for one in map(_f_measure, total) if one is not None]
    return float(np.mean(measures)) if measures else None
