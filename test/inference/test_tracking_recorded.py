# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How often ids change on a recorded drive."""

import pytest

from mtl_perception.datasets.pandaset import PandaSet
from mtl_perception.inference.stream import StreamSettings


@pytest.mark.real_data
@pytest.mark.slow
def test_ids_of_the_largest_objects_of_a_street_hold(real_data):
    from mtl_perception.evaluation.object_evaluation import evaluate_recorded_objects
    from mtl_perception.inference.engines import load_engine

    data = PandaSet(str(real_data('pandaset')), ['002']).selected(stop=52)
    found = evaluate_recorded_objects(
        load_engine('roads', 'auto', 'cpu', 'fp32', 1), data, StreamSettings(camera_height=2.08))

    print(found)
    assert found['objects'] == 20
    assert found['seen'] >= 12
    assert found['changes'] <= 10
