# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where in the image depth is wrong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.depth import NEAREST, check_shapes


class ErrorMap:
    """
    The mean relative error of depth at each pixel position.

    :param maximum: largest true depth that is judged, metres; predictions are clipped to it, and
        one that is not finite counts as it, as in :class:`DepthMetrics`.
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
        :param truth: (H, W) floating, metres; NaN, Inf and 0 are pixels without truth.
        :raises ValueError: if a shape is not that of the map.
        """
        check_shapes(prediction, truth)
        check_shapes(truth, self._sum)
        errors = relative_error(prediction, truth, self.maximum)
        known = np.isfinite(errors)
        self._sum[known] += errors[known]
        self._count += known

    def mean(self) -> NDArray[np.float32]:
        """Return (H, W) float32, NaN where there never was any truth."""
        with np.errstate(invalid='ignore'):
            return (self._sum / self._count).astype(np.float32)


def relative_error(
        prediction: NDArray[np.floating[Any]], truth: NDArray[np.floating[Any]], maximum: float,
) -> NDArray[np.float32]:
    """
    Return (H, W) float32 |p - g| / g of one frame, NaN where there is no truth.

    :param prediction: (H, W) floating, metres.
    :param truth: (H, W) floating, metres.
    :param maximum: see :class:`ErrorMap`.
    """
    known = np.isfinite(truth) & (truth > 0) & (truth <= maximum)
    found = np.clip(np.where(np.isfinite(prediction), prediction, maximum), NEAREST, maximum)
    wanted = np.where(known, truth, 1)
    return np.where(known, np.abs(found - wanted) / wanted, np.nan).astype(np.float32)
