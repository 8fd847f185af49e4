# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facts about finding instances from vectors to their centroids."""

import time

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN

from mtl_perception.instances import boxes_around, class_boxes, find_instances
from mtl_perception.losses import centroid_offsets
from mtl_perception.synthetic import Street


def offsets_of(ids):
    return centroid_offsets(torch.from_numpy(ids.astype(np.int64))[None])[0].numpy()


def discs(height=60, width=100):
    """Return four discs; two of them touch."""
    rows, columns = np.mgrid[:height, :width]
    ids = np.zeros((height, width), np.uint16)
    for index, (x, y, size) in enumerate(((20, 30, 10), (40, 30, 10), (75, 20, 14), (90, 50, 5))):
        ids[(columns - x) ** 2 + (rows - y) ** 2 <= size ** 2] = index + 1
    return ids


def partition(ids):
    """Return the objects as sets of pixels, whatever they are called."""
    return {frozenset(np.flatnonzero(ids == one).tolist()) for one in np.unique(ids[ids > 0])}


def overlap(found, wanted):
    """Return, for each true object, the largest intersection over union with a found one."""
    best = []
    for one in np.unique(wanted[wanted > 0]):
        mask = wanted == one
        unions = [(mask & (found == other)).sum() / (mask | (found == other)).sum()
                  for other in np.unique(found[mask & (found > 0)])]
        best.append(max(unions, default=0.0))
    return np.array(best)


def test_perfect_vectors_give_the_true_objects_even_where_they_touch():
    ids = discs()
    found = find_instances(offsets_of(ids), ids > 0)
    assert partition(found) == partition(ids)
    assert found[20, 75] == 1  # the largest is the first
    assert found.dtype == np.uint16
    assert (found[ids == 0] == 0).all()


def test_vectors_that_are_too_short_do_not_split_a_large_object():
    """A network that knows less of a large object points only part of the way."""
    rows, columns = np.mgrid[:100, :140]
    ids = ((columns - 70) ** 2 + (rows - 50) ** 2 <= 40 ** 2).astype(np.uint16)
    np.testing.assert_array_equal(find_instances(0.7 * offsets_of(ids), ids > 0), ids)


def test_small_objects_side_by_side_stay_apart():
    ids = np.zeros((30, 40), np.uint16)
    for number in range(4):
        ids[10:18, 5 + 6 * number:11 + 6 * number] = number + 1
    assert partition(find_instances(offsets_of(ids), ids > 0)) == partition(ids)


@pytest.mark.parametrize('pixels', [0.5, 1.0, 2.0])
def test_noise_costs_few_pixels_and_joins_nothing(pixels):
    ids = discs()
    noise = np.random.default_rng(0).normal(0, pixels, (2, *ids.shape)).astype(np.float32)
    found = find_instances(np.nan_to_num(offsets_of(ids)) + noise, ids > 0)
    assert found.max() == 4
    assert overlap(found, ids).min() > 0.9


def test_it_agrees_with_dbscan():
    ids = discs()
    noise = np.random.default_rng(1).normal(0, 0.7, (2, *ids.shape)).astype(np.float32)
    offset = np.nan_to_num(offsets_of(ids)) + noise
    rows, columns = np.nonzero(ids)
    votes = np.stack([columns + offset[0, rows, columns], rows + offset[1, rows, columns]], 1)
    labels = DBSCAN(eps=2.0, min_samples=5).fit_predict(votes)
    wanted = np.zeros_like(ids)
    wanted[rows, columns] = labels + 1

    assert overlap(find_instances(offset, ids > 0), wanted).min() > 0.95


def test_an_object_in_two_pieces_is_one():
    ids = np.zeros((40, 60), np.uint16)
    ids[10:30, 5:15] = ids[10:30, 25:35] = 1
    found = find_instances(offsets_of(ids), ids > 0)
    assert partition(found) == partition(ids)


