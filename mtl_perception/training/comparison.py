# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of ``mtl compare``, its tables and its plots."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.files import write_atomically
from mtl_perception.metrics import (
    COMPARED,
    LOWER_IS_BETTER,
    MAIN_METRICS,
    delta_m,
    main_metrics,
    metric_text,
)
from mtl_perception.training.comparison_results import (
    FinishedRun,
    History,
    Intervals,
    read_results,
    results_text,
    settings_digest,
)
from mtl_perception.training.run_readme import read_log


@dataclass(frozen=True)
class Variant:
    """
    One row of the comparison.

    :param name: of the row.
    :param overrides: settings in place of the recipe's, as on the command line of ``mtl train``.
    """

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonPlan:
    """
    The trainings of a comparison.

    :param recipe: of all trainings.
    :param variants: the rows.
    :param seeds: of each row.
    :param overrides: settings in place of the recipe's, for all rows.
    :param baseline: names of the rows that the others are compared with; single tasks, each with
        the metrics of its task, are one baseline together.
    :param metrics: labels of the only metrics, if not all that networks are compared by.
    :param per_task: whether Delta_m averages the metrics of each task first.
    :param reference: name of the row that the others are tested against; none without a name.
    :param results: file of runs that were finished earlier and are not trained again.
    """

    recipe: Path
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    per_task: bool = False
    reference: str = ''
    results: Path | None = None

    def finished_earlier(self, variant: Variant, seed: int) -> FinishedRun | None:
        """
        Return what the file of results holds of a run.

        :raises ConfigurationError: if it was trained with other settings.
        """
        run = self._earlier.get((variant.name, seed))
        wanted = self.digest(variant)
        if run and run.settings != wanted:
            raise ConfigurationError(
                f'{self.results}: row {variant.name!r}, seed {seed} was trained with other '
                f'settings ({run.settings}) than it has now ({wanted}). Restore the settings, or '
                'remove its line, then it is trained again')
        return run

    @cached_property
    def _earlier(self) -> dict[tuple[str, int], FinishedRun]:
        return read_results(self.results) if self.results else {}

    def digest(self, variant: Variant) -> str:
        """Return a digest of the settings of a row, without its seed."""
        return settings_digest(self.recipe, (*self.overrides, *variant.overrides))


@dataclass
class ResultRow:
    """
    The metrics of one row.

    :param metrics: seed -> name of a metric -> its value after the last step.
    :param minutes: seed -> duration of the training.
    :param history: seed -> step of a validation -> name of a metric -> its value.
    :param intervals: seed -> name of a metric -> its interval over the drives of the validation.
    """

    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    minutes: dict[int, float] = field(default_factory=dict)
    history: dict[int, History] = field(default_factory=dict)
    intervals: dict[int, Intervals] = field(default_factory=dict)


def run_name(variant: Variant, seed: int) -> str:
    """Return the name of a run, which is that of its folder."""
    return f'{variant.name.replace(" ", "_").replace(",", "")}_{seed}'


def is_done(folder: Path, variant: Variant, seed: int) -> bool:
    """Return whether a run was trained to its end: the model is exported last."""
    name = run_name(variant, seed)
    return (folder / name / f'{name}.safetensors').is_file()


def collect(plan: ComparisonPlan, folder: Path) -> dict[str, ResultRow]:
    """Return name of a row -> its metrics, of the runs that are done."""
    rows = {variant.name: ResultRow() for variant in plan.variants}
    for (name, seed), run in finished_runs(plan, folder).items():
        row = rows[name]
        row.history[seed] = {
            step: _chosen(plan, metrics) for step, metrics in run.history.items()}

        # the validation at the end of the training, not the best on the way
        row.metrics[seed] = row.history[seed][max(row.history[seed])]
        row.minutes[seed] = run.minutes
        row.intervals[seed] = {
            label: ends for label, ends in run.intervals.items() if label in row.metrics[seed]}
    return rows


