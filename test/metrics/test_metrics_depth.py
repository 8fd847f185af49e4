# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.metrics import DepthMetrics, MeanDepth
from mtl_perception.metrics.error_map import relative_error


def metres(rows):
    return np.array(rows, np.float32)


def test_depth_errors_of_a_hand_computed_2x2_case():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[11.0, 30.0], [5.0, 4.0]]), metres([[10.0, 20.0], [5.0, 8.0]]))
    result = metrics.compute()

    assert result['abs_rel'] == pytest.approx((0.1 + 0.5 + 0.0 + 0.5) / 4)
    assert result['mae'] == pytest.approx((1 + 10 + 0 + 4) / 4)
    assert result['rmse'] == pytest.approx(((1 + 100 + 0 + 16) / 4) ** 0.5)
    assert result['delta1'] == 0.5  # ratios 1.1, 1.5, 1, 2
    assert result['delta2'] == 0.75  # below 1.5625
    assert result['delta3'] == 0.75  # below 1.953
    assert result['pixels'] == 4


def test_sky_unknown_and_far_pixels_have_no_effect():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[5, 5, 5, 5, 5]]), metres([[5, np.inf, np.nan, 0, 81]]))
    result = metrics.compute()

    assert result['pixels'] == 1
    assert result['abs_rel'] == 0.0


def test_a_ratio_of_exactly_1_25_fails_delta1_and_the_maximum_depth_counts():
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
    result = metrics.compute()

    assert result['abs_rel'] == 1.0
    assert result['not_finite'] == 1.0


def test_a_batch_and_its_single_frames_give_the_same_metrics():
    generator = np.random.default_rng(0)
    truth = generator.uniform(1, 90, (4, 6, 7)).astype(np.float32)
    guess = generator.uniform(1, 90, (4, 6, 7)).astype(np.float32)
    whole, parts = DepthMetrics(80.0), DepthMetrics(80.0)
    whole.update(guess, truth)
    for one, other in zip(guess, truth):
        parts.update(one, other)

    together, apart = whole.compute(), parts.compute()
    for name in ('abs_rel_per_image', 'delta1_per_image'):
        assert together.pop(name) == together[name.removesuffix('_per_image')]
        del apart[name]
    assert apart == pytest.approx(together)


def test_the_mean_over_images_counts_each_image_once():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[20.0, 20.0, 20.0]]), metres([[10.0, 10.0, 10.0]]))
    metrics.update(metres([[10.0, 7.0, 7.0]]), metres([[10.0, 0.0, 0.0]]))
    metrics.update(metres([[7.0]]), metres([[np.nan]]))  # without ground truth

    result = metrics.compute()

    assert (result['abs_rel'], result['delta1']) == (0.75, 0.25)
    assert (result['abs_rel_per_image'], result['delta1_per_image']) == (0.5, 0.5)


def test_no_valid_pixel_gives_none_and_not_nan():
    metrics = DepthMetrics(80.0)
    metrics.update(metres([[1.0]]), metres([[np.inf]]))
    result = metrics.compute()

    assert result.pop('pixels') == 0
    assert set(result.values()) == {None}


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match='positive'):
        DepthMetrics(0.0)
    with pytest.raises(ValueError, match='resize'):
        DepthMetrics(80.0).update(metres([[1]]), metres([[1, 2]]))


def test_ground_truth_beyond_the_maximum_enters_no_map():
    mean = MeanDepth(80.0, 1, 1)
    mean.update(np.array([0]), metres([90]))
    mean.update(np.array([0]), metres([10]))

    np.testing.assert_array_equal(mean.predict(), [[10]])
    assert np.isnan(relative_error(metres([[50]]), metres([[90]]), 80.0))


def test_mean_depth_ignores_sky_and_predicts_the_maximum_where_it_saw_no_depth():
    mean = MeanDepth(80.0, 1, 3)
    mean.update(np.arange(3), metres([2, 10, np.inf]))
    mean.update(np.arange(3), metres([4, np.inf, np.nan]))

    np.testing.assert_array_equal(mean.predict(), [[3, 10, 80]])
