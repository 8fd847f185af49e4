# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of depth in the units of papers that predict its inverse."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.bootstrap import Interval, Statistic, bootstrap_intervals
from mtl_perception.metrics.depth import NEAREST, check_shapes

UNITS = ('inverse_depth', 'disparity_px', 'disparity_256', 'mtan')

MTAN_STEPS = 256.0
"""Pixels of disparity per unit of MTAN's Cityscapes files: they hold (stored - 1) / 65536."""

MTAN_LARGEST = 32257 / 65536
"""MTAN's files are clipped at this value."""


class InverseDepthMetrics:
    """
    Abs Err and Rel Err of inverse depth, accumulated over all pixels.

    The papers on Cityscapes (MTAN, XTasC-Net) regress a stored disparity d and give the means of
    ``|p - g|`` and ``|p - g| / g`` in its units, which are not metres:

    - ``inverse_depth``: 1 / Z, in 1/m
    - ``disparity_px``: d = f B / Z, in pixels of the image whose focal length is given
    - ``disparity_256``: 256 d, the steps of the 16-bit files
    - ``mtan``: d / 256 with d in pixels at 2048 columns, clipped at 0.4922: the unit of the
      published 0.0122, which is 3.1 px

    A pixel counts if its true depth is positive and finite. A predicted depth of +Inf has the
    inverse 0, and so has one that is NaN or not positive; one nearer than 0.001 m counts as
    0.001 m, as in :class:`~mtl_perception.metrics.depth.DepthMetrics`.

    >>> metrics = InverseDepthMetrics('disparity_px', focal_px=1000.0, baseline_m=0.5)
    >>> metrics.update(np.array([[20.0]]), np.array([[10.0]]))  # 25 px against 50 px
    >>> metrics.compute()
    {'abs_err': 25.0, 'rel_err': 0.5, 'unit': 'disparity_px', 'pixels': 1}

    :param unit: one of the four.
    :param focal_px: focal length f, pixels; not for ``inverse_depth``.
    :param baseline_m: distance of the stereo cameras B, metres; not for ``inverse_depth``.
    :raises ValueError: if the unit is unknown or does not go with the camera.
    """

    def __init__(self, unit: str, focal_px: float = 0.0, baseline_m: float = 0.0) -> None:
        if unit not in UNITS:
            raise ValueError(f'unit is {unit!r}; it must be one of {UNITS}')
        factor = focal_px * baseline_m
        if (unit == 'inverse_depth') != (factor == 0) or factor < 0:
            raise ValueError(
                f'unit {unit!r} with focal_px {focal_px:g} and baseline_m {baseline_m:g}: a '
                'disparity needs both, positive; an inverse depth needs neither')
        self.unit = unit
        self._factor = {
            'inverse_depth': 1.0, 'disparity_px': factor, 'disparity_256': factor * 256,
            'mtan': factor / MTAN_STEPS}[unit]
        self._frames: list[NDArray[np.float64]] = []

    def update(
            self, prediction: NDArray[np.floating[Any]],
            truth: NDArray[np.floating[Any]]) -> None:
        """
        Count one frame.

        :param prediction: (..., H, W) floating, metres along Z.
        :param truth: the same shape, metres; NaN, Inf and 0 are pixels without ground truth.
        :raises ValueError: if the shapes differ.
        """
        check_shapes(prediction, truth)
        valid = np.isfinite(truth) & (truth > 0)
        true = self._inverse(truth[valid])
        predicted = self._inverse(prediction[valid])
        difference = np.abs(predicted - true)
        self._frames.append(np.array(
            [true.size, difference.sum(), (difference / true).sum()], np.float64))

    def merge(self, other: 'InverseDepthMetrics') -> None:
        """Append the frames of another accumulator."""
        self._frames += other._frames

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics so far; a metric without data is None.

        :return: ``abs_err`` in the unit, ``rel_err`` (a share; the papers print it times 100),
            ``unit``, ``pixels``.
        """
        total = sum(self._frames, np.zeros(3))
        return {**{name: statistic(total) for name, statistic in _STATISTICS.items()},
                'unit': self.unit, 'pixels': int(total[0])}

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Interval | None]:
        """
        Return the bootstrap intervals of ``abs_err`` and ``rel_err``.

        :param level: share of the resampled values inside.
        :param groups: group of each frame, such as its drive; see :func:`.bootstrap_interval`.
        """
        return bootstrap_intervals(self._frames, _STATISTICS, level, groups)

    def _inverse(self, metres: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return inverse depth in the unit, 0 for a depth that is not positive or NaN."""
        usable = metres > 0
        inverse = np.zeros(metres.shape)
        np.divide(self._factor, np.maximum(metres, NEAREST), out=inverse, where=usable,
                  dtype=np.float64)
        return np.minimum(inverse, MTAN_LARGEST) if self.unit == 'mtan' else inverse


def _mean(place: int, total: NDArray[np.float64]) -> float | None:
    """Return a sum over all pixels divided by their number, None without pixels."""
    return float(total[place] / total[0]) if total[0] else None


_STATISTICS: dict[str, Statistic] = {'abs_err': partial(_mean, 1), 'rel_err': partial(_mean, 2)}
