# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Progress of a training: a progress bar, TensorBoard and a log of JSON lines."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from mtl_perception.files import write_atomically
from mtl_perception.metrics import main_metrics, metric_text
from mtl_perception.training.callbacks import Callback, Run, flat


def progress_bar(unit: str) -> Progress:
    """
    Return a progress bar with the time left; without a terminal it prints nothing.

    :param unit: what is counted.
    """
    console = Console()
    return Progress(
        TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn('{task.fields[note]}'),
        console=console, disable=not console.is_terminal)


@dataclass
class Recent:
    """Sums over the steps since the last line of the log."""

    losses: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    frames: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, losses: dict[str, Tensor] | None, norm: float | None, frames: int) -> None:
        """Count one step, with the norm of its gradient if it had one."""
        self.frames += frames
        self.norms += [norm] if losses and norm is not None else []
        for task, loss in (losses or {}).items():
            self.losses[task] = self.losses.get(task, 0.0) + loss.item()
            self.counts[task] = self.counts.get(task, 0) + 1

    def means(self) -> dict[str, float]:
        """Return task name -> mean loss."""
        return {task: total / self.counts[task] for task, total in self.losses.items()}


class TrainingLog(Callback):
    """
    Show and record the metrics of a training.

    ``metrics.jsonl`` in the run folder gets one JSON object per line; TensorBoard files are
    beside it. Without a terminal a line of text takes the place of the bar.

    :param work: number of steps -> their cost in any unit, to estimate the time left where steps
        of some stages take longer than others.
    """

    def __init__(self, work: Callable[[int], float] = float) -> None:
        self._work = work
        self._open = contextlib.ExitStack()

    def start(self, run: Run) -> None:
        """Open the files, without the lines of steps that are done again, and show the bar."""
        from torch.utils.tensorboard import SummaryWriter
        run.folder.mkdir(parents=True, exist_ok=True)
        path = run.folder / 'metrics.jsonl'
        _forget_after(path, run.done)
        self._lines = self._open.enter_context(path.open('a', encoding='utf-8'))
        self._board: Any = SummaryWriter(
            str(run.folder), purge_step=run.done + 1 if run.done else 0)
        self._open.callback(self._board.close)

        self._bar = self._open.enter_context(progress_bar('steps'))
        self._job = self._bar.add_task(
            'training', total=run.steps, completed=run.done, note='')
        self._total = run.steps
        self._first, self._began = run.done, time.monotonic()

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Move the bar, and write a report."""
        self._bar.update(self._job, completed=step)
        if metrics:
            self._record('train', step, metrics)
            self._say(step, _words(metrics))

    def validation(
            self, step: int, metrics: Mapping[str, Any], picture: NDArray[np.uint8] | None,
    ) -> None:
        """Write the metrics and show the main ones."""
        self._record('validation', step, metrics)
        if picture is not None:
            self._board.add_image('validation/picture', picture, step, dataformats='HWC')
            self._board.flush()
        self.announce(f'step {step} validation: {summary(metrics)}')

    def end(self, state: str) -> None:
        """Close the files."""
        self._open.close()

    def _record(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Write metrics; None and what is no number are left out of TensorBoard."""
        self._lines.write(json.dumps({'kind': kind, 'step': step, **metrics}) + '\n')
        self._lines.flush()
        for name, value in flat(metrics).items():
            self._board.add_scalar(f'{kind}/{name}', value, step)
        self._board.flush()

    def _say(self, step: int, note: str) -> None:
        """Show one line: beside the bar on a terminal, as text elsewhere."""
        if not self._bar.disable:
            self._bar.update(self._job, note=note)
            return
        left = self.seconds_left(step, time.monotonic() - self._began)
        print(f'step {step}/{self._total}  {note}  {left / 60:.1f} min left', flush=True)

    def seconds_left(self, step: int, spent: float) -> float:
        """
        Return how long the rest will take at the pace so far.

        :param step: number of steps done, more than at the beginning.
        :param spent: seconds since the beginning.
        """
        done = self._work(step) - self._work(self._first)
        return spent / max(done, 1e-9) * (self._work(self._total) - self._work(step))

    def announce(self, text: str) -> None:
        """Show a line that stays."""
        self._bar.console.print(text, highlight=False, soft_wrap=True)


def summary(metrics: Mapping[str, Any]) -> str:
    """Return the main metrics of a validation as one line."""
    return ', '.join(
        f'{label} {metric_text(value)}' for label, value in main_metrics(dict(metrics)).items())


def _words(metrics: Mapping[str, Any]) -> str:
    """Return a report as one line."""
    weights = metrics.get('weight', {})
    words = [
        f'{task} {loss:.3f}' + (f' (w {weights.get(task, 0):.2f})' if weights else '')
        for task, loss in metrics['loss'].items()]
    words.append(f'lr {metrics["lr"]:.1e}')
    if 'frames_per_second' in metrics:
        words.append(f'{metrics["frames_per_second"]:.1f} frames/s')
    return '  '.join(words)


def write_picture(image: NDArray[np.uint8], path: Path) -> None:
    """
    Write an (H, W, 3) uint8 RGB image as PNG, whole or not at all.

    :raises StorageError: if it cannot be written.
    """
    encoded = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    write_atomically(encoded.tobytes(), path)


def _forget_after(path: Path, step: int) -> None:
    """Remove the lines of steps that a resumed training does again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding='utf-8').splitlines():
        try:
            if json.loads(line)['step'] <= step:
                kept.append(line + '\n')
        except (ValueError, KeyError):
            continue  # a line that was cut when the process was killed
    path.write_text(''.join(kept), encoding='utf-8')
