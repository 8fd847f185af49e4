# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The gradient of a single task, from its loss down to the features that all tasks share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge


@dataclass(frozen=True)
class Shared:
    """
    The shared part of one batch's graph, for strategies that use gradients.

    :param taps: features that the decoders read, from :func:`tapped`: no tap may be computed from
        another. A loss depends on shared parameters through the taps only.
    :param layer: weight of the last shared layer, before the taps.
    :param behind: parameters that several tasks share behind the taps. Their gradients get the
        weights of the shared part, but methods that compare gradients do not see them.
    """

    taps: Sequence[Tensor]
    layer: nn.Parameter
    behind: Sequence[nn.Parameter] = ()


def required(shared: Shared | None) -> Shared:
    """
    Return ``shared``, for strategies that need it.

    :raises ValueError: if it is None.
    """
    if shared is None:
        raise ValueError(
            'this strategy uses gradients; give it the taps and the last shared layer: '
            'weighting(losses, Shared(taps, layer))')
    return shared


def tapped(stages: Sequence[Tensor]) -> list[Tensor]:
    """
    Return views of the shared features, for the decoders to read in their place.

    A coarse stage is computed from a finer one, so the gradient with respect to the finer stage
    also has a part that comes through the encoder. The gradient with respect to its view does
    not.
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
    Backpropagate from a loss to the taps and no further.

    :param loss: 0-dimensional.
    :param taps: see :class:`Shared`.
    """
    # The same pass gives the gradients of the decoder's parameters, so the update needs no other.
    leaves = leaves_before(loss, taps)
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        loss, [*taps, *leaves], retain_graph=True, allow_unused=True)
    return TaskGradient(gradients[:len(taps)], leaves, gradients[len(taps):])


def nodes_before(starts: Iterable[Any], stops: Iterable[Any] = ()) -> Iterator[Any]:
    """
    Yield the nodes of the graph that autograd has recorded, each once.

    :param starts: nodes to begin with; None is skipped.
    :param stops: nodes that are neither yielded nor passed.
    """
    seen = {None, *stops}
    waiting = [*starts]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting.extend(following for following, _ in node.next_functions)


def leaves_before(loss: Tensor, taps: Sequence[Tensor]) -> list[Tensor]:
    """Return the leaves of a loss's graph on this side of the taps."""
    if loss.grad_fn is None:
        return [loss] if loss.requires_grad else []
    return [
        node.variable for node in nodes_before([loss.grad_fn], [tap.grad_fn for tap in taps])
        if hasattr(node, 'variable') and not any(node.variable is tap for tap in taps)]


def gradient_at(
        place: Tensor | GradientEdge, gradient: TaskGradient, taps: Sequence[Tensor],
        ) -> Tensor | None:
    """
    Backpropagate from the taps to a place in the shared part, and no further.

    :param place: a parameter, or an edge of the graph.
    :param gradient: of a loss, at the taps.
    :param taps: see :class:`Shared`.
    :return: the gradient of the loss there; None if the loss does not depend on it, as with a task
        that reads detached features.
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
        own_weights: Tensor, shared: Shared) -> Tensor:
    """
    Return a total whose gradient is a weighted sum of the tasks' known gradients.

    Its backward pass starts at the taps: the decoders are not passed a second time.

    :param value: 0-dimensional value of the total.
    :param gradients: one per task.
    :param shared_weights: (tasks,), factor of each gradient at the taps.
    :param own_weights: (tasks,), factor of each gradient in its decoder.
    :param shared: the taps, and what is shared behind them.
    """
    inputs: list[Tensor] = []
    known: list[Tensor] = []
    behind = {id(parameter) for parameter in shared.behind}

    for number, tap in enumerate(shared.taps):
        parts = [weight.to(part) * part for weight, gradient in zip(shared_weights, gradients)
                 if (part := gradient.taps[number]) is not None]
        if parts:
            inputs.append(tap)
            known.append(sum(parts[1:], parts[0]))

    for common, weight, gradient in zip(shared_weights, own_weights, gradients):
        for leaf, own in zip(gradient.leaves, gradient.own):
            if own is not None:
                inputs.append(leaf)
                known.append((common if id(leaf) in behind else weight).to(own) * own)

    total: Tensor = _Known.apply(value, known, *inputs)
    return total


class _Known(torch.autograd.Function):
    """A number whose gradient is already known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, known: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.known = known
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, None, *(gradient.to(item) * item for item in ctx.known)
