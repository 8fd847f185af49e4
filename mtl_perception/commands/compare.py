# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl compare``: train several variants of a recipe and print a table of their metrics."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mtl_perception.commands._options import path_argument
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.name_checks import check_names
from mtl_perception.signals import STOPPED
from mtl_perception.training.compare import ALL, read_comparison, train_all
from mtl_perception.training.comparison import (
    ComparisonPlan,
    ResultRow,
    as_markdown,
    collect,
    table_of,
    write,
)
from mtl_perception.training.comparison_reading import draw_ranks, reading
from mtl_perception.training.config import load_config
from mtl_perception.training.data_sources import tasks_of
from mtl_perception.training.recipe import late_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl compare``."""
    _add_options(parser)
    parser.add_argument(
        'config', type=path_argument,
        help='recipe of a training, or a YAML with recipe: and rows:')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help="settings for all rows in place of the recipe's, such as --stages '[...]'")


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may stand before or after the configuration."""
    parser.add_argument(
        '--strategies', default=ALL,
        help=f'names of weighting strategies with commas between, or {ALL}; for a recipe')
    parser.add_argument(
        '--baseline', action='append', metavar='ROW',
        help="row to compare with instead of the configuration's; once per single task")
    parser.add_argument('--seeds', type=int, default=3, help='trainings per row (default: 3)')
    parser.add_argument(
        '--into', type=path_argument, default=Path('compared'), help='folder (default: compared)')
    parser.add_argument('--workers', type=int, default=1, help='trainings at once (default: 1)')


def run(arguments: argparse.Namespace) -> int:
    """
    Run ``mtl compare``; what is done already is not done again.

    :return: 0, or 75 if a signal stopped it.
    """
    overrides = late_options(arguments, _add_options)
    if arguments.seeds < 1 or arguments.workers < 1:
        raise ConfigurationError(
            f'--seeds is {arguments.seeds} and --workers {arguments.workers}; both must be at '
            'least 1')
    plan = read_comparison(
        arguments.config, arguments.strategies, arguments.seeds, tuple(overrides))

    if arguments.baseline:
        check_names(arguments.baseline, [row.name for row in plan.variants], '--baseline')
        plan = replace(plan, baseline=tuple(arguments.baseline))

    # a wrong setting of any row shows here, before hours are spent
    for variant in plan.variants:
        tasks_of(load_config(plan.recipe, [*plan.overrides, *variant.overrides]))

    folder = arguments.into
    failed, stopped = train_all(plan, folder, arguments.workers)
    rows = collect(plan, folder)
    text = as_markdown(plan, rows)
    if plan.reference:
        text += '\n\n' + reading(plan, rows)
    write(plan, rows, folder, text)
    if plan.reference:
        draw_ranks(plan, rows).savefig(folder / 'ranks.png', dpi=110)
    _show(plan, rows)
    written = [*sorted(path.name for path in folder.glob('*.png')), 'results.jsonl']
    print(f'{folder}: compare.md, compare.csv, {", ".join(written)}')

    if stopped:
        print(f'{stopped}: stopped; the same command goes on')
        return STOPPED
    if failed:
        raise DataError(
            f'{len(failed)} of {len(plan.variants) * len(plan.seeds)} trainings failed: '
            + ', '.join(failed) + '; their output is in train.log of their folders')
    return 0


def _show(plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> None:
    head, *cells = table_of(plan, rows)
    table = Table(title=str(plan.recipe))
    for number, name in enumerate(head):
        table.add_column(name, justify='right' if number else 'left')
    for row in cells:
        table.add_row(*row)
    Console().print(table)
