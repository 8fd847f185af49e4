# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Steps of a network that a GPU captures once, as a CUDA graph, and then replays as a whole.

Launched one by one, the kernels of a small network may take the host longer than the GPU. A graph
launches them at once, but always on the same memory: what goes in is copied there, and what comes
out is copied away before the next replay. This file decides when to do which; what a GPU does for
it is behind :class:`Graphs`, so that all decisions are tested without one.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mtl_perception.models.streaming import State

Results = tuple[dict[str, Tensor], State]
Tasks = frozenset[str] | None
Step = Callable[[Tensor, State | None, Tasks, Tensor | None], Results]
"""Image, state, tasks and ``first`` of :meth:`.StreamingNetwork.step`."""

EAGER_STEPS = 3
"""Steps of one kind before it is captured."""
MOST_GRAPHS = 8
"""Kinds of steps that are captured; each graph has memory of its own."""
OTHER_IDS = 1e-4
"""Share of the ids that may differ between a replay and the step itself."""
RELATIVE = 1e-3
"""Relative difference that depth may have; other numbers also this share of the largest."""

_log = logging.getLogger(__name__)


class Graphs(Protocol):
    """What a device does for :class:`CapturedSteps`."""

    def capture(self, run: Callable[[], Results]) -> tuple[Any, Results]:
        """
        Return a graph of the work that a function gives to the device, and its results.

        :param run: reads and writes memory that lasts as long as the graph.
        :return: the results hold nothing yet; each replay overwrites them.
        """
        ...

    def replay(self, graph: Any) -> None:
        """Do the work of a graph again."""
        ...

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Copy a tensor into the memory of another one, after the work before it."""
        ...


@dataclass(frozen=True, eq=False)
class _Captured:
    """
    A step that was captured.

    :param inputs: memory that it reads.
    :param graph: what :meth:`Graphs.replay` takes.
    :param results: memory that it writes.
    """

    inputs: list[Tensor]
    graph: Any
    results: Results


@dataclass(eq=False)
class _Kind:
    """
    Steps with inputs of the same shapes and the same tasks.

    :param steps: how many ran as they are.
    :param captured: the graph, once there is one.
    :param trusted: whether a replay gave what the step itself gives.
    """

    steps: int = 0
    captured: _Captured | None = None
    trusted: bool = False


class CapturedSteps:
    """
    A step that is captured after it ran a few times, and replayed from then on.

    Steps with other shapes, other tasks or without a state are of another kind: each kind has a
    graph of its own. Once there are :data:`MOST_GRAPHS`, other kinds run as they are: were one
    graph to make room for another, many cameras would capture again and again, which takes as
    long as several frames. The first replay works on another frame than the capture, and the step
    runs beside it: so a graph that misses an input is found. Where the two differ, or a capture
    fails, one warning says why, and from then on nothing is captured or replayed.

    What a step returns belongs to its caller: no later step changes it. Safe to use from several
    threads.

    :param step: runs on the device; its results depend on nothing but its arguments.
    :param graphs: of the device.
    :param most_graphs: how many kinds are captured.
    """

    def __init__(self, step: Step, graphs: Graphs, most_graphs: int = MOST_GRAPHS) -> None:
        self.off_because = ''
        """Why nothing is captured any more; empty as long as it is."""
        self._step = step
        self._graphs = graphs
        self._most_graphs = most_graphs
        self._kinds: dict[Any, _Kind] = {}
        self._lock = threading.Lock()

    def __call__(
        self, image: Tensor, state: State | None, tasks: Tasks, first: Tensor | None,
    ) -> Results:
        """Return the results of the step."""
        if self.off_because:
            return self._step(image, state, tasks, first)

        # All steps of a kind share the memory of its graph: one at a time.
        with self._lock:
            kind = self._kind(image, state, tasks, first)
            if kind.trusted and kind.captured is not None:
                return self._replayed(kind.captured, _tensors(image, state, first))

            results = self._step(image, state, tasks, first)
            kind.steps += 1
            try:
                self._advance(kind, results, image, state, tasks, first)
            except Exception as error:  # noqa: BLE001  (the results are there already)
                self.give_up(_in_words(error))
            return results

    def forget(self) -> None:
        """Forget all graphs, because something that they hold has changed."""
        self._kinds = {}

    def give_up(self, reason: str) -> None:
        """
        Capture and replay nothing any more, and free the memory of the graphs.

        :param reason: for the log.
        """
        self.forget()
        if not self.off_because:
            self.off_because = reason
            _log.warning(
                'steps are not replayed as CUDA graphs any more, which costs time but changes no '
                'result: %s', reason)

    def _kind(
        self, image: Tensor, state: State | None, tasks: Tasks, first: Tensor | None,
    ) -> _Kind:
        """Return the kind of a step."""
        inputs = _tensors(image, state, first)
        key = (tasks, *((*value.shape, value.dtype) for value in inputs))
        return self._kinds.setdefault(key, _Kind())

    def _advance(
        self, kind: _Kind, results: Results, image: Tensor, state: State | None, tasks: Tasks,
        first: Tensor | None,
    ) -> None:
        """
        Capture a kind of step that ran often enough, or compare its first replay.

        :param results: of this step, which ran as it is.
        """
        if kind.captured is not None:
            replayed = self._replayed(kind.captured, _tensors(image, state, first))
            if found := difference(replayed, results):
                self.give_up(f'a replay differs from the step itself in {found}')
            else:
                kind.trusted = True
                _log.info('steps of images %s are replayed as a CUDA graph', [*image.shape])

        elif kind.steps >= EAGER_STEPS and self._has_room():
            own_image = self._copied(image)
            own_state = state and tuple(self._copied(stage) for stage in state)
            own_first = None if first is None else self._copied(first)
            graph, written = self._graphs.capture(
                lambda: self._step(own_image, own_state, tasks, own_first))
            kind.captured = _Captured(
                _tensors(own_image, own_state, own_first), graph, written)

    def _has_room(self) -> bool:
        """Return whether one more kind may be captured."""
        captured = sum(kind.captured is not None for kind in self._kinds.values())
        return captured < self._most_graphs

    def _replayed(self, captured: _Captured, inputs: list[Tensor]) -> Results:
        """Return the results of a graph for other inputs, in memory of their own."""
        for target, source in zip(captured.inputs, inputs, strict=True):
            self._graphs.copy(target, source)
        self._graphs.replay(captured.graph)

        # A stream keeps its state until its next frame; other cameras replay in between.
        outputs, following = captured.results
        return ({name: self._copied(value) for name, value in outputs.items()},
                tuple(self._copied(stage) for stage in following))

    def _copied(self, source: Tensor) -> Tensor:
        """Return a copy of a tensor."""
        target = torch.empty_like(source)
        self._graphs.copy(target, source)
        return target


def difference(found: Results, wanted: Results) -> str:
    """
    Return in words where results are not those that were wanted, empty if they are.

    :param found: of a replay.
    :param wanted: of the step itself; the same names and shapes.
    """
    pairs = {name: (found[0][name], value) for name, value in wanted[0].items()}
    for number, stages in enumerate(zip(found[1], wanted[1], strict=True)):
        pairs[f'stage {number} of the state'] = stages

    for name, (own, other) in pairs.items():
        if not other.is_floating_point():
            share = float((own != other).float().mean())
            if share >= OTHER_IDS:
                return f'{name}, in {share:.3%} of the pixels'
            continue

        # A score near zero may lose all its digits; depth is a ratio everywhere.
        own, other = own.float(), other.float()
        largest = float(other.nan_to_num(0, 0, 0).abs().max())
        absolute = 0.0 if name == 'depth' else RELATIVE * largest
        if not torch.allclose(own, other, RELATIVE, absolute, equal_nan=True):
            return f'{name}, by up to {float((own - other).abs().max()):.3g}'
    return ''


def _in_words(error: BaseException) -> str:
    """Return what went wrong; a capture that ends badly hides it behind an error of its own."""
    cause = error.__context__ or error
    lines = str(cause).splitlines() or ['']
    return f'{type(cause).__name__}: {lines[0][:200]}'


def _tensors(image: Tensor, state: State | None, first: Tensor | None) -> list[Tensor]:
    """Return the inputs of a step that are there."""
    return [image, *(state or ()), *([] if first is None else [first])]