def finished_runs(plan: ComparisonPlan, folder: Path) -> dict[tuple[str, int], FinishedRun]:
    """Return (name of a row, seed) -> the run, from the folder and from the file of results."""
    found = dict[tuple[str, int], FinishedRun]()
    for variant in plan.variants:
        for seed in plan.seeds:
            place = folder / run_name(variant, seed)
            if not is_done(folder, variant, seed):
                if earlier := plan.finished_earlier(variant, seed):
                    found[variant.name, seed] = earlier
                continue
            if validations := read_log(place, 'validation'):
                found[variant.name, seed] = FinishedRun(
                    plan.digest(variant), _minutes(place),
                    {entry['step']: main_metrics(entry) for entry in validations},
                    validations[-1].get('intervals', {}))
    return found


def _chosen(plan: ComparisonPlan, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of a validation that the comparison shows."""
    found = {label: value for label, value in metrics.items()
             if label in (plan.metrics or COMPARED)}

    # the fitness of Leang et al., section IV
    if {'mIoU', 'AP50'} <= found.keys():
        found['sqrt(mIoU AP50)'] = math.sqrt(max(found['mIoU'] * found['AP50'], 0.0))
    return found


def _minutes(place: Path) -> float:
    """Return how long a run was trained, NaN if its manifest does not tell."""
    try:
        manifest = json.loads((place / f'{place.name}.json').read_text(encoding='utf-8'))
        return float(manifest['training']['minutes'])
    except (OSError, ValueError, KeyError, TypeError):
        return math.nan


def gains(plan: ComparisonPlan, rows: Mapping[str, ResultRow], name: str,
          step: int | None = None) -> list[float]:
    """
    Return Delta_m of a row over the baseline of the same seed, per cent, one per seed.

    :param step: of the validations of both; the last one by default.
    """
    base = dict[int, dict[str, float]]()
    for row in plan.baseline:
        for seed, metrics in _after(rows[row], step).items():
            base.setdefault(seed, {}).update(metrics)

    found = []
    for seed, metrics in _after(rows[name], step).items():
        same = {key: value for key, value in metrics.items()
                if base.get(seed, {}).get(key) and not key.startswith('sqrt')}
        if same:
            found.append(delta_m(
                same, {key: base[seed][key] for key in same},
                [key for key in LOWER_IS_BETTER if key in same],
                _by_task(same) if plan.per_task else None))
    return found


def _after(row: ResultRow, step: int | None) -> dict[int, dict[str, float]]:
    """Return seed -> the metrics after a step, of the seeds that have it; None for the last."""
    if step is None:
        return row.metrics
    return {seed: history[step] for seed, history in row.history.items() if step in history}


def _by_task(labels: Iterable[str]) -> dict[str, list[str]]:
    """Return task -> labels of its metrics."""
    tasks = {metric.label: metric.task for metric in MAIN_METRICS}
    found = dict[str, list[str]]()
    for label in labels:
        found.setdefault(tasks[label], []).append(label)
    return found


def _columns(rows: Mapping[str, ResultRow]) -> list[str]:
    """Return the names of all metrics."""
    return list(dict.fromkeys(
        key for row in rows.values() for metrics in row.metrics.values() for key in metrics))


def _spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation in words."""
    if not values:
        return '-'
    if len(values) == 1:
        return metric_text(values[0])
    return f'{metric_text(float(np.mean(values)))} +- {metric_text(float(np.std(values, ddof=1)))}'


def table_of(plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> Iterator[list[str]]:
    """Yield the cells of the table, its head first."""
    columns = _columns(rows)
    plain = replace(plan, per_task=False)
    yield ['', *columns, f'Delta_m over {" and ".join(plan.baseline)}, %',
           *(['plain mean, %'] if plan.per_task else []), 'min']
    for variant in plan.variants:
        row = rows[variant.name]
        values = [[metrics[key] for metrics in row.metrics.values() if key in metrics]
                  for key in columns]

        shown = [_gain_text(kind, rows, variant.name)
                 for kind in ((plan, plain) if plan.per_task else (plan,))]
        minutes = f'{np.mean(list(row.minutes.values())):.1f}' if row.minutes else '-'
        yield [variant.name, *map(_spread, values), *shown, minutes]


def _gain_text(plan: ComparisonPlan, rows: Mapping[str, ResultRow], name: str) -> str:
    """Return mean and standard deviation of Delta_m over the seeds in words."""
    gain = gains(plan, rows, name)
    if name in plan.baseline:
        return '0'
    if len(gain) > 1:
        return f'{np.mean(gain):+.1f} +- {np.std(gain, ddof=1):.1f}'
    return f'{gain[0]:+.1f}' if gain else '-'


def as_markdown(plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> str:
    """Return the comparison as a table in Markdown."""
    head, *cells = table_of(plan, rows)
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    lines += ['| ' + ' | '.join(row) + ' |' for row in cells]
    return '\n'.join([
        *lines, '',
        f'{len(plan.seeds)} seeds; mean and standard deviation over them. Metrics of the last '
        'validation. Delta_m: mean relative gain over the baseline of the same seed, over the '
        f'metrics that both have{", averaged per task first" if plan.per_task else ""}. min: '
        'minutes of training.'])


def as_csv(plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> str:
    """Return the metrics of all runs as CSV."""
    columns = _columns(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(['row', 'seed', *columns, 'minutes'])
    for variant in plan.variants:
        for seed, metrics in rows[variant.name].metrics.items():
            writer.writerow([
                variant.name, seed, *(metrics.get(key, '') for key in columns),
                round(rows[variant.name].minutes[seed], 2)])
    return buffer.getvalue()


def draw(plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> Figure:
    """Return a figure with a panel per metric: mean and seeds of each row."""
    columns = _columns(rows)
    figure = Figure(
        figsize=(3.2 * max(1, len(columns)), 1.2 + 0.35 * len(plan.variants)),
        layout='constrained')
    grid = figure.subplots(1, max(1, len(columns)), squeeze=False)[0]

    # one line per row of the table: a dot per seed, a bar at their mean
    names = [variant.name for variant in plan.variants]
    for axes, key in zip(grid, columns):
        for place, name in enumerate(names):
            values = [found[key] for found in rows[name].metrics.values() if key in found]
            if values:
                axes.plot(values, [place] * len(values), '.', color='tab:grey')
                axes.plot(np.mean(values), place, '|', color='tab:red', markersize=16)

        axes.set_title(key + (' (lower is better)' if key in LOWER_IS_BETTER else ''))
        axes.set_yticks(range(len(names)), names if axes is grid[0] else [''] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(alpha=0.3)
    return figure


def draw_weights(plan: ComparisonPlan, folder: Path) -> Figure:
    """Return a figure with a panel per task: its share of the weights over the steps."""
    curves: dict[str, dict[str, list[tuple[list[int], list[float]]]]] = {}
    for variant in plan.variants:
        for seed in plan.seeds:
            place = folder / run_name(variant, seed)
            entries = read_log(place, 'train') if is_done(folder, variant, seed) else []

            # shares of the sum, since strategies differ in the scale of their weights
            for task in (entries[0]['weight'] if entries else {}):
                shares = [
                    entry['weight'].get(task, 0.0) / max(sum(entry['weight'].values()), 1e-12)
                    for entry in entries]
                curves.setdefault(task, {}).setdefault(variant.name, []).append(
                    ([entry['step'] for entry in entries], shares))

    figure = Figure(figsize=(5 * max(1, len(curves)) + 2, 4), layout='constrained')
    grid = figure.subplots(1, max(1, len(curves)), squeeze=False)[0]
    colours = matplotlib.colormaps['tab20']
    for axes, (task, variants) in zip(grid, curves.items()):
        for number, variant in enumerate(plan.variants):
            for count, (steps, shares) in enumerate(variants.get(variant.name, [])):
                axes.plot(steps, shares, color=colours(number % 20), alpha=0.8,
                          label=variant.name if count == 0 else None)

        axes.set_title(f'share of {task} in the weights')
        axes.set_xlabel('step')
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)

    if curves:
        grid[-1].legend(loc='center left', bbox_to_anchor=(1.02, 0.5))
    return figure


def write(plan: ComparisonPlan, rows: Mapping[str, ResultRow], folder: Path, text: str) -> None:
    """
    Write tables and plots.

    :raises StorageError: if a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically((text + '\n').encode(), folder / 'compare.md')
        write_atomically(as_csv(plan, rows).encode(), folder / 'compare.csv')
        draw(plan, rows).savefig(folder / 'compare.png', dpi=110)
        draw_weights(plan, folder).savefig(folder / 'weights.png', dpi=110)
        write_atomically(
            results_text(finished_runs(plan, folder)).encode(), folder / 'results.jsonl')
    except OSError as error:
        raise StorageError(f'{folder}: cannot be written ({error})') from error
