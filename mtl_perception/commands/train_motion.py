# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl train-motion``: features of a model's street clips, then the motion head on them."""

import argparse
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch

from mtl_perception.datasets.seeds import parse_seeds
from mtl_perception.datasets.synthetic import StreetClips
from mtl_perception.inference.motion_head_file import attach_motion_head, write_motion_head
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.training.motion_samples import MotionSampleCache
from mtl_perception.training.motion_training import (
    MotionTraining,
    evaluate_head,
    train_motion_head,
)
from mtl_perception.training.recipe import load_recipe
from mtl_perception.training.run import without_folders

REPORT_EVERY = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl train-motion``."""
    parser.add_argument(
        '--attach', action='store_true',
        help='put the head beside the model and name it in its manifest; before the recipe')
    parser.add_argument('recipe', metavar='RECIPE.yaml', help='config/motion/street_motion.yaml')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help='settings that replace those of the recipe, such as --steps 500')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl train-motion``."""
    settings = load_recipe(arguments.recipe, arguments.overrides, MotionTraining)
    cv2.setNumThreads(settings.threads)
    engine = TorchEngine.load(settings.model, threads=settings.threads)
    data = settings.data
    caches = []

    # The network stays as it is: its features are computed once and kept on the disk.
    for split, text in (('train', data.train_seeds), ('validation', data.validation_seeds)):
        clips = StreetClips(
            Path(data.cache), parse_seeds(text), split, data.plan, data.street_code)
        _count(f'rendering {split} seeds', clips.render(data.workers), len(clips.missing()))
        cache = MotionSampleCache(Path(data.cache), clips, engine)
        _count(f'features of {split} seeds', cache.compute(), len(clips.seeds))
        caches.append(cache)

    samples, unseen = (cache.read(cache.clips.seeds) for cache in caches)
    print(f'{len(samples.features)} pairs of frames to learn from', flush=True)

    start = time.monotonic()
    head = train_motion_head(samples, settings, _print_loss)
    minutes = (time.monotonic() - start) / 60
    figures = evaluate_head(head, unseen)
    print(f'validation: {figures}')

    path = Path(settings.output).expanduser() / settings.name / f'{settings.name}.motion'
    notes: dict[str, Any] = {
        'command': shlex.join(
            ['mtl', 'train-motion', arguments.recipe, *without_folders(arguments.overrides)]),
        'pairs': len(samples.features), 'steps': settings.steps, 'seed': settings.seed,
        'minutes': round(minutes, 1), 'validation': figures,
        'data': f'synthetic street, seeds {data.train_seeds}'}
    write_motion_head(head, engine.manifest, path, notes)
    print(f'{path}: {sum(p.numel() for p in head.parameters())} parameters')

    if arguments.attach:
        print(f'attached: {attach_motion_head(path, settings.model)}')
    return 0


def _count(what: str, work: Iterator[int], total: int) -> None:
    """Work through the seeds and print the progress."""
    for count, _ in enumerate(work, 1):
        if count % 50 == 0 or count == total:
            print(f'{what}: {count}/{total}', flush=True)


def _print_loss(step: int, loss: float) -> None:
    if step % REPORT_EVERY == 0:
        print(f'step {step}  loss {loss:.4f}  threads {torch.get_num_threads()}', flush=True)
