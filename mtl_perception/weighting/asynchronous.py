# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Asynchronous back-propagation: some tasks are trained less often."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_perception.weighting.base import TaskWeighting
from mtl_perception.weighting.equal import EqualWeights
from mtl_perception.weighting.shared import Shared

TIME_UNITS = ('step', 'epoch')


class Asynchronous(TaskWeighting):
    r"""
    Train task i only when :math:`t \bmod \nu_i = 0`; wraps any other strategy.

    Leang et al., Dynamic Task Weighting Methods for Multi-task Networks in Autonomous Driving
    Systems, ITSC 2020, equations 10 to 12. In these one task is always on; section V of the paper
    gives every task a frequency, and so does this class. The paper counts t in epochs, but its
    short trials with frequencies up to 10 only make sense for steps, which are the default. A task
    that is off has weight 0 in the paper; here it is not computed at all, so its decoder does not
    change, where a gradient of zero would still move it by momentum and weight decay.

    >>> weighting = Asynchronous(['semantic', 'depth'], {'semantic': 3})
    >>> [weighting.active(step) for step in (0, 1)]
    [('semantic', 'depth'), ('depth',)]

    :param tasks: names of all tasks.
    :param frequencies: task name -> nu; 1, always on, by default.
    :param unit: what t counts, ``step`` or ``epoch``.
    :param strategy: weights the losses of the tasks that are on; None for equal weights.
    :raises ValueError: if a task or unit is unknown, a frequency is not a positive whole number,
        or the strategy has other tasks.
    """

    epoch: Tensor

    def __init__(
            self, tasks: Sequence[str], frequencies: Mapping[str, int] | None = None,
            unit: str = 'step', strategy: TaskWeighting | None = None) -> None:
        super().__init__(tasks)

        frequencies = frequencies or {}
        self.refuse_unknown(frequencies, 'frequencies')
        for task, value in frequencies.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f'the frequency of {task!r} is {value!r}; it must be a positive whole number')
        if unit not in TIME_UNITS:
            raise ValueError(f'unit is {unit!r}; it must be one of {TIME_UNITS}')

        self.strategy = strategy or EqualWeights(tasks)
        if self.strategy.tasks != self.tasks:
            raise ValueError(
                f'the strategy weights {self.strategy.tasks}; it must have the tasks {self.tasks}')

        self.rate = self.strategy.rate
        self.needs_gradients = self.strategy.needs_gradients
        self.losses_after_step = self.strategy.losses_after_step
        self.frequencies = {task: frequencies.get(task, 1) for task in self.tasks}
        self.unit = unit
        self.due = self.tasks
        self.register_buffer('epoch', torch.zeros((), dtype=torch.long))

    def active(self, step: int) -> tuple[str, ...]:
        """Return the tasks that are due, see :meth:`.TaskWeighting.active`; possibly none."""
        time = step if self.unit == 'step' else int(self.epoch)
        due = self.strategy.active(step)
        self.due = tuple(task for task in due if time % self.frequencies[task] == 0)
        return self.due

    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """
        Return the strategy's total of the tasks that :meth:`active` last returned.

        See :meth:`.TaskWeighting.forward`.
        """
        self.present(losses)
        total: Tensor = self.strategy(
            {task: losses[task] for task in self.due if task in losses}, shared)
        return total

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Pass on the losses of the tasks that were due, see :meth:`.TaskWeighting.after_step`."""
        self.strategy.after_step({task: losses[task] for task in self.due if task in losses})

    def end_epoch(self) -> None:
        """Count the epoch, see :meth:`.TaskWeighting.end_epoch`."""
        self.epoch += 1
        self.strategy.end_epoch()

    def weights(self) -> dict[str, float]:
        """Return the strategy's weights, see :meth:`.TaskWeighting.weights`."""
        return self.strategy.weights()
