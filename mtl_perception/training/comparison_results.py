# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The results of ``mtl compare`` as a small file, so that a later run trains only what is new."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mtl_perception.errors import ConfigurationError
from mtl_perception.settings import read_yaml
from mtl_perception.training.recipe import split_overrides

History = dict[int, dict[str, float]]
"""Step of a validation -> label of a metric -> its value."""
Intervals = dict[str, list[float]]
"""Label of a metric -> [low, high], its bootstrap interval over the drives of the validation."""
PLACES = ('--data.cache', '--data.root', '--data.workers', '--run.device', '--run.threads')
"""Settings that say where a training runs and change nothing of it."""


@dataclass(frozen=True)
class FinishedRun:
    """
    What stays of a training when its folder is gone.

    :param settings: see :func:`settings_digest`.
    :param minutes: of training.
    :param history: its validations.
    :param intervals: of its last validation, empty if there are none.
    """

    settings: str
    minutes: float
    history: History
    intervals: Intervals = field(default_factory=dict)


def settings_digest(recipe: Path, words: tuple[str, ...]) -> str:
    """
    Return a digest of a recipe and of the settings in its place; comments and places do not count.

    :param recipe: of the training.
    :param words: settings as on the command line of ``mtl train``.
    :raises ConfigurationError: if a word is none.
    """
    settings = [('--' + '.'.join(path), value) for path, value in split_overrides(words)]
    pairs = [(name, value) for name, value in settings if name not in PLACES]
    text = json.dumps([read_yaml(recipe), pairs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_results(path: Path) -> dict[tuple[str, int], FinishedRun]:
    """
    Return (name of a row, seed) -> the run, of a file; one that does not exist yet holds none.

    :raises ConfigurationError: if a line is not a result.
    """
    found = dict[tuple[str, int], FinishedRun]()
    lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)

            # files of before there were intervals have none
            found[entry['row'], entry['seed']] = FinishedRun(
                entry['settings'], float(entry['minutes']),
                {int(step): metrics for step, metrics in entry['validations'].items()},
                {label: [float(low), float(high)]
                 for label, (low, high) in entry.get('intervals', {}).items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f'{path}, line {number}: is no result ({error!r}); wanted a line of results.jsonl '
                'that mtl compare wrote. Remove the line, then its row is trained again'
                ) from error
    return found


def results_text(runs: Mapping[tuple[str, int], FinishedRun]) -> str:
    """Return the file for :func:`read_results`: one line of JSON per run."""
    return ''.join(json.dumps({
        'row': row, 'seed': seed, 'settings': run.settings, 'minutes': round(run.minutes, 4),
        'validations': {
            step: {label: round(value, 6) for label, value in metrics.items()}
            for step, metrics in run.history.items()},
        'intervals': {
            label: [round(end, 6) for end in ends] for label, ends in run.intervals.items()},
        }) + '\n'
        for (row, seed), run in runs.items())
