# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every strategy of weighting the tasks' losses offers to the training loop."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class TaskWeighting(nn.Module):
    """
    Make one total out of the losses of all tasks.

    A strategy keeps whatever it remembers in parameters or buffers, so that it survives a
    checkpoint. A task that is missing from the losses of a batch has no labels there and drops
    out of the total.

    :param tasks: names of all tasks.
    :raises ValueError: if there is no task or one is named twice.
    """

    last_weights: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f'tasks are {list(tasks)}; name at least one task and each only once')
        self.tasks = tuple(tasks)
        self.register_buffer('last_weights', torch.ones(len(self.tasks)))

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """
        Return the 0-dimensional float32 total of one batch.

        :param losses: task name -> 0-dimensional loss, positive; at least one.
        :raises ValueError: if a name is unknown, no task is there, or a loss is not positive.
        """

    def end_epoch(self, validation: Mapping[str, float]) -> None:
        """
        Note the end of an epoch.

        :param validation: task name -> figure of the validation, larger is better.
        """

    def weights(self) -> dict[str, float]:
        """Return task name -> weight of its gradient in the last total, 0 if it dropped out."""
        return dict(zip(self.tasks, self.last_weights.tolist()))

    def note_weights(self, weights: Mapping[str, Tensor]) -> None:
        """
        Remember what :meth:`weights` shows.

        :param weights: task name -> 0-dimensional weight; what is missing is 0.
        """
        zero = self.last_weights.new_zeros(())
        self.last_weights = torch.stack([
            weights[task].detach().to(self.last_weights) if task in weights else zero
            for task in self.tasks])

    def present(self, losses: Mapping[str, Tensor]) -> list[str]:
        """
        Return the tasks of a batch in the order of :attr:`tasks`.

        :raises ValueError: if a name is unknown, no task is there, or a loss is not positive.
        """
        if unknown := sorted(set(losses) - set(self.tasks)):
            raise ValueError(f'losses of unknown tasks {unknown}; the tasks are {self.tasks}')
        if not losses:
            raise ValueError(f'no loss at all; expected some of {self.tasks}')
        for task, loss in losses.items():
            if not float(loss.detach()) > 0:
                raise ValueError(
                    f'the loss of {task!r} is {float(loss.detach())}; weighting needs positive '
                    'losses. Leave a task without labels out of the batch, and use a loss that '
                    'is bounded below by zero')
        return [task for task in self.tasks if task in losses]
