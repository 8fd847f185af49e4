# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.metrics import (
    DepthMetrics,
    DetectionMetrics,
    InstanceMetrics,
    InverseDepthMetrics,
    MotionMetrics,
    SegmentationMetrics,
    bootstrap_interval,
)
from mtl_perception.metrics.bootstrap import frame_draws
from mtl_perception.metrics.detection import _Ranked
from mtl_perception.metrics.motion import area_under_curve


def mean(total):
    return float(total[0] / total[1])


def test_the_interval_of_a_mean_agrees_with_the_normal_approximation():
    generator = np.random.default_rng(0)
    values = generator.normal(5.0, 2.0, 400)
    low, high = bootstrap_interval([np.array([value, 1.0]) for value in values], mean)
    half = 1.96 * values.std() / 20

    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_the_interval_covers_the_true_value_as_often_as_its_level_states():
    generator = np.random.default_rng(1)
    inside = 0
    for trial in range(100):
        frames = [np.array([value, 1.0]) for value in generator.exponential(1.0, 60)]
        low, high = bootstrap_interval(frames, mean, level=0.8, resamples=200, seed=trial)
        inside += low <= 1.0 <= high

    assert 68 <= inside <= 90  # 80 expected, standard deviation 4; a bootstrap is a bit narrow


def test_frames_of_one_drive_are_drawn_together():
    drives = np.repeat(np.random.default_rng(2).normal(0.0, 1.0, 20), 50)
    counts = [np.array([value, 1.0]) for value in drives]
    low, high = bootstrap_interval(counts, mean)
    groups = np.repeat(range(20), 50).tolist()
    wide_low, wide_high = bootstrap_interval(counts, mean, groups=groups)

    assert (wide_high - wide_low) / (high - low) == pytest.approx(50 ** 0.5, rel=0.15)


def test_the_seed_fixes_the_interval_and_equal_frames_give_one_of_width_zero():
    counts = [np.array([float(value), 1.0]) for value in range(10)]

    assert bootstrap_interval(counts, mean, seed=3) == bootstrap_interval(counts, mean, seed=3)
    assert bootstrap_interval(counts, mean, seed=3) != bootstrap_interval(counts, mean, seed=4)
    assert bootstrap_interval([np.ones(2)] * 5, mean) == (1.0, 1.0)


def test_too_few_groups_or_an_undefined_metric_give_no_interval():
    assert bootstrap_interval([], mean) is None
    assert bootstrap_interval([np.ones(2)], mean) is None
    assert bootstrap_interval([np.ones(2)] * 4, mean) is None
    assert bootstrap_interval([np.ones(2)] * 9, mean, groups=[*'aaaaabbcd']) is None
    assert not [*frame_draws(9, [*'aaaaabbcd'])]
    assert bootstrap_interval([np.ones(2)] * 9, mean, groups=[*'aaaaabcde']) == (1.0, 1.0)
    assert bootstrap_interval([np.ones(2)] * 6, lambda total: None) is None


def test_a_wrong_level_or_number_of_groups_is_refused():
    with pytest.raises(ValueError, match='between 0 and 1'):
        bootstrap_interval([np.ones(2)] * 4, mean, level=95)
    with pytest.raises(ValueError, match='4 frames have 3 groups'):
        bootstrap_interval([np.ones(2)] * 4, mean, groups=[1, 2, 3])


def test_metrics_lie_in_their_intervals_which_narrow_with_more_frames():
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
            result = metrics.compute()
            found = metrics.intervals()
            for name, (low, high) in found.pop('iou', {}).items():
                assert low <= result['iou'][name] <= high
            for name, interval in found.items():
                assert interval[0] <= result[name] <= interval[1]
                widths[frames, name] = interval[1] - interval[0]

    for name in ('miou', 'pixel_accuracy', 'abs_rel', 'rmse', 'delta1'):
        assert widths[20, name] / widths[320, name] == pytest.approx(4, rel=0.45)


