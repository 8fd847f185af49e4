# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of predicted depth."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.bootstrap import bootstrap_intervals

NEAREST = 1e-3
"""Nearer predictions are clipped to this depth, metres; it keeps ratios finite."""

_PER_IMAGE = ('abs_rel', 'delta1')
_NAMES = ('abs_rel', 'mae', 'rmse', 'delta1', 'delta2', 'delta3', 'not_finite')


def check_shapes(prediction: NDArray[Any], truth: NDArray[Any]) -> None:
    """
    Check that a prediction and a ground truth have the same shape.

    :raises ValueError: if the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f'prediction has shape {prediction.shape}, the truth {truth.shape}; resize one of '
            'them before they are compared')


class DepthMetrics:
    """
    Errors of metric depth as in Eigen et al., NIPS 2014, accumulated over all pixels.

    A pixel counts if its ground truth is finite, positive and at most the maximum. Predictions are
    clipped to (0, maximum], and one that is not finite counts as the maximum: leaving pixels out
    never improves a score.

    >>> metrics = DepthMetrics(maximum=80.0)
    >>> metrics.update(np.array([[12.0, 30.0]]), np.array([[10.0, 20.0]]))
    >>> found = metrics.compute()
    >>> found['abs_rel'], found['mae'], found['delta1']  # ratios 1.2 and 1.5
    (0.35, 6.0, 0.5)

    :param maximum: largest ground-truth depth that counts, metres.
    :raises ValueError: if the maximum is not positive.
    """

    def __init__(self, maximum: float) -> None:
        if not maximum > 0:
            raise ValueError(f'maximum depth is {maximum} m; it must be positive')
        self.maximum = maximum
        self._frames: list[NDArray[np.float64]] = []

    def update(
            self, prediction: NDArray[np.floating[Any]],
            truth: NDArray[np.floating[Any]]) -> None:
        """
        Count one frame.

        :param prediction: (..., H, W) floating, metres.
        :param truth: the same shape, metres; NaN, Inf and 0 are pixels without ground truth.
        :raises ValueError: if the shapes differ.
        """
        check_shapes(prediction, truth)
        valid = np.isfinite(truth) & (truth > 0) & (truth <= self.maximum)
        true = truth[valid].astype(np.float64)
        predicted = prediction[valid].astype(np.float64)
        finite = np.isfinite(predicted)
        predicted = np.clip(np.where(finite, predicted, self.maximum), NEAREST, self.maximum)

        # |p - g|, and max(p / g, g / p) against 1.25^k
        difference = np.abs(predicted - true)
        ratio = np.maximum(predicted / true, true / predicted)
        within = [(ratio < 1.25 ** power).sum() for power in (1, 2, 3)]

        # the number of pixels, then a sum for each of _NAMES
        self._frames.append(np.array([
            true.size, (difference / true).sum(), difference.sum(), (difference ** 2).sum(),
            *within, true.size - finite.sum()], np.float64))

    def merge(self, other: 'DepthMetrics') -> None:
        """Append the frames of another accumulator."""
        self._frames += other._frames

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics so far; a metric without data is None.

        :return: ``abs_rel`` (mean of ``|p - g| / g``), ``mae`` and ``rmse`` in metres, ``delta1``
            to ``delta3`` (share of pixels with max(p / g, g / p) below 1.25, 1.25^2, 1.25^3),
            ``not_finite`` (share of the pixels with ground truth whose prediction was not finite),
            ``pixels``; ``abs_rel_per_image`` and ``delta1_per_image`` are means of the images'
            own ones.
        """
        total = sum(self._frames, np.zeros(1 + len(_NAMES)))
        shares = sum(self._shares(), np.zeros(1 + len(_NAMES)))
        return {**{name: _metric(total, name) for name in _NAMES},
                **{f'{name}_per_image': _metric(shares, name) for name in _PER_IMAGE},
                'pixels': int(total[0])}

    def _shares(self) -> list[NDArray[np.float64]]:
        """Return the sums of each frame with ground truth, divided by its number of pixels."""
        return [frame / max(frame[0], 1) for frame in self._frames]

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, tuple[float, float] | None]:
        """
        Return the bootstrap interval of each metric.

        :param level: share of the resampled values inside.
        :param groups: group of each frame, such as its drive; see :func:`.bootstrap_interval`.
        :return: name -> (low, high), None without an interval.
        """
        found = bootstrap_intervals(
            self._frames, {name: partial(_metric, name=name) for name in _NAMES}, level, groups)
        return {**found, **bootstrap_intervals(
            self._shares(), {f'{name}_per_image': partial(_metric, name=name)
                             for name in _PER_IMAGE}, level, groups)}

    def last_abs_rel(self) -> float | None:
        """Return the relative error of the last frame alone, None without ground truth."""
        return _metric(self._frames[-1], 'abs_rel') if self._frames else None


def _metric(total: NDArray[np.float64], name: str) -> float | None:
    """Return a metric from the sums over all pixels, None without pixels."""
    if not total[0]:
        return None
    mean = float(total[1 + _NAMES.index(name)] / total[0])
    return mean ** 0.5 if name == 'rmse' else mean
