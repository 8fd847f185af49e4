# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
How long a frame takes: ``python -m mtl_perception.inference.benchmark [MODEL]``.

CPU time of one thread, so that other work on the machine disturbs little; the ways take turns. Of
a model with a motion head also what motion costs, stage by stage, on frames of the street.
"""

import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from mtl_perception.egomotion import MotionTracker, motion_features
from mtl_perception.egomotion.estimate import MotionEstimator
from mtl_perception.inference.moving import pinhole_of
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.inference.weights import fuse_batch_norm, load_network
from mtl_perception.synthetic import Street

ROUNDS = 40


def milliseconds(model: str, rounds: int = ROUNDS) -> dict[str, float]:
    """
    Return the median CPU time of a frame in several ways, milliseconds.

    :param model: name of a shipped model or path of a ``.safetensors`` file.
    :param rounds: how often each is timed.
    """
    plain = TorchEngine.load(model, device='cpu', threads=1)
    half = TorchEngine.load(model, device='cpu', precision='bf16', threads=1)
    manifest, network = load_network(model)
    fuse_batch_norm(network.eval())
    network.to(memory_format=torch.channels_last)
    shape = (manifest.height, manifest.width, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2) / 255
    frames = [pixels] * manifest.network.frames
    _, state = plain.step(image)
    _, half_state = half.step(image)
    ways: dict[str, Callable[[], object]] = {
        'step with the previous state': lambda: plain.step(image, state),
        'step without': lambda: plain.step(image),
        f'all {len(frames)} frame(s) encoded anew': lambda: network(*frames),
        'step with the previous state, bf16': lambda: half.step(image, half_state)}
    return _medians(ways, rounds)


def motion_milliseconds(model: str, rounds: int = ROUNDS) -> dict[str, float]:
    """
    Return the median CPU time of each stage of the motion head, milliseconds.

    :param model: name of a shipped model or path of a ``.safetensors`` file; with a motion head.
    :param rounds: how often each is timed.
    """
    engine = TorchEngine.load(model, device='cpu', threads=1)
    head, manifest = engine.motion_head, engine.manifest
    semantic = manifest.task('semantic')
    if head is None or semantic is None:
        return {}
    street = Street(seed=20000, width=manifest.width, height=manifest.height, rate=10.0)
    frames = [street.render(index) for index in range(40, 44)]
    camera = pinhole_of(manifest.focal_px, frames[0].image.shape, frames[0].image.shape)
    assert camera is not None
    cv2.setNumThreads(1)
    tracker = MotionTracker(camera, semantic.movable, semantic.sky)
    comparison = None
    for number, frame in enumerate(frames, 1):
        outputs = engine.step(frame.image)[0]
        assert outputs.depth is not None
        assert outputs.semantic is not None
        depth, ids = outputs.depth, outputs.semantic
        comparison = tracker.add(number * 100_000_000, frame.image, depth, ids)
    assert comparison is not None
    flow, pose = comparison.ego.flow, comparison.ego.pose
    assert flow is not None
    oldest, _, before, newest = (
        np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames)
    static = tracker.static(ids)
    near, full = MotionEstimator(camera), MotionEstimator(camera, 'full')
    step, chained = tracker.ring.guess(500_000_000), comparison.baseline.pose
    ways: dict[str, Callable[[], object]] = {
        'motion: step between neighbours': lambda: near.estimate(
            newest, before, depth, static, step),
        'motion: flow and pose over the baseline': lambda: full.estimate(
            newest, oldest, depth, static, chained, keep_flow=True),
        'motion: features': lambda: motion_features(
            newest, oldest, flow, depth, ids, semantic.movable, pose, camera, 0.3),
        'motion: head': lambda: head.score(comparison.features)}
    return _medians(ways, rounds)


def _medians(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU time of each way, milliseconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, way in ways.items():
                began = time.thread_time()
                way()
                times[name].append(time.thread_time() - began)
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


if __name__ == '__main__':
    chosen = sys.argv[1] if sys.argv[1:] else 'street'
    motion = motion_milliseconds(chosen)
    for name, value in (milliseconds(chosen) | motion).items():
        print(f'{value:7.1f} ms  {name}')
    if motion:
        print(f'{sum(motion.values()):7.1f} ms  motion: all stages')
