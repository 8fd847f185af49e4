# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far predicted depth is from the truth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAREST = 1e-3
"""Smallest depth that a prediction is taken for, metres; keeps ratios finite."""


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
        self._pixels = 0
        self._not_finite = 0
        self._relative = 0.0
        self._squared = 0.0
        self._absolute = 0.0
        self._within = np.zeros(3, np.int64)

    def update(
            self, prediction: NDArray[np.floating[Any]],
            truth: NDArray[np.floating[Any]]) -> None:
        """
        Count one frame.

        :param prediction: (..., H, W) floating, metres.
        :param truth: the same shape, metres; NaN, Inf and 0 are pixels without truth.
        :raises ValueError: if the shapes differ.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f'prediction has shape {prediction.shape}, the truth {truth.shape}; resize one '
                'of them before they are compared')
        valid = np.isfinite(truth) & (truth > 0) & (truth <= self.maximum)
        wanted = truth[valid].astype(np.float64)
        found = prediction[valid].astype(np.float64)
        finite = np.isfinite(found)
        found = np.clip(np.where(finite, found, self.maximum), NEAREST, self.maximum)
        difference = np.abs(found - wanted)
        ratio = np.maximum(found / wanted, wanted / found)
        self._pixels += wanted.size
        self._not_finite += int(wanted.size - finite.sum())
        self._relative += float((difference / wanted).sum())
        self._squared += float((difference ** 2).sum())
        self._absolute += float(difference.sum())
        self._within += [int((ratio < 1.25 ** power).sum()) for power in (1, 2, 3)]

    def compute(self) -> dict[str, Any]:
        """
        Return the figures so far; a figure that does not exist is None.

        :return: ``abs_rel`` (mean |p - g| / g), ``mae`` and ``rmse`` in metres, ``delta1`` to
            ``delta3`` (share of pixels with max(p / g, g / p) below 1.25, 1.25^2, 1.25^3),
            ``not_finite`` (share of judged pixels whose prediction was not finite), ``pixels``.
        """
        pixels = self._pixels
        names = ('abs_rel', 'mae', 'rmse', 'delta1', 'delta2', 'delta3', 'not_finite')
        if not pixels:
            return {**dict.fromkeys(names), 'pixels': 0}
        figures = (
            self._relative / pixels, self._absolute / pixels, (self._squared / pixels) ** 0.5,
            *(float(count) / pixels for count in self._within), self._not_finite / pixels)
        return {**dict(zip(names, figures)), 'pixels': pixels}
