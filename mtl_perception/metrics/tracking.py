# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of objects in time: MOTA, IDF1, changes of id, and the error of velocity."""

import importlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError
from mtl_perception.frames import Objects
from mtl_perception.instances import SMALLEST_OBJECT

Pair = tuple[Any, int]


class TrackingMetrics:
    """
    How well ids hold, over drives, by masks that overlap by more than one half.

    MOTA = 1 - (misses + false + changes of id) / objects (Bernardin and Stiefelhagen, CLEAR MOT,
    EURASIP 2008). IDF1 = 2 IDTP / (objects + predictions), with the one-to-one pairs of true and
    predicted tracks that share most frames (Ristani et al., Performance Measures and a Data Set
    for Multi-Target, Multi-Camera Tracking, ECCV workshops 2016). Classes are not compared.

    An object with fewer visible pixels than ``minimum_pixels`` need not be found; a prediction
    that is as small, or lies mostly on such an object, is not false.

    :param minimum_pixels: smallest object that counts.
    :raises ConfigurationError: if scipy is not installed.
    """

    def __init__(self, minimum_pixels: int = SMALLEST_OBJECT) -> None:
        # scipy would be a sixth of what a robot installs; evaluations alone need it.
        try:
            self._assign = importlib.import_module('scipy.optimize').linear_sum_assignment
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                'metrics of objects in time need scipy, which is not installed; pip install '
                'scipy brings it') from error
        self.minimum_pixels = minimum_pixels
        self._objects = self._predictions = self._found = self._changes = 0
        self._shared: Counter[tuple[Pair, Pair]] = Counter()
        self._last: dict[Pair, int] = {}
        self._velocities: list[NDArray[np.float64]] = []
        self._unknown = 0

    def update(
        self, drive: Any, found: Objects, instance: NDArray[np.integer[Any]],
        velocities: Mapping[int, NDArray[np.float64]] | None = None,
    ) -> None:
        """
        Count one frame; the frames of a drive come in order.

        :param drive: which one.
        :param found: the prediction.
        :param instance: (H, W) true ids at the size of the prediction's mask, 0 = none.
        :param velocities: true id -> (3,) m/s over the world in the axes of the camera.
        """
        mask = found.mask.astype(np.int64)
        true_size, size = (np.bincount(ids.ravel()) for ids in (instance, mask))
        counted = [int(one) for one in np.flatnonzero(true_size >= self.minimum_pixels) if one]
        wanted = {int(one) for one in found.ids}

        matches: dict[int, int] = {}
        excused: set[int] = set()
        columns = int(mask.max()) + 1
        pairs, shared = np.unique(
            instance.astype(np.int64) * columns + mask, return_counts=True)
        for pair, pixels in zip(pairs.tolist(), shared.tolist()):
            true, number = divmod(pair, columns)
            if not true or not number:
                continue

            # Above one half there is at most one match.
            small = true_size[true] < self.minimum_pixels
            if pixels * 2 > true_size[true] + size[number] - pixels:
                matches[true] = number
                if small:
                    excused.add(number)
            elif small and pixels * 2 > size[number]:
                excused.add(number)

        # What is small is neither counted nor false.
        matches = {true: number for true, number in matches.items() if true in counted}
        excused |= {number for number in wanted if size[number] < self.minimum_pixels}

        self._objects += len(counted)
        self._found += len(matches)
        self._predictions += len(wanted - (excused - set(matches.values())))
        for true, number in matches.items():
            self._shared[(drive, true), (drive, number)] += 1
            self._changes += self._last.get((drive, true), number) != number
            self._last[drive, true] = number
        self._add_velocities(found, matches, velocities or {})

    def _add_velocities(
        self, found: Objects, matches: Mapping[int, int],
        velocities: Mapping[int, NDArray[np.float64]],
    ) -> None:
        """Note predicted and true velocities of what was found."""
        place = {int(number): row for row, number in enumerate(found.ids)}
        for true, number in matches.items():
            if true not in velocities:
                continue
            predicted = found.velocities[place[number]]
            if np.isnan(predicted).any():
                self._unknown += 1
            else:
                self._velocities.append(np.concatenate([predicted, velocities[true]]))

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics; one without data is None.

        :return: ``idf1``, ``mota``, ``changes`` of id, ``objects``, ``found``, ``false``, and
            ``velocity`` of those found, of all and of those that move: the median error in m/s
            beside that of the mean velocity (``baseline``), and how many ``count``.
        """
        rows = {one: place for place, one in enumerate(sorted({pair[0] for pair in self._shared}))}
        columns = {
            one: place for place, one in enumerate(sorted({pair[1] for pair in self._shared}))}
        table = np.zeros((len(rows), len(columns)))
        for (true, number), frames in self._shared.items():
            table[rows[true], columns[number]] = frames
        kept = float(table[self._assign(table, maximize=True)].sum())

        false = self._predictions - self._found
        total = self._objects + self._predictions
        errors = self._objects - self._found + false + self._changes
        return {
            'idf1': 2 * kept / total if total else None,
            'mota': 1 - errors / self._objects if self._objects else None,
            'changes': self._changes, 'objects': self._objects, 'found': self._found,
            'false': false, 'velocity': self._velocity()}

    def _velocity(self) -> dict[str, Any]:
        """Return the errors of velocity."""
        pairs = np.array(self._velocities).reshape(-1, 6)
        moves = np.linalg.norm(pairs[:, 3:], axis=1) > 0
        rows: dict[str, Any] = {'unknown': self._unknown}
        for name, chosen in (('all', pairs), ('moving', pairs[moves])):
            predicted, true = chosen[:, :3], chosen[:, 3:]
            rows[name] = {
                'median_error': _median(predicted - true),
                'baseline': _median(true - true.mean(0)) if len(true) else None,
                'count': len(true)}
        return rows


def _median(errors: NDArray[np.float64]) -> float | None:
    """Return the median length of (N, 3) vectors, None without any."""
    return float(np.median(np.linalg.norm(errors, axis=1))) if len(errors) else None
