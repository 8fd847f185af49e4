# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The learning rate of a step, and the moving average of the weights."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def learning_rate(
        step: int, steps: int, peak: float, warm_up: float = 0.1, final: float = 0.01) -> float:
    """
    Return the learning rate of one step of a stage: a linear rise, then half a cosine down.

    :param step: 0 to ``steps - 1``.
    :param steps: steps of the stage.
    :param peak: the highest learning rate.
    :param warm_up: share of the steps in which it rises.
    :param final: what is left at the end, as a share of the peak.
    """
    rise = max(1, round(warm_up * steps))
    if step < rise:
        return peak * (step + 1) / rise
    progress = (step + 1 - rise) / max(1, steps - rise)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)


def parameter_groups(modules: Iterable[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """
    Split parameters into those that decay and those that do not.

    Biases and batch normalisation have one dimension and do not decay.

    :param modules: networks whose parameters are trained.
    :param weight_decay: decay of the others.
    """
    parameters = [
        parameter for module in modules for parameter in module.parameters()
        if parameter.requires_grad]
    return [
        {'params': [item for item in parameters if item.ndim >= 2], 'weight_decay': weight_decay},
        {'params': [item for item in parameters if item.ndim < 2], 'weight_decay': 0.0},
    ]


class WeightAverage:
    """
    Exponential moving average of everything in a network's state.

    The decay grows from a small value, ``min(decay, (1 + n) / (10 + n))`` after n updates, so that
    the random weights of the beginning are soon forgotten.

    :param network: the network that is trained; its present state is where the average starts.
    :param decay: share of the old average that is kept per update.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f'decay is {decay}; it must be at least 0 and below 1')
        self.decay = decay
        self.updates = 0
        self.state = {name: item.detach().clone() for name, item in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network's present state; whole numbers are copied."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, item in network.state_dict().items():
            if item.is_floating_point():
                self.state[name].lerp_(item, 1 - decay)
            else:
                self.state[name].copy_(item)

    def state_dict(self) -> dict[str, object]:
        """Return what :meth:`load_state_dict` takes."""
        return {'updates': self.updates, 'state': self.state}

    def load_state_dict(self, content: dict[str, object]) -> None:
        """Go on from an earlier average."""
        state, updates = content['state'], content['updates']
        assert isinstance(state, dict)
        assert isinstance(updates, int)
        for name, item in self.state.items():
            saved = state[name]
            assert isinstance(saved, Tensor)
            item.copy_(saved)
        self.updates = updates
