# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --objects``: how well ids and velocities of objects hold on streets."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mtl_perception.datasets.seeds import check_seeds
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.frames import Frame
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.metrics.tracking import TrackingMetrics
from mtl_perception.synthetic import Street


def evaluate_objects(
    engine: Engine, seeds: Sequence[int], plan: SamplingPlan,
    show: Callable[[Sequence[int]], Any] = iter,
) -> dict[str, Any]:
    """
    Drive through the streets as the node does and return the metrics of objects in time.

    The frames of a street follow one another, from a random one on.

    :param engine: the deployed network.
    :param seeds: street seeds from 20000 on.
    :param plan: how many frames of each street, and how far apart they are.
    :param show: wraps the seeds, for a progress bar.
    :return: those of :class:`.TrackingMetrics`.
    :raises ConfigurationError: if a seed may have been used in training.
    """
    check_seeds(seeds, 'test')
    manifest = engine.manifest
    metrics = TrackingMetrics()

    for seed in show(seeds):
        street = Street(
            seed, manifest.width, manifest.height, 1 / plan.spacing,
            camera_height=plan.camera_height, look=plan.look)
        stream = CameraStream(
            engine, StreamSettings(camera_height=plan.camera_height or 0.0))

        last = int(plan.drive / plan.spacing) - plan.frames
        first = int(np.random.default_rng(seed).integers(0, max(1, last)))
        for number in range(first, first + plan.frames):
            shown = street.render(number)

            stamp_ns = round((number + 1) * plan.spacing * 1e9)
            found = stream.process(
                Frame('street', stamp_ns, shown.image), ['objects'], 'network',
                focal_px=street.focal_px).objects

            assert found is not None  # stamps rise
            metrics.update(seed, found, shown.instance, street.velocities(number))
    return metrics.compute()


def as_markdown(metrics: dict[str, Any]) -> str:
    """Return the metrics as tables."""
    velocity = metrics['velocity']
    lines = [
        '| objects | found | false | IDF1 | MOTA | changes of id |', '|---|---|---|---|---|---|',
        f'| {metrics["objects"]} | {metrics["found"]} | {metrics["false"]} | '
        f'{_text(metrics["idf1"])} | {_text(metrics["mota"])} | {metrics["changes"]} |', '',
        '| velocity of | objects | median error (m/s) | of the mean velocity |',
        '|---|---|---|---|']
    lines += [
        f'| {name} | {row["count"]} | {_text(row["median_error"])} | {_text(row["baseline"])} |'
        for name, row in (('those found', velocity['all']),
                          ('those of them that move', velocity['moving']))]
    return '\n'.join([*lines, '', f'velocity unknown: {velocity["unknown"]}'])


def _text(value: float | None) -> str:
    """Return a number with three digits, or ``n/a``."""
    return 'n/a' if value is None else f'{value:.3f}'
