# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well the outlines of classes are met."""

from collections.abc import Hashable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.bootstrap import Figure, Interval, bootstrap_intervals
from mtl_perception.metrics.depth import check_shapes


class BoundaryMetrics:
    """
    F measure of the outlines of each class, accumulated over frames.

    As the BF score (Csurka et al., What is a good evaluation measure for semantic segmentation?,
    BMVC 2013): precision is the share of predicted outline pixels that a true one of the class is
    near to, recall the other way round. Over all frames together, which is ours; there it is a
    mean of each image's own. A pixel is on the outline of a class if it has the class and one
    of its four neighbours has not; what borders on unlabelled pixels or on the edge of the image
    is no outline.

    :param classes: class names, the index is the id.
    :param tolerance: farthest distance of two outline pixels that meet, pixels to any side.
    """

    def __init__(self, classes: Sequence[str], tolerance: int = 2) -> None:
        self.classes = tuple(classes)
        self.tolerance = tolerance
        self._frames: list[NDArray[np.int64]] = []

    def update(self, prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """
        Count one frame.

        :param prediction: (H, W) uint8 class ids.
        :param truth: (H, W) uint8 class ids; ids that are no class are ignored, in both.
        :raises ValueError: if the shapes differ.
        """
        check_shapes(prediction, truth)
        known = truth < len(self.classes)
        side = 2 * self.tolerance + 1
        near = np.ones((side, side), np.uint8)
        counts = np.zeros((len(self.classes), 4), np.int64)  # predicted, right, true, met
        for kind in np.unique(np.concatenate([truth[known], prediction[known]])):
            if kind >= len(self.classes):
                continue
            found, wanted = (_outline(ids, int(kind), known) for ids in (prediction, truth))
            counts[kind] = (
                found.sum(), (found & (cv2.dilate(wanted.astype(np.uint8), near) > 0)).sum(),
                wanted.sum(), (wanted & (cv2.dilate(found.astype(np.uint8), near) > 0)).sum())
        self._frames.append(counts)

    def compute(self) -> dict[str, Any]:
        """
        Return the figures so far; a figure that does not exist is None.

        :return: ``f``, the mean over the classes that have a true outline, and ``f_of`` per class
            (None without).
        """
        total = sum(self._frames, np.zeros((len(self.classes), 4), np.int64))
        return {'f': _mean(total), 'f_of': {
            name: _measure(row) for name, row in zip(self.classes, total)}}

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Interval | None]:
        """
        Return the bootstrap interval of ``f`` over what was counted.

        :param level: share of the resampled figures inside.
        :param groups: group of each update, such as its drive; see :func:`bootstrap_interval`.
        """
        figures: dict[str, Figure] = {'f': _mean}
        return bootstrap_intervals(self._frames, figures, level, groups)


def _outline(ids: NDArray[np.uint8], kind: int, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (H, W), which pixels of a class have a known neighbour of another."""
    mine, outline = ids == kind, np.zeros(ids.shape, bool)
    for axis in (0, 1):
        here, there = [slice(None), slice(None)], [slice(None), slice(None)]
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        one, other = tuple(here), tuple(there)
        edge = (mine[one] != mine[other]) & known[one] & known[other]
        outline[one] |= edge
        outline[other] |= edge
    result: NDArray[np.bool_] = outline & mine
    return result


def _measure(counts: NDArray[np.int64]) -> float | None:
    """Return the F measure of one class, None if it has no true outline."""
    predicted, right, true, met = counts.tolist()
    if not true:
        return None
    precision, recall = right / predicted if predicted else 0.0, met / true
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _mean(total: NDArray[np.int64]) -> float | None:
    """Return the mean over the classes that have a true outline, None without any."""
    measures = [one for one in map(_measure, total) if one is not None]
    return float(np.mean(measures)) if measures else None
