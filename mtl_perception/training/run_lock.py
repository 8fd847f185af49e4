# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One process at a time in a run folder."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mtl_perception.errors import ConfigurationError, StorageError


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
        # not truncated on opening: the text is that of the process that holds it
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
