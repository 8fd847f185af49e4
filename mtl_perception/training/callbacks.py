# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a training tells those that watch it: its start, steps, validations, checkpoints, end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Run:
    """
    One training, as callbacks see it.

    :param name: of the run.
    :param folder: of the run.
    :param recipe: all settings as plain types.
    :param command: the command line, empty if there is none.
    :param steps: of the whole training.
    :param done: steps done before; more than 0 if the training is resumed.
    """

    name: str
    folder: Path
    recipe: Mapping[str, Any]
    command: str = ''
    steps: int = 0
    done: int = 0


class Callback:
    """
    Watch a training; override what you need.

    The first rank alone calls. A callback changes nothing that the training learns, and an error
    in it ends the training.
    """

    def start(self, run: Run) -> None:
        """Begin: before the first step, also of a resumed training."""

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """
        Note one step.

        :param step: number of steps done.
        :param metrics: of the steps since the last report: numbers, None, or mappings of numbers;
            empty between two reports.
        """

    def validation(
            self, step: int, metrics: Mapping[str, Any], picture: NDArray[np.uint8] | None,
    ) -> None:
        """
        Note a validation.

        :param step: number of steps done.
        :param metrics: numbers, or mappings of numbers.
        :param picture: (H, W, 3) uint8 RGB, predictions above the ground truth; None without.
        """

    def checkpoint(self, step: int, path: Path) -> None:
        """
        Note a checkpoint that has been written.

        :param step: number of steps done.
        :param path: of the checkpoint; a later one may replace it.
        """

    def end(self, state: str) -> None:
        """
        Close what :meth:`start` opened; also called if that or the training failed.

        :param state: ``finished``, ``stopped`` with a checkpoint, or ``failed``.
        """


class Callbacks(Callback):
    """
    Several callbacks, called in their order.

    :param callbacks: to be called.
    """

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self.callbacks = tuple(callbacks)

    def start(self, run: Run) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.start(run)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.step(step, metrics)

    def validation(
            self, step: int, metrics: Mapping[str, Any], picture: NDArray[np.uint8] | None,
    ) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.validation(step, metrics, picture)

    def checkpoint(self, step: int, path: Path) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.checkpoint(step, path)

    def end(self, state: str) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.end(state)


def flat(metrics: Mapping[str, Any], prefix: str = '') -> dict[str, float]:
    """
    Return the numbers of nested mappings, with their paths as names.

    :param metrics: numbers, mappings, and anything else, which is left out.
    :param prefix: of every name.
    """
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            numbers |= flat(value, f'{prefix}{name}/')
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[f'{prefix}{name}'] = float(value)
    return numbers
