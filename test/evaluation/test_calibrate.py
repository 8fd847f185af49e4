# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --calibrate``: the measures by hand, and a manifest that is written."""

import json
import shutil

import cv2
import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.commands import evaluate
from mtl_perception.evaluation.calibrate import (
    area_under_curve,
    expected_calibration_error,
    fit_logistic,
)


def test_the_area_under_the_curve_counts_pairs():
    score = np.array([0.9, 0.5, 0.5, 0.1])
    right = np.array([True, True, False, False])
    assert area_under_curve(score, right) == pytest.approx(3.5 / 4)


def test_the_calibration_error_is_the_mean_difference_of_the_bins():
    probability = np.array([0.99, 0.99, 0.01, 0.01])
    right = np.array([True, False, False, False])
    assert expected_calibration_error(probability, right) == pytest.approx(
        0.5 * 0.49 + 0.5 * 0.01)


def test_a_logistic_model_finds_its_weights_again():
    random = np.random.default_rng(0)
    inputs = np.stack([np.ones(40_000), random.normal(size=40_000)], 1)
    right = random.random(40_000) < 1 / (1 + np.exp(-(inputs @ [0.5, -1.0])))
    np.testing.assert_allclose(fit_logistic(inputs, right), [0.5, -1.0], atol=0.05)


def test_the_command_writes_the_manifest_and_predict_the_confidences(
        tmp_path, tiny_model, capsys, monkeypatch):
    model = tmp_path / 'mine.safetensors'
    for suffix in ('.safetensors', '.json'):
        shutil.copy(tiny_model.with_suffix(suffix), model.with_suffix(suffix))
    monkeypatch.setattr(evaluate, 'CALIBRATION_SEEDS', (10_000, 10_001))
    assert cli.main(['evaluate', str(model), '--calibrate', '--seeds', '20000:20001',
                     '--threads', '1']) == 0
    said = capsys.readouterr().out
    assert '| depth, distance alone |' in said
    manifest = json.loads(model.with_suffix('.json').read_text())
    assert manifest['semantic_temperature'] > 0
    assert len(manifest['depth_confidence']) == 5 + 12

    cv2.imwrite(str(tmp_path / 'a.png'), np.full((64, 96, 3), 90, np.uint8))
    given = ['predict', str(tmp_path / 'a.png'), '--model', str(model), '--threads', '1',
             '--confidence']
    assert cli.main([*given, '--output', str(tmp_path / 'out')]) == 0
    for name in ('semantic_confidence', 'depth_confidence'):
        image = cv2.imread(str(tmp_path / f'out/{name}/a.png'), cv2.IMREAD_UNCHANGED)
        assert (image.dtype, image.shape) == (np.uint8, (64, 96))
        assert image.any()
    assert cli.main([*given, '--output', str(tmp_path / 'rec.mcap')]) == 0
    assert cli.main([*given, '--output', str(tmp_path / 'film.mp4')]) == 2
    assert '--confidence has no place in a video' in capsys.readouterr().err
