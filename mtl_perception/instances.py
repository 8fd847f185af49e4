# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From vectors that point at the centroid of an object to an id per object."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

BLUR = 3.0
"""Standard deviation of the blur that makes votes a density, pixels."""
AROUND = 8.0
"""Votes so near to a peak of the density say how large the object there is, pixels."""


def find_instances(
    offset: NDArray[np.float32], thing: NDArray[np.bool_], *, reach: float = 4.0,
    growth: float = 0.5, minimum_votes: int = 5, minimum_pixels: int = 20,
) -> NDArray[np.uint16]:
    """
    Return which object each pixel belongs to.

    Every thing pixel votes for the place that its vector points at. The place where the votes are
    densest is the centre of an object, which takes the votes around it; then the next. The longer
    the vectors of an object, the farther its votes are scattered and the farther it reaches.
    Kendall et al. (CVPR 2018) cluster the votes with OPTICS instead, which takes seconds for the
    votes of one frame.

    :param offset: (2, h, w) float32, x and y in pixels of this resolution.
    :param thing: (h, w) bool, pixels that belong to an object; call once per class to keep
        neighbours of different classes apart.
    :param reach: how far from its centre a vote of a very small object may lie, pixels.
    :param growth: by how much of the mean length of its vectors an object reaches farther.
    :param minimum_votes: fewest votes for the very place of a centre, as sharp as the blur leaves
        them.
    :param minimum_pixels: smaller objects are none.
    :return: (h, w) uint16; 0 = no object, the largest object is 1.
    :raises ValueError: if the shapes do not belong together.
    """
    height, width = thing.shape
    if offset.shape != (2, height, width):
        raise ValueError(
            f'offset has the shape {offset.shape}, the mask {thing.shape}; wanted is (2, '
            f'{height}, {width})')
    rows, columns = np.nonzero(thing)
    across, down = offset[0, rows, columns], offset[1, rows, columns]
    x, y = columns + across, rows + down
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)  # false for NaN
    rows, columns, x, y = rows[inside], columns[inside], x[inside], y[inside]
    length = np.hypot(across[inside], down[inside])
    cell = np.rint(y).astype(np.int64) * width + np.rint(x).astype(np.int64)
    density = _density(cell, height, width)
    owner = np.zeros(len(cell), np.int64)
    left, count = np.arange(len(cell)), 0
    while len(left):
        peak = int(density.argmax())
        if density.flat[peak] < minimum_votes / (2 * math.pi * BLUR ** 2):
            break
        centre_y, centre_x = divmod(peak, width)
        distance = np.hypot(x[left] - centre_x, y[left] - centre_y)
        near = distance < AROUND
        if not near.any():  # what is left of the density there is rounding
            density.flat[peak] = 0
            continue
        taken = distance < reach + growth * length[left[near]].mean()
        own = left[taken] if taken.any() else left[near]
        farthest = reach + growth * length[own].mean()
        taken = np.hypot(x[left] - x[own].mean(), y[left] - y[own].mean()) < farthest
        if not taken.any():
            taken = near
        count += 1
        owner[left[taken]] = count
        _take(density, cell[left[taken]])
        left = left[~taken]
    return _numbered(owner, rows, columns, (height, width), minimum_pixels)


def _density(cell: NDArray[np.int64], height: int, width: int) -> NDArray[np.float32]:
    """Return (h, w) float32 votes per pixel, blurred."""
    grid = np.bincount(cell, minlength=height * width).reshape(height, width)
    return np.asarray(cv2.GaussianBlur(
        grid.astype(np.float32), (0, 0), BLUR, borderType=cv2.BORDER_CONSTANT), np.float32)


def _take(density: NDArray[np.float32], cell: NDArray[np.int64]) -> None:
    """Remove votes from a density, where they are alone."""
    height, width = density.shape
    row, column = np.divmod(cell, width)
    margin = math.ceil(4 * BLUR) + 1
    top, bottom = max(0, row.min() - margin), min(height, row.max() + margin + 1)
    first, last = max(0, column.min() - margin), min(width, column.max() + margin + 1)
    part = (row - top) * (last - first) + column - first
    density[top:bottom, first:last] -= _density(part, bottom - top, last - first)


def _numbered(
    owner: NDArray[np.int64], rows: NDArray[np.intp], columns: NDArray[np.intp],
    shape: tuple[int, int], minimum_pixels: int,
) -> NDArray[np.uint16]:
    """Return the ids of pixels whose owners are large enough, the largest first."""
    pixels = np.bincount(owner, minlength=1)
    pixels[0] = 0
    order = np.argsort(-pixels, kind='stable')
    kept = order[pixels[order] >= max(minimum_pixels, 1)][:np.iinfo(np.uint16).max]
    number = np.zeros(len(pixels), np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)
    ids = np.zeros(shape, np.uint16)
    ids[rows, columns] = number[owner]
    return ids
