# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which pixels belong to what cannot move, and which of them can be matched."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Places = NDArray[np.intp]

MARGIN = np.ones((5, 5), np.uint8)
"""Masks grow by 2 pixels, as the outlines of objects are not exact."""
CELL = 8
"""Side of the grid cells, pixels; each gives at most one match, at its most textured pixel."""
TEXTURE = 2e-5
"""A match needs at least this smallest eigenvalue of the structure tensor (greys 0 to 1)."""


def of_classes(semantic: Image, classes: Sequence[int]) -> Mask:
    """
    Return the pixels of some classes, (H, W) bool.

    :param semantic: (H, W) uint8 class ids.
    :param classes: ids of the classes.
    """
    table = np.zeros(256, np.uint8)
    table[list(classes)] = 1
    return np.asarray(cv2.LUT(semantic, table)).view(np.bool_)  # 25 times as fast as np.isin


def near_classes(semantic: Image, classes: Sequence[int]) -> Mask:
    """Return what :func:`of_classes` returns, grown by a margin."""
    return np.asarray(cv2.dilate(of_classes(semantic, classes).view(np.uint8), MARGIN)).view(
        np.bool_)


def static_pixels(semantic: Image, movable: Sequence[int], sky: int = -1) -> Mask:
    """
    Return the pixels of what cannot move and has a depth, (H, W) bool.

    :param semantic: (H, W) uint8 class ids.
    :param movable: ids of the classes whose objects can move.
    :param sky: id of the class without depth, -1 if no class is.
    """
    static: Mask = ~near_classes(semantic, movable) & (semantic != sky)
    return static


def textured_pixels(image: Image, static: Mask) -> Places:
    """
    Return the static pixel of each cell with the most texture, where flow can be relied on.

    :param image: (H, W) uint8 grey.
    :param static: (H, W) bool, pixels that may be taken.
    :return: (N, 2) rows and columns.
    :raises ValueError: if shapes differ.
    """
    if static.shape != image.shape:
        raise ValueError(
            f'static has shape {static.shape}, the image {image.shape}; they must be equal')
    strength = cv2.cornerMinEigenVal(image, 5)
    strength = np.where(static, strength, np.float32(0))

    # Cut into cells (rows * columns, CELL^2); the rest at the right and bottom is unused.
    rows, columns = (length // CELL for length in image.shape)
    grid = strength[:rows * CELL, :columns * CELL].reshape(rows, CELL, columns, CELL)
    cells = grid.transpose(0, 2, 1, 3).reshape(rows * columns, CELL * CELL)

    best = cells.argmax(1)
    usable = np.flatnonzero(cells[np.arange(len(best)), best] > TEXTURE)
    y = usable // columns * CELL + best[usable] // CELL
    x = usable % columns * CELL + best[usable] % CELL
    return np.stack([y, x], 1)
