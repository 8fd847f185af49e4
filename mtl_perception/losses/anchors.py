# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Anchors for box detection, from the boxes of a data set."""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 100
"""Most rounds of k-means; it ends earlier when no box changes its anchor."""


def find_anchors(
    sizes: NDArray[np.floating], count: int, seed: int = 0,
) -> list[list[float]]:
    """
    Return the shapes that overlap a data set's boxes best, the smallest first.

    k-means with the distance 1 - IoU of two boxes on the same centre (Redmon and Farhadi,
    YOLO9000, CVPR 2017, section 2), started by k-means++. Euclidean distance would spend the
    anchors on the large boxes.

    >>> cars, lorries = [[0.125, 0.125]] * 9, [[0.5, 0.25]] * 3
    >>> find_anchors(np.array(cars + lorries), count=2)
    [[0.125, 0.125], [0.5, 0.25]]

    :param sizes: (B, 2) width and height of each box, as fractions of the image's.
    :param count: number of anchors.
    :param seed: of the start.
    :return: (width, height) per anchor, as :class:`mtl_perception.manifest.NetworkSpec` has them.
    :raises ValueError: if a size is not in (0, 1], or there are fewer distinct sizes than anchors.
    """
    sizes = np.asarray(sizes, np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or not ((sizes > 0) & (sizes <= 1)).all():
        raise ValueError(
            f'the sizes have the shape {sizes.shape}; wanted (B, 2), width and height as '
            'fractions of the image, each above 0 and at most 1')
    if not 1 <= count <= len(np.unique(sizes, axis=0)):
        raise ValueError(
            f'{count} anchors were asked for; the {len(sizes)} boxes have '
            f'{len(np.unique(sizes, axis=0))} different sizes')

    # k-means++: the farther a box is from every anchor so far, the likelier it is the next one
    random = np.random.default_rng(seed)
    anchors = sizes[random.integers(len(sizes), size=1)]
    while len(anchors) < count:
        distance = 1 - shape_overlap(sizes, anchors).max(axis=1)
        chosen = random.choice(len(sizes), p=distance ** 2 / (distance ** 2).sum())
        anchors = np.concatenate((anchors, sizes[chosen:chosen + 1]))

    belongs = np.full(len(sizes), -1)
    for _ in range(ROUNDS):
        nearest = shape_overlap(sizes, anchors).argmax(axis=1)
        if (nearest == belongs).all():
            break
        belongs = nearest
        anchors = np.stack([
            sizes[belongs == index].mean(axis=0) if (belongs == index).any() else anchors[index]
            for index in range(count)])

    order = np.argsort(anchors.prod(axis=1), kind='stable')
    return [[float(side) for side in anchor] for anchor in anchors[order]]


def shape_overlap(
    sizes: NDArray[np.floating], anchors: NDArray[np.floating],
) -> NDArray[np.floating]:
    """
    Return the intersection over union of boxes and anchors on the same centre.

    >>> shape_overlap(np.array([[2.0, 4.0]]), np.array([[2.0, 4.0], [2.0, 1.0]]))
    array([[1.  , 0.25]])

    :param sizes: (B, 2) width and height.
    :param anchors: (A, 2) width and height, in the same units.
    :return: (B, A), 0 to 1.
    """
    shared = np.minimum(sizes[:, None], anchors).prod(axis=2)
    overlap: NDArray[np.floating] = shared / (
        sizes.prod(axis=1)[:, None] + anchors.prod(axis=1) - shared)
    return overlap
