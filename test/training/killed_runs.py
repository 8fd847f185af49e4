# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Real trainings in processes of their own, to be killed; forked, so that each starts at once."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from mtl_perception import cli
from mtl_perception.training.checkpoint import CheckpointFolder

RECIPE = """
name: run
tasks: [semantic]
weighting: uncertainty
network: {encoder: resnet10, frames: 1, finest_stride: 8}
data:
  train: {dataset: camvid, root: data, split: train}
  validation: {dataset: camvid, root: data, split: val}
augmentation: {zoom: 0.2}
stages:
  - {height: 32, width: 32, steps: 6, batch: 4, lr: 0.002}
  - {height: 32, width: 64, steps: 6, batch: 4, lr: 0.002}
run: {log_every: 1, validate_every: 5, checkpoint_every: 2}
"""


def write_data(folder):
    """Write ten images with labels in the layout of CamVid, and the recipe; go there."""
    generator = np.random.default_rng(0)
    for split, count in (('train', 7), ('val', 3)):
        for kind in (split, f'{split}annot'):
            (folder / 'data' / kind).mkdir(parents=True)
        for number in range(count):
            name = f'0001TP_{number:06d}.png'
            label = np.kron(generator.integers(0, 12, (4, 8)), np.ones((8, 8))).astype(np.uint8)
            image = np.repeat(label[..., None] * 20, 3, 2)
            image = np.clip(image + generator.normal(0, 9, image.shape), 0, 255)
            cv2.imwrite(str(folder / 'data' / split / name), image.astype(np.uint8))
            cv2.imwrite(str(folder / 'data' / f'{split}annot' / name), label)
    (folder / 'recipe.yaml').write_text(RECIPE)
    os.chdir(folder)


def forked(job):
    """Run a function in a child of its own and return the child's number."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        log = os.open('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        sys.stdout = sys.stderr = os.fdopen(log, 'w')  # not what pytest has put there
        code = job()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def train(output, *words, prepare=None):
    """Return a child that runs ``mtl train``."""
    def job():
        if prepare is not None:
            prepare()
        return cli.main(['train', 'recipe.yaml', '--output', output, *words])

    return forked(job)


def ended(child):
    """Wait for a child; return its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_after(child, seconds, number):
    """Send a child a signal after so many seconds, if it still runs, and return how it ended."""
    time.sleep(seconds)
    if number == signal.SIGKILL:
        os.killpg(child, number)  # also those that read for it
    else:
        os.kill(child, number)
    return ended(child)


def outcome(output):
    """Return the last state of a run and its log, without what is measured by the clock."""
    folder = Path(output) / 'run'
    state = CheckpointFolder(folder / 'checkpoints').load_newest()
    state['progress'].pop('seconds')
    state['config']['data'].pop('loaders')
    state['config'].pop('output')
    state.pop('command')
    log = []
    for line in (folder / 'metrics.jsonl').read_text().splitlines():
        entry = json.loads(line)
        entry.pop('frames_per_second', None)
        log.append(entry)
    return state, log


def same(one, other):
    """Return whether two states are equal to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
