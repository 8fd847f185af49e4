# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl compare``: one training in several ways and seeds, and the table that compares them."""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from mtl_perception.errors import ConfigurationError, DataError, StorageError
from mtl_perception.training.comparison import (
    Comparison,
    Row,
    Way,
    as_markdown,
    collect,
    is_done,
    run_name,
    table_of,
    write,
)
from mtl_perception.training.config import load_config
from mtl_perception.training.recipe import late_options
from mtl_perception.training.sources import tasks_of
from mtl_perception.weighting import WEIGHTINGS

ALL = 'all'
BASELINE = 'equal'
SKIPPED_STRATEGIES = ('gradient_method',)
"""They need a library that is not installed with the rest; name them to have them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl compare``."""
    _add_options(parser)
    parser.add_argument(
        'config', type=Path, help='recipe of a training, or a YAML with recipe: and rows:')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help="settings for all rows in place of the recipe's, such as --stages '[...]'")


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may stand before or after the configuration."""
    parser.add_argument(
        '--strategies', default=ALL,
        help=f'names of weighting strategies with commas between, or {ALL}; for a recipe')
    parser.add_argument('--seeds', type=int, default=3, help='trainings per row (default: 3)')
    parser.add_argument(
        '--into', type=Path, default=Path('compared'), help='folder (default: compared)')
    parser.add_argument('--workers', type=int, default=1, help='trainings at once (default: 1)')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl compare``; what is done already is not done again."""
    overrides = late_options(arguments, _add_options)
    if arguments.seeds < 1 or arguments.workers < 1:
        raise ConfigurationError(
            f'--seeds is {arguments.seeds} and --workers {arguments.workers}; both must be at '
            'least 1')
    plan = read_comparison(
        arguments.config, arguments.strategies, arguments.seeds, tuple(overrides))
    for way in plan.ways:  # before hours are spent
        tasks_of(load_config(plan.recipe, [*plan.overrides, *way.overrides]))
    folder = arguments.into
    failed = _train_all(plan, folder, arguments.workers)
    rows = collect(plan, folder)
    text = as_markdown(plan, rows)
    write(plan, rows, folder, text)
    _show(plan, rows)
    print(f'{folder}: compare.md, compare.csv, compare.png, weights.png')
    if failed:
        raise DataError(
            f'{len(failed)} of {len(plan.ways) * len(plan.seeds)} trainings failed: '
            + ', '.join(failed) + '; their output is in train.log of their folders')
    return 0


def read_comparison(
        path: Path, strategies: str, seeds: int, overrides: tuple[str, ...]) -> Comparison:
    """
    Return what to train.

    :param path: recipe of a training, whose strategies of weighting are compared; or a YAML with
        ``recipe`` (relative to the file), ``rows`` (name -> list of overrides), and if need be
        ``overrides`` for all rows and ``baseline``, the name of a row.
    :param strategies: for a recipe: names with commas between, or ``all``.
    :param seeds: how many.
    :param overrides: for all rows.
    :raises ConfigurationError: if there is no such file, row or strategy.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f'{path}: cannot be read as YAML ({error})') from error
    numbers = tuple(range(seeds))
    if isinstance(content, dict) and 'rows' in content:
        rows = content['rows']
        if not isinstance(rows, dict) or 'recipe' not in content or not all(
                isinstance(row, list) for row in rows.values()):
            raise ConfigurationError(
                f'{path}: wanted recipe: and rows: with a list of overrides below each name')
        ways = tuple(Way(str(name), tuple(map(str, row))) for name, row in rows.items())
        common = (*map(str, content.get('overrides', [])), *overrides)
        baseline = str(content.get('baseline', ways[0].name if ways else ''))
        plan = Comparison(path.parent / content['recipe'], ways, numbers, common, baseline)
    else:
        names = [name for name in WEIGHTINGS if name not in SKIPPED_STRATEGIES]
        if strategies != ALL:
            names = [name.strip() for name in strategies.split(',')]
            if unknown := [name for name in names if name not in WEIGHTINGS]:
                raise ConfigurationError(
                    f'strategy {unknown[0]!r} does not exist; there are {list(WEIGHTINGS)}')
        ways = tuple(Way(name, ('--weighting', name)) for name in names)
        first = BASELINE if BASELINE in names else names[0]
        plan = Comparison(path, ways, numbers, overrides, first)
    if plan.baseline not in [way.name for way in plan.ways]:
        raise ConfigurationError(
            f'{path}: baseline {plan.baseline!r} is none of the rows '
            f'{[way.name for way in plan.ways]}')
    return plan


def _train_all(plan: Comparison, folder: Path, workers: int) -> list[str]:
    """Train what is not done yet and return the names of the runs that failed."""
    todo = [(way, seed) for seed in plan.seeds for way in plan.ways
            if not is_done(folder, way, seed)]
    total = len(plan.ways) * len(plan.seeds)
    if len(todo) < total:
        print(f'{total - len(todo)} of {total} trainings are done already', flush=True)
    failed = []
    with ThreadPoolExecutor(workers) as pool:
        jobs: dict[Future[int], str] = {
            pool.submit(_train, plan, folder, way, seed): run_name(way, seed)
            for way, seed in todo}
        for count, job in enumerate(as_completed(jobs), total - len(todo) + 1):
            code = job.result()
            print(f'{count}/{total}  {jobs[job]}  {"done" if not code else f"exit code {code}"}',
                  flush=True)
            if code:
                failed.append(jobs[job])
    return sorted(failed)


def _train(plan: Comparison, folder: Path, way: Way, seed: int) -> int:
    """Train one row with one seed in a process of its own and return its exit code."""
    name = run_name(way, seed)
    place = folder / name
    resume = ['--resume'] if (place / 'checkpoints').is_dir() else []
    words = [sys.executable, '-m', 'mtl_perception.cli', 'train', *resume, str(plan.recipe),
             *plan.overrides, *way.overrides, '--name', name, '--seed', str(seed), '--output',
             str(folder)]
    try:
        place.mkdir(parents=True, exist_ok=True)
        with (place / 'train.log').open('a', encoding='utf-8') as log:
            return subprocess.run(
                words, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    except OSError as error:
        raise StorageError(f'{place}: cannot be written ({error})') from error


def _show(plan: Comparison, rows: Mapping[str, Row]) -> None:
    head, *cells = table_of(plan, rows)
    table = Table(title=str(plan.recipe))
    for number, name in enumerate(head):
        table.add_column(name, justify='right' if number else 'left')
    for row in cells:
        table.add_row(*row)
    Console().print(table)
