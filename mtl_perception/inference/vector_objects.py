# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects of movable classes in one frame, from vectors, and how far each is believed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.inference.objects import SMALLEST, Floats, Ids
from mtl_perception.instances import boxes_around, find_instances

SURE_ENOUGH_TO_VOTE = 0.5
"""
Pixels whose class is less likely than this are no part of an object.

Masks of small objects are too fat: up to here they have 1.3 times the true area. Lower than
:data:`.SURE_ENOUGH_TO_CUT`: which object a doubtful pixel belongs to is said by its vector here,
not by its neighbours.
"""
DOUBTFUL = 0.13
"""An object whose votes scatter more is searched for several, see :func:`scatter_of`."""
REACH, GROWTH = 2.0, 0.5
"""Of that search, see :func:`.find_instances`: shorter than at first."""
TIGHTER = 0.8
"""Several are taken in place of one if their votes scatter by less than this share of its."""
MARGIN_PX = 20
"""Votes of an object may lie so far outside of its box in that search."""
SCATTER_COST = 1.6
"""Weight of the scatter against the probability of the class."""

Vectors = NDArray[np.float32]


def vector_objects(
    vectors: Vectors, semantic: NDArray[np.uint8], movable: Sequence[int],
    confidence: Floats | None = None,
) -> tuple[Ids, Floats]:
    """
    Return which object each pixel belongs to, and how far each object can be believed.

    The pixels of one object vote for one place. What scatters is several objects that were taken
    for one, or a part of one: it is searched again with a shorter reach, and what still scatters
    is believed less. The thresholds were chosen on ten streets, by their objects in time.

    :param vectors: (2, h, w) float32 pixels to the centroid of the object, x and y.
    :param semantic: (h, w) uint8 class ids.
    :param movable: ids of the classes that have objects.
    :param confidence: (h, w) float32, probability of the class; None = all are sure.
    :return: (h, w) int32, 0 = none, else from 1 without gaps; and (N,) float32, the mean
        probability of the class less :data:`SCATTER_COST` times the scatter.
    """
    ids = np.zeros(semantic.shape, np.int32)
    for kind in movable:
        thing = semantic == kind
        if confidence is not None:
            thing &= confidence >= SURE_ENOUGH_TO_VOTE
        if thing.any():
            found = find_instances(vectors, thing, minimum_pixels=SMALLEST).astype(np.int32)
            ids += np.where(found > 0, found + ids.max(), 0)
    _split(ids, vectors)

    scatter = scatter_of(ids, vectors)
    belief = 1 - SCATTER_COST * scatter
    if confidence is not None:
        pixels = np.bincount(ids.ravel(), minlength=len(scatter) + 1)[1:]
        belief += np.bincount(ids.ravel(), confidence.ravel(), len(scatter) + 1)[1:] / pixels - 1
    return ids, np.asarray(belief, np.float32)


def scatter_of(ids: Ids, vectors: Vectors) -> Floats:
    """
    Return how far the votes of each object lie from their mean, over the root of its pixels.

    It is 0 where all pixels point at one place, and about 0.38 for a disc without vectors.

    :param ids: (h, w) int32 of objects, 0 = none, else from 1 without gaps.
    :param vectors: (2, h, w) float32 pixels, x and y.
    :return: (N,) float32.
    """
    rows, columns = np.nonzero(ids)
    own = ids[rows, columns]
    pixels = np.maximum(np.bincount(own), 1)

    away = np.zeros(len(own))
    for places, part in ((columns, vectors[0]), (rows, vectors[1])):
        votes = places + part[rows, columns]
        away = np.hypot(away, votes - (np.bincount(own, votes) / pixels)[own])
    return np.asarray((np.bincount(own, away) / pixels ** 1.5)[1:], np.float32)


def _split(ids: Ids, vectors: Vectors) -> None:
    """Part doubtful objects into several where these point at one place each, in place."""
    scatter = scatter_of(ids, vectors)
    count = len(scatter)
    boxes = boxes_around(ids).corners.tolist()
    for number in (np.flatnonzero(scatter >= DOUBTFUL) + 1).tolist():
        left, top, right, bottom = boxes[number - 1]
        part = np.s_[max(top - MARGIN_PX, 0):bottom + MARGIN_PX,
                     max(left - MARGIN_PX, 0):right + MARGIN_PX]
        own = ids[part] == number

        near = vectors[:, part[0], part[1]]
        found = find_instances(
            near, own, reach=REACH, growth=GROWTH, minimum_pixels=SMALLEST).astype(np.int32)
        several = int(found.max())
        if several < 2:
            continue
        sizes = np.bincount(found.ravel())[1:]
        if np.average(scatter_of(found, near), weights=sizes) >= TIGHTER * scatter[number - 1]:
            continue

        # The first part keeps the number, pixels of none are no object's.
        numbers = np.array([0, number, *range(count + 1, count + several)], np.int32)
        ids[part][own] = numbers[found[own]]
        count += several - 1
