# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Read pictures ahead of the time at which they are published."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from mtl_perception.errors import DataError, PerceptionError
from mtl_perception.ros.image_sources import ImageSource, Picture


class Prefetcher:
    """
    A thread that reads a source and keeps a few pictures waiting.

    A live source keeps only its newest picture.

    :param source: is closed together with the prefetcher.
    :param ahead: how many pictures may wait.
    """

    def __init__(self, source: ImageSource, ahead: int) -> None:
        self._source = source
        self._waiting: queue.Queue[Picture | PerceptionError | None] = queue.Queue(
            1 if source.live else ahead)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name='prefetcher', daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether :meth:`take` would return at once."""
        return not self._waiting.empty()

    @property
    def full(self) -> bool:
        """Whether no more pictures may wait, or the source has ended."""
        return self._waiting.full() or not self._thread.is_alive()

    def take(self, stopped: Callable[[], bool]) -> Picture | None:
        """
        Wait for the next picture.

        :param stopped: asked repeatedly whether to stop waiting.
        :return: None at the end of the source, or after ``stopped``.
        :raises PerceptionError: the error of reading the source.
        """
        while not stopped():
            try:
                item = self._waiting.get(timeout=0.05)
            except queue.Empty:
                continue
            if isinstance(item, PerceptionError):
                raise item
            return item
        return None

    def close(self) -> None:
        """Stop reading and close the source."""
        self._closing.set()
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():
            self._source.close()

    def _run(self) -> None:
        """Read until the end, an error or the request to close."""
        item: Picture | PerceptionError | None = None
        while not self._closing.is_set():
            try:
                item = self._source.read()
            except PerceptionError as error:
                item = error
            except Exception as error:  # noqa: BLE001  (the reader of the queue must get it)
                item = DataError(f'reading the source failed: {type(error).__name__}: {error}')
            self._put(item)
            if not isinstance(item, Picture):
                return

    def _put(self, item: Picture | PerceptionError | None) -> None:
        """Wait for a free place in the queue; a live source makes one."""
        while not self._closing.is_set():
            with suppress(queue.Full):
                self._waiting.put(item, timeout=0.05)
                return
            if self._source.live:
                with suppress(queue.Empty):
                    self._waiting.get_nowait()
