# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The time of one frame: ``python -m mtl_perception.inference.benchmark [MODEL]``.

CPU time of one thread, which other work on the machine disturbs little; the variants take turns.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.inference.weights import fuse_batch_norm, load_network

ROUNDS = 40


def milliseconds(model: str, rounds: int = ROUNDS) -> dict[str, float]:
    """
    Return the median CPU time of a frame in several variants, milliseconds.

    :param model: name of a shipped model or path of a ``.safetensors`` file.
    :param rounds: number of timings of each.
    """
    plain = TorchEngine.load(model, device='cpu', threads=1)
    half = TorchEngine.load(model, device='cpu', precision='bf16', threads=1)

    # the bare network, all frames at once
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
        f'all {len(frames)} frame(s) encoded again': lambda: network(*frames),
        'step with the previous state, bf16': lambda: half.step(image, half_state)}
    return medians(ways, rounds)


def medians(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
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
    for name, value in milliseconds(sys.argv[1] if sys.argv[1:] else 'street').items():
        print(f'{value:7.1f} ms  {name}')
