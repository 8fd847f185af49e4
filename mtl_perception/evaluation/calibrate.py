# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --calibrate``: teach a model how likely its answers are right."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.street_classes import check_street_classes
from mtl_perception.inference.confidence import FEATURES, features
from mtl_perception.manifest import Manifest, find_model, read_model, write_model
from mtl_perception.preprocessing import focal_length_at
from mtl_perception.synthetic import Street

if TYPE_CHECKING:  # importing it at run time would need torch
    from mtl_perception.inference.torch_engine import TorchEngine

Values = NDArray[np.float64]

FRAMES = (5, 30)
"""Which frames of a street are taken."""
PIXELS = 1500
"""Pixels of a frame, drawn at random."""
RIGHT = 1.25
"""Depth is right within this factor."""
TEMPERATURES = tuple(float(value) for value in np.geomspace(0.6, 2.5, 9))
RIDGE = 1e-3
BINS = 15


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """
    Pixels of many frames.

    :param inputs: (N, F + C) features and one column for each class.
    :param right: (N,) whether depth is right.
    :param sure: temperature -> (M,) probability of the class that was found.
    :param found: (M,) whether that class is right.
    """

    inputs: Values
    right: NDArray[np.bool_]
    sure: dict[float, Values]
    found: NDArray[np.bool_]


def collect(
    engine: 'TorchEngine', seeds: Sequence[int], temperatures: Sequence[float],
    show: Callable[..., Any] = iter,
) -> Pixels:
    """
    Return pixels of streets, as the network sees them.

    :param engine: of the model; its temperature is the last of them afterwards.
    :param seeds: of the streets.
    :param temperatures: that probabilities are computed at; features stand on the last one.
    :param show: wraps the seeds, for a progress bar.
    """
    manifest = engine.manifest
    semantic = manifest.task('semantic')
    assert semantic is not None
    random = np.random.default_rng(0)
    inputs, right, found = [], [], []
    sure: dict[float, list[Values]] = {value: [] for value in temperatures}

    for seed in show(seeds):
        street = Street(seed, manifest.width, manifest.height, rate=10.0)
        focal = focal_length_at(street.focal_px, manifest.height, manifest.height)
        scale = focal / (manifest.focal_y_px or manifest.focal_px)
        confidence: NDArray[np.float32] | None = None
        for number in FRAMES:
            frame = street.render(number)
            rows, columns = np.divmod(
                random.choice(frame.depth.size, PIXELS, replace=False), manifest.width)
            for value in temperatures:
                engine.temperature = value

                outputs, _ = engine.step(
                    frame.image, None, ('semantic', 'depth', 'semantic_confidence'))
                confidence = outputs.semantic_confidence
                assert confidence is not None
                sure[value].append(confidence[rows, columns].astype(np.float64))

            # The classes were found at every temperature.
            assert confidence is not None
            assert outputs.semantic is not None
            assert outputs.depth is not None
            found.append(outputs.semantic[rows, columns] == frame.semantic[rows, columns])

            # Depth counts where there is one.
            true = frame.depth[rows, columns]
            known = np.isfinite(true) & (true > 0) & (true < 80)
            rows, columns = rows[known], columns[known]

            ratio = outputs.depth[rows, columns] * scale / true[known]
            right.append(np.maximum(ratio, 1 / ratio) < RIGHT)
            kinds = np.eye(semantic.channels)[outputs.semantic[rows, columns]]
            inputs.append(np.concatenate([np.stack(
                [one[rows, columns] for one in features(outputs.depth, confidence)], 1),
                kinds], 1))

    return Pixels(np.concatenate(inputs).astype(np.float64), np.concatenate(right),
                  {value: np.concatenate(parts).astype(np.float64)
                   for value, parts in sure.items()}, np.concatenate(found))


def fit_logistic(inputs: Values, right: NDArray[np.bool_]) -> Values:
    """Return the weights of a logistic model, by Newton's method with a small ridge."""
    weights = np.zeros(inputs.shape[1])
    for _ in range(30):
        probability = 1 / (1 + np.exp(-inputs @ weights))
        spread = probability * (1 - probability) + 1e-6
        hessian = (inputs * spread[:, None]).T @ inputs / len(right)
        slope = inputs.T @ (right - probability) / len(right) - RIDGE * weights
        weights += np.linalg.solve(hessian + RIDGE * np.eye(len(weights)), slope)
    return weights


def expected_calibration_error(probability: Values, right: NDArray[np.bool_]) -> float:
    """Return by how much probability and share differ, over bins of equal width."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    total = np.bincount(place, probability, BINS) - np.bincount(place, right, BINS)
    return float(np.abs(total[count > 0]).sum() / len(right))


def area_under_curve(score: Values, right: NDArray[np.bool_]) -> float:
    """Return how often a right pixel has a higher score than a wrong one."""
    order = np.sort(score[~right])
    below = np.searchsorted(order, score[right], 'left')
    equal = np.searchsorted(order, score[right], 'right') - below
    return float((below + equal / 2).mean() / max(1, len(order)))


def calibrate(
    model: str | Path, engine: Any, learn: Sequence[int], test: Sequence[int],
    show: Callable[..., Any] = iter,
) -> tuple[Manifest, dict[str, dict[str, float]]]:
    """
    Fit the confidences of a model on some streets, test them on others, write its manifest.

    :param model: name or path of the model; its weights are not touched.
    :param engine: of the model.
    :param learn: seeds to fit on.
    :param test: seeds to test on.
    :param show: wraps the seeds, for a progress bar.
    :return: the manifest, and for each confidence and baseline ``auroc`` and ``ece``.
    :raises ConfigurationError: if the model lacks semantics or depth, or has other classes than
        the streets.
    """
    if engine.manifest.task('semantic') is None or engine.manifest.task('depth') is None:
        raise ConfigurationError(
            f'model {engine.manifest.name!r} needs both semantics and depth for a confidence')

    if not hasattr(engine, 'temperature'):
        raise ConfigurationError('--calibrate takes torch as the engine')
    check_street_classes(engine.manifest)

    # The temperature that makes right and wrong classes most likely.
    learned = collect(engine, learn, TEMPERATURES, show)
    losses = {
        value: -np.mean(np.log(np.clip(np.where(learned.found, sure, 1 - sure), 1e-6, 1)))
        for value, sure in learned.sure.items()}
    temperature = min(losses, key=lambda value: losses[value])
    learned = collect(engine, learn, (temperature,), show)
    weights = fit_logistic(learned.inputs, learned.right)
    distance = fit_logistic(learned.inputs[:, :3], learned.right)

    # Beside it the baseline: distance alone.
    tested = collect(engine, test, (1.0, temperature), show)
    results = {}
    for name, score, right in (
            ('semantic', tested.sure[temperature], tested.found),
            ('semantic, not calibrated', tested.sure[1.0], tested.found),
            ('depth', _sigmoid(tested.inputs @ weights), tested.right),
            ('depth, distance alone', _sigmoid(tested.inputs[:, :3] @ distance), tested.right)):
        results[name] = {'right': float(right.mean()), 'auroc': area_under_curve(score, right),
                         'ece': expected_calibration_error(score, right)}

    manifest, content = read_model(model)
    assert len(weights) > FEATURES
    return write_model(dataclasses.replace(
        manifest, semantic_temperature=round(temperature, 4),
        depth_confidence=tuple(round(float(value), 4) for value in weights)), content,
        find_model(model)), results


def _sigmoid(values: Values) -> Values:
    """Return probabilities of log-odds."""
    return np.asarray(1 / (1 + np.exp(-values)))
