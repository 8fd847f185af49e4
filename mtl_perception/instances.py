# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Instances: object ids from each pixel's vector to a centroid, and boxes around objects."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_OBJECT = 60
"""Metrics ignore ground-truth objects with fewer visible pixels, in a box or as a mask."""

VOTE_BLUR = 1.0
"""Standard deviation of the blur that makes votes a density, pixels."""
VOTE_RADIUS = 4.0
"""Votes this close to a peak of the density tell how large the object is, pixels."""


def find_instances(
    offset: NDArray[np.float32], thing: NDArray[np.bool_], *, reach: float = 3.0,
    growth: float = 0.9, minimum_votes: int = 5, minimum_pixels: int = 20,
) -> NDArray[np.uint16]:
    """
    Return which object each pixel belongs to.

    Every pixel of an object votes for the place that its vector points at. The place where the
    votes are densest is the centre of an object, which takes the votes around it; then the next.
    The longer the vectors of an object, the more its votes scatter and the farther it reaches.
    Kendall et al. (CVPR 2018) cluster the votes with OPTICS, which takes seconds per frame; this
    search for peaks is a choice of ours.

    :param offset: (2, h, w) float32, x and y in pixels of this resolution.
    :param thing: (h, w) bool, pixels that belong to an object; call once per class to keep
        neighbours of different classes apart.
    :param reach: how far from its centre a vote of a very small object may lie, pixels.
    :param growth: share of the mean length of an object's vectors that is added to its reach. A
        learned vector is wrong by a share of its length: at half of it large objects fall apart.
    :param minimum_votes: fewest votes for a centre, if all of them fall on one pixel.
    :param minimum_pixels: smaller objects are dropped.
    :return: (h, w) uint16; 0 = no object, the largest object is 1.
    :raises ValueError: if the shapes do not belong together.
    """
    height, width = thing.shape
    if offset.shape != (2, height, width):
        raise ValueError(
            f'offset has the shape {offset.shape}, the mask {thing.shape}; wanted (2, {height}, '
            f'{width})')

    # Votes outside the image are dropped; the comparisons are false for NaN as well.
    rows, columns = np.nonzero(thing)
    across = offset[0, rows, columns]
    down = offset[1, rows, columns]
    x, y = columns + across, rows + down
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    rows, columns, x, y = rows[inside], columns[inside], x[inside], y[inside]
    length = np.hypot(across[inside], down[inside])

    cell = np.rint(y).astype(np.int64) * width + np.rint(x).astype(np.int64)
    density = _density(cell, height, width)
    owner = np.zeros(len(cell), np.int64)  # object of each vote, 0 = none
    remaining = np.arange(len(cell))
    count = 0

    # A Gaussian's peak is 1 / (2 pi sigma^2): so high is that of minimum_votes on one pixel.
    lowest_peak = minimum_votes / (2 * math.pi * VOTE_BLUR ** 2)
    while len(remaining):
        peak = int(density.argmax())
        if density.flat[peak] < lowest_peak:
            break

        centre_y, centre_x = divmod(peak, width)
        distance = np.hypot(x[remaining] - centre_x, y[remaining] - centre_y)
        near = distance < VOTE_RADIUS
        if not near.any():  # only rounding errors of the subtraction are left here
            density.flat[peak] = 0
            continue

        # The votes near the peak give a first reach; the votes within it give centre and reach.
        taken = distance < reach + growth * length[remaining[near]].mean()
        own = remaining[taken] if taken.any() else remaining[near]
        farthest = reach + growth * length[own].mean()
        taken = np.hypot(x[remaining] - x[own].mean(), y[remaining] - y[own].mean()) < farthest
        if not taken.any():  # the mean of scattered votes can lie far from all of them
            taken = near

        count += 1
        owner[remaining[taken]] = count
        _remove_votes(density, cell[remaining[taken]])
        remaining = remaining[~taken]
    return _numbered_by_size(owner, rows, columns, (height, width), minimum_pixels)


class InstanceBoxes(NamedTuple):
    """
    The M objects of one image, ordered by their ids.

    :param ids: (M,) of the objects, all positive.
    :param corners: (M, 4) int64 pixels: left, top, right, bottom; right and bottom are excluded.
    :param pixels: (M,) int64, how many pixels of each object are visible.
    """

    ids: NDArray[np.integer[Any]]
    corners: NDArray[np.int64]
    pixels: NDArray[np.int64]


