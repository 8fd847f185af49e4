# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The optimiser, the learning rate of a step, and the moving average of the weights."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from mtl_perception.settings import FROM_LIST, checked_dataclass

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@checked_dataclass
class OptimiserSettings:
    """
    The optimiser and its learning rate.

    :param kind: ``adamw`` (Loshchilov and Hutter, ICLR 2019), ``adam``, whose weight decay goes
        through the gradient, or ``sgd`` with Nesterov's momentum.
    :param lr: factor on the learning rate of every stage.
    :param weight_decay: decay of weights with two or more dimensions.
    :param decay_all: whether biases and batch normalisation decay too, as where a framework's
        optimiser is given all parameters alike.
    :param betas: decay of Adam's two moment estimates.
    :param momentum: of SGD.
    :param warm_up: share of a stage in which the learning rate rises linearly.
    :param schedule: after the rise: ``cosine``, ``polynomial``, ``halving`` or ``constant``.
    :param power: exponent of the polynomial schedule.
    :param halve_every: share of a stage between two halvings of the halving schedule.
    :param final: learning rate at the end of the cosine, as a share of the peak.
    :param clip_norm: largest norm of the gradient; a longer one is scaled down to it. 0 for no
        limit.
    :param accumulate: equal parts that a batch is computed in one after the other, to save memory.
        Batch normalisation and weighting see one part at a time; the gradients are averaged.
    :param average: decay of the exponential moving average of the weights, which is validated and
        exported.
    """

    kind: Literal['adamw', 'adam', 'sgd'] = 'adamw'
    lr: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.02
    decay_all: bool = False
    betas: Annotated[tuple[Decay, Decay], FROM_LIST] = (0.9, 0.99)
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9
    warm_up: Share = 0.1
    schedule: Literal['cosine', 'polynomial', 'halving', 'constant'] = 'cosine'
    power: PositiveFloat = 0.9
    halve_every: Annotated[float, Field(gt=0, le=1)] = 0.32
    final: NonNegativeFloat = 0.01
    clip_norm: NonNegativeFloat = 5.0
    accumulate: PositiveInt = 1
    average: Decay = 0.998


def learning_rate(
        step: int, steps: int, peak: float, warm_up: float = 0.1, final: float = 0.01,
        schedule: str = 'cosine', power: float = 0.9, halve_every: float = 0.32) -> float:
    """
    Return the learning rate of one step of a stage: a linear rise, then the schedule.

    ``cosine`` falls along half a cosine; ``polynomial`` is (1 - step / steps) to a power, as in
    Kendall et al.; ``halving`` halves at regular steps, as in XTasC-Net.

    :param step: 0 to ``steps - 1``.
    :param steps: steps of the stage.
    :param peak: the highest learning rate.
    :param warm_up: share of the steps in which it rises.
    :param final: end of the cosine, as a share of the peak.
    :param schedule: as in :class:`OptimiserSettings`.
    :param power: exponent of the polynomial.
    :param halve_every: share of the steps between two halvings.
    """
    rise = max(1, round(warm_up * steps))
    if step < rise:
        return peak * (step + 1) / rise

    if schedule == 'constant':
        return peak
    if schedule == 'polynomial':
        return float(peak * (1 - step / steps) ** power)
    if schedule == 'halving':
        return float(peak * 0.5 ** int(step / max(1, round(halve_every * steps))))

    # half a cosine from the peak to final * peak (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5)
    progress = (step + 1 - rise) / max(1, steps - rise)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)


def parameter_groups(
        modules: Iterable[nn.Module], weight_decay: float, decay_all: bool = False,
) -> list[dict[str, Any]]:
    """
    Split parameters into those with weight decay and those without.

    Biases and batch normalisation have one dimension, and no decay unless it is asked for.

    :param modules: networks that are trained.
    :param weight_decay: decay of the parameters with two or more dimensions.
    :param decay_all: whether the others have it too.
    """
    parameters = [
        parameter for module in modules for parameter in module.parameters()
        if parameter.requires_grad]
    return [
        {'params': [item for item in parameters if item.ndim >= 2], 'weight_decay': weight_decay},
        {'params': [item for item in parameters if item.ndim < 2],
         'weight_decay': weight_decay if decay_all else 0.0},
    ]


def build_optimiser(
        groups: list[dict[str, Any]], kind: str, betas: tuple[float, float], momentum: float,
) -> torch.optim.Optimizer:
    """
    Return the optimiser.

    :param groups: of parameters, each with its weight decay.
    :param kind: as in :class:`OptimiserSettings`.
    :param betas: of Adam.
    :param momentum: of SGD.
    """
    if kind == 'sgd':
        return torch.optim.SGD(groups, lr=1e-3, momentum=momentum, nesterov=True)
    adam = torch.optim.AdamW if kind == 'adamw' else torch.optim.Adam
    return adam(groups, betas=betas)


class WeightAverage:
    """
    Exponential moving average of everything in a network's state.

    The decay grows with the number n of updates, ``min(decay, (1 + n) / (10 + n))``, so that the
    random initial weights are soon forgotten.

    :param network: the network that is trained; the average starts at its present state.
    :param decay: share of the old average that is kept per update.
    :raises ValueError: if the decay is out of range.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f'decay is {decay}; it must be at least 0 and below 1')
        self.decay = decay
        self.updates = 0
        self.state = {name: item.detach().clone() for name, item in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network's present state; integers are copied."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1

        # average <- decay * average + (1 - decay) * weights
        for name, item in network.state_dict().items():
            if item.is_floating_point():
                self.state[name].lerp_(item, 1 - decay)
            else:
                self.state[name].copy_(item)

    def restart(self, network: nn.Module) -> None:
        """Restart the average at the network's present state."""
        self.load_state_dict({'updates': 0, 'state': network.state_dict()})

    def state_dict(self) -> dict[str, object]:
        """Return the state for :meth:`load_state_dict`."""
        return {'updates': self.updates, 'state': self.state}

    def load_state_dict(self, content: dict[str, object]) -> None:
        """Continue from an earlier average."""
        state = content['state']
        updates = content['updates']
        assert isinstance(state, dict)
        assert isinstance(updates, int)
        for name, item in self.state.items():
            saved = state[name]
            assert isinstance(saved, Tensor)
            item.copy_(saved)
        self.updates = updates
