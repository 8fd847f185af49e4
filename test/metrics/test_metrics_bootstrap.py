# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.metrics import DepthMetrics, SegmentationMetrics, bootstrap_interval


def mean(total):
    return float(total[0] / total[1])


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    generator = np.random.default_rng(0)
    values = generator.normal(5.0, 2.0, 400)
    low, high = bootstrap_interval([np.array([value, 1.0]) for value in values], mean)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_the_interval_holds_the_truth_as_often_as_its_level_says():
    generator = np.random.default_rng(1)
    inside = 0
    for trial in range(100):
        frames = [np.array([value, 1.0]) for value in generator.exponential(1.0, 60)]
        low, high = bootstrap_interval(frames, mean, level=0.8, resamples=200, seed=trial)
        inside += low <= 1.0 <= high
    assert 68 <= inside <= 90  # 80 expected, standard deviation 4; a bootstrap is a bit narrow


def test_frames_of_one_drive_count_as_one_draw():
    drives = np.repeat(np.random.default_rng(2).normal(0.0, 1.0, 20), 50)
    counts = [np.array([value, 1.0]) for value in drives]
    low, high = bootstrap_interval(counts, mean)
    groups = np.repeat(range(20), 50).tolist()
    wide_low, wide_high = bootstrap_interval(counts, mean, groups=groups)
    assert (wide_high - wide_low) / (high - low) == pytest.approx(50 ** 0.5, rel=0.15)


def test_the_same_seed_gives_the_same_interval_and_equal_frames_an_empty_one():
    counts = [np.array([float(value), 1.0]) for value in range(10)]
    assert bootstrap_interval(counts, mean, seed=3) == bootstrap_interval(counts, mean, seed=3)
    assert bootstrap_interval(counts, mean, seed=3) != bootstrap_interval(counts, mean, seed=4)
    assert bootstrap_interval([np.ones(2)] * 5, mean) == (1.0, 1.0)


def test_too_few_frames_or_no_figure_have_no_interval():
    assert bootstrap_interval([], mean) is None
    assert bootstrap_interval([np.ones(2)], mean) is None
    assert bootstrap_interval([np.ones(2)] * 4, mean, groups=['a'] * 4) is None
    assert bootstrap_interval([np.ones(2)] * 4, lambda total: None) is None


def test_a_wrong_level_or_number_of_groups_is_refused():
    with pytest.raises(ValueError, match='between 0 and 1'):
        bootstrap_interval([np.ones(2)] * 4, mean, level=95)
    with pytest.raises(ValueError, match='4 frames have 3 groups'):
        bootstrap_interval([np.ones(2)] * 4, mean, groups=[1, 2, 3])


def test_the_figures_lie_in_their_intervals_and_more_frames_make_them_narrower():
    generator = np.random.default_rng(5)
    widths = {}
    for frames in (20, 320):
        segmentation, depth = SegmentationMetrics(['a', 'b', 'c']), DepthMetrics(80.0)
        for share in generator.uniform(0, 1, frames):
            truth = generator.integers(0, 3, (8, 8), np.uint8)
            guess = generator.integers(0, 3, (8, 8), np.uint8)
            segmentation.update(np.where(generator.random((8, 8)) < share, truth, guess), truth)
            metres = generator.uniform(1, 70, (8, 8))
            depth.update(metres * (1 + share), metres)
        for metrics in (segmentation, depth):
            figures = metrics.compute()
            for name, interval in metrics.intervals().items():
                assert interval[0] <= figures[name] <= interval[1]
                widths[frames, name] = interval[1] - interval[0]
    for name in ('miou', 'pixel_accuracy', 'abs_rel', 'rmse', 'delta1'):
        assert widths[20, name] / widths[320, name] == pytest.approx(4, rel=0.45)
