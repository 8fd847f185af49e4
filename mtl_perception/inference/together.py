# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras on one engine: their frames as one batch, where the engine gains by it."""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Outputs
from mtl_perception.inference.engine import Engine


@dataclass(frozen=True, eq=False)
class Request:
    """
    What :meth:`.Engine.step` is asked for one camera.

    :param image: (height, width, 3) uint8 RGB.
    :param state: of the camera's previous frame, or None.
    :param tasks: names of the tasks to compute; all if None.
    """

    image: NDArray[np.uint8]
    state: Any
    tasks: frozenset[str] | None


class BatchEngine(Engine, Protocol):
    """An engine that answers several cameras at once."""

    @property
    def gains_by_batches(self) -> bool:
        """Whether a batch is faster than its frames one after the other, as on a GPU."""
        ...

    def steps(self, requests: Sequence[Request]) -> list[tuple[Outputs, Any]]:
        """
        Return what :meth:`.Engine.step` returns for each request, which are of different cameras.

        :param requests: all of the same tasks.
        """
        ...


@dataclass(eq=False)
class _Waiting:
    """A request and, once it is there, what came of it."""

    request: Request
    answer: tuple[Outputs, Any] | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether the request was answered."""
        return self.answer is not None or self.error is not None


class TogetherEngine:
    """
    An :class:`mtl_perception.inference.engine.Engine` that joins the steps of a group of threads.

    Each thread processes the frame of one camera. :meth:`step` waits until all threads of the
    group have asked for a step or left the group; their requests then run as one batch for each
    set of tasks. Outside of a group a step runs at once.

    :param engine: that answers batches.
    """

    def __init__(self, engine: BatchEngine) -> None:
        self.manifest = engine.manifest
        self.motion_head = engine.motion_head
        self.setup = engine.setup
        self.gives_confidence = getattr(engine, 'gives_confidence', False)
        self._engine = engine
        self._changed = threading.Condition()
        self._members = 0
        self._waiting: list[_Waiting] = []

    def form_group(self, members: int) -> None:
        """
        Form a group, before its threads begin.

        :param members: number of threads; each calls :meth:`leave` when it is done.
        """
        with self._changed:
            self._members = members

    def leave(self) -> None:
        """Leave the group: the others need not wait for this thread any more."""
        with self._changed:
            self._members -= 1
            self._run_if_complete()

    def step(
        self, image: NDArray[np.uint8], state: Any = None, tasks: Collection[str] | None = None,
    ) -> tuple[Outputs, Any]:
        """Return the answer of the engine, see :meth:`.Engine.step`; may wait for the group."""
        own = _Waiting(Request(image, state, None if tasks is None else frozenset(tasks)))
        with self._changed:
            self._waiting.append(own)
            self._run_if_complete()
            self._changed.wait_for(lambda: own.done)
        if own.error is not None:
            raise own.error
        assert own.answer is not None
        return own.answer

    def _run_if_complete(self) -> None:
        """Run what waits once nobody else can ask; the lock is held."""
        if not self._waiting or len(self._waiting) < self._members:
            return
        batches: dict[frozenset[str] | None, list[_Waiting]] = {}
        for one in self._waiting:
            batches.setdefault(one.request.tasks, []).append(one)
        self._waiting = []

        for batch in batches.values():
            try:
                answers = self._engine.steps([one.request for one in batch])
                for one, answer in zip(batch, answers, strict=True):
                    one.answer = answer
            except BaseException as error:  # noqa: BLE001  (each thread raises it)
                for one in batch:
                    one.error = error
        self._changed.notify_all()


def shared_by(engine: Engine, cameras: int) -> Engine:
    """
    Return the engine of several cameras: a :class:`TogetherEngine` where batches are faster.

    On a CPU they are not: there the cameras take turns.

    :param engine: that was loaded.
    :param cameras: how many share it.
    """
    if cameras > 1 and getattr(engine, 'gains_by_batches', False):
        return TogetherEngine(cast(BatchEngine, engine))
    return engine
