# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The cost of a motion head: ``python -m mtl_perception.evaluation.motion_benchmark [MODEL]``.

CPU time of one thread, stage by stage, on frames of the street; the stages take turns.
"""

import argparse
from collections.abc import Callable

import cv2
import numpy as np

from mtl_perception.egomotion import MotionTracker, motion_features, residual
from mtl_perception.egomotion.estimate import MotionEstimator
from mtl_perception.egomotion.static import textured_pixels
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.benchmark.timing import medians
from mtl_perception.inference.engines import load_engine
from mtl_perception.inference.moving_objects import pinhole_of
from mtl_perception.signals import interruptible
from mtl_perception.synthetic import Street

ROUNDS = 40


def motion_milliseconds(model: str, rounds: int = ROUNDS) -> dict[str, float]:
    """
    Return the median CPU time of each stage of the motion head, milliseconds.

    :param model: name of a shipped model or path of a file of one; with a motion head.
    :param rounds: number of timings of each stage.
    :raises ConfigurationError: if the model has no motion head.
    """
    engine = load_engine(model, device='cpu', threads=1)
    head, manifest = engine.motion_head, engine.manifest
    semantic = manifest.task('semantic')
    if head is None or semantic is None:
        raise ConfigurationError(f'model {manifest.name!r} has no motion head')

    street = Street(seed=20000, width=manifest.width, height=manifest.height, rate=10.0)
    frames = [street.render(index) for index in range(40, 44)]

    camera = pinhole_of(manifest.focal_px, frames[0].image.shape, frames[0].image.shape)
    assert camera is not None
    cv2.setNumThreads(1)

    # a few frames bring the tracker to where it is in the middle of a drive
    tracker = MotionTracker(camera, semantic.movable, semantic.sky)
    comparison = None
    for number, frame in enumerate(frames, 1):
        outputs = engine.step(frame.image)[0]

        assert outputs.depth is not None
        assert outputs.semantic is not None
        depth = outputs.depth
        ids = outputs.semantic
        comparison = tracker.add(number * 100_000_000, frame.image, depth, ids)

    assert comparison is not None
    flow = comparison.ego.flow
    pose = comparison.ego.pose
    assert flow is not None

    # each stage by itself, on the inputs that it had in the tracker
    oldest, _, before, newest = (
        np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames)
    static = tracker.static(ids)
    pixels = textured_pixels(newest, static)
    near = MotionEstimator(camera)
    full = MotionEstimator(camera, 'full')
    step = tracker.ring.guess(500_000_000)
    chained = comparison.baseline.pose

    ways: dict[str, Callable[[], object]] = {
        'static pixels': lambda: textured_pixels(newest, tracker.static(ids)),
        'step between neighbours': lambda: near.estimate(
            newest, before, depth, pixels, step),
        'flow and pose over the baseline': lambda: full.estimate(
            newest, oldest, depth, pixels, chained, keep_flow=True),
        'features': lambda: motion_features(
            newest, oldest, flow, residual(flow, depth, pose, camera), depth, ids,
            semantic.movable, camera, 0.3),
        'head': lambda: head.score(comparison.features)}
    return medians(ways, rounds)


def main() -> None:
    """Print the times of the model that the command line names."""
    parser = argparse.ArgumentParser(
        'motion_benchmark', description='CPU time of each stage of the motion head, on one core')
    parser.add_argument(
        'model', nargs='?', default='street', help='name or path of a model (default: street)')

    found = motion_milliseconds(parser.parse_args().model)
    for name, value in found.items():
        print(f'{value:7.1f} ms  {name}')
    print(f'{sum(found.values()):7.1f} ms  all stages')


if __name__ == '__main__':
    raise SystemExit(interruptible(main, 'motion_benchmark'))
