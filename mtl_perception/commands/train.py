# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl train``: train a network from a recipe and export it."""

import argparse
import contextlib
import json
import shlex
from pathlib import Path
from typing import Any

from mtl_perception.commands._teacher import (
    add_teacher_options,
    check_teacher_options,
    labelled_folder,
)
from mtl_perception.errors import StorageError
from mtl_perception.signals import STOPPED, StopRequest
from mtl_perception.training.config import (
    TrainingConfig,
    load_config,
    to_yaml,
)
from mtl_perception.training.data_sources import (
    check_network,
    open_clips,
)
from mtl_perception.training.default_recipe import recipe_for
from mtl_perception.training.distributed import join
from mtl_perception.training.export import PRECISIONS
from mtl_perception.training.recipe import build_recipe, late_options
from mtl_perception.training.run import FULL, train_and_export, without_folders
from mtl_perception.training.run_lock import exclusive
from mtl_perception.training.schema import recipe_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl train``."""
    _add_options(parser)
    parser.add_argument(
        'recipe', metavar='RECIPE.yaml|FOLDER',
        help='such as config/train/street.yaml; or the folder of a data set (CamVid, Cityscapes, '
             'KITTI) or of images and masks, of which it learns what is labelled; with --teacher '
             'a folder of images, a video or a recording')
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
        '--force', action='store_true',
        help='train although the labels cannot all be learned, or resume although the recipe has '
        'changed')
    parser.add_argument(
        '--render-only', action='store_true', help='render the clips and exit')
    parser.add_argument(
        '--export-precision', choices=PRECISIONS, default=PRECISIONS[0],
        help='how the weights of the model are stored (default: fp16, half the size)')
    add_teacher_options(parser)


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
    given = Path(arguments.recipe).expanduser()
    check_teacher_options(arguments)
    if arguments.teacher:
        given = labelled_folder(arguments, given)

    if given.is_dir():
        # the recipe follows from what the data set labels
        config = build_recipe(
            recipe_for(given), TrainingConfig, arguments.recipe, overrides)
    else:
        config = load_config(arguments.recipe, overrides)

    # a wrong network shows before hours of rendering
    check_network(config)
    if arguments.print_config:
        print(to_yaml(config), end='')
        return 0

    teacher = ['--teacher', Path(arguments.teacher).name] if arguments.teacher else []
    command = shlex.join(
        ['mtl', 'train', *teacher, arguments.recipe, *without_folders(overrides)])
    if arguments.render_only:
        with StopRequest() as stop:
            return 0 if open_clips(config, config.data.street_code, stop) else STOPPED
    return train(config, arguments, command)


def train(config: TrainingConfig, arguments: argparse.Namespace, command: str) -> int:
    """
    Train by a recipe in the folder of its run.

    :param config: the recipe.
    :param arguments: with ``resume``, ``force`` and ``export_precision``.
    :param command: the command line, for the manifest.
    :return: 0, or 75 if a signal stopped it and a checkpoint is saved.
    """
    folder = Path(config.output).expanduser() / config.name
    try:
        with contextlib.ExitStack() as held:
            ranks = held.enter_context(join(config.run.device))
            if ranks.is_first:
                held.enter_context(exclusive(folder))
            return train_and_export(config, folder, arguments, command, ranks)

    except BrokenPipeError:
        # nobody reads the output any more: cli.main ends the command
        raise
    except OSError as error:
        if error.errno in FULL:
            what, advice = 'could not be written', 'Free some space, then --resume'
        else:
            what, advice = 'failed', 'Solve that, then --resume'
        raise StorageError(
            f'{error.filename or folder}: {what} ({error.strerror or error}); the checkpoints are '
            f'untouched. {advice}') from error
