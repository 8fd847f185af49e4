# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --suite``: several models on several data sets, as one table."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from mtl_perception.datasets.class_table import read_class_map
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.evaluation.dataset_evaluation import (
    described_fit,
    evaluate,
    notes_of,
    open_data,
)
from mtl_perception.evaluation.report import ran_text
from mtl_perception.evaluation.rows import MetricRow, rows, value_text
from mtl_perception.inference.depth_anchor import DepthScale
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.fit import Fit, FitChoice
from mtl_perception.name_checks import did_you_mean
from mtl_perception.settings import checked, checked_dataclass, read_yaml

SeveralModels = Annotated[list[str], Field(min_length=1)]


@checked_dataclass
class SuiteEntry:
    """
    One evaluation of a suite, made for every model.

    :param title: of its rows, such as the name of the data set.
    :param show: lines of the table, each a list of rows of a report such as ``depth AbsRel``.
    :param data: description of the data set as ``--data`` takes it, relative to the suite.
    :param part: which of several data sets in that file.
    :param root: folder of the data set, below that of the whole suite.
    :param tasks: the only tasks to evaluate, all if empty.
    :param camera_height: of the camera above the ground, told to the model, metres; 0 = not told.
    :param fit: how images of another shape are brought to the network's, such as ``tiles``; what
        the description of the data set says if None.
    :param class_map: file as ``--class-map`` takes it, relative to the suite; empty for none.
    :param depth_scale: what the metres stand on, as ``--depth-scale`` takes it.
    """

    title: str
    show: Annotated[list[list[str]], Field(min_length=1)]
    data: str
    part: str = 'validation'
    root: str = ''
    tasks: list[str] = field(default_factory=list)
    camera_height: Annotated[float, Field(ge=0, le=3)] = 0.0
    fit: FitChoice | None = None
    class_map: str = ''
    depth_scale: DepthScale = 'network'


@checked_dataclass
class Suite:
    """
    Several evaluations.

    :param models: the columns of the table: names of shipped models or paths of weights files, or
        a title with several of them, such as the seeds of one training. Such a column has the
        median, and in brackets the lowest and the highest value.
    :param entries: the evaluations, in the order of the table.
    """

    models: Annotated[list[str | dict[str, SeveralModels]], Field(min_length=1)]
    entries: Annotated[list[SuiteEntry], Field(min_length=1)]


def read_suite(path: Path) -> Suite:
    """
    Return the suite that a YAML file describes.

    :raises ConfigurationError: if it cannot be read, with every wrong setting, or if two columns
        or two entries have the same title.
    """
    suite = checked(Suite, read_yaml(path), str(path))
    titles = Counter(title for one in suite.models for title in (
        one if isinstance(one, dict) else [one]))
    if twice := [title for title, count in titles.items() if count > 1]:
        raise ConfigurationError(
            f'{path}: models: {", ".join(map(repr, twice))} heads more than one column; give '
            'every column a title of its own')
    entries = Counter(entry.title for entry in suite.entries)
    if twice := [title for title, count in entries.items() if count > 1]:
        raise ConfigurationError(
            f'{path}: entries: {", ".join(map(repr, twice))} is the title of more than one; give '
            'every entry a title of its own')
    return suite


