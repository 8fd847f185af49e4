# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl export``: write the model that a training has learned."""

import argparse
from pathlib import Path

from mtl_perception.commands._options import path_argument
from mtl_perception.errors import ConfigurationError
from mtl_perception.training.checkpoint import read_checkpoint
from mtl_perception.training.export import PRECISIONS, export_run, export_state


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl export``."""
    parser.add_argument(
        'source', metavar='CHECKPOINT', type=path_argument,
        help='a .ckpt file, or the folder of a run: its best weights')
    parser.add_argument(
        '--into', metavar='NAME.safetensors', type=path_argument,
        help='the model to write, with NAME.json beside it (default: in the folder of the run)')
    parser.add_argument(
        '--precision', choices=PRECISIONS, default=PRECISIONS[0],
        help='how weights are stored (default: fp16, half the size)')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl export``."""
    source: Path = arguments.source
    into: Path | None = arguments.into
    if into is not None and into.suffix != '.safetensors':
        raise ConfigurationError(f'--into is {into}; the name must end in .safetensors')

    if source.is_dir():
        if into is None:
            into = source / f'{source.resolve().name}.safetensors'
        print(export_run(source, into, arguments.precision))
        return 0

    state = read_checkpoint(source)
    if into is None:
        folder = source.resolve().parent
        folder = folder.parent if folder.name == 'checkpoints' else folder
        into = folder / f'{folder.name}_{source.stem}.safetensors'
    print(export_state(state, into, arguments.precision))
    return 0