def test_a_weight_of_two_equals_counting_an_object_twice():
    generator = np.random.default_rng(6)
    scores, positive = np.round(generator.random(50), 1), generator.random(50) < 0.4
    times = generator.integers(0, 4, 50)

    assert area_under_curve(scores, positive, times.astype(float)) == pytest.approx(
        area_under_curve(scores.repeat(times), positive.repeat(times)))


def boxes_of(generator):
    """Return predicted corners, scores, classes, true corners, classes and ignored marks."""
    count = int(generator.integers(1, 6))
    low = generator.uniform(0, 60, (count, 2))
    true = np.hstack([low, low + generator.uniform(8, 30, (count, 2))])
    found = np.repeat(true, 2, 0) + generator.normal(0, 3, (2 * count, 4))
    kinds = generator.integers(0, 2, count)
    return (found, generator.random(2 * count), kinds.repeat(2), true, kinds,
            generator.random(count) < 0.2)


def test_an_image_drawn_twice_counts_twice():
    """Weighted average precision is that of the images themselves repeated."""
    generator = np.random.default_rng(7)
    images = [boxes_of(generator) for _ in range(8)]
    weighted = DetectionMetrics(['a', 'b'])
    for image in images:
        weighted.update(*image)
    draw = next(frame_draws(8, seed=1))
    repeated = DetectionMetrics(['a', 'b'])
    for image, times in zip(images, draw):
        for _ in range(times):
            repeated.update(*image)
    wanted = np.tensordot(draw, np.stack(weighted._counts), axes=1)[0]
    found = [_Ranked(boxes).average_precisions(number, draw)[0]
             for boxes, number in zip(weighted._boxes, wanted)]

    # equal scores of the copies share a rank, so precision at their first copy differs a little
    assert np.mean(found) == pytest.approx(repeated.compute()['ap50'], abs=0.02)


def test_object_motion_and_inverse_depth_metrics_lie_in_their_intervals():
    generator = np.random.default_rng(8)
    detection, instance = DetectionMetrics(['a', 'b']), InstanceMetrics({1: 'car'}, 4)
    motion, inverse = MotionMetrics([1], 4), InverseDepthMetrics('inverse_depth')
    for _ in range(40):
        detection.update(*boxes_of(generator))

        objects = np.arange(1, 17).reshape(4, 4).repeat(4, 0).repeat(4, 1)
        found = np.where(generator.random(17)[objects] < 0.7, objects, 0)
        ones = np.ones((16, 16), np.uint8)
        instance.update(found, ones, objects, ones)

        moves = (generator.random(17) < 0.4)[objects].astype(np.uint8)
        score = 0.6 * generator.random(17)[objects] + 0.2 * moves
        motion.update((score > 0.5).astype(np.uint8), score, moves, ones, objects)

        metres = generator.uniform(2, 60, (16, 16))
        inverse.update(metres * generator.uniform(0.8, 1.3), metres)

    for metrics, names in ((detection, ('ap50', 'ap', 'found', 'precision')),
                           (instance, ('found', 'precision', 'panoptic')),
                           (motion, ('iou_moving', 'iou_moving_of_all', 'auc',
                                     'balanced_accuracy')),
                           (inverse, ('abs_err', 'rel_err'))):
        result, intervals = metrics.compute(), metrics.intervals()
        assert set(names) == intervals.keys()
        for name in names:
            low, high = intervals[name]
            assert low <= result[name] <= high, (metrics, name)
            assert low < high or result[name] == 1
        assert metrics.intervals() == intervals  # the draw is always the same


def test_without_frames_every_interval_is_none():
    for metrics in (DetectionMetrics(['a']), InstanceMetrics({1: 'car'}), MotionMetrics([1]),
                    InverseDepthMetrics('inverse_depth'), SegmentationMetrics(['a'])):
        found = metrics.intervals()
        found |= found.pop('iou', {})
        assert set(found.values()) == {None}
