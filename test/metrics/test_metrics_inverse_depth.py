# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.metrics import InverseDepthMetrics

CAMERA = {'focal_px': 2262.52, 'baseline_m': 0.209313}


def test_inverse_depth_of_a_case_worked_out_by_hand():
    metrics = InverseDepthMetrics('inverse_depth')
    metrics.update(np.array([[2.0, 5.0, 1.0]]), np.array([[4.0, 5.0, np.nan]]))
    figures = metrics.compute()
    assert figures['abs_err'] == pytest.approx(0.25 / 2)  # 1/2 for 1/4, and none
    assert figures['rel_err'] == pytest.approx(1.0 / 2)
    assert (figures['unit'], figures['pixels']) == ('inverse_depth', 2)


def test_the_published_0_0122_is_3_pixels_of_disparity():
    truth = np.full((1, 4), 20.0)
    disparity = CAMERA['focal_px'] * CAMERA['baseline_m'] / truth
    prediction = CAMERA['focal_px'] * CAMERA['baseline_m'] / (disparity + 3.1232)
    figures = {}
    for unit in ('disparity_px', 'mtan'):
        metrics = InverseDepthMetrics(unit, **CAMERA)
        metrics.update(prediction, truth)
        figures[unit] = metrics.compute()
    assert figures['disparity_px']['abs_err'] == pytest.approx(3.1232)
    assert figures['mtan']['abs_err'] == pytest.approx(0.0122)
    assert figures['mtan']['rel_err'] == pytest.approx(figures['disparity_px']['rel_err'])


def test_mtan_clips_what_is_nearer_than_its_files_can_hold():
    metrics = InverseDepthMetrics('mtan', **CAMERA)
    metrics.update(np.array([[1.0]]), np.array([[2.0]]))  # 474 px and 237 px, both beyond 126 px
    assert metrics.compute()['abs_err'] == 0.0


def test_no_answer_is_an_inverse_of_zero_and_never_free():
    metrics = InverseDepthMetrics('inverse_depth')
    metrics.update(np.array([[np.nan, np.inf, 0.0, -3.0]]), np.full((1, 4), 4.0))
    assert metrics.compute()['abs_err'] == 0.25
    assert metrics.compute()['rel_err'] == 1.0


def test_one_pixel_at_the_lens_does_not_decide_the_figure():
    metrics = InverseDepthMetrics('inverse_depth')
    metrics.update(np.array([[1e-320]]), np.array([[1.0]]))
    assert metrics.compute()['abs_err'] == pytest.approx(999.0)  # as at 1 mm


def test_nothing_seen_gives_none():
    metrics = InverseDepthMetrics('inverse_depth')
    metrics.update(np.ones((1, 3)), np.array([[np.nan, np.inf, 0.0]]))
    assert metrics.compute()['abs_err'] is metrics.compute()['rel_err'] is None


@pytest.mark.parametrize(('unit', 'camera', 'message'), [
    ('metres', {}, 'must be one of'), ('mtan', {}, 'needs both'),
    ('disparity_px', {'focal_px': 700.0}, 'needs both'), ('inverse_depth', CAMERA, 'neither')])
def test_a_unit_that_is_not_declared_whole_is_refused(unit, camera, message):
    with pytest.raises(ValueError, match=message):
        InverseDepthMetrics(unit, **camera)
    with pytest.raises(ValueError, match='resize'):
        InverseDepthMetrics('inverse_depth').update(np.ones((1, 2)), np.ones((2, 1)))
