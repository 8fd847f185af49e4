# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An engine that need not run a network on the same image again."""

import contextlib
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Outputs
from mtl_perception.inference.engine import Engine

KEPT = 8
"""Answers that are remembered: those for the tiles of one image."""

Answer = tuple[Outputs, Any]


class RememberingEngine:
    """
    An :class:`mtl_perception.inference.engine.Engine` that can give its last answers again.

    What it remembers is asked for only within :meth:`recalling`, for an image that comes once
    more after itself. There masks and depth of a network of one frame are the same; with a motion
    head, they are taken to be the same whatever the network, since nothing changed between the
    two. A network of several frames whose own decoder finds motion runs every time.

    :param engine: that runs the network.
    """

    def __init__(self, engine: Engine) -> None:
        self.manifest = engine.manifest
        self.motion_head = engine.motion_head
        self.setup = engine.setup
        self._engine = engine
        same = engine.motion_head is not None or engine.manifest.network.frames == 1
        self._seen: deque[tuple[NDArray[np.uint8], frozenset[str] | None, Answer]] = deque(
            maxlen=KEPT if same else 0)
        self._recalls = False

    @contextlib.contextmanager
    def recalling(self) -> Iterator[None]:
        """Give remembered answers until the end of the context."""
        self._recalls = True
        try:
            yield
        finally:
            self._recalls = False

    def step(
        self, image: NDArray[np.uint8], state: Any = None, tasks: Collection[str] | None = None,
    ) -> Answer:
        """Return the answer of the engine, see :meth:`.Engine.step`."""
        wanted = None if tasks is None else frozenset(tasks)
        for seen, asked, answer in reversed(self._seen if self._recalls else ()):
            if asked == wanted and np.array_equal(seen, image):
                return answer
        answer = self._engine.step(image, state, tasks)
        self._seen.append((image.copy(), wanted, answer))
        return answer
