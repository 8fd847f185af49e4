# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shipped motion head where it is hard, on streets that no training saw."""

import numpy as np
import pytest

from mtl_perception.egomotion import Pinhole
from mtl_perception.egomotion.pinhole import rigid_flow
from mtl_perception.evaluation import motion_stress
from mtl_perception.evaluation.motion_stress import conditions, darkened, shadowed, turned
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.inference.torch_engine import TorchEngine

CAMERA = Pinhole(230.4, 230.4, 191.5, 111.5)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(100, 200, (224, 384, 3), np.uint8)


def test_a_turn_moves_the_image_as_the_pose_says(picture):
    seen, pose = turned(picture, np.eye(4), 2, CAMERA)
    # where a pixel of the frame as it is was in the turned one, whatever its depth
    flow = rigid_flow(np.full((224, 384), 50, np.float32), np.linalg.inv(pose), CAMERA)
    row, column = 100, 200
    x, y = np.rint(np.array([column, row]) + flow[row, column]).astype(int)

    assert abs(flow[row, column, 0]) == pytest.approx(230.4 * np.tan(np.radians(3)), rel=0.02)

    around = seen[y - 6:y + 7, x - 6:x + 7].astype(float)
    np.testing.assert_allclose(
        around.mean(), picture[row - 6:row + 7, column - 6:column + 7].mean(), atol=2)

    same, still = turned(picture, np.eye(4), 0, CAMERA)
    assert np.array_equal(same, picture)
    assert np.array_equal(still, np.eye(4))


def test_a_shadow_moves_and_the_night_is_dark(picture):
    places = []
    for age in (1, 0):
        shaded, _ = shadowed(picture, np.eye(4), age, CAMERA)
        columns = shaded.mean((0, 2)) / picture.mean((0, 2))
        places.append((columns * np.arange(384)).sum() / columns.sum())
        assert columns.min() < 0.65
        assert columns[:100].min() > 0.99

    assert places[0] > places[1]  # the dark part goes to the right, the light to the left

    night, _ = darkened(picture, np.eye(4), 0, CAMERA)
    assert night.mean() == pytest.approx(0.2 * picture.mean(), rel=0.05)


@pytest.mark.slow
def test_the_shipped_head_keeps_its_quality_under_stress():
    engine = TorchEngine.load('street', device='cpu')
    found = conditions(engine, engine.motion_head, range(20000, 20008), SamplingPlan(1))

    assert set(found) == set(motion_stress.CONDITIONS)

    auc = {name: row['motion']['residual']['auc'] for name, row in found.items()}
    for name, least in LEAST_AUC.items():
        assert auc[name] >= least, auc
    for name in ('as driven', 'turning', 'wrong focal length', 'dropped frames'):
        ego = found[name]['ego_motion']
        assert ego['good_of_believed'] >= 0.85, (name, ego)
    still = found['standing still']['motion']['residual']['groups']['size']
    parked = sum(row['objects'] - row['objects_moving'] for row in still)
    wrong = sum((row['parked_called_moving'] or 0) * (row['objects'] - row['objects_moving'])
                for row in still)

    assert wrong <= 0.15 * parked
    assert len(motion_stress.as_markdown(found).splitlines()) == 2 + len(found)

    failed = motion_stress.provoked(engine, range(20000, 20008), SamplingPlan(1))
    assert failed['frames'] == 24
    assert failed['failures'] >= 3  # or nothing was provoked
    assert failed['failures_flagged_auc'] >= 0.85
    assert failed['good_of_believed'] >= 0.9


LEAST_AUC = {
    'as driven': 0.82, 'turning': 0.78, 'passing shadow': 0.6, 'night': 0.65,
    'standing still': 0.82, 'wrong focal length': 0.8, 'dropped frames': 0.8}
"""Well below what was measured: 8 streets have some 60 objects."""
