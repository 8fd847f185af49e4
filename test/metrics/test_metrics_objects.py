# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes and instances: by hand, and against another implementation."""

import numpy as np
import pytest

from mtl_perception.metrics import DetectionMetrics, InstanceMetrics
from mtl_perception.metrics.detection import box_overlaps


def boxes(*rows):
    """Return corners, scores and classes of rows (x, y, x, y, score, class)."""
    rows = np.array(rows, float).reshape(-1, 6)
    return rows[:, :4], rows[:, 4], rows[:, 5].astype(int)


def truth(*rows):
    rows = np.array(rows, float).reshape(-1, 5)
    return rows[:, :4], rows[:, 4].astype(int)


def test_overlap_of_hand_computed_boxes():
    found = box_overlaps(np.array([[0, 0, 2, 2.0]]), np.array([[1, 1, 3, 3], [5, 5, 6, 6.0]]))
    assert found.tolist() == [[1 / 7, 0]]


def test_average_precision_of_a_hand_computed_case():
    # Two cars; the most certain box is right, the second is nowhere, the third is right:
    # precision 1 up to recall 0.5, then 2/3: (51 * 1 + 50 * 2/3) / 101.
    metrics = DetectionMetrics(('car', 'person'))
    metrics.update(
        *boxes((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 0), (20, 0, 30, 10, 0.2, 0)),
        *truth((0, 0, 10, 10, 0), (20, 0, 30, 10, 0)))
    result = metrics.compute()

    assert result['ap50'] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result['ap'] == pytest.approx(result['ap50'])  # both hits are exact
    assert result['ap50_of'] == {'car': result['ap50'], 'person': None}
    assert result['found'] == 0.5  # the other car's score is below 0.3
    assert result['objects'] == {'car': 2, 'person': 0}


def test_a_second_box_on_the_same_object_is_a_false_positive():
    metrics = DetectionMetrics(('car',))
    metrics.update(
        *boxes((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0), (20, 0, 30, 10, 0.7, 0)),
        *truth((0, 0, 10, 10, 0), (20, 0, 30, 10, 0)))

    assert metrics.compute()['ap50'] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_box_on_an_ignored_object_is_neither_a_true_nor_a_false_positive():
    metrics = DetectionMetrics(('car',))
    ignored = np.array([True, False])
    metrics.update(
        *boxes((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.8, 0)),
        *truth((0, 0, 10, 10, 0), (20, 0, 30, 10, 0)), ignored)
    metrics.update(*boxes(), *truth((0, 0, 4, 4, 0)), np.array([True]))
    result = metrics.compute()

    assert (result['ap50'], result['found'], result['objects']) == (1.0, 1.0, {'car': 1})


def test_an_object_that_counts_is_matched_before_an_ignored_one():
    metrics = DetectionMetrics(('car',))
    metrics.update(  # the box overlaps the ignored one more
        *boxes((0, 0, 10, 10, 0.9, 0)), *truth((0, 0, 10, 10, 0), (0, 0, 10, 9, 0)),
        np.array([True, False]))

    assert (metrics.compute()['ap50'], metrics.compute()['found']) == (1.0, 1.0)


def test_any_number_of_boxes_may_lie_on_an_ignored_object():
    metrics = DetectionMetrics(('car',))
    metrics.update(
        *boxes((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0), (20, 0, 30, 10, 0.7, 0)),
        *truth((0, 0, 10, 10, 0), (20, 0, 30, 10, 0)), np.array([True, False]))

    assert (metrics.compute()['ap50'], metrics.compute()['precision']) == (1.0, 1.0)


def test_without_objects_the_metrics_are_none():
    metrics = DetectionMetrics(('car',))
    metrics.update(*boxes((0, 0, 10, 10, 0.9, 0)), *truth())

    assert metrics.compute()['ap50'] is metrics.compute()['found'] is None
    with pytest.raises(ValueError, match='1 boxes have 0 scores'):
        metrics.update(np.zeros((1, 4)), np.zeros(0), np.zeros(1, int), *truth())


