# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects in time on streets: true velocities, and the metrics of a network that sees them."""

import numpy as np
import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.object_evaluation import as_markdown, evaluate_objects
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.synthetic import Street


def test_the_velocities_of_a_street_are_those_of_what_moves_in_its_frames():
    street = Street(20003, 96, 56)
    number = 40
    frame = street.render(number)
    velocities = street.velocities(number)
    moves = {int(one): bool(frame.motion[frame.instance == one].max())
             for one in np.unique(frame.instance) if one}

    assert moves
    assert set(moves) <= set(velocities)
    for instance, moving in moves.items():
        speed = np.linalg.norm(velocities[instance])
        assert speed < 20
        assert (speed > 1e-6) or not moving
        if not moving:
            assert speed < 0.5  # it may set off within the time that is measured over
    # whatever the axes of the camera are, objects move along the ground
    for velocity in velocities.values():
        assert abs(street.pose(number)[1, :3] @ velocity) < 1e-9


@pytest.mark.slow
def test_the_shipped_models_objects_hold_their_ids():
    pytest.importorskip('torch')
    pytest.importorskip('scipy')
    from mtl_perception.inference.engines import load_engine

    engine = load_engine('street', 'torch', 'cpu', 'fp32', 1)
    plan = SamplingPlan(frames=10, width=384, height=224)
    metrics = evaluate_objects(engine, [20000, 20001], plan)

    assert metrics['objects'] > 30
    assert metrics['changes'] <= 0.05 * metrics['found']
    assert metrics['idf1'] > 0.35
    text = as_markdown(metrics)
    assert f'| {metrics["objects"]} | {metrics["found"]} |' in text


def test_streets_of_the_training_are_refused():
    with pytest.raises(ConfigurationError):
        evaluate_objects(None, [5], SamplingPlan())
