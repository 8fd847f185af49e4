# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A frame of the street with its ground truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic.mesh import Array


@dataclass(frozen=True)
class Box:
    """
    The smallest box around an object's visible pixels.

    :param instance: id in the instance image.
    :param class_id: class of :data:`mtl_perception.tasks.STREET_SEMANTIC`.
    :param x_min: first column, pixels.
    :param y_min: first row.
    :param x_max: last column, included.
    :param y_max: last row, included.
    :param moving: whether the object moves in the world.
    """

    instance: int
    class_id: int
    x_min: int
    y_min: int
    x_max: int
    y_max: int
    moving: bool


@dataclass(frozen=True, eq=False)
class StreetFrame:
    """
    One frame with its ground truth.

    :param image: (H, W, 3) uint8 RGB.
    :param semantic: (H, W) uint8 ids of :data:`mtl_perception.tasks.STREET_SEMANTIC`.
    :param instance: (H, W) uint16, 0 = none; an id stays with its object over time.
    :param depth: (H, W) float32 metres along Z; +Inf in the sky and nowhere else.
    :param motion: (H, W) uint8, 1 where the object itself moves in the world.
    :param boxes: objects in view, in the order of their ids.
    :param intrinsics: (3, 3) float64; the centre of pixel (0, 0) is at (0, 0).
    :param pose: (4, 4) float64, camera to world; camera x right, y down, z forward; the world's
        y points down too and the ground is y = 0.
    :param stamp_ns: time since the start of the drive, nanoseconds.
    """

    image: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    depth: NDArray[np.float32]
    motion: NDArray[np.uint8]
    boxes: tuple[Box, ...]
    intrinsics: Array
    pose: Array
    stamp_ns: int
