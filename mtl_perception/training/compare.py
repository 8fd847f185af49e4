# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl compare``: train one recipe with several settings and seeds, to compare them."""

import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.metrics import MAIN_METRICS
from mtl_perception.name_checks import check_names
from mtl_perception.settings import checked, checked_dataclass, one_of, read_yaml
from mtl_perception.signals import STOPPED, StopRequest
from mtl_perception.training.comparison import (
    ComparisonPlan,
    Variant,
    is_done,
    run_name,
)
from mtl_perception.training.config import load_config, to_plain
from mtl_perception.training.recipe_diff import recipe_changes
from mtl_perception.training.trials import STOP, Running, run_trial
from mtl_perception.weighting import WEIGHTINGS

ALL = 'all'
CHECK_STOP_S = 0.5
"""Seconds between checks for a stop signal."""
BASELINE = 'equal'
LABELS = tuple(metric.label for metric in MAIN_METRICS)
SKIPPED_STRATEGIES = ('gradient_method',)
"""Strategies that ``all`` leaves out, because they need an optional library."""


@checked_dataclass
class ComparisonFile:
    """
    A file for ``mtl compare``.

    :param recipe: of all trainings, relative to the file.
    :param rows: name of a row -> settings in place of the recipe's, as on the command line of
        ``mtl train``.
    :param overrides: the same for all rows.
    :param baseline: name of the row that the others are compared with, the first by default; or
        the names of the single tasks, which are one baseline together.
    :param metrics: labels of the only metrics of table and Delta_m, such as those of equation 17
        of XTasC-Net, ``[mIoU, pixel accuracy, Abs Err, Rel Err]``.
    :param per_task: whether Delta_m averages the metrics of each task first, so that a task with
        many metrics counts no more than another.
    :param reference: name of the row that the others are tested against, see
        :mod:`mtl_perception.training.comparison_reading`; no test without it.
    :param results: file with finished runs, relative to this file, such as ``results.jsonl`` of
        an earlier comparison; they are not trained again. It need not exist yet.
    """

    recipe: str
    rows: Annotated[dict[str, list[Any]], Field(min_length=1)]
    overrides: list[Any] = field(default_factory=list)
    baseline: str | list[str] = ''
    metrics: list[Annotated[str, one_of(LABELS)]] = field(default_factory=list)
    per_task: bool = False
    reference: str = ''
    results: str = ''


def read_comparison(
        path: Path, strategies: str, seeds: int, overrides: tuple[str, ...]) -> ComparisonPlan:
    """
    Return the trainings of a comparison.

    :param path: recipe of a training, to compare weighting strategies with; or a YAML file with
        ``rows``, see :class:`ComparisonFile`.
    :param strategies: for a recipe: names separated by commas, or ``all``.
    :param seeds: number of trainings per row.
    :param overrides: settings for all rows.
    :raises ConfigurationError: if there is no such file, row or strategy.
    """
    content = read_yaml(path)
    numbers = tuple(range(seeds))

    if 'rows' in content:
        file = checked(ComparisonFile, content, str(path))
        variants = tuple(Variant(name, tuple(map(str, row))) for name, row in file.rows.items())
        common = (*map(str, file.overrides), *overrides)
        given = [file.baseline] if isinstance(file.baseline, str) else file.baseline
        rows = tuple(name for name in given if name) or (variants[0].name,)
        check_names(rows, list(file.rows), f'{path}: baseline')
        if file.reference:
            check_names([file.reference], list(file.rows), f'{path}: reference')
        return ComparisonPlan(
            path.parent / file.recipe, variants, numbers, common, rows, tuple(file.metrics),
            file.per_task, file.reference, path.parent / file.results if file.results else None)

    names = [name for name in WEIGHTINGS if name not in SKIPPED_STRATEGIES]
    if strategies != ALL:
        names = [name.strip() for name in strategies.split(',')]
        check_names(names, list(WEIGHTINGS), '--strategies:')
    variants = tuple(Variant(name, ('--weighting', name)) for name in names)
    baseline = BASELINE if BASELINE in names else names[0]
    return ComparisonPlan(path, variants, numbers, overrides, (baseline,))


def train_all(
        plan: ComparisonPlan, folder: Path, workers: int) -> tuple[list[str], str | None]:
    """
    Run the trainings that are not finished yet.

    :return: names of the runs that failed, and the signal that asked to stop, if one did.
    :raises ConfigurationError: if a finished run was trained with other settings.
    """
    every = [(variant, seed) for seed in plan.seeds for variant in plan.variants]
    todo = [(variant, seed) for variant, seed in every if not (
        is_done(folder, variant, seed) or plan.finished_earlier(variant, seed))]
    for variant, seed in every:
        if is_done(folder, variant, seed):
            _check_same(plan, folder, variant, seed)
    if len(todo) < len(every):
        print(f'{len(every) - len(todo)} of {len(every)} trainings are done already', flush=True)

    failed = []
    count = len(every) - len(todo)
    with ThreadPoolExecutor(workers) as pool, StopRequest() as stop:
        jobs = {pool.submit(_train, plan, folder, variant, seed): run_name(variant, seed)
                for variant, seed in todo}
        running = set(jobs)
        while running:
            done, running = wait(running, CHECK_STOP_S, FIRST_COMPLETED)
            for job in done:
                # a run that stopped on request is neither done nor failed
                if job.cancelled() or ((code := job.result()) == STOPPED and stop.received):
                    continue
                count += 1
                print(f'{count}/{len(every)}  {jobs[job]}  '
                      f'{"done" if not code else f"exit code {code}"}', flush=True)
                if code:
                    failed.append(jobs[job])

            # pass a stop signal on: cancel what waits, ask what runs to save and end
            if stop.received:
                for job in running:
                    if not job.cancel():
                        (folder / jobs[job] / STOP).touch()
        return sorted(failed), stop.received


def _check_same(plan: ComparisonPlan, folder: Path, variant: Variant, seed: int) -> None:
    """Refuse a finished run whose settings differ from those it would have now."""
    place = folder / run_name(variant, seed) / 'config.yaml'
    found = recipe_changes(to_plain(load_config(place)), load_config(
        plan.recipe, _words(plan, folder, variant, seed)))
    if found:
        raise ConfigurationError(
            f'{place.parent} was trained with other settings: {"; ".join(found)}. Choose another '
            '--into, or remove the folder')


def _words(plan: ComparisonPlan, folder: Path, variant: Variant, seed: int) -> list[str]:
    """Return the overrides of a row with one seed."""
    return [*plan.overrides, *variant.overrides, '--name', run_name(variant, seed),
            '--seed', str(seed), '--output', str(folder)]


def _train(plan: ComparisonPlan, folder: Path, variant: Variant, seed: int) -> int:
    """Train one row with one seed in its own process and return the exit code."""
    name = run_name(variant, seed)
    try:
        (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f'{folder / name}: cannot be written ({error})') from error

    words = tuple(_words(plan, folder, variant, seed))
    return run_trial(Running(str(plan.recipe), str(folder), name, words, time.time()))
