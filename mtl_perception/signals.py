# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stop a process in an orderly way on SIGINT or SIGTERM."""

import os
import signal
from types import FrameType

STOPPED, INTERRUPTED = 75, 130
"""Exit codes: stopped with everything saved; stopped at once by a second signal."""


class StopRequest:
    """
    Remember the first SIGINT or SIGTERM; exit at once on the second.

    As a context manager it gives the old handlers back at its end. Use it in the main thread.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the signal, None before one came."""
        self._old: dict[int, object] = {}

    def listen(self) -> 'StopRequest':
        """Handle the signals from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._on_signal)
        return self

    def __enter__(self) -> 'StopRequest':
        return self.listen()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(INTERRUPTED)
        self.received = signal.Signals(number).name
