# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl search``: evolve the weights of the tasks' losses, one training per trial."""

import argparse
from pathlib import Path

from mtl_perception.commands._options import path_argument
from mtl_perception.errors import (
    ConfigurationError,
    DataError,
)
from mtl_perception.search.plan import SearchConfig
from mtl_perception.search.search import Search, open_executor
from mtl_perception.signals import STOPPED, StopRequest
from mtl_perception.training.config import load_config
from mtl_perception.training.data_sources import check_network
from mtl_perception.training.recipe import late_options, load_recipe
from mtl_perception.training.run_lock import exclusive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl search``."""
    _add_options(parser)
    parser.add_argument(
        'config', type=path_argument,
        help='such as config/search/street_leang.yaml')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help='settings of the search in place of those in the file, such as --trials 20')
    parser.epilog = (
        'The same command goes on with a search that was stopped. Exit code 75: stopped by a '
        'signal.')


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may stand before or after the configuration."""
    parser.add_argument(
        '--into', type=path_argument, default=Path('searched'), help='folder (default: searched)')
    parser.add_argument('--workers', type=int, default=1, help='trainings at once (default: 1)')
    parser.add_argument(
        '--scheduler', default='', metavar='ADDRESS',
        help='of a Dask cluster that trains instead, such as tcp://10.0.0.1:8786; its workers '
             'must see the same folders (extra: dask)')


def run(arguments: argparse.Namespace) -> int:
    """
    Run ``mtl search``, or go on with it.

    :return: 0, or 75 if a signal stopped it.
    """
    overrides = late_options(arguments, _add_options)
    if arguments.workers < 1:
        raise ConfigurationError(f'--workers is {arguments.workers}; it must be at least 1')
    config = load_recipe(arguments.config, overrides, SearchConfig)
    recipe = (arguments.config.parent / config.recipe).resolve()  # workers may be elsewhere

    search = Search(config, recipe, arguments.into.resolve())
    training = load_config(recipe, search.words(search.evolution.trials[0]))
    check_network(training)
    config.check_metrics(training.tasks)

    with exclusive(search.folder), StopRequest() as stop:
        search.open()
        try:
            with open_executor(arguments.scheduler, arguments.workers) as executor:
                finished = search.run(executor, stop)
        finally:
            search.close()
        search.write()
        if not finished:
            print(f'{stop.received}: stopped after {len(search.results)} of {config.trials} '
                  'trials; the same command goes on')
            return STOPPED

    best = search.evolution.best()
    if best is None:
        raise DataError(
            f'none of {len(search.results)} trials gave a fitness; train.log in their folders in '
            f'{search.folder} says why')
    print(f'{search.folder}: best.yaml (trial {best.number}), search.md, search.csv, genome.png, '
          'fitness.png')
    return 0
