# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of motion masks, and baselines that know the movable classes but no motion."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.instances import SMALLEST_OBJECT
from mtl_perception.metrics.bootstrap import (
    Interval,
    bootstrap_intervals,
    frame_draws,
    interval_of,
)
from mtl_perception.tasks import MOVING, UNKNOWN_MOTION


class MotionMetrics:
    """
    Metrics of motion masks per pixel and per object, accumulated over frames.

    Most pixels are static background, so pixel accuracy, which MultiNet++ prints, says little. The
    IoU of the moving class over the whole image is shown beside that of a mask which calls every
    movable object moving.
    Objects of at least ``minimum_pixels``, more than half of them with a prediction, are
    classified one by one as moving or parked: area under the ROC curve (0.5 is chance) and
    balanced accuracy. On two identical frames nothing moves: count those with
    :meth:`update_identical`. The IoUs are None where the ground truth never moves or always does.

    >>> metrics = MotionMetrics(movable=[2], minimum_pixels=1)
    >>> truth, cars = np.array([[1, 1, 0, 0]], np.uint8), np.full((1, 4), 2, np.uint8)
    >>> metrics.update(np.array([[1, 0, 0, 0]], np.uint8), None, truth, cars)
    >>> found = metrics.compute()
    >>> found['iou_moving'], found['iou_all_movable']
    (0.5, 0.5)

    :param movable: ids of the semantic classes whose objects can move.
    :param minimum_pixels: smallest object in a frame that counts.
    :param bounds: property of an object -> rising bounds that divide the objects into groups, each
        with its own metrics; ``size`` is in pixels, maps of the others are given to
        :meth:`update`.
    """

    def __init__(
            self, movable: Sequence[int], minimum_pixels: int = SMALLEST_OBJECT,
            bounds: Mapping[str, Sequence[float]] = MappingProxyType({})) -> None:
        self.movable = tuple(movable)
        self.minimum_pixels = minimum_pixels
        self.bounds = {name: tuple(values) for name, values in bounds.items()}

        # per frame
        self._frames: list[NDArray[np.int64]] = []
        self._identical: list[NDArray[np.int64]] = []
        self._pixels = 0
        self._unknown = 0

        # per object
        self._scores: list[float] = []
        self._moving: list[bool] = []
        self._frame_of: list[int] = []
        self._measures: dict[str, list[float]] = {name: [] for name in bounds}
        self._by_mask = False

    def update(
            self, motion: NDArray[np.uint8], score: NDArray[np.floating[Any]] | None,
            truth: NDArray[np.uint8], semantic: NDArray[np.uint8],
            instance: NDArray[np.integer[Any]] | None = None,
            measures: Mapping[str, NDArray[np.floating[Any]]] = MappingProxyType({})) -> None:
        """
        Count one frame.

        Pixels whose ground truth or whose prediction is unknown (255) are left out, except from
        ``iou_moving_of_all``.

        :param motion: (H, W) uint8 predicted 0 static, 1 moving, 255 unknown.
        :param score: (H, W) floating predicted probability of moving, NaN = unknown; None takes
            the mask in its place.
        :param truth: (H, W) uint8 0 static, 1 moving, 255 unlabelled.
        :param semantic: (H, W) uint8 ground-truth class ids, which tell what is movable.
        :param instance: (H, W) ground-truth object ids, 0 = none; None counts no objects.
        :param measures: each name in ``bounds`` except ``size`` -> (H, W) floating; an object has
            the median of its pixels.
        :raises ValueError: if the shapes differ.
        """
        arrays = {'score': score, 'truth': truth, 'semantic': semantic, 'instance': instance,
                  **measures}
        for name, array in arrays.items():
            if array is not None and array.shape != motion.shape:
                raise ValueError(f'{name} has shape {array.shape}, the motion mask {motion.shape}')

        labelled = truth != UNKNOWN_MOTION
        known = labelled & (motion != UNKNOWN_MOTION)
        self._pixels += int(labelled.sum())
        self._unknown += int(labelled.sum()) - int(known.sum())

        # intersection and union of the prediction, then of the baseline; moving pixels left out;
        # moving and static pixels of the ground truth
        moving = known & (truth == MOVING)
        called = known & (motion == MOVING)
        movable = known & np.isin(semantic, self.movable)
        self._frames.append(np.array([
            (moving & called).sum(), (moving | called).sum(),
            (moving & movable).sum(), (moving | movable).sum(),
            (labelled & ~known & (truth == MOVING)).sum(),
            (truth[labelled] == MOVING).sum(), (truth[labelled] != MOVING).sum()], np.int64))

        if instance is not None:
            self._by_mask |= score is None
            confidence = called.astype(np.float64) if score is None else score
            self._update_objects(confidence, labelled, moving, known, instance, measures)

    def _update_objects(
            self, score: NDArray[np.floating[Any]], labelled: NDArray[np.bool_],
            moving: NDArray[np.bool_], known: NDArray[np.bool_],
            instance: NDArray[np.integer[Any]],
            measures: Mapping[str, NDArray[np.floating[Any]]]) -> None:
        """Note the mean score of each object that counts, and whether most of it moves."""
        usable = known & (instance > 0) & np.isfinite(score)
        ids = instance[usable].astype(np.int64)
        if not ids.size:
            return

        sizes = np.bincount(ids)
        scores = np.bincount(ids, weights=score[usable].astype(np.float64))
        movers = np.bincount(ids, weights=moving[usable])

        # An object of which less is known than unknown does not count.
        whole = np.bincount(instance[labelled & (instance > 0)])[:len(sizes)]
        for number in np.flatnonzero((whole >= self.minimum_pixels) & (2 * sizes > whole)):
            self._scores.append(float(scores[number] / sizes[number]))
            self._moving.append(bool(movers[number] * 2 > sizes[number]))
            self._frame_of.append(len(self._frames) - 1)
            for name, values in self._measures.items():
                values.append(float(
                    sizes[number] if name == 'size' else
                    np.median(measures[name][usable][ids == number])))

    def update_identical(self, motion: NDArray[np.uint8], semantic: NDArray[np.uint8]) -> None:
        """
        Count a frame that was compared with itself, where nothing can move.

        :param motion: (H, W) uint8 predicted mask; unknown (255) is not called moving.
        :param semantic: (H, W) uint8 ground-truth class ids.
        """
        movable = np.isin(semantic, self.movable)
        self._identical.append(np.array(
            [(movable & (motion == MOVING)).sum(), movable.sum()], np.int64))

    def merge(self, other: 'MotionMetrics') -> None:
        """Append the frames of another accumulator."""
        self._frame_of += [len(self._frames) + frame for frame in other._frame_of]
        self._frames += other._frames
        self._pixels += other._pixels
        self._unknown += other._unknown
        self._scores += other._scores
        self._moving += other._moving
        self._identical += other._identical
        self._by_mask |= other._by_mask
        for name, values in self._measures.items():
            values += other._measures[name]

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics so far; a metric without data is None.

        :return: ``iou_moving`` of the pixels with a prediction and ``iou_all_movable`` (its
            baseline), ``iou_moving_of_all`` (pixels without a prediction are taken for static),
            ``pixel_accuracy`` of the pixels with a prediction,
            ``auc`` and ``balanced_accuracy`` over objects, ``by_mask`` (whether these come from
            the mask's share of an object and not from probabilities), ``objects`` and
            ``objects_moving`` (counts), ``identical_frames_moving`` (share of movable pixels
            called moving on identical frames), ``unknown`` (share of labelled pixels without a
            prediction), ``pixels``, and ``groups``: for each property a row per group with
            ``from``, ``to``, ``objects``, ``objects_moving``, ``auc``, ``balanced_accuracy``,
            ``moving_found`` (share of the moving ones) and ``parked_called_moving``.
        """
        scores = np.array(self._scores)
        moving = np.array(self._moving, bool)
        total = sum(self._frames, np.zeros(7, np.int64))
        identical = sum(self._identical, np.zeros(2, np.int64))
        known = self._pixels - self._unknown

        return {
            'iou_moving': _iou(total),
            'iou_moving_of_all': _iou_of_all(total),
            'iou_all_movable': _iou_of_movable(total),
            'pixel_accuracy': _share(known - int(total[1] - total[0]), known),
            'auc': area_under_curve(scores, moving),
            'balanced_accuracy': _balanced_accuracy(scores > 0.5, moving),

            'by_mask': self._by_mask,
            'objects': moving.size,
            'objects_moving': int(moving.sum()),
            'identical_frames_moving': _first_share(identical),
            'unknown': _share(self._unknown, self._pixels),
            'pixels': self._pixels,
            'groups': {name: self._groups(name, scores, moving) for name in self.bounds},
        }

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Interval | None]:
        """
        Return the bootstrap intervals of the IoUs, ``auc`` and ``balanced_accuracy``.

        :param level: share of the resampled values inside.
        :param groups: group of each frame, such as its drive; see :func:`.bootstrap_interval`.
        """
        scores = np.array(self._scores)
        moving = np.array(self._moving, bool)
        frame_of = np.array(self._frame_of, int)

        # the curve ranks the objects of all frames, so objects count as often as their frame
        curves, accuracies = [], []
        for times in frame_draws(len(self._frames), groups):
            weights = times[frame_of].astype(np.float64)
            curves.append(area_under_curve(scores, moving, weights))
            accuracies.append(_balanced_accuracy(scores > 0.5, moving, weights))

        ious = bootstrap_intervals(
            self._frames, {'iou_moving': _iou, 'iou_moving_of_all': _iou_of_all}, level,
            groups)
        return {**ious, 'auc': interval_of([one for one in curves if one is not None], level),
                'balanced_accuracy': interval_of(
                    [one for one in accuracies if one is not None], level)}

    def _groups(
            self, name: str, scores: NDArray[np.float64],
            moving: NDArray[np.bool_]) -> list[dict[str, Any]]:
        """Return the metrics of the objects between each two bounds of a property."""
        values = np.array(self._measures[name])
        edges = (-np.inf, *self.bounds[name], np.inf)
        rows = []
        for low, high in pairwise(edges):
            chosen = (values >= low) & (values < high)
            score, mover = scores[chosen], moving[chosen]
            rows.append({
                'from': None if np.isinf(low) else low, 'to': None if np.isinf(high) else high,
                'objects': mover.size, 'objects_moving': int(mover.sum()),
                'auc': area_under_curve(score, mover),
                'balanced_accuracy': _balanced_accuracy(score > 0.5, mover),
                'moving_found': _share(int((score[mover] > 0.5).sum()), int(mover.sum())),
                'parked_called_moving': _share(
                    int((score[~mover] > 0.5).sum()), int((~mover).sum()))})
        return rows


def area_under_curve(
        scores: NDArray[np.float64], positive: NDArray[np.bool_],
        weights: NDArray[np.float64] | None = None) -> float | None:
    """
    Return the area under the ROC curve.

    That is the probability that a positive scores above a negative, ties counting half.

    >>> area_under_curve(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
    0.875

    :param scores: (N,) float64.
    :param positive: (N,) bool.
    :param weights: (N,) float64, how often each counts; once if None.
    :return: 0 to 1, None without a positive or without a negative.
    """
    if weights is None:
        weights = np.ones(len(scores))
    positives = float(weights[positive].sum())
    negatives = float(weights[~positive].sum())
    if not positives or not negatives:
        return None

    # For each distinct score: its positives times the negatives below, ties counting half.
    _, inverse = np.unique(scores, return_inverse=True)
    here = np.bincount(inverse, weights * positive)
    other = np.bincount(inverse, weights * ~positive)
    return float((here * (np.cumsum(other) - other / 2)).sum() / (positives * negatives))


def _balanced_accuracy(
        called: NDArray[np.bool_], positive: NDArray[np.bool_],
        weights: NDArray[np.float64] | None = None) -> float | None:
    """Return the mean of the share of movers called moving and of parked called parked."""
    if weights is None:
        weights = np.ones(len(called))
    positives = weights[positive].sum()
    negatives = weights[~positive].sum()
    if not positives or not negatives:
        return None
    right = weights * (called == positive)
    return float((right[positive].sum() / positives + right[~positive].sum() / negatives) / 2)


def _first_share(total: NDArray[np.int64]) -> float | None:
    """Return the first of two counts divided by the second, None if that is 0."""
    return _share(int(total[0]), int(total[1]))


def _iou(total: NDArray[np.int64]) -> float | None:
    """Return the IoU of the moving pixels with a prediction."""
    return _share(int(total[0]), int(total[1])) if total[5:].all() else None


def _iou_of_all(total: NDArray[np.int64]) -> float | None:
    """Return the IoU of the moving pixels where a missing prediction is a wrong one."""
    return _share(int(total[0]), int(total[1] + total[4])) if total[5:].all() else None


def _iou_of_movable(total: NDArray[np.int64]) -> float | None:
    """Return the IoU of the movable pixels with the moving ones."""
    return _share(int(total[2]), int(total[3])) if total[5:].all() else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
