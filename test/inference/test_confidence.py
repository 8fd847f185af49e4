# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How likely classes and depth are right: values worked out by hand, and only when asked for."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from mtl_perception.errors import CheckpointError
from mtl_perception.frames import Frame, Outputs
from mtl_perception.inference.confidence import depth_confidence
from mtl_perception.inference.fit import Fit
from mtl_perception.inference.manifest_checks import check_manifest
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.manifest import Manifest, read_model
from mtl_perception.models.streaming import task_outputs
from mtl_perception.postprocessing import as_bytes

WEIGHTS = (0.5, -1.0, 0.25, -0.5, 0.2, *(0.1 * number for number in range(12)))


def test_the_confidence_of_a_class_is_the_largest_probability_at_the_temperature():
    scores = torch.tensor([2.0, 0.0, 1.0]).reshape(1, 3, 1, 1)
    for temperature in (1.0, 2.0):
        found = task_outputs('semantic', scores, -1, temperature=temperature)
        wanted = 1 / (1 + np.exp(-2 / temperature) + np.exp(-1 / temperature))
        assert found['semantic_confidence'].item() == pytest.approx(wanted)
    assert 'semantic_confidence' not in task_outputs('semantic', scores, -1)


def test_the_confidence_of_depth_is_a_logistic_model_of_its_features():
    # 20 m on one class, nothing but a step of 0 around, the class at even odds.
    depth = np.full((6, 8), 20.0, np.float32)
    outputs = Outputs(
        semantic=np.full((6, 8), 3, np.uint8), depth=depth,
        semantic_confidence=np.full((6, 8), 0.5, np.float32), sky=np.zeros((6, 8), bool))
    distance = np.log(2)
    score = 0.5 - distance + 0.25 * distance ** 2 - 0.5 * np.log(0.02) + 0.3
    np.testing.assert_allclose(
        depth_confidence(outputs, WEIGHTS), 1 / (1 + np.exp(-score)), rtol=1e-5)

    # Sky has no depth, NaN is no depth.
    outputs.sky[0] = True
    depth[5] = np.nan
    found = depth_confidence(outputs, WEIGHTS)
    assert (found[0] == 0.5).all()
    assert (found[5] == 0).all()
    assert np.isfinite(found).all()


def test_a_confidence_as_bytes():
    values = np.float32([[0, 0.5, 1]])
    assert as_bytes(values).tolist() == [[0, 128, 255]]


@pytest.fixture
def engine(tiny_model):
    engine = TorchEngine.load(tiny_model, device='cpu', threads=1)
    engine.manifest = dataclasses.replace(engine.manifest, depth_confidence=WEIGHTS)
    return engine


def test_confidences_are_computed_for_whoever_names_them(engine):
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)

    def ask(tasks, fit=Fit(), size=(64, 96)):  # noqa: B008
        stream = CameraStream(engine, StreamSettings(fit=fit))
        return stream.process(Frame('c', 1, np.resize(image, (*size, 3))), tasks)

    assert ask(None).semantic_confidence is None
    assert ask(None).depth_confidence is None
    one = ask(['semantic_confidence'])
    assert one.semantic is one.depth is one.depth_confidence is None
    assert 1 / 12 <= one.semantic_confidence.min() <= one.semantic_confidence.max() <= 1
    both = ask(['depth', 'depth_confidence'])
    assert both.semantic is both.semantic_confidence is None
    assert both.depth_confidence.shape == both.depth.shape
    assert 0 < both.depth_confidence.min() <= both.depth_confidence.max() < 1

    # Outside of a crop nothing is known; tiles give one map.
    names = ['semantic_confidence', 'depth_confidence']
    crop = ask(names, Fit('crop'), (64, 200))
    for name in names:
        known = getattr(crop, name) > 0
        np.testing.assert_array_equal(known, np.tile(np.abs(np.arange(200) - 99.5) < 48, (64, 1)))
        assert (getattr(ask(names, Fit('tiles'), (64, 200)), name) > 0).all()


def test_a_model_that_was_never_calibrated_says_nothing_about_its_depth(tiny_model):
    engine = TorchEngine.load(tiny_model, device='cpu', threads=1)
    frame = Frame('c', 1, np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(ValueError, match='--calibrate'):
        CameraStream(engine).process(frame, ['depth_confidence'])
    assert CameraStream(engine).process(frame, ['semantic_confidence']).semantic_confidence.any()


def test_manifests_keep_the_numbers_and_older_ones_have_none(tiny_model):
    manifest, _ = read_model(tiny_model)
    written = dataclasses.replace(manifest, semantic_temperature=1.5, depth_confidence=WEIGHTS)
    assert Manifest.from_json(written.to_json()) == written

    fields = json.loads(written.to_json())
    del fields['semantic_temperature'], fields['depth_confidence']
    older = Manifest.from_json(json.dumps(fields))
    assert (older.semantic_temperature, older.depth_confidence) == (1.0, ())

    for wrong in ({'semantic_temperature': 0.0}, {'depth_confidence': WEIGHTS[:-1]},
                  {'depth_confidence': (*WEIGHTS[:-1], np.nan)}):
        with pytest.raises(CheckpointError, match=next(iter(wrong))):
            check_manifest(dataclasses.replace(manifest, **wrong))
