# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well objects of the same class are told apart."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.bootstrap import Interval, bootstrap_intervals
from mtl_perception.tasks import UNLABELLED


class InstanceMetrics:
    """
    Judge instance masks object by object, at an intersection over union above one half.

    Above one half an object has at most one match, so nothing has to be assigned (Kirillov et
    al., Panoptic Segmentation, CVPR 2019, section 4.1). Objects of fewer visible pixels than
    ``minimum_pixels`` need not be found, and what is predicted mostly on them, or is as small, is
    not false.

    :param classes: id in the semantic mask -> name, of the classes whose objects are told apart.
    :param minimum_pixels: smallest object that counts.
    """

    def __init__(self, classes: Mapping[int, str], minimum_pixels: int = 60) -> None:
        self.classes = dict(classes)
        self.minimum_pixels = minimum_pixels
        self._wanted = dict.fromkeys(self.classes, 0)
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
        :param true_instance: (H, W) true ids, 0 = no object, negative = unknown.
        :param true_semantic: (H, W) true class ids; what lies where it is 255 is left out.
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
        columns = int(predicted.max()) + 1
        pairs, counts = np.unique(true * columns + predicted, return_counts=True)
        rows, places = pairs // columns, pairs % columns
        true_size = np.bincount(true)
        size = np.bincount(predicted)
        kind_of = _majority(true, true_semantic.ravel())
        called = _majority(predicted, semantic.ravel())
        matched: set[int] = set()
        wanted, found = sum(self._wanted.values()), sum(self._found.values())
        overlaps = len(self._quality)
        for row, place, shared in zip(rows, places, counts):
            if not row or not place:
                continue
            overlap = shared / (true_size[row] + size[place] - shared)
            kind = kind_of[row]
            if overlap > 0.5 and called[place] == kind and kind in self.classes:
                matched.add(int(place))
                if true_size[row] >= self.minimum_pixels:
                    self._found[kind] += 1
                    self._quality.append(float(overlap))
            elif shared * 2 > size[place] and true_size[row] < self.minimum_pixels:
                matched.add(int(place))  # lies on what need not be found
        for row in np.unique(rows[rows > 0]):
            if kind_of[row] in self.classes and true_size[row] >= self.minimum_pixels:
                self._wanted[kind_of[row]] += 1
        false = sum(
            1 for place in np.unique(places[places > 0])
            if int(place) not in matched and size[place] >= self.minimum_pixels)
        self._counts.append(np.array([
            sum(self._wanted.values()) - wanted, sum(self._found.values()) - found, false,
            sum(self._quality[overlaps:])]))

    def merge(self, other: 'InstanceMetrics') -> None:
        """Count what another has counted, after what was counted here."""
        for kind in self.classes:
            self._wanted[kind] += other._wanted[kind]
            self._found[kind] += other._found[kind]
        self._counts += other._counts
        self._quality += other._quality
        self._frames += other._frames

    def compute(self) -> dict[str, Any]:
        """
        Return the figures so far; a figure that does not exist is None.

        :return: ``found`` (share of the objects that are found) and ``found_of`` per class,
            ``precision`` (share of what is predicted that is an object), ``quality`` (mean overlap
            of what is found), ``panoptic`` (quality of the same paper, its equation 1, over all
            objects as one class), ``objects`` per class, ``frames``.
        """
        total = sum(self._counts, np.zeros(4))
        return {
            'found': _found(total),
            'found_of': {
                name: self._found[kind] / self._wanted[kind] if self._wanted[kind] else None
                for kind, name in self.classes.items()},
            'precision': _precision(total),
            'panoptic': _panoptic(total),
            'quality': float(np.mean(self._quality)) if self._quality else None,
            'objects': {name: self._wanted[kind] for kind, name in self.classes.items()},
            'frames': self._frames,
        }

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Interval | None]:
        """
        Return the bootstrap intervals of ``found``, ``precision`` and ``panoptic``.

        :param level: share of the resampled figures inside.
        :param groups: group of each update, such as its drive; see :func:`bootstrap_interval`.
        """
        return bootstrap_intervals(
            self._counts, {'found': _found, 'precision': _precision, 'panoptic': _panoptic}, level,
            groups)


def _found(total: NDArray[np.float64]) -> float | None:
    """Return the share of the wanted objects that are found."""
    return float(total[1] / total[0]) if total[0] else None


def _precision(total: NDArray[np.float64]) -> float | None:
    """Return the share of what is predicted that is an object."""
    return float(total[1] / (total[1] + total[2])) if total[1] + total[2] else None


def _panoptic(total: NDArray[np.float64]) -> float | None:
    """Return the sum of overlaps by the objects found and half of those missed or made up."""
    wanted, found, false, overlaps = total
    whole = found + (wanted - found + false) / 2
    return float(overlaps / whole) if whole else None


def _majority(ids: NDArray[np.int64], classes: NDArray[np.integer[Any]]) -> dict[int, int]:
    """Return id -> the class of most of its pixels."""
    columns = int(classes.max()) + 1
    pairs, counts = np.unique(ids * columns + classes, return_counts=True)
    result: dict[int, int] = {}
    for place in np.argsort(counts, kind='stable'):  # the largest count is written last
        result[int(pairs[place] // columns)] = int(pairs[place] % columns)
    return result
