# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The usual pattern that ``mtl benchmark`` compares with: the same network, in the usual way."""

import numpy as np
import pytest

pytest.importorskip('torch')

from mtl_perception.errors import ConfigurationError, DeviceError
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.inference.usual_pattern import UsualPattern
from mtl_perception.synthetic import Street


@pytest.fixture
def images():
    street = Street(20000, 96, 64)
    return [street.render(number).image for number in range(3)]


def test_at_the_size_of_the_network_it_says_what_the_engine_says(tiny_model, images):
    pattern, engine = UsualPattern(tiny_model, 'cpu'), TorchEngine.load(tiny_model, 'cpu')
    state = None
    for image in images:
        found = pattern(image)
        wanted, state = engine.step(image, state)
        assert np.mean(found['semantic'] == wanted.semantic) > 0.999
        assert np.mean(found['motion'] == wanted.motion) > 0.999
        np.testing.assert_allclose(found['depth'], wanted.depth, rtol=1e-3)


def test_its_maps_have_the_size_of_the_camera(tiny_model):
    found = UsualPattern(tiny_model, 'cpu')(np.zeros((120, 160, 3), np.uint8))
    assert {name: (values.shape, values.dtype.name) for name, values in found.items()} == {
        'semantic': ((120, 160), 'uint8'), 'depth': ((120, 160), 'float32'),
        'motion': ((120, 160), 'uint8')}


def test_a_device_that_is_missing_is_refused(tiny_model):
    import torch
    if torch.cuda.is_available():
        pytest.skip('this machine has CUDA')
    with pytest.raises(DeviceError, match='cuda requested'):
        UsualPattern(tiny_model, 'cuda')


def test_a_model_with_other_tasks_is_refused(tiny_model, monkeypatch):
    monkeypatch.setattr('mtl_perception.inference.usual_pattern.MAPS', ('semantic', 'depth'))
    with pytest.raises(ConfigurationError, match='is defined for'):
        UsualPattern(tiny_model, 'cpu')
