# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.metrics import MotionMetrics
from mtl_perception.metrics.motion import area_under_curve

CAR, ROAD = 8, 0


def scene():
    """Return semantic, instance and motion of a moving car, a parked car and road."""
    semantic = np.full((10, 30), ROAD, np.uint8)
    instance = np.zeros((10, 30), np.uint16)
    motion = np.zeros((10, 30), np.uint8)
    semantic[:, :20] = CAR
    instance[:, :10], instance[:, 10:20] = 1, 2
    motion[:, :10] = 1
    return semantic, instance, motion


def test_calling_every_movable_object_moving_scores_the_baseline_and_chance():
    semantic, instance, truth = scene()
    metrics = MotionMetrics([CAR])
    everything = (semantic == CAR).astype(np.uint8)
    metrics.update(everything, everything.astype(np.float32), truth, semantic, instance)
    result = metrics.compute()

    assert result['iou_moving'] == result['iou_all_movable'] == 0.5
    assert result['pixel_accuracy'] == 2 / 3  # 100 of 300 pixels are a parked car called moving
    assert result['auc'] == 0.5
    assert result['balanced_accuracy'] == 0.5
    assert (result['objects'], result['objects_moving']) == (2, 1)


def test_a_perfect_mask_scores_perfectly():
    semantic, instance, truth = scene()
    metrics = MotionMetrics([CAR])
    metrics.update(truth, None, truth, semantic, instance)
    result = metrics.compute()

    assert result['iou_moving'] == result['auc'] == result['balanced_accuracy'] == 1.0
    assert result['iou_all_movable'] == 0.5


def test_unknown_predictions_are_left_out_and_their_share_is_reported():
    semantic, instance, truth = scene()
    metrics = MotionMetrics([CAR])
    answer = truth.copy()
    answer[5:] = 255
    metrics.update(answer, None, truth, semantic, instance)
    result = metrics.compute()

    assert result['iou_moving'] == 1.0
    assert result['pixel_accuracy'] == 1.0  # of the pixels with a prediction
    assert result['iou_moving_of_all'] == 0.5  # half of the moving pixels are not found
    assert result['unknown'] == 0.5
    assert result['objects'] == 0  # only 50 pixels of each are known


def test_small_objects_are_not_counted():
    semantic, instance, truth = scene()
    metrics = MotionMetrics([CAR], minimum_pixels=101)
    metrics.update(truth, None, truth, semantic, instance)

    assert metrics.compute()['objects'] == 0
    assert metrics.compute()['auc'] is None


def test_share_called_moving_on_identical_frames_counts_movable_pixels_only():
    semantic, _, _ = scene()
    metrics = MotionMetrics([CAR])
    motion = np.zeros_like(semantic)
    motion[:, 15:] = 1  # 50 of the 200 car pixels, and all of the road
    metrics.update_identical(motion, semantic)

    assert metrics.compute()['identical_frames_moving'] == 0.25


def test_without_labels_the_metrics_are_none_and_not_nan():
    result = MotionMetrics([CAR]).compute()
    assert result['iou_moving'] is result['auc'] is result['identical_frames_moving'] is None


def test_area_under_the_curve_with_ties_of_a_hand_computed_case():
    scores = np.array([0.9, 0.5, 0.5, 0.1])
    # pairs (positive, negative): 0.9 > 0.5, 0.9 > 0.1, 0.5 = 0.5 (half), 0.5 > 0.1
    assert area_under_curve(scores, np.array([True, True, False, False])) == 3.5 / 4


def test_an_object_moves_if_most_of_its_pixels_do_and_only_known_scores_count():
    semantic, instance, truth = scene()
    truth[:6, :10] = 0  # four tenths of the moving car
    score = np.where(truth == 1, 1.0, 0.0)
    score[:, 10:20] = 0.75
    score[:9, 10:20] = np.nan  # ten pixels of the parked car are known, too few
    metrics = MotionMetrics([CAR])
    metrics.update(truth, score, truth, semantic, instance)
    result = metrics.compute()

    assert (result['objects'], result['objects_moving']) == (1, 0)
    assert not result['by_mask']

    metrics.update(truth, None, truth, semantic, instance)

    assert metrics.compute()['by_mask']


def test_an_object_has_the_median_of_a_property_and_a_group_includes_its_lower_bound():
    semantic, instance, truth = scene()
    distance = np.full(semantic.shape, 10.0)
    distance[0, :10] = 1000.0  # a tenth of the moving car
    metrics = MotionMetrics([CAR], bounds={'distance': (10.0,)})
    metrics.update(truth, None, truth, semantic, instance, {'distance': distance})
    near, far = metrics.compute()['groups']['distance']

    assert (near['objects'], far['objects']) == (0, 2)

    metrics = MotionMetrics([CAR], bounds={'distance': (11.0,)})
    metrics.update(truth, None, truth, semantic, instance, {'distance': distance})

    assert [row['objects'] for row in metrics.compute()['groups']['distance']] == [2, 0]


def test_different_shapes_are_refused():
    semantic, instance, truth = scene()
    with pytest.raises(ValueError, match='instance has shape'):
        MotionMetrics([CAR]).update(truth, None, truth, semantic, instance[:5])


def test_objects_are_grouped_by_their_properties():
    semantic, instance, truth = scene()
    instance[5:, :10] = 3  # the moving car is two objects of 50 pixels
    far = np.full(semantic.shape, 30.0)
    far[:, 10:20] = 5.0
    metrics = MotionMetrics([CAR], 10, {'size': (80,), 'distance': (10.0, 20.0)})
    score = np.where(instance == 1, 0.9, 0.2)
    metrics.update((score > 0.5).astype(np.uint8), score, truth, semantic, instance,
                   {'distance': far})
    groups = metrics.compute()['groups']
    small, large = groups['size']

    assert (small['from'], small['to'], small['objects'], small['objects_moving']) == (
        None, 80, 2, 2)
    assert (small['moving_found'], small['parked_called_moving']) == (0.5, None)
    assert (large['from'], large['objects'], large['parked_called_moving']) == (80, 1, 0.0)
    assert [row['objects'] for row in groups['distance']] == [1, 0, 2]
    with pytest.raises(ValueError, match='distance has shape'):
        metrics.update(truth, None, truth, semantic, instance, {'distance': far[1:]})


@pytest.mark.parametrize('truth', [[0, 0, 0, 255], [1, 1, 1, 255]])
def test_a_truth_that_never_moves_or_always_does_gives_no_iou(truth):
    metrics = MotionMetrics(movable=[0])
    truth = np.array([truth], np.uint8)
    metrics.update(np.array([[0, 0, 1, 1]], np.uint8), None, truth, np.zeros_like(truth))
    result = metrics.compute()

    for name in ('iou_moving', 'iou_moving_of_all', 'iou_all_movable'):
        assert result[name] is None


def test_an_object_counts_if_more_than_half_of_it_has_a_prediction():
    metrics = MotionMetrics(movable=[], minimum_pixels=4)
    motion = np.array([[1, 1, 1, 255], [1, 1, 255, 255], [0, 0, 0, 0]], np.uint8)
    truth = np.array([[1] * 4, [1] * 4, [0] * 4], np.uint8)
    instance = np.array([[1] * 4, [2] * 4, [3] * 4])
    metrics.update(motion, None, truth, np.zeros_like(truth), instance)
    result = metrics.compute()

    assert (result['objects'], result['objects_moving'], result['auc']) == (2, 1, 1.0)
