# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The depth error at each position of the image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.depth import NEAREST, check_shapes


class ErrorMap:
    """
    The mean relative depth error at each pixel position.

    >>> errors = ErrorMap(maximum=80.0, height=1, width=2)
    >>> errors.update(np.array([[15.0, 5.0]]), np.array([[10.0, np.nan]]))
    >>> errors.mean()
    array([[0.5, nan]], dtype=float32)

    :param maximum: largest ground-truth depth that counts, metres; predictions are clipped to it,
        and one that is not finite counts as this maximum, as in :class:`.DepthMetrics`.
    :param height: rows of the maps.
    :param width: columns of the maps.
    """

    def __init__(self, maximum: float, height: int, width: int) -> None:
        self.maximum = maximum
        self._sum = np.zeros((height, width), np.float64)
        self._count = np.zeros((height, width), np.int64)

    def update(
            self, prediction: NDArray[np.floating[Any]],
            truth: NDArray[np.floating[Any]]) -> None:
        """
        Count one frame.

        :param prediction: (H, W) floating, metres.
        :param truth: (H, W) floating, metres; NaN, Inf and 0 are pixels without ground truth.
        :raises ValueError: if a shape is not that of the map.
        """
        check_shapes(prediction, truth)
        check_shapes(truth, self._sum)
        errors = relative_error(prediction, truth, self.maximum)
        known = np.isfinite(errors)
        self._sum[known] += errors[known]
        self._count += known

    def mean(self) -> NDArray[np.float32]:
        """Return (H, W) float32, NaN where no frame had ground truth."""
        with np.errstate(invalid='ignore'):
            return (self._sum / self._count).astype(np.float32)


def relative_error(
        prediction: NDArray[np.floating[Any]], truth: NDArray[np.floating[Any]], maximum: float,
) -> NDArray[np.float32]:
    """
    Return (H, W) float32 ``|p - g| / g`` of one frame, NaN without ground truth.

    >>> relative_error(np.array([[15.0, np.inf]]), np.array([[10.0, 40.0]]), maximum=80.0)
    array([[0.5, 1. ]], dtype=float32)

    :param prediction: (H, W) floating, metres.
    :param truth: (H, W) floating, metres.
    :param maximum: see :class:`ErrorMap`.
    """
    known = np.isfinite(truth) & (truth > 0) & (truth <= maximum)
    predicted = np.clip(np.where(np.isfinite(prediction), prediction, maximum), NEAREST, maximum)
    true = np.where(known, truth, 1)  # 1 keeps the division quiet where the result is NaN anyway
    return np.where(known, np.abs(predicted - true) / true, np.nan).astype(np.float32)
