# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How likely the depth of a pixel is right, from what the network says anyway."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Outputs
from mtl_perception.inference.engine import Engine

Floats = NDArray[np.float32]

CONFIDENCES = {'semantic': 'semantic_confidence', 'depth': 'depth_confidence'}
"""Task -> how likely its answer is right; computed only if it is asked for by that name."""

TYPICAL_M = 10.0
SMALLEST_STEP = 0.02
EDGE = np.ones((5, 5), np.uint8)
CERTAIN = 1e-4
"""Probabilities of a class are taken to differ from 0 and 1 by at least this."""
FEATURES = 5
"""Numbers of the logistic model before those of the classes."""


def offered(engine: Engine) -> list[str]:
    """Return the confidences that an engine gives; a graph of an earlier version gives none."""
    manifest = engine.manifest
    names = [task.name for task in manifest.tasks]
    if not getattr(engine, 'gives_confidence', False) or 'semantic' not in names:
        return []
    given = [CONFIDENCES['semantic']]
    return [*given, CONFIDENCES['depth']] if manifest.depth_confidence else given


def features(depth: Floats, confidence: Floats) -> list[Floats]:
    """
    Return what tells good depth from bad, each (h, w) float32.

    :param depth: (h, w) float32 metres, as the network gives it.
    :param confidence: (h, w) float32, probability of the class.
    :return: 1, the distance l = log(Z / 10 m), its square, the step of log Z within 5 x 5 pixels,
        and the log-odds of the class.
    """
    logarithm = np.log(depth)
    step = cv2.dilate(logarithm, EDGE) - cv2.erode(logarithm, EDGE)
    distance = logarithm - np.float32(np.log(TYPICAL_M))
    sure = np.clip(confidence, CERTAIN, 1 - CERTAIN)
    return [np.ones_like(depth), distance, distance ** 2,
            np.log(np.asarray(step, np.float32) + np.float32(SMALLEST_STEP)),
            np.log(sure / (1 - sure))]


def depth_confidence(outputs: Outputs, weights: Sequence[float]) -> Floats:
    """
    Return the probability that depth is within a factor of 1.25.

    A logistic model of :func:`features` and of the class. Where there is sky, which has no depth,
    it is the probability of that class.

    :param outputs: of the network, with depth, semantics and their confidence.
    :param weights: of the features, then one for each class.
    :return: (h, w) float32, 0 to 1.
    """
    depth, semantic, confidence = outputs.depth, outputs.semantic, outputs.semantic_confidence
    assert depth is not None
    assert semantic is not None
    assert confidence is not None

    usable = np.clip(np.nan_to_num(depth, nan=1.0), 1e-3, 1e5)
    score = np.asarray(weights[FEATURES:], np.float32)[semantic]
    for weight, feature in zip(weights[:FEATURES], features(usable, confidence)):
        score = score + np.float32(weight) * feature

    probability = 1 / (1 + np.exp(-score))
    if outputs.sky is not None:
        probability = np.where(outputs.sky, confidence, probability)
    return np.where(np.isfinite(depth), probability, np.float32(0)).astype(np.float32)