@pytest.mark.parametrize('seed', range(3))
def test_average_precision_equals_that_of_the_coco_tools(seed):
    coco = pytest.importorskip('faster_coco_eval')
    random = np.random.default_rng(seed)
    metrics = DetectionMetrics(('a', 'b', 'c'))
    images, annotations, results = [], [], []
    for image in range(1, 21):
        images.append({'id': image, 'width': 100, 'height': 100})

        # six objects and two noisy predictions of each, some of the wrong class
        corner, side = random.uniform(0, 60, (6, 2)), random.uniform(8, 40, (6, 2))
        true, kinds = np.hstack([corner, corner + side]), random.integers(0, 3, 6)
        keep = random.integers(0, 6, 12)
        found = true[keep] + random.normal(0, 3, (12, 4))
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        scores, classes = random.random(12), kinds[keep]
        classes[::5] = random.integers(0, 3, 3)
        metrics.update(found, scores, classes, true, kinds)

        for box, kind in zip(true, kinds):
            size = box[2:] - box[:2]
            annotations.append({
                'id': len(annotations) + 1, 'image_id': image, 'category_id': int(kind) + 1,
                'bbox': [*box[:2], *size], 'area': float(size.prod()), 'iscrowd': 0})
        results += [
            {'image_id': image, 'category_id': int(kind) + 1, 'score': float(score),
             'bbox': [*box[:2], *(box[2:] - box[:2])]}
            for box, score, kind in zip(found, scores, classes)]

    wanted = coco.COCO({
        'images': images, 'annotations': annotations,
        'categories': [{'id': number, 'name': str(number)} for number in (1, 2, 3)]})
    evaluation = coco.COCOeval_faster(wanted, wanted.loadRes(results), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    result = metrics.compute()

    assert 0.2 < result['ap50'] < 0.95
    assert result['ap'] == pytest.approx(evaluation.stats[0], abs=1e-6)
    assert result['ap50'] == pytest.approx(evaluation.stats[1], abs=1e-6)


def scene():
    """Return two cars of 100 pixels, one of 20, and a person of 100, and their classes."""
    ids, classes = np.zeros((40, 60), np.int32), np.zeros((40, 60), np.uint8)
    ids[:10, :10], ids[:10, 10:20], ids[20:24, :5], ids[20:30, 30:40] = 1, 2, 3, 4
    classes[:10, :20] = classes[20:24, :5] = 8
    classes[20:30, 30:40] = 9
    return ids, classes


def test_instances_of_a_hand_computed_case():
    ids, classes = scene()
    found = np.zeros_like(ids)
    found[:10, :9], found[:10, 9:20], found[20:24, :5] = 7, 5, 6  # 0.9, 100 / 110, a small one
    found[35:, :20] = 9  # of 100 pixels where nothing is
    metrics = InstanceMetrics({8: 'car', 9: 'person'})
    metrics.update(found, classes, ids, classes)
    result = metrics.compute()

    assert result['found'] == pytest.approx(2 / 3)
    assert result['found_of'] == {'car': 1.0, 'person': 0.0}
    assert result['precision'] == pytest.approx(2 / 3)
    assert result['quality'] == pytest.approx((0.9 + 100 / 110) / 2)
    # two found, one missed, one made up
    assert result['panoptic'] == pytest.approx((0.9 + 100 / 110) / (2 + 1 / 2 + 1 / 2))
    assert result['objects'] == {'car': 2, 'person': 1}


def test_two_objects_merged_into_one_are_missed_and_a_false_positive():
    ids, classes = scene()
    merged = np.where(np.isin(ids, (1, 2)), 1, ids)
    metrics = InstanceMetrics({8: 'car', 9: 'person'})
    metrics.update(merged, classes, ids, classes)
    result = metrics.compute()  # the merged one overlaps each by exactly one half: not above it

    assert result['found_of'] == {'car': 0.0, 'person': 1.0}
    assert result['precision'] == 0.5


def test_an_object_of_the_wrong_class_is_missed_and_unknown_pixels_do_not_count():
    ids, classes = scene()
    metrics = InstanceMetrics({8: 'car', 9: 'person'})
    metrics.update(ids, np.where(classes == 9, 8, classes), ids, classes)

    assert metrics.compute()['found_of'] == {'car': 1.0, 'person': 0.0}

    unknown = np.where(ids == 4, -1, ids)
    metrics = InstanceMetrics({8: 'car', 9: 'person'})
    metrics.update(np.where(ids == 4, 9, ids), classes, unknown, classes)
    result = metrics.compute()

    assert (result['objects']['person'], result['precision']) == (0, 1.0)
    with pytest.raises(ValueError, match='semantic has shape'):
        metrics.update(ids, classes[1:], ids, classes)


def test_predictions_on_a_small_object_or_as_small_are_not_false_positives():
    ids, classes = scene()
    metrics = InstanceMetrics({8: 'car', 9: 'person'})
    larger = ids.copy()
    larger[20:30, :12] = np.where(ids[20:30, :12] == 3, 3, 0)
    larger[24:29, :3], larger[20:24, :5] = 3, 3  # the small car of 20 and 15 pixels more
    larger[20:24, 5:9] = 3  # 51 in all, of which less than half lie on the car
    larger[35:37, 40:50] = 11  # 20 pixels where nothing is
    metrics.update(larger, classes, ids, classes)

    assert metrics.compute()['precision'] == 1.0

    metrics = InstanceMetrics({8: 'car', 9: 'person'}, minimum_pixels=30)
    metrics.update(np.where(larger == 11, 0, larger), classes, ids, classes)

    assert metrics.compute()['precision'] == 0.75  # now the 51 count

    on_it = ids.copy()
    on_it[20, :2] = 0
    on_it[24:27, :5], on_it[27, :2] = 3, 3  # 35 pixels, 18 of the small car's 20 among them
    metrics = InstanceMetrics({8: 'car', 9: 'person'}, minimum_pixels=30)
    metrics.update(on_it, classes, ids, classes)

    assert metrics.compute()['precision'] == 1.0


def test_an_object_on_unlabelled_pixels_is_not_a_false_positive():
    ids, classes = scene()
    found = ids.copy()
    found[35:, :20] = 9
    true = classes.copy()
    true[35:, :20] = 255
    metrics = InstanceMetrics({8: 'car', 9: 'person'})
    metrics.update(found, classes, ids, true)

    assert metrics.compute()['precision'] == 1.0


def test_merged_boxes_are_ranked_together():
    true = np.array([[0, 0, 10, 10]], float)
    # the surest box of all is false, in the second image: precision falls to 1/2 and 2/3
    images = [(true, [0.6]), (true + 100, [0.9]), (true, [0.5])]
    together = DetectionMetrics(('car',))
    merged = DetectionMetrics(('car',))
    for corners, scores in images:
        one = DetectionMetrics(('car',))
        for metrics in (together, one):
            metrics.update(corners, np.array(scores), np.zeros(1, int), true, np.zeros(1, int))
        merged.merge(one)
    found = merged.compute()

    assert found == together.compute()
    assert found['objects'] == {'car': 3}
    assert found['images'] == 3
    # 67 of the 101 recalls are at most 2/3; the best precision from there on is 2/3
    assert found['ap50'] == pytest.approx(67 / 101 * 2 / 3)
    assert found['found'] == pytest.approx(2 / 3)
