# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into the perception pipeline and what comes out of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """
    One camera image.

    :param camera: name of the camera it came from.
    :param stamp_ns: time of exposure, nanoseconds; may be any integer, also zero.
    :param image: (H, W, 3) uint8 RGB.
    """

    camera: str
    stamp_ns: int
    image: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Outputs:
    """
    What a network says about one frame, at the network's resolution (h, w).

    A task that the network does not have, or that nobody asked for, is None.

    :param semantic: (h, w) uint8 class ids.
    :param depth: (h, w) float32 metres along Z, finite and positive everywhere.
    :param motion: (h, w) uint8, 0 static, 1 moving.
    :param motion_score: (h, w) float32, probability of moving, 0 to 1.
    :param sky: (h, w) bool, where the semantics are sure that there is nothing but sky.
    """

    semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    motion: NDArray[np.uint8] | None = None
    motion_score: NDArray[np.float32] | None = None
    sky: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Perception:
    """
    What the pipeline says about one frame, at the size that the consumer asked for (H, W).

    :param semantic: (H, W) uint8 class ids, 255 = unlabelled.
    :param depth: (H, W) float32 metres along Z; NaN = invalid, +Inf = beyond range or sky.
    :param motion: (H, W) uint8, 0 static, 1 moving, 255 unknown (no valid previous frame).
    :param motion_score: (H, W) float32, probability of moving; NaN = unknown.
    """

    semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    motion: NDArray[np.uint8] | None = None
    motion_score: NDArray[np.float32] | None = None
