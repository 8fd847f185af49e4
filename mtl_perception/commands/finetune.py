# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl finetune``: go on from a model on one's own labelled images."""

import argparse
import shlex
from pathlib import Path

from mtl_perception.commands import train
from mtl_perception.commands._options import path_argument
from mtl_perception.commands._teacher import (
    add_teacher_options,
    check_teacher_options,
    labelled_folder,
)
from mtl_perception.errors import DataError
from mtl_perception.manifest import read_model
from mtl_perception.training.config import TrainingConfig, to_yaml
from mtl_perception.training.data_sources import check_network
from mtl_perception.training.default_recipe import finetune_recipe
from mtl_perception.training.export import PRECISIONS
from mtl_perception.training.recipe import build_recipe, late_options
from mtl_perception.training.run import without_folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl finetune``."""
    _add_options(parser)
    parser.add_argument('model', help='name of a shipped model, or a .safetensors file')
    parser.add_argument(
        'data', type=path_argument, metavar='FOLDER',
        help='of a data set (CamVid, Cityscapes, KITTI) or of images and masks; with --teacher a '
        'folder of images, a video or a recording')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help='settings that replace those of the recipe, such as --stages "[{...}]"')


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may stand before or after the model."""
    parser.add_argument('--print-config', action='store_true', help='show all settings and exit')
    parser.add_argument('--resume', action='store_true', help='go on from the last checkpoint')
    parser.add_argument(
        '--force', action='store_true', help='resume although the recipe has changed')
    parser.add_argument(
        '--export-precision', choices=PRECISIONS, default=PRECISIONS[0],
        help='how the weights of the model are stored (default: fp16, half the size)')
    add_teacher_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Run ``mtl finetune``.

    :return: 0, or 75 if a signal stopped it and a checkpoint is saved.
    """
    overrides = late_options(arguments, _add_options)
    manifest, _ = read_model(arguments.model)
    folder = arguments.data.expanduser()
    check_teacher_options(arguments)
    if arguments.teacher:
        folder = labelled_folder(arguments, folder, manifest)
    if not folder.is_dir():
        raise DataError(f'{folder}: is no folder; give that of a data set, or of images and masks')

    config = build_recipe(
        finetune_recipe(arguments.model, manifest, folder), TrainingConfig,
        f'{arguments.model} on {folder}', overrides)
    check_network(config)
    if arguments.print_config:
        print(to_yaml(config), end='')
        return 0
    teacher = ['--teacher', Path(arguments.teacher).name] if arguments.teacher else []
    command = shlex.join([
        'mtl', 'finetune', *teacher, Path(arguments.model).name, arguments.data.name,
        *without_folders(overrides)])
    return train.train(config, arguments, command)
