# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stop a process in an orderly way on SIGINT, SIGTERM, or SIGHUP (its terminal was closed)."""

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from mtl_perception.errors import PerceptionError

STOPPED, HUNG_UP, INTERRUPTED = 75, 129, 130
"""
Exit codes: stopped with everything saved; the terminal was closed; stopped at once by a second
signal.
"""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

TOGETHER_S = 0.3
"""
Signals this close to the first, seconds, are the same request: one Ctrl-C may come from the
terminal and from a parent, and the death of a parent is told once for each of its threads.
"""


class StopRequest:
    """
    Remember the first signal; exit at once on a second one.

    As a context manager it gives the old handlers back at its end. Use it in the main thread.

    :param at_once: nothing has begun yet that must be finished, so the first signal ends the
        process, with code 0. The attribute may be changed later.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self.received: str | None = None
        """Name of the signal, None before one came."""
        self._received_at = 0.0
        self._old: dict[int, object] = {}

    def listen(self) -> 'StopRequest':
        """Handle the signals from now on, those that were blocked until now too."""
        for number in SIGNALS:
            if not _is_meant_to_be_ignored(number):
                self._old[number] = signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return self

    def ignore(self) -> None:
        """Ignore the signals from now on: the process ends anyway, with its exit code."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def __enter__(self) -> 'StopRequest':
        return self.listen()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.at_once:
            os._exit(0)
        if self.received is None:
            self.received = signal.Signals(number).name
            self._received_at = time.monotonic()
        elif time.monotonic() - self._received_at > TOGETHER_S:
            os._exit(INTERRUPTED)


def interruptible(main: Callable[[], int | None], name: str, raises: bool = False) -> int:
    """
    Run a program: an error of the package, SIGINT, SIGTERM and SIGHUP end it with one line.

    It cleans up on its way out: temporary files and processes of its own do not stay.

    :param main: the program; it sees a signal as ``KeyboardInterrupt``.
    :param name: of the program, for that line.
    :param raises: whether an error of the package is raised, for a program that says it itself.
    :return: its exit code, that of the error, :data:`HUNG_UP` or :data:`INTERRUPTED`.
    """
    interruption = _Interruption()
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, interruption.on_signal)
                  for number in (signal.SIGTERM, signal.SIGHUP)
                  if not _is_meant_to_be_ignored(number)}

    try:
        return main() or 0
    except PerceptionError as error:
        if raises:
            raise
        print(f'{name}: {error}', file=sys.stderr)
        return error.exit_code

    except KeyboardInterrupt:
        print(f'{name}: interrupted', file=sys.stderr)
        return interruption.code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Interruption:
    """
    Raise ``KeyboardInterrupt`` on a signal, once for all that come together.

    :ivar code: the exit code.
    """

    def __init__(self) -> None:
        self.code = INTERRUPTED
        self._received_at = -TOGETHER_S

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """
        Handle a signal.

        :raises KeyboardInterrupt: if it is no repetition, which would break off the cleaning up.
        """
        now = time.monotonic()
        if now - self._received_at <= TOGETHER_S:
            return
        self._received_at = now
        if number == signal.SIGHUP:
            self.code = HUNG_UP
            _leave_terminal()
        raise KeyboardInterrupt


def _is_meant_to_be_ignored(number: int) -> bool:
    """Return whether a signal is to stay ignored: nohup has SIGHUP ignored."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


def _leave_terminal() -> None:
    """Let outputs to a terminal that is gone go nowhere: each line would be another error."""
    for stream in (1, 2):
        try:
            os.write(stream, b'')
        except OSError as error:
            if error.errno == errno.EIO:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)
