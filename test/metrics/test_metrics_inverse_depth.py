# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.metrics import InverseDepthMetrics

CAMERA = {'focal_px': 2262.52, 'baseline_m': 0.209313}


def test_inverse_depth_of_a_hand_computed_case():
    metrics = InverseDepthMetrics('inverse_depth')
    metrics.update(np.array([[2.0, 5.0, 1.0]]), np.array([[4.0, 5.0, np.nan]]))
    result = metrics.compute()

    assert result['abs_err'] == pytest.approx(0.25 / 2)  # 1/2 for 1/4, and none
    assert result['rel_err'] == pytest.approx(1.0 / 2)
    assert (result['unit'], result['pixels']) == ('inverse_depth', 2)


def test_the_published_0_0122_is_3_pixels_of_disparity():
    truth = np.full((1, 4), 20.0)
    disparity = CAMERA['focal_px'] * CAMERA['baseline_m'] / truth
    prediction = CAMERA['focal_px'] * CAMERA['baseline_m'] / (disparity + 3.1232)
    result = {}
    for unit in ('disparity_px', 'mtan'):
        metrics = InverseDepthMetrics(unit, **CAMERA)
        metrics.update(prediction, truth)
        result[unit] = metrics.compute()

    assert result['disparity_px']['abs_err'] == pytest.approx(3.1232)
    assert result['mtan']['abs_err'] == pytest.approx(0.0122)
    assert result['mtan']['rel_err'] == pytest.approx(result['disparity_px']['rel_err'])


def test_mtan_clips_depths_nearer_than_its_files_can_store():
    metrics = InverseDepthMetrics('mtan', **CAMERA)
    metrics.update(np.array([[1.0]]), np.array([[2.0]]))  # 474 px and 237 px, both beyond 126 px

    assert metrics.compute()['abs_err'] == 0.0


def test_a_missing_prediction_counts_as_an_inverse_depth_of_zero():
    metrics = InverseDepthMetrics('inverse_depth')
    metrics.update(np.array([[np.nan, np.inf, 0.0, -3.0]]), np.full((1, 4), 4.0))

    assert metrics.compute()['abs_err'] == 0.25
    assert metrics.compute()['rel_err'] == 1.0


def test_frames_of_two_accumulators_count_together():
    metrics, other = (InverseDepthMetrics('disparity_256', **CAMERA) for _ in range(2))
    pixels = CAMERA['focal_px'] * CAMERA['baseline_m'] / 10  # disparity of 10 m
    metrics.update(np.array([[5.0]]), np.array([[10.0]]))
    other.update(np.array([[10.0]]), np.array([[10.0]]))
    metrics.merge(other)

    found = metrics.compute()
    assert found['abs_err'] == pytest.approx(256 * pixels / 2)
    assert (found['rel_err'], found['pixels']) == (pytest.approx(0.5), 2)


def test_a_prediction_close_to_zero_counts_as_one_millimetre():
    metrics = InverseDepthMetrics('inverse_depth')
    metrics.update(np.array([[1e-320]]), np.array([[1.0]]))

    assert metrics.compute()['abs_err'] == pytest.approx(999.0)  # as at 1 mm


def test_without_ground_truth_the_errors_are_none():
    metrics = InverseDepthMetrics('inverse_depth')
    metrics.update(np.ones((1, 3)), np.array([[np.nan, np.inf, 0.0]]))

    assert metrics.compute()['abs_err'] is metrics.compute()['rel_err'] is None


@pytest.mark.parametrize(('unit', 'camera', 'message'), [
    ('metres', {}, 'must be one of'), ('mtan', {}, 'needs both'),
    ('disparity_px', {'focal_px': 700.0}, 'needs both'), ('inverse_depth', CAMERA, 'neither')])
def test_a_unit_without_the_camera_it_needs_is_refused(unit, camera, message):
    with pytest.raises(ValueError, match=message):
        InverseDepthMetrics(unit, **camera)
    with pytest.raises(ValueError, match='resize'):
        InverseDepthMetrics('inverse_depth').update(np.ones((1, 2)), np.ones((2, 1)))
