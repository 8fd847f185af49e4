# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl train``: render what is to be learned from, train, export."""

import argparse
import contextlib
import errno
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import cv2
import torch

from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.training.checkpoint import CheckpointFolder, write_atomically
from mtl_perception.training.config import (
    TrainingConfig,
    load_config,
    to_yaml,
)
from mtl_perception.training.data_sources import (
    anchors_of,
    camera_of,
    check_batches,
    check_network,
    class_weights,
    open_clips,
    street_code_of,
    tasks_of,
)
from mtl_perception.training.default_recipe import recipe_for
from mtl_perception.training.distributed import Ranks, join
from mtl_perception.training.export import PRECISIONS, export_run
from mtl_perception.training.recipe import build_recipe, late_options
from mtl_perception.training.recipe_diff import changes
from mtl_perception.training.schema import recipe_schema
from mtl_perception.training.stopping import STOPPED, StopRequest, exclusive
from mtl_perception.training.trainer import Trainer

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What is wrong where a file could not be written because there is no space."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl train``."""
    _add_options(parser)
    parser.add_argument(
        'recipe', metavar='RECIPE.yaml|FOLDER',
        help='such as config/train/street.yaml; or the folder of a data set (CamVid, Cityscapes, '
             'KITTI) or of images and masks, of which it learns what is labelled')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help='settings that replace those of the recipe, such as --optimiser.lr 0.5')
    parser.epilog = 'Exit codes: 75 stopped by a signal with a checkpoint saved, 6 not a number.'


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may stand before or after the recipe."""
    parser.add_argument('--print-config', action='store_true', help='show all settings and exit')
    parser.add_argument(
        '--print-schema', action=_PrintSchema, nargs=0,
        help='show the JSON Schema of recipes, for editors, and exit; needs no recipe')
    parser.add_argument('--resume', action='store_true', help='go on from the last checkpoint')
    parser.add_argument(
        '--force', action='store_true', help='resume although the recipe has changed')
    parser.add_argument(
        '--render-only', action='store_true', help='render the clips and exit')
    parser.add_argument(
        '--export-precision', choices=PRECISIONS, default=PRECISIONS[0],
        help='how the weights of the model are stored (default: fp16, half the size)')


class _PrintSchema(argparse.Action):
    """Like ``--help``: needs no recipe."""

    def __call__(
            self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
            option_string: str | None = None) -> None:
        print(json.dumps(recipe_schema(), indent=2))
        parser.exit()


def run(arguments: argparse.Namespace) -> int:
    """
    Run ``mtl train``.

    :return: 0, or 75 if a signal stopped it and a checkpoint is saved.
    """
    overrides = late_options(arguments, _add_options)
    if Path(arguments.recipe).is_dir():
        config = build_recipe(
            recipe_for(Path(arguments.recipe)), TrainingConfig, arguments.recipe, overrides)
    else:
        config = load_config(arguments.recipe, overrides)
    check_network(config)
    if arguments.print_config:
        print(to_yaml(config), end='')
        return 0
    command = shlex.join(['mtl', 'train', arguments.recipe, *without_folders(overrides)])
    if arguments.render_only:
        with StopRequest() as stop:
            return 0 if open_clips(config, config.data.street_code, stop) else STOPPED
    folder = Path(config.output) / config.name
    try:
        with contextlib.ExitStack() as held:
            ranks = held.enter_context(join(config.run.device))
            if ranks.is_first:
                held.enter_context(exclusive(folder))
            return _train(config, folder, arguments, command, ranks)
    except BrokenPipeError:  # of the output, which the command line ends
        raise
    except OSError as error:
        if error.errno in FULL:
            what, advice = 'could not be written', 'Free some space, then --resume'
        else:
            what, advice = 'failed', 'Mend it, then --resume'
        raise StorageError(
            f'{error.filename or folder}: {what} ({error.strerror or error}); the checkpoints are '
            f'untouched. {advice}') from error


def without_folders(overrides: list[str]) -> list[str]:
    """Return overrides without folders, which mean nothing on another machine."""
    kept, words = [], iter(overrides)
    for word in words:
        if word in ('--output', '--data.cache'):
            next(words, None)
        elif not word.startswith(('--output=', '--data.cache=')):
            kept.append(word)
    return kept


def _train(
        config: TrainingConfig, folder: Path, arguments: argparse.Namespace,
        command: str, ranks: Ranks) -> int:
    """Train from the start or the last checkpoint to the end, then export."""
    state = CheckpointFolder(folder / 'checkpoints').load_newest()
    if state is not None and not arguments.resume:
        raise ConfigurationError(
            f'{folder} holds a training already; go on with --resume, choose another --name, or '
            'remove the folder')
    if state is not None and not arguments.force:
        _check_same(config, state['config'])
    check_batches(config, ranks.count)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
        cv2.setNumThreads(config.run.threads)
    if state is not None and ranks.is_first:
        _warn_of_other_bits(state, ranks)
    code = state['notes']['street_code'] if state is not None else config.data.street_code
    with StopRequest() as stop:  # one for both, or a signal between them would be lost
        both = open_clips(config, code, stop, ranks.count == 1)
        if both is None:
            return STOPPED
        train, validation = both
        validation[0]  # what is wrong with all of them shows now, not after hours
        if ranks.is_first:
            write_atomically(to_yaml(config).encode(), folder / 'config.yaml')
        tasks = tasks_of(config)
        weights = None
        if config.loss.class_balance != 0:
            weights = class_weights(train, tasks, config.loss.class_balance)
        trainer = Trainer(
            config, folder, tasks, train, validation, weights,
            {'street_code': street_code_of(train), 'anchors': anchors_of(config, train),
             'camera': camera_of(config, train)}, command, ranks)
        if state is None:
            trainer.start()
        else:
            trainer.load_state(state)
            if ranks.is_first:
                print(f'resuming after step {trainer.progress.step}')
        if ranks.is_first:
            print(f'{folder}: README.md says how it goes, pictures shows what the network sees')
        if not trainer.run(stop):
            return STOPPED
    if ranks.is_first:
        print(export_run(folder, folder / f'{config.name}.safetensors',
                         arguments.export_precision))
    return 0


def _warn_of_other_bits(state: dict[str, Any], ranks: Ranks) -> None:
    """Say what lets a resumed training end in other bits than it would have."""
    before = {'threads': state['threads'], 'ranks': len(state['random'])}
    now = {'threads': torch.get_num_threads(), 'ranks': ranks.count}
    for name, count in now.items():
        if before[name] != count:
            print(f'warning: trained with {before[name]} {name} so far, now with {count}; the '
                  'last bits of the numbers will differ', file=sys.stderr)


def _check_same(config: TrainingConfig, before: dict[str, Any]) -> None:
    """Refuse to resume under a recipe that would learn something else."""
    if found := changes(before, config):
        raise ConfigurationError(
            'the recipe has changed since the checkpoint: ' + '; '.join(found)
            + '. Use --force to go on with the new one, or another --name to start afresh')
