# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Traffic: which objects move when, and that a single image does not reveal it."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtl_perception.synthetic.catalogue import Catalogue
from mtl_perception.synthetic.layout import Layout
from mtl_perception.synthetic.traffic import Pace, Traffic
from mtl_perception.synthetic.vehicles import length_of, model_random, shape_of

KINDS = ('car', 'person', 'cyclist')


@pytest.fixture(scope='module')
def seen():
    """Return (seed, kind, moving, attributes...) of objects that one image may show."""
    rows = []
    for seed in range(400, 520):
        layout = Layout(seed)
        traffic = Traffic(layout)
        for time in np.arange(5.0, 400.0, 40.0):
            z = traffic.drive.way(time)
            here = layout.middle(z) + layout.camera_d

            for one in traffic.at(time, 0, 50):
                length = length_of(shape_of(model_random(seed, one.model)))
                rows.append((
                    seed, KINDS.index(one.kind), one.moving, one.x - here, abs(one.x - here),
                    one.z - z, abs(one.x - layout.middle(one.z)) - layout.half_road,
                    np.cos(one.yaw), np.sin(one.yaw), one.phase, one.model % 1000, length))
    return np.array(rows, np.float64)


@pytest.mark.parametrize('kind', range(3), ids=KINDS)
@pytest.mark.parametrize(
    'classifier', [LogisticRegression(max_iter=500), KNeighborsClassifier(40)],
    ids=['linear', 'neighbours'])
def test_place_pose_and_shape_do_not_reveal_which_objects_move(seen, kind, classifier):
    rows = seen[seen[:, 1] == kind]
    learn = rows[:, 0] < 460

    model = make_pipeline(StandardScaler(), classifier).fit(rows[learn, 3:], rows[learn, 2])
    score = roc_auc_score(rows[~learn, 2], model.predict_proba(rows[~learn, 3:])[:, 1])
    assert 0.4 < score < 0.6


def test_about_half_of_the_movable_objects_move(seen):
    for kind in range(3):
        assert 0.35 < seen[seen[:, 1] == kind, 2].mean() < 0.6


def test_the_classifier_would_find_an_attribute_that_reveals_motion(seen):
    rows = seen[seen[:, 1] == 0]
    told = np.column_stack([rows[:, 3:], rows[:, 2] + np.random.default_rng(0).normal(
        0, 0.5, len(rows))])
    learn = rows[:, 0] < 460

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(
        told[learn], rows[learn, 2])
    assert roc_auc_score(rows[~learn, 2], model.predict_proba(told[~learn])[:, 1]) > 0.8


def test_distance_is_the_integral_of_speed():
    pace = Pace(np.random.default_rng(1), (1.5, 9.0), (1.0, 3.0), (6.0, 12.0))
    times = np.arange(0, 150, 0.002)
    speed = np.array([pace.speed(time) for time in times])
    way = np.array([pace.way(time) for time in times])

    np.testing.assert_allclose(way, np.cumsum(speed) * 0.002, atol=0.1)
    assert set(np.unique(speed[speed < 1.5])) == {0.0}  # nothing between standing and driving
    assert speed.max() <= 9.0


def test_cars_of_one_lane_never_overlap():
    for seed in range(12):
        layout = Layout(seed)
        lanes = Traffic(layout).flows[:len(layout.lanes)]
        catalogue = Catalogue(seed, 0.0)

        for flow in lanes:
            for time in np.arange(0, 120, 3.7):
                cars = sorted(flow.between(-60, 60, time), key=lambda car: car.z)
                for behind, ahead in itertools.pairwise(cars):
                    room = (catalogue.size(behind)[2] + catalogue.size(ahead)[2]) / 2
                    assert ahead.z - behind.z > room - 0.5


def test_the_camera_hits_no_object():
    for seed in range(12):
        layout = Layout(seed)
        traffic = Traffic(layout)
        catalogue = Catalogue(seed, 0.0)

        for time in np.arange(0, 200, 1.3):
            z = traffic.drive.way(time)
            for one in traffic.at(time, 3, 6):
                beside = abs(one.x - layout.middle(one.z) - layout.camera_d)
                if one.kind != 'car':
                    assert beside > 0.7
                elif beside < 1.9:
                    assert one.z - z - catalogue.size(one)[2] / 2 > 1.0