def run_suite(
        suite: Suite, path: Path, root: Path, load: Callable[[str], Engine],
        show: Callable[..., Any], keep: Callable[[list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """
    Evaluate every model on every data set; one that is not there is left out and named.

    :param suite: what to evaluate.
    :param path: of its file; paths in it are relative to it.
    :param root: folder that the roots of the entries lie in.
    :param load: returns the engine of a model.
    :param show: wraps the numbers of the clips of the entry with that ``name``, for a progress
        bar.
    :param keep: called after each evaluation with what there is by then.
    :return: for each entry and model ``title``, ``column``, ``model``, and ``engine`` and
        ``metrics``, or ``missing`` with the reason.
    :raises ConfigurationError: if a description is wrong.
    :raises DataError: if no data set is there.
    """
    results = []
    for column, name in _columns(suite):
        engine = load(name)
        for entry in suite.entries:
            result: dict[str, Any] = {
                'title': entry.title, 'column': column, 'model': engine.manifest.name}
            results.append(result)
            try:
                data, words = _open(entry, path, root, engine)
            except DataError as error:
                result['missing'] = str(error)
                continue

            class_map = read_class_map(path.parent / entry.class_map) if entry.class_map else {}
            fit = described_fit(path.parent / entry.data, entry.part)
            fit = Fit(entry.fit or fit.how, fit.roi)
            metrics, _ = evaluate(
                engine, data, partial(show, name=entry.title), False, entry.camera_height,
                class_map, fit, entry.depth_scale)
            result |= {'sha256': engine.manifest.sha256, 'data': words,
                       'engine': engine.setup.what, 'fit': fit.how,
                       'camera_height': entry.camera_height, 'metrics': metrics}
            keep(results)

    if all('missing' in result for result in results):
        raise DataError(f'{path}: none of its data sets is there: {results[0]["missing"]}')
    return results


def as_table(suite: Suite, results: Sequence[Mapping[str, Any]]) -> str:
    """
    Return the table of a suite in Markdown, with notes below it.

    A column is headed by the name of its model, or by what the suite calls it.
    """
    titles = _titles(suite, results)
    lines = [f'| | {" | ".join(titles.values())} | image-blind baseline |',
             '|---' * (len(titles) + 2) + '|']
    notes: dict[str, None] = {}

    for entry in suite.entries:
        own = [result for result in results if result['title'] == entry.title]
        notes |= {f'{entry.title}: {text}': None for result in own for text in (
            [f'left out. {result["missing"]}'] if 'missing' in result
            else [*notes_of(result['metrics']), *_unknown_rows(entry, result['metrics'])])}
        if any('missing' in result for result in own):
            continue

        found = {column: [
            {row.name: row for row in rows(result['metrics'])} for result in own
            if result['column'] == column] for column in titles}
        first = next(iter(found.values()))
        for shown in entry.show:
            cells = [_cell(tables, shown, 'value') for tables in found.values()]
            blind = _cell(first[:1], shown, 'baseline')
            frames = own[0]['metrics']['frames']
            lines.append(f'| {entry.title}, {frames} frames: {", ".join(shown)} | '
                         f'{" | ".join(cells)} | {blind} |')
    notes |= dict.fromkeys(_ran(titles, results))
    return '\n'.join([*lines, '', *(f'- {note}' for note in notes)])


def _ran(titles: Mapping[str, str], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in a sentence what ran the networks, or where they differ in one for each."""
    columns: dict[str, dict[str, None]] = {}
    for result in results:
        if 'engine' in result:
            columns.setdefault(result['engine'], {})[titles[result['column']]] = None
    return [ran_text(engine) if len(columns) == 1 else f'{", ".join(heads)}: {ran_text(engine)}'
            for engine, heads in columns.items()]


def _columns(suite: Suite) -> list[tuple[str, str]]:
    """Return the title of a column, and the name or path of a model in it, for every model."""
    return [(column, name) for one in suite.models
            for column, names in (one if isinstance(one, dict) else {one: [one]}).items()
            for name in names]


def _titles(suite: Suite, results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what heads each column: of one model its name, unless another one is called so."""
    models = {result['column']: result['model'] for result in results}
    # a name may be that of two models, or the title of another column
    called = Counter(models.values()) + Counter(
        column for column, model in models.items() if column != model)
    return {column: model if column in suite.models and called[model] == 1 else column
            for column, model in models.items()}


def _cell(tables: Sequence[Mapping[str, MetricRow]], names: Sequence[str], column: str) -> str:
    """
    Return the values of some rows of the reports of one column.

    Of several reports, each value is the median, with the lowest and the highest; ``n/a`` stands
    for a row that one of them does not have.
    """
    cells = []
    for name in names:
        found = [getattr(table.get(name), column, None) for table in tables]
        values: list[float] = [value for value in found if value is not None]
        if len(found) == 1 or len(values) < len(found):
            cells.append(value_text(values[0] if len(values) == len(found) else None))
            continue
        cells.append(f'{value_text(float(np.median(values)))} '
                     f'({value_text(min(values))} to {value_text(max(values))})')
    return ', '.join(cells)


def _open(
        entry: SuiteEntry, path: Path, root: Path, engine: Engine) -> tuple[RecordedClips, str]:
    """Return the data set of an entry and its name."""
    return open_data(path.parent / entry.data, entry.part, root / entry.root,
                     engine.manifest.network.frames, entry.tasks)


def _unknown_rows(entry: SuiteEntry, metrics: Mapping[str, Any]) -> list[str]:
    """Return a note for each row that shall be shown and that the evaluation does not give."""
    names = [row.name for row in rows(metrics)]
    return [f'there is no row {name!r}{did_you_mean(name, names)}'
            for shown in entry.show for name in shown if name not in names]
