# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and plots of a search, as figures 3 and 4 of Leang et al., ITSC 2020."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from rich.table import Table

from mtl_perception.errors import StorageError
from mtl_perception.files import write_atomically
from mtl_perception.search.evolution import Evolution, Trial

COLUMNS = 3


@dataclass(frozen=True)
class Result:
    """
    The outcome of a trial.

    :param trial: see :class:`mtl_perception.search.evolution.Trial`.
    :param values: name of a gene -> value.
    :param metrics: name -> value of the last validation.
    :param fitness: NaN if it failed.
    :param code: exit code of the training.
    """

    trial: Trial
    values: dict[str, float]
    metrics: dict[str, float]
    fitness: float
    code: int


def why_not(result: Result, wanted: Sequence[str]) -> str:
    """
    Return the reason that a trial has no fitness.

    :param wanted: names of the metrics that the fitness is made of.
    """
    if result.code:
        return f'failed, exit code {result.code}'
    return 'no ' + ', '.join(name for name in wanted if name not in result.metrics)


def rows_of(
        results: Mapping[int, Result], evolution: Evolution, wanted: Sequence[str],
) -> list[list[str]]:
    """
    Return the cells of the table, its head first, in the order of the trials.

    :param wanted: names of the metrics that the fitness is made of.
    """
    ordered = [results[number] for number in sorted(results)]
    names = [gene.name for gene in evolution.genes]
    metrics = list(dict.fromkeys(key for result in ordered for key in result.metrics))
    best = evolution.best()
    rows = [['trial', 'generation', *names, *metrics, 'fitness', '']]
    for result in ordered:
        mark = 'best' if best is not None and best.number == result.trial.number else ''
        if not math.isfinite(result.fitness):
            mark = why_not(result, wanted)
        rows.append([
            str(result.trial.number), str(result.trial.generation),
            *(f'{result.values[name]:.4g}' for name in names),
            *(f'{result.metrics[key]:.3f}' if key in result.metrics else '' for key in metrics),
            f'{result.fitness:.4f}' if math.isfinite(result.fitness) else '', mark])
    return rows


def table_of(
        results: Mapping[int, Result], evolution: Evolution, wanted: Sequence[str], total: int,
        most: int) -> Table:
    """
    Return the table for a terminal: the best trial and the newest.

    :param wanted: names of the metrics that the fitness is made of.
    :param total: number of trials of the search.
    :param most: number of rows that fit.
    """
    head, *rows = rows_of(results, evolution, wanted)
    table = Table(title=f'{len(results)} of {total} trials')
    for name in head:
        table.add_column(name, justify='right')
    newest = rows[-max(1, most):]
    # the best trial stays visible when it has scrolled out of the newest
    best = [row for row in rows if row[-1] == 'best' and row not in newest]
    for row in [*best, *newest[len(best):]]:
        table.add_row(*row, style='bold' if row[-1] == 'best' else None)
    return table


def draw_genome(results: Mapping[int, Result], evolution: Evolution) -> Figure:
    """Return a figure with a panel per gene: its value in each trial and in the best so far."""
    names = [gene.name for gene in evolution.genes]
    count = math.ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(4.2 * min(COLUMNS, len(names)), 3 * count), layout='constrained')
    grid = figure.subplots(count, min(COLUMNS, len(names)), squeeze=False).ravel()

    numbers = sorted(results)
    best = _so_far(results)
    for axes, gene in zip(grid, evolution.genes):
        axes.plot(numbers, [results[number].values[gene.name] for number in numbers], 'o',
                  markersize=4, color='tab:grey', label='trial')
        axes.step([number for number, _ in best],
                  [result.values[gene.name] for _, result in best],
                  where='post', color='tab:red', label='best so far')

        # weights span decades: plain numbers at 1, 2 and 5 of each
        if gene.kind == 'log':
            axes.set_yscale('log')
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter('{x:g}')
            axes.yaxis.set_minor_formatter(NullFormatter())

        axes.set_title(gene.name + (' (of a sum of 1)' if gene.kind == 'log' else ''))
        _trials_along(axes, evolution)

    for axes in grid[len(names):]:
        axes.axis('off')
    grid[0].legend()
    return figure


def draw_fitness(
        results: Mapping[int, Result], evolution: Evolution, wanted: Sequence[str]) -> Figure:
    """Return the fitness of the trials and the best so far, and the metrics it is made of."""
    figure = Figure(figsize=(8.4, 3.2), layout='constrained')
    axes, parts = figure.subplots(1, 2)
    numbers = sorted(results)

    # right: the metrics that the fitness is made of
    for name in wanted:
        parts.plot(numbers, [results[number].metrics.get(name, math.nan) for number in numbers],
                   'o-', markersize=4, linewidth=1, label=name)
    parts.legend()
    _trials_along(parts, evolution)

    # left: the fitness itself
    axes.plot(numbers, [results[number].fitness for number in numbers], 'o', markersize=4,
              color='tab:grey', label='trial')
    best = _so_far(results)
    axes.step([number for number, _ in best], [result.fitness for _, result in best],
              where='post', color='tab:red', label='best so far')
    axes.set_ylabel('fitness')
    _trials_along(axes, evolution)
    axes.legend()
    return figure


def _trials_along(axes: Axes, evolution: Evolution) -> None:
    """Put the trials along the horizontal axis, with a line where a generation begins."""
    for trial in evolution.trials[1:]:
        if trial.generation != evolution.trials[trial.number - 1].generation:
            axes.axvline(trial.number - 0.5, color='tab:blue', alpha=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel('trial (a line where a generation begins)')
    axes.grid(alpha=0.3)


def _so_far(results: Mapping[int, Result]) -> list[tuple[int, Result]]:
    """Return each trial number and the best result up to it, from the first result on."""
    found: list[tuple[int, Result]] = []
    for number in sorted(results):
        result = results[number]
        if math.isfinite(result.fitness) and (
                not found or result.fitness > found[-1][1].fitness):
            found.append((number, result))
        elif found:
            found.append((number, found[-1][1]))
    return found


def write(
        folder: Path, results: Mapping[int, Result], evolution: Evolution,
        wanted: Sequence[str], best: str) -> None:
    """
    Write ``search.md``, ``search.csv``, ``genome.png``, ``fitness.png`` and ``best.yaml``.

    :param wanted: names of the metrics that the fitness is made of.
    :param best: text of the recipe of the best trial, empty if there is none.
    :raises StorageError: if a file cannot be written.
    """
    head, *rows = rows_of(results, evolution, wanted)
    lines = ['| ' + ' | '.join(row) + ' |' for row in [head, ['---'] * len(head), *rows]]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator='\n').writerows([head, *rows])
    try:
        write_atomically(('\n'.join(lines) + '\n').encode(), folder / 'search.md')
        write_atomically(buffer.getvalue().encode(), folder / 'search.csv')
        if results:
            draw_genome(results, evolution).savefig(folder / 'genome.png', dpi=110)
            draw_fitness(results, evolution, wanted).savefig(folder / 'fitness.png', dpi=110)
        if best:
            write_atomically(best.encode(), folder / 'best.yaml')
    except OSError as error:
        raise StorageError(f'{folder}: cannot be written ({error})') from error
