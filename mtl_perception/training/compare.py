# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl compare``: one training in several ways and seeds, and the table that compares them."""

import argparse
import csv
import io
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
import yaml
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from mtl_perception.errors import ConfigurationError, DataError, StorageError
from mtl_perception.metrics import delta_m
from mtl_perception.training.checkpoint import write_atomically
from mtl_perception.training.config import load_config
from mtl_perception.training.readme import FIGURES, read_log
from mtl_perception.training.sources import tasks_of
from mtl_perception.weighting import WEIGHTINGS

ALL = 'all'
BASELINE = 'equal'
LOWER_IS_BETTER = ('AbsRel',)
BASELINE_FIGURES = ('all movable', 'instance precision', 'boxes found')
"""Figures of a validation that are no part of the comparison."""
SKIPPED_STRATEGIES = ('gradient_method',)
"""They need a library that is not installed with the rest; name them to have them."""


@dataclass(frozen=True)
class Way:
    """
    One row of the comparison.

    :param name: of the row.
    :param overrides: settings in place of the recipe's, as on the command line of ``mtl train``.
    """

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """
    What is trained.

    :param recipe: of all trainings.
    :param ways: the rows.
    :param seeds: of each row.
    :param overrides: settings in place of the recipe's, for all rows.
    :param baseline: name of the row that the others are compared with.
    """

    recipe: Path
    ways: tuple[Way, ...]
    seeds: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    baseline: str = BASELINE


@dataclass
class Row:
    """
    The figures of one way.

    :param figures: seed -> name of a figure -> its value.
    :param minutes: seed -> duration of the training.
    """

    figures: dict[int, dict[str, float]] = field(default_factory=dict)
    minutes: dict[int, float] = field(default_factory=dict)


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
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_options(options)
    late, overrides = options.parse_known_args(arguments.overrides)
    for name, value in vars(late).items():
        if value != options.get_default(name):
            setattr(arguments, name, value)
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
            if not _is_done(folder, way, seed)]
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


def run_name(way: Way, seed: int) -> str:
    """Return the name of a run, which is that of its folder."""
    return f'{way.name.replace(" ", "_").replace(",", "")}_{seed}'


def _is_done(folder: Path, way: Way, seed: int) -> bool:
    """Return whether a run was trained to its end: the model is exported last."""
    name = run_name(way, seed)
    return (folder / name / f'{name}.safetensors').is_file()


def collect(plan: Comparison, folder: Path) -> dict[str, Row]:
    """Return name of a row -> its figures, of the runs that are done."""
    rows = {way.name: Row() for way in plan.ways}
    for way in plan.ways:
        for seed in plan.seeds:
            place = folder / run_name(way, seed)
            if not _is_done(folder, way, seed):
                continue
            validations = read_log(place, 'validation')
            if not validations:
                continue
            found = {
                label: float(validations[-1][task][key])
                for task, keys in FIGURES.items() if task in validations[-1]
                for key, label in keys.items()
                if label not in BASELINE_FIGURES and validations[-1][task].get(key) is not None}
            if {'mIoU', 'AP50'} <= found.keys():
                found['sqrt(mIoU AP50)'] = math.sqrt(max(found['mIoU'] * found['AP50'], 0.0))
            rows[way.name].figures[seed] = found
            rows[way.name].minutes[seed] = _minutes(place)
    return rows


def _minutes(place: Path) -> float:
    """Return how long the steps of a run took, from the pace that its log holds."""
    config = load_config(place / 'config.yaml')
    rates = [entry['frames_per_second'] for entry in read_log(place, 'train')]
    clips = sum(stage.steps * stage.batch for stage in config.stages)
    return clips / float(np.mean(rates)) / 60 if rates and np.mean(rates) > 0 else math.nan


def gains(plan: Comparison, rows: Mapping[str, Row], name: str) -> list[float]:
    """Return Delta_m of a row over the baseline of the same seed, per cent, one per seed."""
    base, found = rows[plan.baseline].figures, []
    for seed, figures in rows[name].figures.items():
        same = {key: value for key, value in figures.items()
                if base.get(seed, {}).get(key) and not key.startswith('sqrt')}
        if same:
            found.append(delta_m(
                same, {key: base[seed][key] for key in same},
                [key for key in LOWER_IS_BETTER if key in same]))
    return found


def _columns(rows: Mapping[str, Row]) -> list[str]:
    """Return the names of all figures."""
    return list(dict.fromkeys(
        key for row in rows.values() for figures in row.figures.values() for key in figures))


