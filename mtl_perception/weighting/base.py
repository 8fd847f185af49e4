# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The base class of all weighting strategies: the part that the training loop sees."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, distributed, nn

from mtl_perception.weighting.shared import Shared


class TaskWeighting(nn.Module):
    """
    Combine the losses of all tasks into one total.

    A strategy keeps its state in parameters or buffers, so that it survives a checkpoint. Its
    parameters are trained by the network's optimiser. A task that is missing from the losses of a
    batch has no labels there and drops out of the total. Where training runs on several ranks, the
    state is the same on all of them.

    :param tasks: names of all tasks.
    :raises ValueError: without tasks, or if one is named twice.
    """

    last_weights: Tensor
    rate = 1.0
    """Learning rate of the strategy's parameters, as a multiple of the network's."""

    needs_gradients = False
    """Whether the strategy needs gradients at the last shared layer or the taps."""

    losses_after_step = False
    """Whether a training computes the losses of each batch again, for :meth:`after_step`."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f'tasks are {list(tasks)}; name at least one task and each only once')
        self.tasks = tuple(tasks)
        self.register_buffer('last_weights', torch.ones(len(self.tasks)))

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor], shared: Shared | None = None) -> Tensor:
        """
        Return the 0-dimensional float32 total of one batch, to be called once per step.

        :param losses: task name -> 0-dimensional loss, positive; at least one.
        :param shared: the shared features and layer; only strategies that use gradients need it.
        :raises ValueError: if a task is unknown, ``losses`` is empty, or a loss is not positive.
        """

    def active(self, step: int) -> tuple[str, ...]:
        """
        Return the tasks that are due at a step; the others need not be computed.

        :param step: number of steps done before.
        """
        return self.tasks

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """
        Tell the strategy what the optimiser's step has made of the losses of the last batch.

        Strategies without :attr:`losses_after_step` work without this call.

        :param losses: task name -> loss of the same batch after the step, as in :meth:`forward`.
        """

    def end_epoch(self) -> None:
        """Tell the strategy that an epoch has ended."""

    def weights(self) -> dict[str, float]:
        """Return task name -> weight of its gradient in the last total, 0 if it was missing."""
        return dict(zip(self.tasks, self.last_weights.tolist()))

    def weighted_sum(self, losses: Mapping[str, Tensor], weights: Tensor) -> Tensor:
        """
        Return the sum of the weighted losses, and remember the weights for :meth:`weights`.

        :param losses: see :meth:`forward`.
        :param weights: (tasks,) float32 without gradient, one for each of ``tasks``.
        """
        self.note_weights(losses, weights)
        return torch.stack([
            weight.to(losses[task].device) * losses[task].float()
            for task, weight in zip(self.tasks, weights) if task in losses]).sum()

    def note_weights(self, losses: Iterable[str], weights: Tensor) -> None:
        """
        Remember the weights that :meth:`weights` returns.

        :param losses: tasks of the batch; all others get the weight 0.
        :param weights: (tasks,) float32, one for each of ``tasks``.
        """
        known = set(losses)
        present = torch.tensor([task in known for task in self.tasks], device=weights.device)
        self.last_weights = torch.where(present, weights.detach(), 0.0).to(self.last_weights)

    def present(self, losses: Mapping[str, Tensor]) -> list[str]:
        """
        Return the tasks of a batch in the order of ``tasks``.

        :raises ValueError: if a task is unknown, ``losses`` is empty, or a loss is not positive
            and finite.
        """
        self.refuse_unknown(losses, 'losses')
        if not losses:
            raise ValueError(f'no loss at all; expected some of {self.tasks}')
        for task, loss in losses.items():
            if not 0 < float(loss.detach()) < math.inf:
                raise ValueError(
                    f'the loss of {task!r} is {float(loss.detach())}; weighting needs positive '
                    'and finite losses. Leave a task without labels out of the batch, and use a '
                    'loss that is bounded below by zero')
        return [task for task in self.tasks if task in losses]

    def refuse_unknown(self, names: Iterable[str], what: str) -> None:
        """
        Raise an error for names that are not among ``tasks``.

        :param names: names of tasks.
        :param what: name of the argument they come from, for the message.
        :raises ValueError: with the unknown names.
        """
        if unknown := sorted(set(names) - set(self.tasks)):
            raise ValueError(f'{what} of unknown tasks {unknown}; the tasks are {self.tasks}')

    def values(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return (tasks,) float32 losses without gradient, NaN where a task is missing."""
        found = self.last_weights.new_full((len(self.tasks),), math.nan)
        for number, task in enumerate(self.tasks):
            if task in losses:
                found[number] = losses[task].detach().float()
        return found


def several_ranks() -> bool:
    """Return whether training runs on more than one rank."""
    return (distributed.is_available() and distributed.is_initialized()
            and distributed.get_world_size() > 1)


def mean_over_ranks(values: Tensor) -> Tensor:
    """
    Return the mean of every element over the ranks where it is not NaN; NaN if it is NaN on all.

    With a single rank that is the tensor itself. With several, all must call.

    :param values: float32 of the same shape on every rank.
    """
    if not several_ranks():
        return values
    # one message carries the sums and the numbers of ranks that have a value
    both = torch.stack((values.nan_to_num(nan=0.0), (~values.isnan()).to(values)))
    distributed.all_reduce(both)
    return both[0] / both[1]


def of_first_rank(values: Tensor) -> Tensor:
    """
    Return the values of the first rank; with a single rank that is the tensor itself.

    :param values: of the same shape on every rank; all must call.
    """
    if several_ranks():
        distributed.broadcast(values, 0)
    return values
