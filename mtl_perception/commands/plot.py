# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl plot``: draw the curves of trainings on one figure."""

import argparse
from pathlib import Path

from mtl_perception.commands._options import path_argument
from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.training.plot import draw, read_curves, run_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl plot``."""
    parser.add_argument(
        'runs', nargs='+', type=path_argument, metavar='RUN',
        help='run folders, such as runs/street')
    parser.add_argument(
        '--output', type=path_argument, default=Path('curves.png'),
        help='figure to write; .png, .svg or .pdf (default: curves.png)')
    parser.add_argument(
        '--smooth', type=int, default=5, metavar='N',
        help='mean over N lines of the log, for losses and weights (default: 5)')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl plot``."""
    if arguments.smooth < 1:
        raise ConfigurationError(f'--smooth is {arguments.smooth}; it must be at least 1')
    if arguments.output.suffix not in ('.png', '.svg', '.pdf'):
        raise ConfigurationError(
            f'--output is {arguments.output}; it must end in .png, .svg or .pdf')

    names = run_names(arguments.runs)
    figure = draw({
        name: read_curves(folder, arguments.smooth)
        for name, folder in zip(names, arguments.runs)})

    try:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(arguments.output, dpi=110)
    except OSError as error:
        raise StorageError(f'{arguments.output}: cannot be written ({error})') from error
    print(f'drew {len(names)} run(s) into {arguments.output}')
    return 0
