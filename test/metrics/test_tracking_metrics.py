# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of objects in time, worked out by hand."""

import sys

import numpy as np
import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.frames import Objects
from mtl_perception.metrics.tracking import TrackingMetrics

pytest.importorskip('scipy')


def objects(mask, velocities=None):
    mask = np.asarray(mask, np.uint32)
    ids = np.unique(mask[mask > 0])
    count = len(ids)
    if velocities is None:
        velocities = np.full((count, 3), np.nan)
    return Objects(
        ids, np.full(count, 8, np.uint8), np.ones(count, np.float32), np.ones(count, np.uint8),
        np.ones((count, 3), np.float32), np.asarray(velocities, np.float32), mask)


def test_without_scipy_they_are_refused_before_the_first_frame(monkeypatch):
    monkeypatch.setitem(sys.modules, 'scipy.optimize', None)
    with pytest.raises(ConfigurationError, match='pip install scipy brings it'):
        TrackingMetrics()


def test_a_change_of_id_costs_both_scores():
    metrics = TrackingMetrics(minimum_pixels=1)
    true = np.array([[1, 1, 0, 2, 2]])
    for row in ([7, 7, 0, 8, 8], [7, 7, 0, 8, 8], [9, 9, 0, 8, 8], [9, 9, 0, 8, 8]):
        metrics.update('drive', objects([row]), true)
    found = metrics.compute()

    # IDTP = 2 of object 1 and 4 of object 2, of 8 objects and 8 predictions
    assert found['idf1'] == 2 * 6 / 16
    assert (found['changes'], found['mota']) == (1, 1 - 1 / 8)


def test_misses_and_false_objects():
    metrics = TrackingMetrics(minimum_pixels=1)
    metrics.update('a', objects([[5, 5, 0, 0, 0]]), np.array([[1, 1, 0, 2, 2]]))
    metrics.update('a', objects([[5, 5, 6, 0, 0]]), np.array([[1, 1, 0, 0, 0]]))
    # the same number in another drive is another object
    metrics.update('b', objects([[6, 6, 0, 0, 0]]), np.array([[1, 1, 0, 0, 0]]))
    found = metrics.compute()

    assert (found['objects'], found['found'], found['false'], found['changes']) == (4, 3, 1, 0)
    assert found['mota'] == 1 - 2 / 4
    assert found['idf1'] == 2 * 3 / (4 + 4)


def test_small_objects_neither_count_nor_make_predictions_false():
    metrics = TrackingMetrics(minimum_pixels=3)
    metrics.update('a', objects([[5, 5, 5, 0, 6, 6, 0]]), np.array([[1, 1, 1, 0, 2, 2, 0]]))
    metrics.update('a', objects([[0, 0, 0, 7, 7, 7, 0]]), np.array([[0, 0, 0, 0, 2, 2, 0]]))
    found = metrics.compute()
    assert (found['objects'], found['found'], found['false']) == (1, 1, 0)


def test_the_error_of_velocity_stands_beside_that_of_the_mean():
    metrics = TrackingMetrics(minimum_pixels=1)
    true = np.array([[1, 0, 2, 0, 3]])
    velocities = {1: np.array([0.0, 0, 4]), 2: np.array([0.0, 0, -2]), 3: np.zeros(3)}
    metrics.update('a', objects([[1, 0, 2, 0, 3]], [[0, 0, 3], [0, 0, -2], [np.nan] * 3]),
                   true, velocities)
    found = metrics.compute()['velocity']
    assert found['unknown'] == 1
    # errors 1 and 0; the mean velocity is 1 m/s along z, 3 from each
    assert found['moving'] == {'median_error': 0.5, 'baseline': 3.0, 'count': 2}
    assert found['all'] == found['moving']


def test_without_objects_there_are_no_scores():
    metrics = TrackingMetrics()
    metrics.update('a', objects([[0, 0]]), np.array([[0, 0]]))
    found = metrics.compute()
    assert found['idf1'] is None
    assert found['mota'] is None
    assert found['velocity']['all'] == {'median_error': None, 'baseline': None, 'count': 0}
