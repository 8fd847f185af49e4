# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The README of a run folder: settings, progress, and the files to look at."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_perception import __version__
from mtl_perception.files import write_atomically
from mtl_perception.metrics import main_metrics, metric_text
from mtl_perception.training.callbacks import Callback, Run
from mtl_perception.training.progress_log import write_picture


class RunFolder(Callback):
    """
    Keep the README of a run folder up to date, and the pictures beside it.

    :param notes: of the checkpoint.
    """

    def __init__(self, notes: Mapping[str, Any]) -> None:
        self._notes = notes
        self._run: Run | None = None
        self._step = 0

    def start(self, run: Run) -> None:
        """Write what is trained."""
        self._run = run
        self._step = run.done
        self._write('running')

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Remember the step."""
        self._step = step

    def validation(
            self, step: int, metrics: Mapping[str, Any], picture: NDArray[np.uint8] | None,
    ) -> None:
        """Write the picture and the metrics so far."""
        assert self._run is not None
        if picture is not None:
            write_picture(picture, picture_path(self._run.folder, step))
        self._write(f'running, step {step}')

    def end(self, state: str) -> None:
        """Write how it ended."""
        self._write(f'{state} after step {self._step}' + (
            ', not finished' if state == 'stopped' else ''))

    def _write(self, state: str) -> None:
        if self._run is not None:
            write_readme(
                self._run.folder, self._run.command, self._run.recipe, self._notes, state)


def read_log(folder: Path, kind: str) -> list[dict[str, Any]]:
    """
    Return the lines of one kind of a run's ``metrics.jsonl``; cut lines are left out.

    :param folder: run folder.
    :param kind: ``train`` or ``validation``.
    :raises OSError: if there is no such file.
    """
    found = []
    for line in (folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the process was killed while it wrote
            continue
        if entry.get('kind') == kind:
            found.append(entry)
    return found


def _data(data: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    """Return the names of the training and the validation data."""
    if recorded := data.get('train'):
        return f'{_named(recorded)}, chosen by {_named(data.get("validation") or {})}'
    return (f'street seeds {data["train_seeds"]}, chosen by {data["validation_seeds"]}, code of '
            f'the street {notes.get("street_code", "unknown")}')


def _named(described: Mapping[str, Any]) -> str:
    """Return the names and splits of a data set, or of the parts of a mixture."""
    parts = described['mix'].values() if 'mix' in described else [described]
    return ', '.join(f'{one.get("dataset")} {one.get("split", "")}'.strip() for one in parts)


def write_readme(
        folder: Path, command: str, recipe: Mapping[str, Any], notes: Mapping[str, Any],
        state: str) -> None:
    """
    Write the README of a run from its settings and its log.

    :param folder: run folder.
    :param command: the command line that trains.
    :param recipe: all settings as plain types.
    :param notes: of the checkpoint.
    :param state: of the training, such as ``finished after step 800``.
    :raises StorageError: if it cannot be written.
    """
    data = recipe['data']
    network = recipe['network']

    # what is trained
    lines = [
        f'# {recipe["name"]}', '', f'State: **{state}**', '', '```bash', command or 'mtl train',
        '```', '',

        '| | |', '|---|---|',
        f'| network | {network["encoder"]}, {network["frames"]} frame(s), finest stride '
        f'{network["finest_stride"]}, pyramid {network["pyramid"]} |',
        f'| tasks, weighting | {", ".join(recipe["tasks"])}; {recipe["weighting"]} |',
        '| stages | ' + '; '.join(
            f'{stage["width"]}x{stage["height"]}, {stage["steps"]} steps of {stage["batch"]} clips'
            for stage in recipe['stages']) + ' |',
        f'| data | {_data(data, notes)} |',
        f'| version | mtl_perception {__version__}, torch {torch.__version__}, Python '
        f'{platform.python_version()}, {platform.machine()}, precision {recipe["precision"]}, '
        f'seed {recipe["seed"]} |', '']

    # how it goes
    rows = [
        (entry['step'], main_metrics(entry)) for entry in read_log(folder, 'validation')]
    if rows:
        names = list(dict.fromkeys(name for _, metrics in rows for name in metrics))
        lines += ['## Validation', '', f'| step | {" | ".join(names)} |', '|---' * (
            len(names) + 1) + '|']
        lines += [
            f'| {step} | ' + ' | '.join(
                metric_text(metrics[name]) if name in metrics else '' for name in names) + ' |'
            for step, metrics in rows]
        lines += ['', f'Predictions above the ground truth: [pictures](pictures), the last is '
                      f'`{picture_path(folder, rows[-1][0]).relative_to(folder)}`.', '']

    lines += [
        '## Where things are', '',
        '- `config.yaml`: all settings; `metrics.jsonl`: all metrics; `mtl plot` draws them',
        '- `pictures`: predictions on validation clips; `checkpoints`: to go on with `--resume`',
        f'- `{recipe["name"]}.safetensors` and `.json`: the exported model, once it is finished',
        '']
    write_atomically('\n'.join(lines).encode(), folder / 'README.md')


def picture_path(folder: Path, step: int) -> Path:
    """Return where the picture of a validation is written."""
    return folder / 'pictures' / f'step_{step:08d}.png'