def _spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation in words."""
    if not values:
        return '-'
    if len(values) == 1:
        return f'{values[0]:.3f}'
    return f'{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}'


def _cells(plan: Comparison, rows: Mapping[str, Row]) -> Iterator[list[str]]:
    """Yield the cells of the table, its head first."""
    columns = _columns(rows)
    yield ['', *columns, f'Delta_m over {plan.baseline}, %', 'min']
    for way in plan.ways:
        row = rows[way.name]
        values = [[figures[key] for figures in row.figures.values() if key in figures]
                  for key in columns]
        gain = gains(plan, rows, way.name)
        shown = '0' if way.name == plan.baseline else (
            f'{np.mean(gain):+.1f} +- {np.std(gain, ddof=1):.1f}' if len(gain) > 1 else
            f'{gain[0]:+.1f}' if gain else '-')
        minutes = f'{np.mean(list(row.minutes.values())):.1f}' if row.minutes else '-'
        yield [way.name, *map(_spread, values), shown, minutes]


def as_markdown(plan: Comparison, rows: Mapping[str, Row]) -> str:
    """Return the comparison as a table in Markdown."""
    head, *cells = _cells(plan, rows)
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    lines += ['| ' + ' | '.join(row) + ' |' for row in cells]
    return '\n'.join([
        *lines, '',
        f'{len(plan.seeds)} seeds; mean and standard deviation over them. Figures of the last '
        'validation. Delta_m: mean relative gain over the baseline of the same seed, over the '
        'figures that both have. min: minutes of training.'])


def as_csv(plan: Comparison, rows: Mapping[str, Row]) -> str:
    """Return every figure of every run as lines with commas."""
    columns = _columns(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(['row', 'seed', *columns, 'minutes'])
    for way in plan.ways:
        for seed, figures in rows[way.name].figures.items():
            writer.writerow([
                way.name, seed, *(figures.get(key, '') for key in columns),
                round(rows[way.name].minutes[seed], 2)])
    return buffer.getvalue()


def draw(plan: Comparison, rows: Mapping[str, Row]) -> Figure:
    """Return a figure with a panel per figure: mean and seeds of each row."""
    columns = _columns(rows)
    figure = Figure(
        figsize=(3.2 * max(1, len(columns)), 1.2 + 0.35 * len(plan.ways)), layout='constrained')
    grid = figure.subplots(1, max(1, len(columns)), squeeze=False)[0]
    names = [way.name for way in plan.ways]
    for axes, key in zip(grid, columns):
        for place, name in enumerate(names):
            values = [found[key] for found in rows[name].figures.values() if key in found]
            if values:
                axes.plot(values, [place] * len(values), '.', color='tab:grey')
                axes.plot(np.mean(values), place, '|', color='tab:red', markersize=16)
        axes.set_title(key + (' (less is better)' if key in LOWER_IS_BETTER else ''))
        axes.set_yticks(range(len(names)), names if axes is grid[0] else [''] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(alpha=0.3)
    return figure


def draw_weights(plan: Comparison, folder: Path) -> Figure:
    """Return a figure with a panel per task: its share of the weights over the steps."""
    curves: dict[str, dict[str, list[tuple[list[int], list[float]]]]] = {}
    for way in plan.ways:
        for seed in plan.seeds:
            place = folder / run_name(way, seed)
            entries = read_log(place, 'train') if _is_done(folder, way, seed) else []
            for task in (entries[0]['weight'] if entries else {}):
                shares = [
                    entry['weight'].get(task, 0.0) / max(sum(entry['weight'].values()), 1e-12)
                    for entry in entries]
                curves.setdefault(task, {}).setdefault(way.name, []).append(
                    ([entry['step'] for entry in entries], shares))
    figure = Figure(figsize=(5 * max(1, len(curves)) + 2, 4), layout='constrained')
    grid = figure.subplots(1, max(1, len(curves)), squeeze=False)[0]
    colours = matplotlib.colormaps['tab20']
    for axes, (task, ways) in zip(grid, curves.items()):
        for number, way in enumerate(plan.ways):
            for count, (steps, shares) in enumerate(ways.get(way.name, [])):
                axes.plot(steps, shares, color=colours(number % 20), alpha=0.8,
                          label=way.name if count == 0 else None)
        axes.set_title(f'share of {task} in the weights')
        axes.set_xlabel('step')
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    if curves:
        grid[-1].legend(loc='center left', bbox_to_anchor=(1.02, 0.5))
    return figure


def write(plan: Comparison, rows: Mapping[str, Row], folder: Path, text: str) -> None:
    """
    Write table and figures.

    :raises StorageError: if a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically((text + '\n').encode(), folder / 'compare.md')
        write_atomically(as_csv(plan, rows).encode(), folder / 'compare.csv')
        draw(plan, rows).savefig(folder / 'compare.png', dpi=110)
        draw_weights(plan, folder).savefig(folder / 'weights.png', dpi=110)
    except OSError as error:
        raise StorageError(f'{folder}: cannot be written ({error})') from error


def _show(plan: Comparison, rows: Mapping[str, Row]) -> None:
    head, *cells = _cells(plan, rows)
    table = Table(title=str(plan.recipe))
    for number, name in enumerate(head):
        table.add_column(name, justify='right' if number else 'left')
    for row in cells:
        table.add_row(*row)
    Console().print(table)
