# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What was counted apart, as by the ranks of a training, is the same when put together."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mtl_perception.metrics import (
    DepthMetrics,
    DetectionMetrics,
    InstanceMetrics,
    MotionMetrics,
    SegmentationMetrics,
)

SHAPE = (24, 40)


def _boxes(draw: np.random.Generator, count: int) -> np.ndarray:
    corner = draw.uniform(0, 60, (count, 2))
    return np.hstack([corner, corner + draw.uniform(8, 30, (count, 2))])


def _segmentation(draw: np.random.Generator, metric: SegmentationMetrics) -> None:
    truth = draw.integers(0, 3, SHAPE).astype(np.uint8)
    metric.update(np.where(draw.random(SHAPE) < 0.7, truth, 0).astype(np.uint8), truth)


def _depth(draw: np.random.Generator, metric: DepthMetrics) -> None:
    truth = draw.uniform(1, 50, SHAPE)
    metric.update(truth * draw.uniform(0.6, 1.5, SHAPE), truth)


def _objects(draw: np.random.Generator) -> np.ndarray:
    return np.repeat(np.repeat(draw.integers(0, 4, (3, 5)), 8, 0), 8, 1)


def _motion(draw: np.random.Generator, metric: MotionMetrics) -> None:
    instance = _objects(draw)
    truth = np.isin(instance, (1, 2)).astype(np.uint8)
    score = np.clip(0.4 * truth + draw.uniform(0, 0.6, SHAPE), 0, 1)
    semantic = (instance > 0).astype(np.uint8)
    metric.update((score > 0.5).astype(np.uint8), score, truth, semantic, instance,
                  {'distance': draw.uniform(1, 40, SHAPE)})
    metric.update_identical((draw.random(SHAPE) < 0.1).astype(np.uint8), semantic)


def _instance(draw: np.random.Generator, metric: InstanceMetrics) -> None:
    true = _objects(draw)
    found = np.where(draw.random(SHAPE) < 0.8, true, 0)
    metric.update(found, np.where(found > 0, 1, 0), true, np.where(true > 0, 1, 0))


def _detection(draw: np.random.Generator, metric: DetectionMetrics) -> None:
    true = _boxes(draw, 5)
    found = np.vstack([true[:3] + draw.normal(0, 2, (3, 4)), _boxes(draw, 2)])
    kinds = draw.integers(0, 2, 5)
    metric.update(found, draw.random(5), kinds, true, kinds)


@pytest.mark.parametrize(('make', 'update'), [
    (lambda: SegmentationMetrics(('road', 'car', 'sky')), _segmentation),
    (lambda: DepthMetrics(80.0), _depth),
    (lambda: MotionMetrics((1,), bounds={'size': (80,), 'distance': (20.0,)}), _motion),
    (lambda: InstanceMetrics({1: 'car'}, 20), _instance),
    (lambda: DetectionMetrics(('car', 'person')), _detection),
], ids=['segmentation', 'depth', 'motion', 'instance', 'detection'])
def test_merged_parts_have_the_metrics_and_intervals_of_the_whole(
        make: Callable[[], Any], update: Callable[[np.random.Generator, Any], None]):
    draw, again = np.random.default_rng(3), np.random.default_rng(3)
    whole, parts = make(), [make() for _ in range(3)]
    for number in range(12):
        update(draw, whole)
        update(again, parts[number // 4])
    merged = make()
    for part in parts:
        merged.merge(part)
    groups = [number // 2 for number in range(12)]

    assert merged.compute() == whole.compute()
    assert merged.intervals(groups=groups) == whole.intervals(groups=groups)
    assert merged.compute() != parts[0].compute()
