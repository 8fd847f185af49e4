# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Progress of a training: a progress bar, TensorBoard and a log of JSON lines."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
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


class TrainingLog:
    """
    Show and record the metrics of a training.

    ``metrics.jsonl`` in the run folder gets one JSON object per line; TensorBoard files are
    beside it. Without a terminal a line of text takes the place of the bar.

    :param folder: run folder.
    :param total: steps of the whole training.
    :param done: steps done before.
    :param work: number of steps -> their cost in any unit, to estimate the time left where steps
        of some stages take longer than others.
    """

    def __init__(
            self, folder: Path, total: int, done: int = 0,
            work: Callable[[int], float] = float) -> None:
        from torch.utils.tensorboard import SummaryWriter
        folder.mkdir(parents=True, exist_ok=True)
        _forget_after(folder / 'metrics.jsonl', done)
        self._lines = open(folder / 'metrics.jsonl', 'a', encoding='utf-8')  # noqa: SIM115
        self._board: Any = SummaryWriter(str(folder), purge_step=done + 1 if done else 0)
        self._bar = progress_bar('steps')
        self._job = self._bar.add_task('training', total=total, completed=done, note='')
        self._total = total
        self._work = work
        self._first, self._began = done, time.monotonic()

    def __enter__(self) -> 'TrainingLog':
        self._bar.start()
        return self

    def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None,
            trace: TracebackType | None) -> None:
        self._bar.stop()
        self._board.close()
        self._lines.close()

    def advance(self, step: int) -> None:
        """Move the bar to the number of steps done."""
        self._bar.update(self._job, completed=step)

    def record(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """
        Record metrics.

        :param kind: ``train`` or ``validation``.
        :param step: number of steps done.
        :param metrics: numbers, or mappings of numbers; None is left out of TensorBoard.
        """
        self._lines.write(json.dumps({'kind': kind, 'step': step, **metrics}) + '\n')
        self._lines.flush()

        flat = dict(_flat(metrics))
        for name, value in flat.items():
            self._board.add_scalar(f'{kind}/{name}', value, step)
        self._board.flush()

    def say(self, step: int, note: str) -> None:
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

    def image(self, name: str, step: int, image: NDArray[np.uint8]) -> None:
        """Record an (H, W, 3) uint8 RGB image."""
        self._board.add_image(name, image, step, dataformats='HWC')
        self._board.flush()


class SilentLog:
    """A :class:`TrainingLog` for ranks other than the first: it does nothing."""

    def __enter__(self) -> 'SilentLog':
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, step: int) -> None:
        """Do nothing."""

    def record(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Do nothing."""

    def say(self, step: int, note: str) -> None:
        """Do nothing."""

    def announce(self, text: str) -> None:
        """Do nothing."""

    def image(self, name: str, step: int, image: NDArray[np.uint8]) -> None:
        """Do nothing."""


def write_picture(image: NDArray[np.uint8], path: Path) -> None:
    """
    Write an (H, W, 3) uint8 RGB image as PNG, whole or not at all.

    :raises StorageError: if it cannot be written.
    """
    encoded = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    write_atomically(encoded.tobytes(), path)


def _flat(metrics: Mapping[str, Any], prefix: str = '') -> list[tuple[str, float]]:
    """Return the numbers of nested mappings with their paths."""
    pairs: list[tuple[str, float]] = []
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f'{prefix}{name}/')
        elif isinstance(value, int | float) and not isinstance(value, bool):
            pairs.append((f'{prefix}{name}', float(value)))
    return pairs


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
