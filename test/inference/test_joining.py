# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects and boxes that the borders of tiles cut become one again, and no others."""

import numpy as np
import pytest

from mtl_perception.frames import Detections, Outputs
from mtl_perception.inference.fit import Layout, Window
from mtl_perception.inference.joining import join
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.postprocessing import separate
from mtl_perception.tasks import STREET_SEMANTIC, STREET_TASKS

CAR, PERSON = (STREET_SEMANTIC.classes.index(name) for name in ('car', 'person'))
LENGTH, HIGH = 48, 32
STARTS = (0, 32, 64)  # three tiles, which share 16 pixels with the next
MANIFEST = Manifest(
    'tiles', NetworkSpec(), STREET_TASKS, HIGH, LENGTH, (0.0,) * 3, (1.0,) * 3, focal_px=48.0)


@pytest.fixture(params=['side by side', 'one above the other'])
def across(request):
    return request.param == 'side by side'


def layout(across):
    whole = (HIGH, STARTS[-1] + LENGTH)
    tiles = tuple(Window(0, start, HIGH, LENGTH) if across else Window(start, 0, LENGTH, HIGH)
                  for start in STARTS)
    size = whole if across else whole[::-1]
    return Layout(size, Window(0, 0, *size), size, tiles)


# --- objects ---------------------------------------------------------------------------------

def scene(objects, across, start=0, columns=STARTS[-1] + LENGTH):
    """
    Return semantics, offsets to the centroids and objects of (class, first, last) columns.

    A network that sees a tile knows the centroid of what is inside of it.
    """
    semantic = np.zeros((HIGH, columns), np.uint8)
    offset = np.zeros((2, HIGH, columns), np.float32)
    y, x = np.mgrid[:HIGH, :columns]
    ids = np.zeros((HIGH, columns), int)
    for number, (kind, first, last) in enumerate(objects, 1):
        first, last = max(first - start, 0), min(last - start, columns)
        inside = (x >= first) & (x < last) & (y >= 8) & (y < 24)
        semantic[inside], ids[inside] = kind, number
        offset[0][inside] = (first + last - 1) / 2 - x[inside]
        offset[1][inside] = 15.5 - y[inside]
    if across:
        return semantic, offset, ids
    return semantic.T, offset[::-1].transpose(0, 2, 1), ids.T


def joined_objects(objects, across):
    """Return the objects of all tiles together, and the true ones."""
    tiles = [scene(objects, across, start, LENGTH) for start in STARTS]
    found = [Outputs(semantic=np.ascontiguousarray(semantic),
                     instance=np.ascontiguousarray(offset)) for semantic, offset, _ in tiles]
    return join(found, layout(across), MANIFEST).objects, scene(objects, across)[2]


@pytest.mark.parametrize('objects', [
    [(CAR, 4, 20)],                                    # in one tile
    [(CAR, 34, 46)],                                   # in the overlap, seen twice
    [(CAR, 24, 60)],                                   # cut by both borders of the overlap
    [(CAR, 10, 100)],                                  # through all tiles
    [(CAR, 20, 38), (CAR, 42, 60)],                    # each cut by one border
    [(CAR, 22, 40), (PERSON, 40, 58)],                 # side by side, of two classes
    [(CAR, 2, 12), (CAR, 30, 50), (CAR, 66, 78), (CAR, 90, 110)],
], ids=str)
def test_each_object_has_one_number_whatever_cuts_it(objects, across):
    found, true = joined_objects(objects, across)
    pairs = {(int(one), int(other)) for one, other in zip(found.ravel(), true.ravel())}

    assert len(pairs) == len(objects) + 1
    assert (0, 0) in pairs


def test_the_largest_object_comes_first_and_the_whole_picture_says_the_same(across):
    objects = [(CAR, 2, 12), (CAR, 30, 60), (CAR, 90, 110)]
    found, true = joined_objects(objects, across)

    assert [int(found[true == number][0]) for number in (2, 3, 1)] == [1, 2, 3]
    semantic, offset, _ = scene(objects, across)
    whole = separate(np.ascontiguousarray(offset), semantic, STREET_SEMANTIC)
    np.testing.assert_array_equal(found, whole)


