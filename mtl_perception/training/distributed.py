# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The ranks of one training, started by ``torchrun``, and their communication.

Every rank computes the gradients of its part of each batch; torch's ``DistributedDataParallel``
averages them. Decisions, logs and files must not depend on a rank: losses are averaged over all
ranks before anything uses them, and only the first rank writes.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from mtl_perception.errors import ConfigurationError, DeviceError
from mtl_perception.reason_codes import ReasonCode

Item = TypeVar('Item')
CPU = torch.device('cpu')
TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others before it gives up."""


@dataclass(frozen=True)
class Ranks:
    """
    This process among those of the training.

    :param rank: its number, from 0.
    :param count: how many there are.
    :param device: what it computes on.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Return whether this is the one that logs and writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank; all of them must ask."""
        if self.count == 1:
            return flag
        value = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return bool(value.item())

    def gather(self, item: Item) -> list[Item]:
        """Return the items of all ranks, in their order; all of them must ask."""
        if self.count == 1:
            return [item]
        items: list[Any] = [None] * self.count
        distributed.all_gather_object(items, item)
        return items

    def share(self, state: Mapping[str, Tensor]) -> None:
        """Overwrite tensors by those of the first rank; all of them must call."""
        if self.count > 1:
            for item in state.values():
                distributed.broadcast(item, 0)

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        if self.count > 1:
            self.any(False)

    def mean(
            self, losses: Mapping[str, Tensor], amounts: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """
        Return the losses of the batches of all ranks together.

        The value of each is the mean over the ranks, weighted by what it was averaged over, so
        that it equals that of one rank with the whole batch. Averaged over the ranks, its gradient
        does too.

        :param losses: task -> 0-dimensional loss of this rank's part of the batch, with a gradient
            even where nothing is labelled; the same tasks on all ranks.
        :param amounts: task -> 0-dimensional amount, 0 where nothing is labelled.
        :return: without the tasks that nothing is labelled for on any rank.
        """
        if self.count == 1 or not losses:
            return dict(losses)
        # sum_r a_r L_r / sum_r a_r over the ranks r, with a_r = 0 where nothing is labelled
        own = torch.stack([amounts[task].to(self.device).double() for task in losses])
        values = torch.stack([loss.detach().double() for loss in losses.values()])
        both = torch.stack((torch.where(own > 0, own * values, 0.0), own))
        distributed.all_reduce(both)
        sums, totals = both

        # DistributedDataParallel averages gradients, so each rank's share is count a_r / sum a_r
        return {
            task: _Global.apply(loss, sums[place] / totals[place],
                                self.count * own[place] / totals[place])
            for place, (task, loss) in enumerate(losses.items()) if totals[place] > 0}


class _Global(torch.autograd.Function):
    """A loss over all ranks, whose gradient is that of this rank's share."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, value: Tensor, share: Tensor) -> Tensor:
        ctx.save_for_backward(share)
        return value.to(loss.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.saved_tensors[0].to(gradient), None, None


@contextlib.contextmanager
def join(device: str) -> Iterator[Ranks]:
    """
    Yield this process's place among the ranks of ``torchrun``, or a single rank without it.

    :param device: ``auto`` for the GPU of this rank if there is one, ``cpu`` or ``cuda``, or a
        certain one, such as ``cuda:1``, for a single process.
    :raises DeviceError: if there is no such device.
    :raises ConfigurationError: if several ranks want one certain device.
    :raises DeviceError: also if the connection to the other ranks breaks.
    """
    count = int(os.environ.get('WORLD_SIZE', '1'))
    if count == 1:
        yield Ranks(device=_device(device, 0))
        return

    if ':' in device:
        raise ConfigurationError(
            f'run.device is {device}, but {count} ranks need one each; set it to auto or cuda')
    place = _device(device, int(os.environ.get('LOCAL_RANK', '0')))
    if place.type == 'cuda':
        torch.cuda.set_device(place)

    try:
        distributed.init_process_group(
            'nccl' if place.type == 'cuda' else 'gloo', timeout=TIMEOUT)
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), place)
    except (RuntimeError, ConnectionError) as error:
        if not _is_lost(error):
            raise
        raise DeviceError(
            f'the connection to the other ranks broke ({str(error).split(". ")[0].strip()}); the '
            'output of the one that ended first says why. --resume goes on from the last '
            'checkpoint', ReasonCode.RANK_LOST) from error

    finally:
        # a connection that outlives Python's threads aborts the process
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _is_lost(error: Exception) -> bool:
    """Return whether a connection was lost; gloo raises a plain RuntimeError for it."""
    return (isinstance(error, distributed.DistError | ConnectionError)
            or 'gloo/transport' in str(error) or 'Connection closed by peer' in str(error))


def _device(name: str, local: int) -> torch.device:
    """Return the device of a rank, ``local`` being its number on this machine."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(
            f'run.device is {name!r}; it must be auto, cpu, cuda or such as cuda:1') from None

    if device.type == 'cpu':
        return CPU
    if device.type != 'cuda':
        raise ConfigurationError(f'run.device is {name!r}; trainings run on cpu and cuda')

    if not torch.cuda.is_available():
        raise DeviceError(
            f'run.device is {name}, but torch {torch.__version__} finds no CUDA '
            f'(built for {torch.version.cuda}); set --run.device cpu or auto, or install a driver '
            'and a torch built for it', ReasonCode.DEVICE_MISSING)

    # without a number, each rank of a machine takes the GPU of its own number
    number = local if device.index is None else device.index
    if number >= torch.cuda.device_count():
        raise DeviceError(
            f'GPU {number} does not exist, this machine has {torch.cuda.device_count()}; start '
            'at most one rank per GPU', ReasonCode.DEVICE_MISSING)
    return torch.device('cuda', number)
