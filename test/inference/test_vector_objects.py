# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects from vectors and how far they are believed: worked out by hand."""

import numpy as np
import pytest

from mtl_perception.inference.vector_objects import (
    DOUBTFUL,
    SCATTER_COST,
    scatter_of,
    vector_objects,
)
from mtl_perception.instances import find_instances

HEIGHT, WIDTH = 60, 100
CAR, PERSON = 8, 9


def scene(*boxes, kind=CAR):
    """Return semantics and exact vectors of boxes: left, top, right, bottom."""
    semantic = np.zeros((HEIGHT, WIDTH), np.uint8)
    vectors = np.zeros((2, HEIGHT, WIDTH), np.float32)
    y, x = np.indices((HEIGHT, WIDTH), np.float32)
    for left, top, right, bottom in boxes:
        own = np.s_[top:bottom, left:right]
        semantic[own] = kind
        vectors[0][own] = (left + right - 1) / 2 - x[own]
        vectors[1][own] = (top + bottom - 1) / 2 - y[own]
    return semantic, vectors


def test_exact_vectors_do_not_scatter_and_are_believed_as_the_class_is():
    semantic, vectors = scene((10, 20, 30, 40), (30, 20, 50, 40))
    ids, belief = vector_objects(vectors, semantic, (CAR,))
    assert ids.max() == 2
    np.testing.assert_array_equal(ids > 0, semantic == CAR)
    np.testing.assert_allclose(belief, 1, atol=1e-6)

    confidence = np.full((HEIGHT, WIDTH), 0.75, np.float32)
    _, belief = vector_objects(vectors, semantic, (CAR,), confidence)
    np.testing.assert_allclose(belief, 0.75, atol=1e-6)
    assert vector_objects(vectors, semantic, (PERSON,))[0].max() == 0


def test_scatter_by_hand():
    ids = np.zeros((4, 6), np.int32)
    ids[1, 1:5] = 1
    ids[3, 0] = 2
    vectors = np.zeros((2, 4, 6), np.float32)
    # votes at 1, 2, 3, 4: on average 1 from their mean, over the root of 4 pixels
    np.testing.assert_allclose(scatter_of(ids, vectors), [0.5, 0], atol=1e-6)
    vectors[0, 1, 1:5] = [1.5, 0.5, -0.5, -1.5]
    vectors[1, 3, 0] = -3  # one vote never scatters
    np.testing.assert_allclose(scatter_of(ids, vectors), [0, 0], atol=1e-6)
    assert scatter_of(np.zeros((4, 6), np.int32), vectors).shape == (0,)


def test_pixels_of_a_doubtful_class_are_no_part_of_an_object():
    semantic, vectors = scene((10, 20, 30, 40))
    confidence = np.full((HEIGHT, WIDTH), 0.9, np.float32)
    confidence[:, 26:] = 0.45
    ids, belief = vector_objects(vectors, semantic, (CAR,), confidence)
    assert np.flatnonzero(ids.any(0)).tolist() == list(range(10, 26))
    np.testing.assert_allclose(belief, 0.9, atol=1e-6)


def test_classes_are_told_apart_and_numbers_have_no_gaps():
    semantic, vectors = scene((10, 20, 30, 40), (60, 20, 70, 40))
    semantic[:, 60:] = np.where(semantic[:, 60:] > 0, PERSON, 0)
    ids, belief = vector_objects(vectors, semantic, (CAR, PERSON))
    assert np.unique(ids).tolist() == [0, 1, 2]
    assert ids[30, 20] != ids[30, 65]
    assert len(belief) == 2


def test_what_was_taken_for_one_is_parted_where_its_votes_have_two_places():
    # two tall boxes whose long vectors reach across: the first search takes both for one
    semantic, vectors = scene((30, 5, 40, 55), (40, 5, 50, 55))
    assert find_instances(vectors, semantic == CAR).max() == 1
    ids, belief = vector_objects(vectors, semantic, (CAR,))
    assert ids.max() == 2
    assert ids[30, 35] != ids[30, 45]
    np.testing.assert_allclose(belief, 1, atol=1e-6)


@pytest.mark.parametrize('noise', [0.0, 8.0])
def test_scattered_votes_are_believed_less(noise):
    semantic, vectors = scene((30, 10, 60, 40))
    vectors += np.random.default_rng(0).normal(0, noise, vectors.shape).astype(np.float32)
    ids, belief = vector_objects(vectors, semantic, (CAR,))
    assert (ids[semantic != CAR] == 0).all()
    scatter = scatter_of(ids, vectors)
    np.testing.assert_allclose(belief, 1 - SCATTER_COST * scatter, atol=1e-5)
    assert (scatter.max() > DOUBTFUL) == (noise > 0)


def test_vectors_that_are_no_numbers_are_no_objects():
    semantic, vectors = scene((10, 20, 30, 40))
    ids, belief = vector_objects(np.full_like(vectors, np.nan), semantic, (CAR,))
    assert ids.max() == 0
    assert belief.shape == (0,)