def test_pixels_outside_the_mask_and_wild_vectors_belong_to_no_object():
    ids = discs()
    offset = offsets_of(ids)
    thing = ids > 0
    thing[:, :30] = False  # the first disc is not a thing
    offset[:, 20, 75] = np.nan
    offset[:, 20, 76] = np.inf
    offset[:, 20, 77] = 1e30
    offset[:, 20, 78] = [-75, -19]  # to a place where nobody else points
    found = find_instances(offset, thing)

    assert (found[:, :30] == 0).all()
    assert (found[20, 75:79] == 0).all()
    assert (found[20, 65:75] == 1).all()


def test_small_objects_and_empty_masks_give_nothing():
    ids = np.zeros((20, 20), np.uint16)
    ids[3:6, 3:6] = 1  # nine pixels
    assert not find_instances(offsets_of(ids), ids > 0).any()
    assert find_instances(offsets_of(ids), ids > 0, minimum_pixels=9).sum() == 9
    assert not find_instances(np.zeros((2, 20, 20), np.float32), np.zeros((20, 20), bool)).any()


@pytest.mark.parametrize('noise', [0.0, 2.0])
def test_the_objects_of_the_street_are_found(noise):
    found, seen = 0, 0
    for seed in range(3):
        frame = Street(seed=seed, width=384, height=224).render(index=20)
        ids = frame.instance
        wrong = np.random.default_rng(seed).normal(0, noise, (2, *ids.shape)).astype(np.float32)
        result = find_instances(np.nan_to_num(offsets_of(ids)) + wrong, ids > 0)
        large = [one for one in np.unique(ids[ids > 0]) if (ids == one).sum() >= 40]
        best = overlap(result, np.where(np.isin(ids, large), ids, 0))
        found, seen = found + (best > 0.5).sum(), seen + len(best)

    assert seen > 10
    assert found / seen > 0.8


def test_it_is_fast_enough_for_a_camera():
    ids = np.repeat(np.repeat(discs(), 4, 0), 4, 1)  # 240 x 400, a third of it objects
    offset = offsets_of(ids)
    times = []
    for _ in range(5):
        start = time.process_time()
        find_instances(offset, ids > 0)
        times.append(time.process_time() - start)

    assert min(times) < 0.05


def test_mismatched_shapes_are_refused():
    with pytest.raises(ValueError, match=r'wanted \(2, 10, 12\)'):
        find_instances(np.zeros((2, 12, 10), np.float32), np.zeros((10, 12), bool))


def test_a_box_encloses_its_object():
    instances = np.zeros((5, 7), np.int32)
    instances[1:3, 2:6] = 26001
    instances[4, 6] = 9
    instances[0, 0] = -1  # unknown

    ids, corners, pixels = boxes_around(instances)

    assert ids.tolist() == [9, 26001]
    assert corners.tolist() == [[6, 4, 7, 5], [2, 1, 6, 3]]
    assert pixels.tolist() == [1, 8]


def test_boxes_are_those_of_each_mask_by_itself():
    instances = np.random.default_rng(0).integers(-1, 6, (20, 30)).astype(np.int32)

    ids, corners, pixels = boxes_around(instances)

    for number, box, count in zip(ids, corners, pixels):
        rows, columns = np.nonzero(instances == number)
        assert count == len(rows)
        assert box.tolist() == [
            columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_an_object_has_the_class_of_most_of_its_pixels():
    instances = np.zeros((4, 8), np.uint16)
    instances[0, :5], instances[2, :3], instances[3, 7] = 1, 2, 3
    semantic = np.full((4, 8), 7, np.uint8)
    semantic[0, 0] = 9  # the first pixel alone would say 9
    semantic[2, :3] = 9

    boxes, pixels = class_boxes(instances, semantic, semantic_ids=(9, 4))

    assert boxes.tolist() == [[0, 2, 3, 3, 0]]
    assert pixels.tolist() == [3]

    boxes, pixels = class_boxes(instances, semantic, semantic_ids=(4, 7))
    assert boxes.tolist() == [[0, 0, 5, 1, 1], [7, 3, 8, 4, 1]]
    assert pixels.tolist() == [5, 1]


def test_an_image_without_objects_has_no_boxes():
    boxes, pixels = class_boxes(np.zeros((4, 8), np.uint16), np.zeros((4, 8), np.uint8), (1, 2))
    assert boxes.shape == (0, 5)
    assert pixels.shape == (0,)
