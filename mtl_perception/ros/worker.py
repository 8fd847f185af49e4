# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The thread in which the network runs, so that the executor stays free for other callbacks."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from mtl_perception.inference.engine import Engine
from mtl_perception.inference.mailbox import Mailbox
from mtl_perception.inference.together import TogetherEngine

T = TypeVar('T')

MOST_TOGETHER = 8
"""Largest batch; each size needs memory of its own on a GPU."""


class Worker(Generic[T]):
    """
    Process the messages of a mailbox, one after the other, until stopped.

    With a :class:`.TogetherEngine`, the messages of all cameras that wait are processed at once,
    each in a thread of its own.

    :param mailbox: of the messages.
    :param work: called with the camera's name and the message; must not raise.
    :param name: of the thread.
    :param engine: of the work.
    """

    def __init__(
        self, mailbox: Mailbox[T], work: Callable[[str, T], None], name: str = 'perception',
        engine: Engine | None = None,
    ) -> None:
        self._mailbox = mailbox
        self._work = work
        self._together = engine if isinstance(engine, TogetherEngine) else None
        self._busy: tuple[str, float] | None = None
        self.taken = 0
        """How many messages it has begun with."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def busy(self) -> tuple[str, float] | None:
        """Return the camera whose message is being processed and for how many seconds."""
        busy = self._busy
        return None if busy is None else (busy[0], time.monotonic() - busy[1])

    def is_past(self, taken: int) -> bool:
        """Return whether the message that was the last one begun, back then, is finished."""
        return self._busy is None or self.taken > taken

    def stop(self, timeout_s: float) -> bool:
        """
        Finish the current message, then end the thread.

        :return: whether the thread ended in time.
        """
        self._mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (taken := self._mailbox.take()) is not None:
            camera, message = taken
            self.taken += 1
            self._busy = (camera, time.monotonic())
            if self._together is None:
                self._work(camera, message)
            else:
                self._work_together(self._together, [
                    taken, *self._mailbox.take_others(camera, MOST_TOGETHER - 1)])
            self._busy = None
            # an image is large: do not keep it while waiting for the next one
            del taken, message

    def _work_together(self, engine: TogetherEngine, group: Sequence[tuple[str, T]]) -> None:
        """Process messages of different cameras at once."""
        def work(camera: str, message: T) -> None:
            try:
                self._work(camera, message)
            finally:
                engine.leave()

        engine.form_group(len(group))
        threads = [threading.Thread(target=work, args=one, name=f'{self._thread.name} {one[0]}',
                                    daemon=True) for one in group]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
