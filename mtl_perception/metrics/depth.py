# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far predicted depth is from the truth."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.bootstrap import bootstrap_intervals

NEAREST = 1e-3
"""Smallest depth that a prediction is taken for, metres; keeps ratios finite."""

_FIGURES = ('abs_rel', 'mae', 'rmse', 'delta1', 'delta2', 'delta3', 'not_finite')


def check_shapes(prediction: NDArray[Any], truth: NDArray[Any]) -> None:
    """
    Refuse a prediction and a truth that do not lie over one another.

    :raises ValueError: if the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f'prediction has shape {prediction.shape}, the truth {truth.shape}; resize one of '
            'them before they are compared')


class DepthMetrics:
    """
    Errors of metric depth as in Eigen et al., NIPS 2014, accumulated over all pixels.

    A pixel counts if its truth is finite, positive and at most the maximum. Predictions are
    clipped to (0, maximum], and one that is not finite counts as the maximum: refusing to answer
    never improves a score.

    :param maximum: largest true depth that is judged, metres.
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
        :param truth: the same shape, metres; NaN, Inf and 0 are pixels without truth.
        :raises ValueError: if the shapes differ.
        """
        check_shapes(prediction, truth)
        valid = np.isfinite(truth) & (truth > 0) & (truth <= self.maximum)
        wanted = truth[valid].astype(np.float64)
        found = prediction[valid].astype(np.float64)
        finite = np.isfinite(found)
        found = np.clip(np.where(finite, found, self.maximum), NEAREST, self.maximum)
        difference = np.abs(found - wanted)
        ratio = np.maximum(found / wanted, wanted / found)
        within = [(ratio < 1.25 ** power).sum() for power in (1, 2, 3)]
        self._frames.append(np.array([  # the pixels, then a sum for each of _FIGURES
            wanted.size, (difference / wanted).sum(), difference.sum(), (difference ** 2).sum(),
            *within, wanted.size - finite.sum()], np.float64))

    def merge(self, other: 'DepthMetrics') -> None:
        """Count what another has counted, after what was counted here."""
        self._frames += other._frames

    def compute(self) -> dict[str, Any]:
        """
        Return the figures so far; a figure that does not exist is None.

        :return: ``abs_rel`` (mean |p - g| / g), ``mae`` and ``rmse`` in metres, ``delta1`` to
            ``delta3`` (share of pixels with max(p / g, g / p) below 1.25, 1.25^2, 1.25^3),
            ``not_finite`` (share of judged pixels whose prediction was not finite), ``pixels``.
        """
        total = sum(self._frames, np.zeros(1 + len(_FIGURES)))
        figures = {name: _figure(total, name) for name in _FIGURES}
        return {**figures, 'pixels': int(total[0])}

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, tuple[float, float] | None]:
        """
        Return the bootstrap interval of each figure over what was counted.

        :param level: share of the resampled figures inside.
        :param groups: group of each update, such as its drive; see :func:`bootstrap_interval`.
        :return: name -> (low, high), None if there is no interval.
        """
        return bootstrap_intervals(
            self._frames, {name: partial(_figure, name=name) for name in _FIGURES}, level, groups)

    def last_abs_rel(self) -> float | None:
        """Return the relative error of the last frame alone, None if it has no truth."""
        return _figure(self._frames[-1], 'abs_rel') if self._frames else None


def _figure(total: NDArray[np.float64], name: str) -> float | None:
    """Return a figure from the sums over all pixels, None without any."""
    if not total[0]:
        return None
    mean = float(total[1 + _FIGURES.index(name)] / total[0])
    return mean ** 0.5 if name == 'rmse' else mean
