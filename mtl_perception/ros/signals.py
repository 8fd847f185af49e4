# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Stopping a process in an orderly way.

rclpy's own handlers raise KeyboardInterrupt inside whatever callback runs on SIGINT and take the
context away on SIGTERM, so a program of ours starts with ``rclpy.init(...,
signal_handler_options=SignalHandlerOptions.NO)`` and a :class:`StopRequest`.
"""

import os
import signal
import threading
from types import FrameType


class StopRequest:
    """
    SIGINT and SIGTERM ask the program to finish; a second one ends it at once with code 130.

    Make it in the main thread.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def set(self) -> None:
        """Ask the program to finish."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether the program is to finish."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until the request; return whether there is one."""
        return self._event.wait(seconds)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._event.is_set():
            os._exit(130)
        self._event.set()