def boxes_around(instances: NDArray[np.integer[Any]]) -> InstanceBoxes:
    """
    Return the smallest upright box around each object.

    :param instances: (H, W) id of the object of each pixel; 0 and below = no object or unknown.
    """
    rows, columns = np.nonzero(instances > 0)
    ids, pixels = np.unique(instances[rows, columns], return_counts=True)
    if not len(ids):
        return InstanceBoxes(ids, np.zeros((0, 4), np.int64), pixels)

    # Sorted by id, the pixels of each object form one run, which starts where the last one ended.
    order = np.argsort(instances[rows, columns], kind='stable')
    starts = np.cumsum(pixels) - pixels
    rows, columns = rows[order], columns[order]

    corners = np.stack([
        np.minimum.reduceat(columns, starts), np.minimum.reduceat(rows, starts),
        np.maximum.reduceat(columns, starts) + 1, np.maximum.reduceat(rows, starts) + 1], axis=1)
    return InstanceBoxes(ids, corners, pixels)


def class_boxes(
    instances: NDArray[np.integer[Any]], semantic: NDArray[np.uint8], semantic_ids: Sequence[int],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """
    Return the boxes of a detection task: those around the instances of its classes.

    An object has the class of most of its pixels.

    :param instances: (H, W) id of the object of each pixel; 0 and below = no object or unknown.
    :param semantic: (H, W) class ids.
    :param semantic_ids: the semantic id of each class of the detection task.
    :return: (M, 5) float32 left, top, right, bottom in pixels and the class of the detection task;
        and (M,) int64, how many pixels of each object are visible.
    """
    ids, corners, pixels = boxes_around(instances)

    # One number per pair of an object and a class: counting them gives a histogram per object.
    visible = instances > 0
    place = np.searchsorted(ids, instances[visible])
    votes = np.bincount(place * 256 + semantic[visible], minlength=256 * len(ids))
    kinds = votes.reshape(-1, 256).argmax(axis=1)

    rows = [(*box, semantic_ids.index(kind)) for box, kind in zip(corners, kinds)
            if kind in semantic_ids]
    kept = np.isin(kinds, semantic_ids)
    return np.array(rows, np.float32).reshape(-1, 5), pixels[kept]


def _density(cell: NDArray[np.int64], height: int, width: int) -> NDArray[np.float32]:
    """Return (h, w) float32 votes per pixel, blurred."""
    grid = np.bincount(cell, minlength=height * width).reshape(height, width)
    return np.asarray(cv2.GaussianBlur(
        grid.astype(np.float32), (0, 0), VOTE_BLUR, borderType=cv2.BORDER_CONSTANT), np.float32)


def _remove_votes(density: NDArray[np.float32], cell: NDArray[np.int64]) -> None:
    """Remove votes from a density, computing only the part that they reach."""
    height, width = density.shape
    row, column = np.divmod(cell, width)

    margin = math.ceil(4 * VOTE_BLUR) + 1  # OpenCV's kernel ends at four standard deviations
    top = max(0, row.min() - margin)
    bottom = min(height, row.max() + margin + 1)
    first = max(0, column.min() - margin)
    last = min(width, column.max() + margin + 1)

    part = (row - top) * (last - first) + column - first
    density[top:bottom, first:last] -= _density(part, bottom - top, last - first)


def _numbered_by_size(
    owner: NDArray[np.int64], rows: NDArray[np.intp], columns: NDArray[np.intp],
    shape: tuple[int, int], minimum_pixels: int,
) -> NDArray[np.uint16]:
    """Return the ids of pixels whose owners are large enough, the largest first."""
    pixels = np.bincount(owner, minlength=1)
    pixels[0] = 0  # pixels without an object

    order = np.argsort(-pixels, kind='stable')
    kept = order[pixels[order] >= max(minimum_pixels, 1)][:np.iinfo(np.uint16).max]
    number = np.zeros(len(pixels), np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)

    ids = np.zeros(shape, np.uint16)
    ids[rows, columns] = number[owner]
    return ids
