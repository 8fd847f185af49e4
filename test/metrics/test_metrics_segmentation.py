# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.metrics import MajorityClass, SegmentationMetrics, points_in_cells


def ids(rows):
    return np.array(rows, np.uint8)


def test_ious_of_a_hand_computed_2x2_case():
    metrics = SegmentationMetrics(['a', 'b'])
    metrics.update(ids([[0, 1], [1, 1]]), ids([[0, 0], [1, 1]]))
    result = metrics.compute()

    assert result['iou'] == {'a': pytest.approx(1 / 2), 'b': pytest.approx(2 / 3)}
    assert result['miou'] == pytest.approx(7 / 12)
    assert result['pixel_accuracy'] == pytest.approx(3 / 4)


def test_a_perfect_prediction_scores_one():
    metrics = SegmentationMetrics(['a', 'b', 'c'])
    truth = ids([[0, 1, 2], [2, 1, 0]])
    metrics.update(truth, truth)
    result = metrics.compute()

    assert result['miou'] == result['pixel_accuracy'] == result['miou_per_image'] == 1.0
    assert result['absent'] == []


def test_ignored_pixels_have_no_effect():
    metrics = SegmentationMetrics(['a', 'b'])
    metrics.update(ids([[0, 1], [0, 1]]), ids([[0, 1], [255, 255]]))

    assert metrics.compute()['miou'] == 1.0
    assert metrics.compute()['pixels'] == 2


def test_a_class_without_truth_is_named_and_left_out_of_the_mean():
    metrics = SegmentationMetrics(['a', 'b', 'c'])
    metrics.update(ids([[0, 2, 1]]), ids([[0, 0, 1]]))
    result = metrics.compute()

    assert result['absent'] == ['c']
    assert result['iou'] == {'a': 0.5, 'b': 1.0, 'c': None}
    assert result['miou'] == 0.75


def test_a_prediction_outside_the_classes_is_wrong_and_not_ignored():
    metrics = SegmentationMetrics(['a', 'b'])
    metrics.update(ids([[255, 0, 1, 1]]), ids([[0, 0, 1, 1]]))

    assert metrics.compute()['iou']['a'] == 0.5
    assert metrics.compute()['pixel_accuracy'] == 0.75


def test_per_image_mean_differs_from_the_mean_over_all_pixels():
    metrics = SegmentationMetrics(['a', 'b'])
    metrics.update(ids([[0, 0]]), ids([[0, 0]]))  # a: 1
    metrics.update(ids([[0, 0]]), ids([[0, 1]]))  # a: 1/2, b: 0
    result = metrics.compute()

    assert result['miou'] == pytest.approx((3 / 4 + 0) / 2)
    assert result['miou_per_image'] == pytest.approx((1 + 1 / 4) / 2)


def test_without_labels_the_metrics_are_none_and_not_nan():
    metrics = SegmentationMetrics(['a', 'b'])
    metrics.update(ids([[1]]), ids([[255]]))
    result = metrics.compute()

    assert result['miou'] is result['pixel_accuracy'] is result['miou_per_image'] is None


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match='resize'):
        SegmentationMetrics(['a']).update(ids([[0, 0]]), ids([[0]]))


def test_a_truth_of_one_class_gives_no_metric_however_good_the_prediction():
    metrics = SegmentationMetrics(['floor', 'road'])
    for _ in range(6):
        metrics.update(ids([[0, 0]]), ids([[0, 255]]))
    result = metrics.compute()

    assert result['absent'] == ['road']
    assert [result[name] for name in ('miou', 'miou_per_image', 'pixel_accuracy')] == [None] * 3
    assert result['iou'] == {'floor': None, 'road': None}
    assert metrics.intervals() == {
        'miou': None, 'pixel_accuracy': None, 'miou_per_image': None,
        'iou': {'floor': None, 'road': None}}


def test_points_of_a_lidar_fall_into_cells_of_a_coarser_grid():
    values = np.arange(24).reshape(4, 6)
    cells, found = points_in_cells(values, values % 7 == 0, (2, 3))
    assert found.tolist() == [0, 7, 14, 21]
    assert cells.tolist() == [0, 0, 4, 4]


def test_majority_class_takes_the_most_frequent_class_of_each_pixel():
    majority = MajorityClass(3, 1, 3)
    for truth in ([0, 2, 255], [0, 1, 255], [1, 2, 255]):
        majority.update(np.arange(3), ids(truth))

    np.testing.assert_array_equal(majority.predict(), [[0, 2, 255]])
