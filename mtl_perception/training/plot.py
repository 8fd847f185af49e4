# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl plot``: the curves of several trainings on one figure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.metrics import main_metrics
from mtl_perception.training.run_readme import read_log

Curves = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Name of a panel -> steps and values of one run."""

COLUMNS = 3


def read_curves(folder: Path, smooth: int = 1) -> Curves:
    """
    Return all curves of a run.

    Panels are ``loss of TASK``, ``weight of TASK``, the learning rate, the norm of the gradient
    before it is cut, and the main metrics and the losses of the validations.

    :param folder: run folder.
    :param smooth: number of neighbouring lines of the log that losses and weights are averaged
        over; fewer at the ends.
    :raises DataError: if the folder has no log or nothing is in it.
    """
    try:
        train, validation = read_log(folder, 'train'), read_log(folder, 'validation')
    except OSError as error:
        raise DataError(
            f'{folder}: not a run folder ({error}); give folders that mtl train has written, '
            'such as runs/street') from error
    if not train and not validation:
        raise DataError(f'{folder}: metrics.jsonl has no metrics yet')

    points: dict[str, list[tuple[int, float]]] = {}
    for entry in train:
        for name, value in _training_metrics(entry):
            points.setdefault(name, []).append((entry['step'], value))
    curves = {name: _curve(pairs, smooth) for name, pairs in points.items()}

    # validations are rare and few: never smoothed
    points = {}
    for entry in validation:
        found = main_metrics(entry)
        found |= {f'loss of {task}': metrics['loss'] for task, metrics in entry.items()
                  if isinstance(metrics, dict) and 'loss' in metrics}
        for name, value in found.items():
            points.setdefault(f'validation {name}', []).append((entry['step'], value))
    return curves | {name: _curve(pairs, 1) for name, pairs in points.items()}


def draw(runs: Mapping[str, Curves]) -> Figure:
    """
    Return a figure with one panel per curve, one colour per run.

    :param runs: name of a run -> its curves.
    """
    panels = list(dict.fromkeys(name for curves in runs.values() for name in curves))
    rows = math.ceil((len(panels) + 1) / COLUMNS)  # one more for the legend
    figure = Figure(figsize=(5 * COLUMNS, 3 * rows), layout='constrained')
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    colours = matplotlib.colormaps['tab10']

    for axes, panel in zip(grid, panels):
        for number, curves in enumerate(runs.values()):
            if panel in curves:
                steps, values = curves[panel]
                axes.plot(steps, values, color=colours(number % 10),
                          marker='.' if panel.startswith('validation') else None)

        axes.set_title(panel)
        axes.set_xlabel('step')
        axes.grid(alpha=0.3)
        if panel.startswith(('loss', 'validation loss')):
            axes.set_yscale('log')

    # the legend takes the last panel
    for axes in grid[len(panels):]:
        axes.axis('off')
    lines = [
        matplotlib.lines.Line2D([], [], color=colours(number % 10), label=name)
        for number, name in enumerate(runs)]
    grid[-1].legend(handles=lines, loc='center', title='run')
    return figure


def _training_metrics(entry: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the panels and values of one line of the log."""
    for kind in ('loss', 'weight'):
        for task, value in entry.get(kind, {}).items():
            yield f'{kind} of {task}', float(value)
    for name, title in (('lr', 'learning rate'), ('gradient_norm', 'gradient norm')):
        if entry.get(name) is not None:
            yield title, float(entry[name])


def _curve(
        pairs: Sequence[tuple[int, float]], smooth: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and running means of the values."""
    steps, values = (np.array(column, np.float64) for column in zip(*pairs))
    if smooth > 1 and len(values) > 1:
        window = np.ones(min(smooth, len(values)))
        count = np.convolve(np.ones_like(values), window, 'same')
        values = np.convolve(values, window, 'same') / count
    return steps, values


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return names for the legend, the shortest ends of the paths that differ."""
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise ConfigurationError('a run is named twice; give each folder once')
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ['/'.join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names
