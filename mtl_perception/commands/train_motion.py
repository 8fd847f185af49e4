# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl train-motion``: features of a model's street clips, then the motion head on them."""

import argparse
import contextlib
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from mtl_perception.datasets.seeds import parse_seeds
from mtl_perception.datasets.synthetic import StreetClips
from mtl_perception.errors import ConfigurationError
from mtl_perception.inference.motion_head_file import attach_motion_head, write_motion_head
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.signals import STOPPED, StopRequest
from mtl_perception.training.checkpoint import CheckpointFolder
from mtl_perception.training.motion_samples import MotionSampleCache
from mtl_perception.training.motion_training import (
    MotionData,
    MotionTrainer,
    MotionTraining,
    evaluate_head,
)
from mtl_perception.training.progress_log import TrainingLog
from mtl_perception.training.recipe import late_options, load_recipe
from mtl_perception.training.run import without_folders
from mtl_perception.training.run_lock import exclusive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl train-motion``."""
    _add_options(parser)
    parser.add_argument('recipe', metavar='RECIPE.yaml', help='config/motion/street_motion.yaml')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help='settings that replace those of the recipe, such as --steps 500')
    parser.epilog = 'Exit codes: 75 stopped by a signal with everything saved, 6 not a number.'


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may stand before or after the recipe."""
    parser.add_argument(
        '--attach', action='store_true',
        help='put the head beside the model and name it in its manifest')
    parser.add_argument('--resume', action='store_true', help='go on from the last checkpoint')


def run(arguments: argparse.Namespace) -> int:
    """
    Run ``mtl train-motion``.

    :return: 0, or 75 if a signal stopped it and what was done is saved.
    """
    overrides = late_options(arguments, _add_options)
    settings = load_recipe(arguments.recipe, overrides, MotionTraining)
    command = shlex.join(
        ['mtl', 'train-motion', arguments.recipe, *without_folders(overrides)])
    folder = Path(settings.output).expanduser() / settings.name
    with contextlib.ExitStack() as held:
        held.enter_context(exclusive(folder))
        stop = held.enter_context(StopRequest())
        return _train(settings, folder, command, arguments, stop)


def _train(
        settings: MotionTraining, folder: Path, command: str, arguments: argparse.Namespace,
        stop: StopRequest,
) -> int:
    """Train from the start or the last checkpoint to the end, then write the head."""
    checkpoint = CheckpointFolder(folder / 'checkpoints').load_newest()
    if checkpoint is not None and not arguments.resume:
        raise ConfigurationError(
            f'{folder} holds a training already; go on with --resume, choose another --name, or '
            'remove the folder')

    cv2.setNumThreads(settings.threads)
    engine = TorchEngine.load(settings.model, threads=settings.threads)
    caches = _features(settings.data, engine, stop)
    if caches is None:
        return STOPPED
    samples, unseen = (cache.read(cache.clips.seeds) for cache in caches)
    print(f'{len(samples.features)} pairs of frames to learn from', flush=True)

    trainer = MotionTrainer(samples, settings)
    if checkpoint is not None:
        trainer.load_state(checkpoint)
        print(f'resuming after step {trainer.done}')

    start = time.monotonic()
    if not trainer.run(folder, TrainingLog(), command, stop):
        print(f'{stop.received}: stopped after step {trainer.done}, checkpoint saved; '
              '--resume goes on')
        return STOPPED
    minutes = (time.monotonic() - start) / 60
    head = trainer.head.eval()
    figures = evaluate_head(head, unseen)
    print(f'validation: {figures}')

    path = folder / f'{settings.name}.motion'
    notes: dict[str, Any] = {
        'command': command,
        'pairs': len(samples.features), 'steps': settings.steps, 'seed': settings.seed,
        'minutes': round(minutes, 1), 'validation': figures,
        'data': f'synthetic street, seeds {settings.data.train_seeds}'}
    write_motion_head(head, engine.manifest, path, notes)
    print(f'{path}: {sum(p.numel() for p in head.parameters())} parameters')

    if arguments.attach:
        print(f'attached: {attach_motion_head(path, settings.model)}')
    return 0


def _features(
        data: MotionData, engine: TorchEngine, stop: StopRequest,
) -> list[MotionSampleCache] | None:
    """
    Return the features of the training and the validation clips, computed where they are missing.

    The network stays as it is: its features are computed once and kept on the disk.

    :return: None if a signal asked to stop; what is rendered and computed stays.
    """
    # Both are made before either is rendered: seeds that may not be used show now.
    both = {split: StreetClips(
        Path(data.cache), parse_seeds(text), split, data.plan, data.street_code)
        for split, text in (('train', data.train_seeds), ('validation', data.validation_seeds))}

    caches = []
    for split, clips in both.items():
        cache = MotionSampleCache(Path(data.cache), clips, engine)
        if not (_all_done(f'rendering {split} seeds', clips.render(data.workers),
                          len(clips.missing()), stop)
                and _all_done(f'features of {split} seeds', cache.compute(), len(clips.seeds),
                              stop)):
            return None
        caches.append(cache)
    return caches


def _all_done(what: str, work: Iterator[int], total: int, stop: StopRequest) -> bool:
    """Work through the seeds, print the progress, and return False if it was asked to stop."""
    for count, _ in enumerate(work, 1):
        if count % 50 == 0 or count == total:
            print(f'{what}: {count}/{total}', flush=True)
        if stop.received:
            print(f'{stop.received}: stopped after {count} of {total} seeds; the same command '
                  'goes on')
            return False
    return True
