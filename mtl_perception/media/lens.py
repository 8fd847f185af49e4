# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lenses with distortion: from rays to pixels and back, for the models that ROS names."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POLYNOMIAL, EQUIDISTANT = 'polynomial', 'equidistant'
KINDS = {
    'plumb_bob': POLYNOMIAL, 'radtan': POLYNOMIAL, 'rational_polynomial': POLYNOMIAL,
    'equidistant': EQUIDISTANT, 'fisheye': EQUIDISTANT, 'kannala_brandt4': EQUIDISTANT}
"""Distortion model of ``sensor_msgs/CameraInfo`` -> how it is computed."""
MOST_NUMBERS = {POLYNOMIAL: 14, EQUIDISTANT: 4}

WIDEST_RAY = 8.0
"""Rays farther than this from the optical axis are not used: x / z, about 83 degrees."""
SAMPLES = 4096
STEPS = 10
STRONG_BEND = 0.03
"""A lens is no pinhole if it moves an edge of the image by more than this share of its width."""


@dataclass(frozen=True)
class Lens:
    """
    A camera with distortion; the centre of pixel (0, 0) is at (0, 0).

    The polynomial model is that of OpenCV's ``projectPoints``: k1, k2, p1, p2, k3 to k6 and s1 to
    s4; the equidistant one that of its ``fisheye`` module: k1 to k4.

    :param kind: ``polynomial`` or ``equidistant``.
    :param fx: focal length along x in the middle of the image, pixels.
    :param fy: focal length along y, pixels.
    :param cx: column of the principal point, pixels.
    :param cy: row of the principal point, pixels.
    :param coefficients: fewer than the model has are filled up with 0.
    """

    kind: str
    fx: float
    fy: float
    cx: float
    cy: float
    coefficients: tuple[float, ...] = ()

    def project(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """
        Return where rays meet the image, pixels; NaN beyond what the lens can see.

        :param x: x / z of the rays.
        :param y: y / z of the rays.
        """
        radius = np.hypot(x, y)
        with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
            factor = np.where(radius > 0, self._bent(radius) / radius, 1.0)
            factor = np.where(radius <= self._table[0][-1], factor, np.nan)
            extra_x, extra_y = self._tangential(x, y)
        return (self.fx * (x * factor + extra_x) + self.cx,
                self.fy * (y * factor + extra_y) + self.cy)

    def unproject(self, column: Floats, row: Floats) -> tuple[Floats, Floats]:
        """Return the rays of pixels as x / z and y / z; NaN where there is none."""
        rays, bent = self._table
        u = (column - self.cx) / self.fx
        v = (row - self.cy) / self.fy
        x, y = u, v

        # The radial part is inverted by its table, the small tangential one by repetition.
        for _ in range(STEPS if self._is_tangential else 1):
            extra_x, extra_y = self._tangential(x, y)
            radius = np.hypot(u - extra_x, v - extra_y)
            with np.errstate(invalid='ignore', divide='ignore'):
                found = np.interp(radius, bent, rays, right=np.nan)
                factor = np.where(radius > 0, found / radius, 1.0)
            x = (u - extra_x) * factor
            y = (v - extra_y) * factor
        return x, y

    def bend(self, height: int, width: int) -> float:
        """
        Return how far the lens moves the middle of an edge, as a share of the width.

        :return: 0 for a pinhole, infinite if there is no ray for it.
        """
        column = np.array([0.0, width - 1.0, self.cx, self.cx])
        row = np.array([self.cy, self.cy, 0.0, height - 1.0])
        x, y = self.unproject(column, row)
        moved = np.hypot(self.fx * x + self.cx - column, self.fy * y + self.cy - row)
        return float(np.max(np.where(np.isnan(moved), np.inf, moved))) / width

    def is_strong(self, height: int, width: int) -> bool:
        """Return whether images of this size must be rectified before a pinhole is assumed."""
        return self.bend(height, width) > STRONG_BEND

    @property
    def reach(self) -> float:
        """How far from the principal point the lens is unambiguous, pixels."""
        return float(self._table[1][-1] * min(self.fx, self.fy))

    @functools.cached_property
    def _numbers(self) -> Floats:
        """All coefficients, those that are not given are 0."""
        numbers = np.zeros(MOST_NUMBERS[self.kind])
        numbers[:len(self.coefficients)] = self.coefficients
        return numbers

    @functools.cached_property
    def _is_tangential(self) -> bool:
        """Whether the lens is not centred."""
        return self.kind == POLYNOMIAL and bool(np.any(self._numbers[[2, 3, 8, 9, 10, 11]]))

    @functools.cached_property
    def _table(self) -> tuple[Floats, Floats]:
        """Distances of rays and where the lens puts them, up to where it folds back."""
        rays = np.tan(np.linspace(0, np.arctan(WIDEST_RAY), SAMPLES))
        with np.errstate(all='ignore'):
            bent = self._bent(rays)
        falls = np.flatnonzero(~(np.diff(bent) > 0))
        end = int(falls[0]) + 1 if len(falls) else SAMPLES
        return rays[:end], bent[:end]

    def _bent(self, radius: Floats) -> Floats:
        """Return the distance from the optical axis behind the lens, for rays at a distance."""
        if self.kind == EQUIDISTANT:
            k1, k2, k3, k4 = self._numbers
            angle = np.arctan(radius)
            square = angle ** 2
            return np.asarray(
                angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4)))))

        k1, k2, _, _, k3, k4, k5, k6 = self._numbers[:8]
        square = radius ** 2
        return np.asarray(
            radius * (1 + square * (k1 + square * (k2 + square * k3)))
            / (1 + square * (k4 + square * (k5 + square * k6))))

    def _tangential(self, x: Floats, y: Floats) -> tuple[Any, Any]:
        """Return what a lens that is not centred adds, tangential and thin prism terms."""
        if self.kind == EQUIDISTANT:
            return 0.0, 0.0
        p1, p2 = self._numbers[2:4]
        s1, s2, s3, s4 = self._numbers[8:12]
        square = x * x + y * y
        return (2 * p1 * x * y + p2 * (square + 2 * x * x) + square * (s1 + square * s2),
                p1 * (square + 2 * y * y) + 2 * p2 * x * y + square * (s3 + square * s4))
