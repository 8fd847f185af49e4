# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The gradient of one task alone, from its loss down to the features that all tasks share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge


@dataclass(frozen=True)
class Shared:
    """
    What the losses of one batch have in common, for strategies that look at gradients.

    :param taps: what the decoders read, from :func:`tapped`: no tap may be computed from another.
        Whatever shared a loss depends on, it reaches through one of them.
    :param layer: weight of the last shared layer, before the taps.
    """

    taps: Sequence[Tensor]
    layer: nn.Parameter


def required(shared: Shared | None) -> Shared:
    """
    Return what is shared.

    :raises ValueError: if it was not given to a strategy that needs it.
    """
    if shared is None:
        raise ValueError(
            'this strategy looks at gradients; give it the taps and the last shared layer: '
            'weighting(losses, Shared(taps, layer))')
    return shared


def tapped(stages: Sequence[Tensor]) -> list[Tensor]:
    """
    Return views of the shared features, for the decoders to read instead.

    A coarse stage is computed from a finer one, so the gradient with respect to the finer one
    would go through the encoder. That with respect to its view ends at the decoders.
    """
    return [stage.view_as(stage) for stage in stages]


@dataclass(frozen=True)
class TaskGradient:
    """
    The gradient of one loss, cut at the taps.

    :param taps: gradient with respect to each tap, None where the loss does not depend on it.
    :param leaves: parameters of the decoder.
    :param own: gradient with respect to each of them.
    """

    taps: Sequence[Tensor | None]
    leaves: Sequence[Tensor]
    own: Sequence[Tensor | None]


def task_gradient(loss: Tensor, taps: Sequence[Tensor]) -> TaskGradient:
    """
    Go from a loss back to the taps and no further.

    :param loss: 0-dimensional.
    :param taps: see :class:`Shared`.
    """
    leaves = leaves_before(loss, taps)
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        loss, [*taps, *leaves], retain_graph=True, allow_unused=True)
    return TaskGradient(gradients[:len(taps)], leaves, gradients[len(taps):])


def nodes_before(starts: Iterable[Any], stops: Iterable[Any] = ()) -> Iterator[Any]:
    """
    Go through the graph that autograd has recorded.

    :param starts: nodes to begin with; None is skipped.
    :param stops: nodes to go round.
    """
    seen, waiting = {None, *stops}, [*starts]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting.extend(following for following, _ in node.next_functions)


def leaves_before(loss: Tensor, taps: Sequence[Tensor]) -> list[Tensor]:
    """Return the leaves of a loss's graph, without what is behind the taps."""
    if loss.grad_fn is None:
        return [loss] if loss.requires_grad else []
    return [
        node.variable for node in nodes_before([loss.grad_fn], [tap.grad_fn for tap in taps])
        if hasattr(node, 'variable') and not any(node.variable is tap for tap in taps)]


def gradient_at(
        place: Tensor | GradientEdge, gradient: TaskGradient, taps: Sequence[Tensor],
        ) -> Tensor | None:
    """
    Go on from the taps to a place in the shared part, and no further.

    :param place: a parameter, or an edge of the graph.
    :param gradient: of a loss, at the taps.
    :param taps: see :class:`Shared`.
    :return: the gradient of the loss there; None if the loss does not depend on it, as that of a
        task that does not shape the features.
    """
    pairs = [(tap, own) for tap, own in zip(taps, gradient.taps) if own is not None]
    if not pairs:
        return None
    found: Tensor | None = torch.autograd.grad(
        [tap for tap, _ in pairs], place, [own for _, own in pairs], retain_graph=True,
        allow_unused=True)[0]
    return found


def total_with_gradient(
        value: Tensor, gradients: Sequence[TaskGradient], shared_weights: Tensor,
        own_weights: Tensor, taps: Sequence[Tensor]) -> Tensor:
    """
    Return a total whose gradient is put together from those of the tasks.

    Its backward pass starts at the taps: the decoders are not passed again.

    :param value: 0-dimensional, what the total is.
    :param gradients: one per task.
    :param shared_weights: (tasks,), factor of each gradient at the taps.
    :param own_weights: (tasks,), factor of each gradient in its decoder.
    :param taps: see :class:`Shared`.
    """
    inputs: list[Tensor] = []
    known: list[Tensor] = []
    for number, tap in enumerate(taps):
        parts = [weight.to(part) * part for weight, gradient in zip(shared_weights, gradients)
                 if (part := gradient.taps[number]) is not None]
        if parts:
            inputs.append(tap)
            known.append(sum(parts[1:], parts[0]))
    for weight, gradient in zip(own_weights, gradients):
        for leaf, own in zip(gradient.leaves, gradient.own):
            if own is not None:
                inputs.append(leaf)
                known.append(weight.to(own) * own)
    total: Tensor = _Known.apply(value, known, *inputs)
    return total


class _Known(torch.autograd.Function):
    """A number whose gradient is known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, known: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.known = known
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, None, *(gradient.to(item) * item for item in ctx.known)
