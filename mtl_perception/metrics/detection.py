# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of box detection: average precision, precision and recall."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.bootstrap import (
    Interval,
    bootstrap_intervals,
    frame_draws,
    interval_of,
)

OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Thresholds on the intersection over union that COCO's average precision averages over."""

RECALLS = np.linspace(0, 1, 101)
LIMIT = 100
"""COCO takes this many predictions per image and class, those with the highest scores."""

_Box = tuple[float, NDArray[np.bool_], NDArray[np.bool_], int]
"""
One prediction: score, whether it is a true positive and whether it is ignored at each overlap,
number of its image.
"""


class DetectionMetrics:
    """
    Average precision as COCO computes it, and precision and recall at one score.

    For each class and overlap, the predictions of all images are taken by falling score, and each
    matches the free ground-truth box that it overlaps most; precision, made to fall
    monotonically, is averaged over 101 recalls.

    Small ground-truth boxes are ignored: they are never false negatives, and a prediction on one
    is not a false positive. COCO's area ranges differ in two ways: there only one prediction may
    match an ignored box, and a small prediction without a match is ignored too; here any number
    may, and it is a false positive.

    >>> metrics = DetectionMetrics(['car'])
    >>> metrics.update(
    ...     np.array([[0, 0, 10, 10], [50, 50, 60, 60]]), np.array([0.9, 0.8]), np.array([0, 0]),
    ...     true_corners=np.array([[0, 0, 10, 10]]), true_classes=np.array([0]))
    >>> found = metrics.compute()
    >>> found['ap50'], found['found'], found['precision']
    (1.0, 1.0, 0.5)

    (The false positive has a lower score than the only object, so it costs precision and no AP.)

    :param classes: names of the classes.
    :param found_score: lowest score of the predictions that count for ``found`` and ``precision``.
    """

    def __init__(self, classes: Sequence[str], found_score: float = 0.3) -> None:
        self.classes = tuple(classes)
        self.found_score = found_score
        self._images = 0
        self._boxes: list[list[_Box]] = [[] for _ in self.classes]
        self._counts: list[NDArray[np.int64]] = []

    def update(
            self, corners: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]],
            classes: NDArray[np.integer[Any]], true_corners: NDArray[np.floating[Any]],
            true_classes: NDArray[np.integer[Any]],
            ignored: NDArray[np.bool_] | None = None) -> None:
        """
        Count one image.

        :param corners: (B, 4) floating predicted x_min, y_min, x_max, y_max, pixels.
        :param scores: (B,) floating, 0 to 1.
        :param classes: (B,) integer class ids.
        :param true_corners: (M, 4) floating, in the same pixels.
        :param true_classes: (M,) integer.
        :param ignored: (M,) bool, ground-truth boxes that need not be detected; None for none.
        :raises ValueError: if the numbers of boxes differ.
        """
        if not len(corners) == len(scores) == len(classes):
            raise ValueError(f'{len(corners)} boxes have {len(scores)} scores and '
                             f'{len(classes)} classes')
        if ignored is None:
            ignored = np.zeros(len(true_corners), bool)
        if not len(true_corners) == len(true_classes) == len(ignored):
            raise ValueError(f'{len(true_corners)} true boxes have {len(true_classes)} classes '
                             f'and {len(ignored)} marks')

        image, self._images = self._images, self._images + 1
        order = np.argsort(-np.asarray(scores), kind='stable')
        overlaps = box_overlaps(np.asarray(corners, float)[order], np.asarray(true_corners, float))

        counts = np.zeros((3, len(self.classes)), np.int64)  # objects, found, false positives
        for kind, boxes in enumerate(self._boxes):
            mine = np.flatnonzero(np.asarray(classes)[order] == kind)[:LIMIT]
            true = np.asarray(true_classes) == kind
            score = np.asarray(scores, float)[order][mine]
            small = np.asarray(ignored)[true]
            hits, passed, taken = _matched(overlaps[mine][:, true], small)
            boxes += [(float(value), hit, skip, image)
                      for value, hit, skip in zip(score, hits, passed)]

            # precision and recall at one score and an overlap of one half
            sure = score >= self.found_score
            at_half = taken[sure, 0]
            counts[:, kind] = (
                (~small).sum(),
                len({int(box) for box in at_half if box >= 0 and not small[box]}),
                (sure & ~hits[:, 0] & ~passed[:, 0]).sum())
        self._counts.append(counts)

    def merge(self, other: 'DetectionMetrics') -> None:
        """Append the images of another accumulator."""
        for boxes, more in zip(self._boxes, other._boxes):
            boxes += [(score, hit, skip, self._images + image)
                      for score, hit, skip, image in more]
        self._images += other._images
        self._counts += other._counts

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics so far; a metric without data is None.

        :return: ``ap50`` and ``ap`` (COCO's, overlaps 0.5 to 0.95), means over the classes that
            occur; ``ap50_of`` per class; ``found`` (recall at the score and an overlap of 0.5) and
            ``found_of`` per class, ``precision`` (at the same); ``objects`` per class, ``images``.
        """
        objects, found, false = sum(
            self._counts, np.zeros((3, len(self.classes)), np.int64))
        known = objects > 0

        once = np.ones(self._images)
        precisions = np.stack([
            _Ranked(boxes).average_precisions(float(number), once)
            for boxes, number in zip(self._boxes, objects)])
        at_half = precisions[:, 0]
        positives = int(found.sum() + false.sum())

        return {
            'ap50': float(at_half[known].mean()) if known.any() else None,
            'ap': float(precisions[known].mean()) if known.any() else None,
            'ap50_of': {
                name: float(value) if one else None
                for name, value, one in zip(self.classes, at_half, known)},
            'found': float(found.sum() / objects.sum()) if known.any() else None,
            'found_of': {
                name: float(part / whole) if whole else None
                for name, part, whole in zip(self.classes, found, objects)},
            'precision': float(found.sum() / positives) if positives else None,

            'objects': dict(zip(self.classes, objects.tolist())),
            'images': self._images,
        }

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Interval | None]:
        """
        Return the bootstrap intervals of ``ap50``, ``ap``, ``found`` and ``precision``.

        :param level: share of the resampled values inside.
        :param groups: group of each image, such as its drive; see :func:`.bootstrap_interval`.
        """
        # Average precision ranks the boxes of all images, so no sum of counts gives it: boxes
        # count as often as their image is drawn.
        ranked = [_Ranked(boxes) for boxes in self._boxes]
        halves, means = [], []
        for times in frame_draws(self._images, groups):
            objects = np.tensordot(times, np.stack(self._counts), axes=1)[0]
            known = np.flatnonzero(objects)
            if known.size:
                precisions = np.stack([
                    ranked[kind].average_precisions(float(objects[kind]), times)
                    for kind in known])
                halves.append(float(precisions[:, 0].mean()))
                means.append(float(precisions.mean()))

        shares = bootstrap_intervals(
            self._counts, {'found': _recall, 'precision': _precision}, level, groups)
        return {'ap50': interval_of(halves, level), 'ap': interval_of(means, level), **shares}


def _recall(total: NDArray[np.int64]) -> float | None:
    objects, found, _ = total.sum(1)
    return float(found / objects) if objects else None


def _precision(total: NDArray[np.int64]) -> float | None:
    _, found, false = total.sum(1)
    return float(found / (found + false)) if found + false else None


def box_overlaps(
        one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]],
) -> NDArray[np.float64]:
    """
    Return the (A, B) intersections over union of (A, 4) and (B, 4) boxes, 0 to 1.

    >>> box_overlaps(np.array([[0.0, 0.0, 2.0, 1.0]]), np.array([[1.0, 0.0, 3.0, 1.0]])).round(3)
    array([[0.333]])

    :param one: x_min, y_min, x_max, y_max.
    :param other: the same.
    """
    one, other = one.reshape(-1, 4), other.reshape(-1, 4)
    low = np.maximum(one[:, None, :2], other[:, :2])
    high = np.minimum(one[:, None, 2:], other[:, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1] - shared

    # boxes without area have no union: their overlap is 0, not NaN
    result: NDArray[np.float64] = np.divide(
        shared, union, out=np.zeros(shared.shape), where=union > 0)
    return result


def _matched(
        overlaps: NDArray[np.float64], ignored: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """
    Match the predictions of one image and class with its ground-truth boxes.

    :param overlaps: (B, M), the prediction with the highest score first.
    :param ignored: (M,) ground-truth boxes that need not be detected.
    :return: (B, number of overlaps) each: true positives, ignored predictions, and the
        ground-truth box that each takes, -1 for none.
    """
    hits = np.zeros((len(overlaps), len(OVERLAPS)), bool)
    passed = hits.copy()
    taken = np.full(hits.shape, -1)
    for place, lowest in enumerate(OVERLAPS):
        free = np.ones(len(ignored), bool)
        for box, row in enumerate(overlaps):
            # as in COCO's own code, ignored boxes are taken only if no other one matches
            for kind in (~ignored, ignored):
                open_ = kind & (free | ignored) & (row >= lowest)
                if open_.any():
                    best = int(np.where(open_, row, -1).argmax())
                    free[best] = False
                    taken[box, place] = best
                    hits[box, place] = not ignored[best]
                    passed[box, place] = ignored[best]
                    break
    return hits, passed, taken


class _Ranked:
    """The predictions of one class in all images, the highest score first."""

    def __init__(self, boxes: list[_Box]) -> None:
        order = np.argsort([-box[0] for box in boxes], kind='stable')
        shape = (len(boxes), len(OVERLAPS))
        self._hits = np.array([boxes[place][1] for place in order], bool).reshape(shape)
        self._passed = np.array([boxes[place][2] for place in order], bool).reshape(shape)
        self._image = np.array([boxes[place][3] for place in order], np.int64)

    def average_precisions(
            self, objects: float, times: NDArray[Any]) -> NDArray[np.float64]:
        """
        Return the average precision at each overlap.

        :param objects: number of ground-truth boxes that count.
        :param times: how often each image counts.
        """
        averages = np.zeros(len(OVERLAPS))
        if not len(self._image) or not objects:
            return averages

        weights = times[self._image].astype(np.float64)
        for place in range(len(OVERLAPS)):
            there = ~self._passed[:, place] & (weights > 0)
            if not there.any():
                continue

            # Precision after each prediction, then the best one at this or a higher recall.
            right = np.cumsum(self._hits[there, place] * weights[there])
            precision = right / np.cumsum(weights[there])
            precision = np.maximum.accumulate(precision[::-1])[::-1]

            # COCO samples that curve at 101 recalls; recalls that are never reached give 0.
            at = np.searchsorted(right / objects, RECALLS, side='left')
            averages[place] = np.where(
                at < len(right), precision[np.minimum(at, len(right) - 1)], 0).mean()
        return averages