def test_without_semantics_there_are_no_objects(across):
    found = [Outputs(instance=np.zeros((2, *((HIGH, LENGTH) if across else (LENGTH, HIGH))),
                                       np.float32))] * 3
    assert join(found, layout(across), MANIFEST).objects is None


# --- boxes -----------------------------------------------------------------------------------

def seen(objects, across):
    """Return the boxes that each tile sees of (class, first, last, score) columns."""
    found = []
    for start in STARTS:
        rows = []
        for kind, first, last, score in objects:
            low, high = max(first - start, 0), min(last - start, LENGTH)
            if high - low > 4:
                rows.append(((low, 8, high, 24) if across else (8, low, 24, high), score, kind))
        found.append(Outputs(detection=Detections(
            np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
            np.array([row[1] for row in rows], np.float32),
            np.array([row[2] for row in rows], np.uint8))))
    return found


def spans(found, across):
    """Return (class, first, last, score) of the joined boxes, by their place."""
    boxes = join(found, layout(across), MANIFEST).detection
    ends = boxes.corners[:, [0, 2] if across else [1, 3]]
    sides = boxes.corners[:, [1, 3] if across else [0, 2]]
    assert (sides == (8, 24)).all()
    assert (np.diff(boxes.scores) <= 0).all()
    return sorted(
        (int(kind), float(first), float(last), round(float(score), 3)) for kind, (first, last),
        score in zip(boxes.classes, ends, boxes.scores))


@pytest.mark.parametrize('objects', [
    [(CAR, 4, 20, 0.9)],
    [(CAR, 0, 20, 0.9), (CAR, 95, 112, 0.8)],           # at the borders of the picture
    [(CAR, 34, 46, 0.9)],
    [(CAR, 38, 60, 0.9)],                               # cut in one tile, whole in the other
    [(CAR, 24, 60, 0.9)],                               # cut in both
    [(CAR, 10, 100, 0.9)],                              # cut in all three
    [(CAR, 24, 60, 0.9), (PERSON, 24, 60, 0.8)],        # the same place, two classes
    [(CAR, 20, 60, 0.9), (CAR, 55, 100, 0.8)],          # a queue: one ends where the next begins
    [(CAR, 20, 60, 0.8), (CAR, 55, 100, 0.9)],
    [(CAR, 20, 54, 0.9), (CAR, 24, 44, 0.8)],           # a small one before a large one
    [(CAR, 24, 44, 0.9), (CAR, 20, 54, 0.8)],
], ids=str)
def test_each_object_has_one_box_of_its_own_size(objects, across):
    assert spans(seen(objects, across), across) == sorted(objects)


def test_of_two_boxes_of_one_object_the_more_certain_place_and_score_count(across):
    found = seen([(CAR, 34, 46, 0.6)], across)
    shifted = seen([(CAR, 35, 46, 0.9)], across)

    assert spans([found[0], shifted[1], found[2]], across) == [(CAR, 35.0, 46.0, 0.9)]


def test_no_boxes_at_all_stay_none(across):
    found = join(seen([], across), layout(across), MANIFEST).detection
    assert found.corners.shape == (0, 4)
    assert found.scores.shape == found.classes.shape == (0,)


# --- depth -----------------------------------------------------------------------------------

def test_the_exponents_of_depth_go_over_the_seams(across):
    """Two tiles of exponents 0 and 1: each keeps its own outside of the overlap."""
    shape = (HIGH, LENGTH) if across else (LENGTH, HIGH)
    found = join([
        Outputs(depth=np.full(shape, 10, np.float32),
                height_exponent=np.full(shape, value, np.float32)) for value in (0, 0, 1)],
        layout(across), MANIFEST)
    line = found.height_exponent[5] if across else found.height_exponent[:, 5]
    assert found.height_exponent.shape == found.depth.shape
    assert (line[:64] == 0).all()
    assert (line[80:] == 1).all()
    assert (np.diff(line) >= 0).all()
