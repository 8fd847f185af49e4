# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One step of the optimiser, whole or not at all."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mtl_perception.training.dataloading import Batch
from mtl_perception.training.distributed import Ranks
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.schedule import (
    OptimiserSettings,
    WeightAverage,
    build_optimiser,
    parameter_groups,
)
from mtl_perception.weighting.base import TaskWeighting

SMALLEST_SCALE = 1.0
"""With fp16, a gradient that is not finite at this scale of the loss or below is no overflow."""


class Stepper:
    """
    Losses, weighting, gradient, clipping, optimiser and moving average.

    :param learner: the network with its losses.
    :param weighting: makes one total of them.
    :param settings: of the optimiser.
    :param ranks: the processes that share the batch.
    """

    def __init__(
            self, learner: ClipLearner, weighting: TaskWeighting, settings: OptimiserSettings,
            ranks: Ranks) -> None:
        self.learner = learner
        self.weighting = weighting
        self.settings = settings
        self.ranks = ranks
        self.average = WeightAverage(learner.network, settings.average)
        groups = parameter_groups([learner.network], settings.weight_decay)
        if learned := list(weighting.parameters()):
            groups.append({'params': learned, 'weight_decay': 0.0, 'rate': weighting.rate})
        self.optimiser = build_optimiser(groups, settings.kind, settings.betas, settings.momentum)
        self.scaler = torch.amp.GradScaler(
            ranks.device.type, enabled=learner.precision == 'fp16')
        self.overflowed = False
        """Whether the last gradient was not finite as fp16 has it until its scale fits."""
        self.gradient_norm: float | None = None
        """Of the last step, before it was cut; None if there was no finite gradient."""
        self._model: DistributedDataParallel | None = None

    def __call__(
            self, batch: Batch, due: Collection[str], rate: float) -> dict[str, Tensor] | None:
        """
        Do one step.

        A task whose loss is exactly 0 has nothing to learn from the batch and takes no part in the
        weighting.

        :param batch: this rank's part, on the device.
        :param due: names of the tasks to learn from.
        :param rate: learning rate.
        :return: task name -> loss, empty if none of the tasks is labelled; None if a loss or the
            gradient was not finite. In these cases neither network nor weighting change.
        """
        for group in self.optimiser.param_groups:
            group['lr'] = rate * group.get('rate', 1.0)
        before = [item.clone() for item in self._buffers()]
        if self.ranks.count > 1 and self._model is None:
            self._model = DistributedDataParallel(self.learner, find_unused_parameters=True)
        self.overflowed, self.gradient_norm = False, None
        self.optimiser.zero_grad(set_to_none=True)
        losses, learned = self._gradient(batch, due)
        if losses is not None and (not learned or self._update()):
            return losses
        for item, old in zip(self._buffers(), before):
            item.copy_(old)  # batch normalisation and weighting have seen what was not finite
        return None

    def _buffers(self) -> list[Tensor]:
        """Return what changes beside the parameters; a strategy may replace its own."""
        return [*self.learner.network.buffers(), *self.weighting.buffers()]

    def _gradient(
            self, batch: Batch, due: Collection[str],
    ) -> tuple[dict[str, Tensor] | None, bool]:
        """Return the mean losses of the parts, None if one is not finite, and if any counts."""
        parts = _parts(batch, self.settings.accumulate)
        sums: dict[str, list[Tensor]] = {}
        learned = False
        for part in parts:
            losses: dict[str, Tensor] = (self._model or self.learner)(part, due)
            values = dict(zip(losses, torch.stack(
                [loss.detach() for loss in losses.values()]).tolist() if losses else []))
            if not all(map(math.isfinite, values.values())):
                return None, False
            counting = {task: loss for task, loss in losses.items() if values[task] != 0}
            for task, loss in losses.items():
                sums.setdefault(task, []).append(loss.detach())
            if not counting:
                continue
            learned = True
            total = self.weighting(counting, self.learner.shared) / len(parts)
            if self.ranks.count > 1:  # every parameter that was used has to have a gradient
                total = total + sum(0 * loss for task, loss in losses.items()
                                    if task not in counting)
            self.scaler.scale(total).backward()
        return {task: torch.stack(items).mean() for task, items in sums.items()}, learned

    def _update(self) -> bool:
        """Step with the gradient; return False, having done nothing, if it is not finite."""
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(
            self.learner.network.parameters(), self.settings.clip_norm).item()
        finite = math.isfinite(norm)
        if finite:
            self.gradient_norm = norm
            self.scaler.step(self.optimiser)
            self.average.update(self.learner.network)
        if self.scaler.is_enabled():
            self.overflowed = not finite and self.scaler.get_scale() > SMALLEST_SCALE
            self.scaler.update()
        return finite

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to go on bit for bit."""
        return {
            'network': self.learner.network.state_dict(), 'average': self.average.state_dict(),
            'optimiser': self.optimiser.state_dict(), 'weighting': self.weighting.state_dict(),
            'scaler': self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """
        Go on from what :meth:`state` returned.

        :raises RuntimeError, KeyError, ValueError, TypeError: if it does not fit.
        """
        self.learner.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.weighting.load_state_dict(state['weighting'])
        if self.scaler.is_enabled() and state.get('scaler'):
            self.scaler.load_state_dict(state['scaler'])


def _parts(batch: Batch, count: int) -> list[Batch]:
    """Return a batch in so many parts of equal size."""
    if count == 1:
        return [batch]
    size = len(batch['image']) // count
    return [
        {name: item[first:first + size] for name, item in batch.items()}
        for first in range(0, size * count, size)]
