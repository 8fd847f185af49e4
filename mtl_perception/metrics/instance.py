# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of instance masks: precision, recall and panoptic quality."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.instances import SMALLEST_OBJECT
from mtl_perception.metrics.bootstrap import Interval, bootstrap_intervals
from mtl_perception.tasks import UNLABELLED


class InstanceMetrics:
    """
    Precision, recall and panoptic quality of instance masks at an overlap of more than one half.

    Above an intersection over union of one half an object has at most one match, so there is no
    assignment problem (Kirillov et al., Panoptic Segmentation, CVPR 2019, section 4.1). Objects
    with fewer visible pixels than ``minimum_pixels`` need not be found; a prediction that is as
    small, or that lies mostly on such an object, is not a false positive.

    >>> metrics = InstanceMetrics({2: 'car'}, minimum_pixels=1)
    >>> truth, cars = np.array([[1, 1, 1, 0, 2]]), np.full((1, 5), 2)
    >>> metrics.update(np.array([[7, 7, 0, 0, 0]]), cars, truth, cars)
    >>> found = metrics.compute()
    >>> found['found'], found['precision'], round(found['quality'], 3)
    (0.5, 1.0, 0.667)

    :param classes: id in the semantic mask -> name, of the classes that have instances.
    :param minimum_pixels: smallest object that counts.
    """

    def __init__(
            self, classes: Mapping[int, str], minimum_pixels: int = SMALLEST_OBJECT) -> None:
        self.classes = dict(classes)
        self.minimum_pixels = minimum_pixels
        self._objects = dict.fromkeys(self.classes, 0)
        self._found = dict.fromkeys(self.classes, 0)
        self._counts: list[NDArray[np.float64]] = []
        self._quality: list[float] = []
        self._frames = 0

    def update(
            self, instance: NDArray[np.integer[Any]], semantic: NDArray[np.integer[Any]],
            true_instance: NDArray[np.integer[Any]],
            true_semantic: NDArray[np.integer[Any]]) -> None:
        """
        Count one frame.

        :param instance: (H, W) predicted ids, 0 = no object.
        :param semantic: (H, W) predicted class ids; an object has the class of most of its pixels.
        :param true_instance: (H, W) ground-truth ids, 0 = no object, negative = unknown.
        :param true_semantic: (H, W) ground-truth class ids; pixels with 255 are left out.
        :raises ValueError: if the shapes differ.
        """
        for name, array in (('semantic', semantic), ('true_instance', true_instance),
                            ('true_semantic', true_semantic)):
            if array.shape != instance.shape:
                raise ValueError(
                    f'{name} has shape {array.shape}, the instances {instance.shape}')

        self._frames += 1
        known = (true_instance >= 0) & (true_semantic != UNLABELLED)
        predicted = np.where(known, instance, 0).astype(np.int64).ravel()
        true = np.where(known, true_instance, 0).astype(np.int64).ravel()
        size = np.bincount(predicted)
        true_size = np.bincount(true)
        class_of = _majority(predicted, semantic.ravel())
        true_class_of = _majority(true, true_semantic.ravel())

        # One number per pair of a true and a predicted object counts the pixels they share.
        columns = int(predicted.max()) + 1
        pairs, shared = np.unique(true * columns + predicted, return_counts=True)

        found: list[float] = []
        matched: set[int] = set()
        for pair, pixels in zip(pairs, shared):
            row, place = divmod(int(pair), columns)
            if not row or not place:
                continue

            # A match needs the same class. An object too small to count can match: that keeps the
            # prediction from being a false positive, but adds nothing to the objects found.
            kind = true_class_of[row]
            overlap = float(pixels / (true_size[row] + size[place] - pixels))
            if overlap > 0.5 and class_of[place] == kind and kind in self.classes:
                matched.add(place)
                if true_size[row] >= self.minimum_pixels:
                    self._found[kind] += 1
                    found.append(overlap)
            elif pixels * 2 > size[place] and true_size[row] < self.minimum_pixels:
                matched.add(place)  # lies on an object that need not be found

        objects = [
            true_class_of[row] for row in np.unique(true[true > 0])
            if true_class_of[row] in self.classes and true_size[row] >= self.minimum_pixels]
        for kind in objects:
            self._objects[kind] += 1
        false = sum(
            1 for place in np.unique(predicted[predicted > 0])
            if int(place) not in matched and size[place] >= self.minimum_pixels)

        self._quality += found
        self._counts.append(np.array([len(objects), len(found), false, sum(found)], np.float64))

    def merge(self, other: 'InstanceMetrics') -> None:
        """Append the frames of another accumulator."""
        for kind in self.classes:
            self._objects[kind] += other._objects[kind]
            self._found[kind] += other._found[kind]
        self._counts += other._counts
        self._quality += other._quality
        self._frames += other._frames

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics so far; a metric without data is None.

        :return: ``found`` (recall) and ``found_of`` per class, ``precision``, ``quality`` (mean
            overlap of the objects found), ``panoptic`` (quality of the same paper, its equation 1,
            over all objects as one class), ``objects`` per class, ``frames``.
        """
        total = sum(self._counts, np.zeros(4))
        return {
            'found': _recall(total),
            'found_of': {
                name: self._found[kind] / self._objects[kind] if self._objects[kind] else None
                for kind, name in self.classes.items()},
            'precision': _precision(total),
            'panoptic': _panoptic(total),
            'quality': float(np.mean(self._quality)) if self._quality else None,
            'objects': {name: self._objects[kind] for kind, name in self.classes.items()},
            'frames': self._frames,
        }

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Interval | None]:
        """
        Return the bootstrap intervals of ``found``, ``precision`` and ``panoptic``.

        :param level: share of the resampled values inside.
        :param groups: group of each frame, such as its drive; see :func:`.bootstrap_interval`.
        """
        return bootstrap_intervals(
            self._counts, {'found': _recall, 'precision': _precision, 'panoptic': _panoptic},
            level, groups)


def _recall(total: NDArray[np.float64]) -> float | None:
    """Return the share of the ground-truth objects that are found."""
    objects, found, _, _ = total
    return float(found / objects) if objects else None


def _precision(total: NDArray[np.float64]) -> float | None:
    """Return the share of the predicted objects that are right."""
    _, found, false, _ = total
    return float(found / (found + false)) if found + false else None


def _panoptic(total: NDArray[np.float64]) -> float | None:
    """Return PQ = (sum of overlaps) / (TP + FP / 2 + FN / 2)."""
    objects, found, false, overlaps = total
    whole = found + (objects - found + false) / 2
    return float(overlaps / whole) if whole else None


def _majority(ids: NDArray[np.int64], classes: NDArray[np.integer[Any]]) -> dict[int, int]:
    """Return id -> the class of most of its pixels."""
    columns = int(classes.max()) + 1
    pairs, counts = np.unique(ids * columns + classes, return_counts=True)
    result: dict[int, int] = {}
    for place in np.argsort(counts, kind='stable'):  # the largest count is written last
        result[int(pairs[place] // columns)] = int(pairs[place] % columns)
    return result
