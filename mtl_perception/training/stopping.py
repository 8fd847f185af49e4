# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Being asked to stop, and having the run folder to oneself."""

import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from mtl_perception.errors import ConfigurationError, StorageError

STOPPED, INTERRUPTED = 75, 130
"""Exit codes: stopped with a checkpoint saved; stopped at once by a second signal."""


class StopRequest:
    """
    Remember the first SIGTERM or SIGINT; exit at once on the second.

    Use it as a context manager in the main thread; the old handlers come back at its end.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._old: dict[int, object] = {}

    def __enter__(self) -> 'StopRequest':
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.received is not None:
            os._exit(INTERRUPTED)
        self.received = signal.Signals(number).name


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """
    Hold a run folder for this process; the lock ends with the process, however it ends.

    :raises ConfigurationError: if another process holds it.
    :raises StorageError: if the folder cannot be made.
    """
    path = folder / 'lock'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(path, 'a+', encoding='utf-8')  # noqa: SIM115
    except OSError as error:
        raise StorageError(f'{folder}: cannot be written ({error})') from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            raise ConfigurationError(
                f'{folder} is in use by {stream.read().strip() or "another process"}; wait for '
                'it, or train under another --name') from None
        stream.truncate(0)
        stream.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        stream.flush()
        yield
