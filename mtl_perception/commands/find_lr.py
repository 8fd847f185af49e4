# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl find-lr``: a curve of the losses over the learning rate, before a training."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from mtl_perception.commands._options import path_argument
from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.files import write_atomically
from mtl_perception.signals import STOPPED, StopRequest
from mtl_perception.training.config import TrainingConfig, load_config
from mtl_perception.training.data_sources import (
    anchors_of,
    check_network,
    class_weights,
    open_clips,
    tasks_of,
)
from mtl_perception.training.dataloading import Draws, batches
from mtl_perception.training.rate_finder import RateCurve, find_rate, rates_between
from mtl_perception.training.recipe import late_options
from mtl_perception.training.trainer import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl find-lr``."""
    _add_options(parser)
    parser.add_argument(
        'recipe', metavar='RECIPE.yaml', help='such as config/train/street.yaml')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help='settings that replace those of the recipe')


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may stand before or after the recipe."""
    parser.add_argument(
        '--first', type=float, default=1e-5, help='lowest learning rate (default: 1e-5)')
    parser.add_argument(
        '--last', type=float, default=1.0, help='highest learning rate (default: 1)')
    parser.add_argument(
        '--steps', type=int, default=100, help='from the lowest to the highest (default: 100)')
    parser.add_argument(
        '--into', type=path_argument, default=Path('rates.png'),
        help='picture to write, with a .csv of the same name beside it (default: rates.png)')


def run(arguments: argparse.Namespace) -> int:
    """
    Run ``mtl find-lr``.

    :return: 0, or 75 if a signal stopped it.
    """
    config = load_config(arguments.recipe, late_options(arguments, _add_options))
    check_network(config)
    if arguments.into.suffix not in ('.png', '.svg', '.pdf'):
        raise ConfigurationError(
            f'--into is {arguments.into}; it must end in .png, .svg or .pdf')
    try:
        rates = rates_between(arguments.first, arguments.last, arguments.steps)
    except ValueError as error:
        raise ConfigurationError(f'--first, --last, --steps: {error}') from error

    if config.run.threads:
        torch.set_num_threads(config.run.threads)

    with StopRequest() as stop:
        curve = _curve(config, rates, stop)
    if curve is None:
        return STOPPED

    try:
        arguments.into.parent.mkdir(parents=True, exist_ok=True)
        curve.figure().savefig(arguments.into, dpi=110)
    except OSError as error:
        raise StorageError(f'{arguments.into}: cannot be written ({error})') from error
    write_atomically(curve.table().encode(), arguments.into.with_suffix('.csv'))

    if stop.received:
        # the steps so far are drawn, but they do not tell where the losses would have risen
        print(f'{stop.received}: stopped after {len(curve.rates)} of {len(rates)} steps, which '
              f'are in {arguments.into}')
        return STOPPED
    steepest = curve.steepest()
    lowest = min(zip(curve.losses, curve.rates))[1]
    print('the losses never fell; begin with a lower --first' if steepest is None else
          f'the losses fall fastest at {steepest:.1e} and are lowest at {lowest:.1e}; set lr of '
          'the stage between them')
    print(f'drew {len(curve.rates)} steps into {arguments.into}')
    return 0


def _curve(
        config: TrainingConfig, rates: Sequence[float], stop: StopRequest) -> RateCurve | None:
    """Return the losses over the rates, None if a signal came before there was a curve."""
    both = open_clips(config, config.data.street_code, stop)
    if both is None:
        return None

    train, validation = both
    tasks = tasks_of(config)
    weights = None
    if config.loss.class_balance != 0:
        weights = class_weights(
            train, tasks, config.loss.class_balance, config.data.skips_bad)
    stage = config.stages[0]
    draws = Draws(
        train, config.seed, stage.height, stage.width, config.augmentation,
        config.data.window, config.data.skips_bad, stage.crop)

    # a trainer wants a folder for its run; nothing is kept of this one
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            config, Path(folder), tasks, train, validation, weights,
            {'anchors': anchors_of(config, train)})
        trainer.start()
        with batches(
                draws, 0, len(rates), stage.batch, config.data.loaders, trainer.ranks) as read:
            curve = find_rate(trainer, read, rates, stop)

    if curve is None:
        print(f'{stop.received}: stopped before the third step; there is nothing to draw yet')
    return curve
