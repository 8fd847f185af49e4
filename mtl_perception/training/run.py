# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One run of ``mtl train``: open the data, train or resume, export."""

import argparse
import errno
import sys
from pathlib import Path
from typing import Any

import cv2
import torch

from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.files import write_atomically
from mtl_perception.signals import STOPPED, StopRequest
from mtl_perception.training.checkpoint import CheckpointFolder
from mtl_perception.training.config import (
    TrainingConfig,
    to_yaml,
)
from mtl_perception.training.data_sources import (
    anchors_of,
    camera_of,
    check_batches,
    check_first_weights,
    check_label_sets,
    class_weights,
    evenly_read,
    open_clips,
    street_code_of,
    tasks_of,
)
from mtl_perception.training.distributed import Ranks
from mtl_perception.training.export import export_run
from mtl_perception.training.learner import precision_on
from mtl_perception.training.recipe_diff import recipe_changes
from mtl_perception.training.trackers import TRACKERS
from mtl_perception.training.trainer import Trainer

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk."""


def without_folders(overrides: list[str]) -> list[str]:
    """Return overrides without folders, which mean nothing on another machine."""
    kept = []
    words = iter(overrides)
    for word in words:
        if word in ('--output', '--data.cache'):
            next(words, None)
        elif not word.startswith(('--output=', '--data.cache=')):
            kept.append(word)
    return kept


def train_and_export(
        config: TrainingConfig, folder: Path, arguments: argparse.Namespace,
        command: str, ranks: Ranks) -> int:
    """Train from the start or the last checkpoint to the end, then export."""
    state = CheckpointFolder(folder / 'checkpoints').load_newest()
    if state is not None and not arguments.resume:
        raise ConfigurationError(
            f'{folder} holds a training already; go on with --resume, choose another --name, or '
            'remove the folder')
    if state is not None and not arguments.force:
        check_same_recipe(config, state['config'])
    if state is None:
        check_first_weights(config)
    check_batches(config, ranks.count)
    trackers = [TRACKERS[name]() for name in config.run.track] if ranks.is_first else []

    if config.run.threads:
        torch.set_num_threads(config.run.threads)
        cv2.setNumThreads(config.run.threads)
    if state is not None and ranks.is_first:
        _warn_of_other_bits(state, ranks)

    # a resumed training draws its clips with the street's code of its start
    code = state['notes']['street_code'] if state is not None else config.data.street_code

    # one request for rendering and training, or a signal between them would be lost
    with StopRequest() as stop:
        both = open_clips(config, code, stop, ranks.count == 1)
        if both is None:
            return STOPPED
        train, validation = both
        # An error in all of them shows now, not after hours.
        skip = config.data.skips_bad
        if next(evenly_read(validation, skip), None) is None:
            raise DataError(
                'data.validation: none of its clips can be read; mtl data check names them')
        if state is None and not arguments.force:
            check_label_sets(config, train, validation)

        if ranks.is_first:
            write_atomically(to_yaml(config).encode(), folder / 'config.yaml')
        tasks = tasks_of(config)
        weights = None
        if config.loss.class_balance != 0:
            weights = class_weights(train, tasks, config.loss.class_balance, skip)

        trainer = Trainer(
            config, folder, tasks, train, validation, weights,
            {'street_code': street_code_of(train), 'anchors': anchors_of(config, train),
             'camera': tuple(camera_of(config, train))}, command, ranks, trackers)

        if state is None:
            trainer.start()
        else:
            trainer.load_state(state)
            if ranks.is_first:
                print(f'resuming after step {trainer.progress.step}')
        if ranks.is_first:
            if precision_on(ranks.device, config.precision) != config.precision:
                print(f'precision {config.precision}: this CPU only emulates it, which is many '
                      'times slower; fp32 takes its place')
            print(f'{folder}: README.md has the progress, pictures the predictions')

        if not trainer.run(stop):
            return STOPPED
    if ranks.is_first:
        print(export_run(folder, folder / f'{config.name}.safetensors',
                         arguments.export_precision))
    return 0


def _warn_of_other_bits(state: dict[str, Any], ranks: Ranks) -> None:
    """Warn of what makes a resumed training differ in the last bits."""
    before = {'threads': state['threads'], 'ranks': len(state['random'])}
    now = {'threads': torch.get_num_threads(), 'ranks': ranks.count}
    for name, count in now.items():
        if before[name] != count:
            print(f'warning: trained with {before[name]} {name} so far, now with {count}; the '
                  'last bits of the numbers will differ', file=sys.stderr)


def check_same_recipe(config: TrainingConfig, before: dict[str, Any]) -> None:
    """Refuse to resume under a recipe that would learn something else."""
    if found := recipe_changes(before, config):
        raise ConfigurationError(
            'the recipe has changed since the checkpoint: ' + '; '.join(found)
            + '. Use --force to go on with the new one, or another --name to start again')
