# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.metrics import DepthMetrics, MeanDepth
from mtl_perception.metrics.error_map import relative_error


def metres(rows):
    return np.array(rows, np.float32)


def test_errors_of_a_2x2_case_worked_out_by_hand():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[11.0, 30.0], [5.0, 4.0]]), metres([[10.0, 20.0], [5.0, 8.0]]))
    figures = metrics.compute()
    assert figures['abs_rel'] == pytest.approx((0.1 + 0.5 + 0.0 + 0.5) / 4)
    assert figures['mae'] == pytest.approx((1 + 10 + 0 + 4) / 4)
    assert figures['rmse'] == pytest.approx(((1 + 100 + 0 + 16) / 4) ** 0.5)
    assert figures['delta1'] == 0.5  # ratios 1.1, 1.5, 1, 2
    assert figures['delta2'] == 0.75  # below 1.5625
    assert figures['delta3'] == 0.75  # below 1.953
    assert figures['pixels'] == 4


def test_sky_unknown_and_far_pixels_have_no_effect():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[5, 5, 5, 5, 5]]), metres([[5, np.inf, np.nan, 0, 81]]))
    figures = metrics.compute()
    assert figures['pixels'] == 1
    assert figures['abs_rel'] == 0.0


def test_the_bounds_a_ratio_of_1_25_is_outside_and_the_maximum_inside():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[5.0, 80.0]]), metres([[4.0, 80.0]]))
    assert metrics.compute()['pixels'] == 2
    assert metrics.compute()['delta1'] == 0.5


def test_a_prediction_nearer_than_a_millimetre_counts_as_one():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[0.0, 0.05]]), metres([[1.0, 1.0]]))
    assert metrics.compute()['mae'] == pytest.approx((0.999 + 0.95) / 2)


def test_a_prediction_that_is_not_finite_counts_as_the_maximum():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[np.nan, np.inf]]), metres([[40, 40]]))
    figures = metrics.compute()
    assert figures['abs_rel'] == 1.0
    assert figures['not_finite'] == 1.0


def test_splitting_frames_changes_nothing():
    generator = np.random.default_rng(0)
    truth = generator.uniform(1, 90, (4, 6, 7)).astype(np.float32)
    guess = generator.uniform(1, 90, (4, 6, 7)).astype(np.float32)
    whole, parts = DepthMetrics(80.0), DepthMetrics(80.0)
    whole.update(guess, truth)
    for one, other in zip(guess, truth):
        parts.update(one, other)
    assert parts.compute() == pytest.approx(whole.compute())


def test_no_valid_pixel_gives_none_and_not_nan():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[1.0]]), metres([[np.inf]]))
    figures = metrics.compute()
    assert figures.pop('pixels') == 0
    assert set(figures.values()) == {None}


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match='positive'):
        DepthMetrics(0.0)
    with pytest.raises(ValueError, match='resize'):
        DepthMetrics(80.0).update(metres([[1]]), metres([[1, 2]]))


def test_what_is_truly_beyond_the_maximum_is_in_no_map():
    mean = MeanDepth(80.0, 1, 1)
    mean.update(metres([[90]]))
    mean.update(metres([[10]]))
    np.testing.assert_array_equal(mean.predict(), [[10]])
    assert np.isnan(relative_error(metres([[50]]), metres([[90]]), 80.0))


def test_mean_depth_ignores_sky_and_says_maximum_where_nothing_was_seen():
    mean = MeanDepth(80.0, 1, 3)
    mean.update(metres([[2, 10, np.inf]]))
    mean.update(metres([[4, np.inf, np.nan]]))
    np.testing.assert_array_equal(mean.predict(), [[3, 10, 80]])
