# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One step of the optimiser, done completely or not at all."""

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
"""Loss scale of fp16 from which on down a gradient that is not finite is a fault, no overflow."""


class Stepper:
    """
    Losses, weighting, gradient, clipping, optimiser and moving average.

    :param learner: the network with its losses.
    :param weighting: combines the losses into one total.
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
        groups = parameter_groups(
            [learner.network], settings.weight_decay, settings.decay_all)
        if learned := list(weighting.parameters()):
            groups.append({'params': learned, 'weight_decay': 0.0, 'rate': weighting.rate})
        self.optimiser = build_optimiser(groups, settings.kind, settings.betas, settings.momentum)

        self.scaler = torch.amp.GradScaler(
            ranks.device.type, enabled=learner.precision == 'fp16')
        self.overflowed = False
        """Whether the last gradient overflowed in fp16, which happens until the scale fits."""
        self.gradient_norm: float | None = None
        """Norm of the last gradient before clipping; None if it was not finite."""
        self._model: DistributedDataParallel | None = None

    def __call__(
            self, batch: Batch, due: Collection[str], rate: float) -> dict[str, Tensor] | None:
        """
        Do one step.

        A task whose loss is exactly 0 learns nothing from the batch and is left out of the
        weighting.

        :param batch: this rank's part, on the device.
        :param due: names of the tasks to learn from.
        :param rate: learning rate.
        :return: task name -> loss, empty if none of the tasks is labelled; None if a loss or the
            gradient was not finite. In these cases neither network nor weighting changes.
        """
        for group in self.optimiser.param_groups:
            group['lr'] = rate * group.get('rate', 1.0)
        if self.ranks.count > 1 and self._model is None:
            self._model = DistributedDataParallel(self.learner, find_unused_parameters=True)

        before = [item.clone() for item in self._buffers()]
        self.overflowed = False
        self.gradient_norm = None
        self.optimiser.zero_grad(set_to_none=True)
        losses, learned = self._gradient(batch, due)
        if losses is not None and (not learned or self._update()):
            if learned and self.weighting.losses_after_step:
                self._tell_losses_after_step(batch, due)
            return losses

        # The forward pass has put what was not finite into batch normalisation and weighting.
        for item, old in zip(self._buffers(), before):
            item.copy_(old)
        return None

    def _buffers(self) -> list[Tensor]:
        """Return the state beside the parameters; not cached, a strategy may replace buffers."""
        return [*self.learner.network.buffers(), *self.weighting.buffers()]

    def _gradient(
            self, batch: Batch, due: Collection[str],
    ) -> tuple[dict[str, Tensor] | None, bool]:
        """
        Accumulate the gradient of all parts of a batch.

        :return: mean losses of the parts, None if one is not finite; and whether any task learns.
        """
        parts = _parts(batch, self.settings.accumulate)
        sums: dict[str, list[Tensor]] = {}
        learned = False

        for part in parts:
            losses: dict[str, Tensor] = (self._model or self.learner)(part, due)
            detached = {task: loss.detach() for task, loss in losses.items()}
            for task, loss in detached.items():
                sums.setdefault(task, []).append(loss)

            # one transfer from the device for all losses
            numbers = torch.stack([*detached.values()]).tolist() if detached else []
            values = dict(zip(detached, numbers))
            if not all(map(math.isfinite, values.values())):
                return None, False
            counting = {task: loss for task, loss in losses.items() if values[task] != 0}
            if not counting:
                continue

            learned = True
            total = self.weighting(counting, self.learner.shared) / len(parts)
            if self.learner.unfamiliar is not None:
                total = total + self.learner.unfamiliar / len(parts)
            if self.ranks.count > 1:
                # DistributedDataParallel waits for a gradient of every parameter that was used.
                total = total + sum(
                    0 * loss for task, loss in losses.items() if task not in counting)
            self.scaler.scale(total).backward()

        return {task: torch.stack(items).mean() for task, items in sums.items()}, learned

    def _update(self) -> bool:
        """Step along the gradient; return False, with nothing changed, if it is not finite."""
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(
            self.learner.network.parameters(), self.settings.clip_norm or math.inf).item()
        finite = math.isfinite(norm)

        if finite:
            self.gradient_norm = norm
            self.scaler.step(self.optimiser)
            self.average.update(self.learner.network)

        if self.scaler.is_enabled():
            self.overflowed = not finite and self.scaler.get_scale() > SMALLEST_SCALE
            self.scaler.update()
        return finite

    def _tell_losses_after_step(self, batch: Batch, due: Collection[str]) -> None:
        """Compute the losses of the batch again: of the part that the weighting saw last."""
        with torch.no_grad():
            self.weighting.after_step(
                self.learner(_parts(batch, self.settings.accumulate)[-1], due))

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed training needs to continue bit for bit."""
        return {
            'network': self.learner.network.state_dict(), 'average': self.average.state_dict(),
            'optimiser': self.optimiser.state_dict(), 'weighting': self.weighting.state_dict(),
            'scaler': self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """
        Continue from what :meth:`state` returned.

        Weight decay and the like stay those of the recipe, which may be another one now.

        :raises RuntimeError, KeyError, ValueError, TypeError: if it does not fit.
        """
        self.learner.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])

        own = [{key: value for key, value in group.items() if key != 'params'}
               for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state['optimiser'])
        for group, settings in zip(self.optimiser.param_groups, own):
            group.update(settings)

        self.weighting.load_state_dict(state['weighting'])
        if self.scaler.is_enabled() and state.get('scaler'):
            self.scaler.load_state_dict(state['scaler'])


def _parts(batch: Batch, count: int) -> list[Batch]:
    """Split a batch into parts of equal size."""
    if count == 1:
        return [batch]
    size = len(batch['image']) // count
    return [
        {name: item[first:first + size] for name, item in batch.items()}
        for first in range(0, size * count, size)]
