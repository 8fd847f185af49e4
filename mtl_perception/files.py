# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mtl_perception.errors import StorageError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    Give a temporary path to write to, which takes the place of a file at the end of the block.

    The new file and its folder are flushed to the disk, so that even after a power cut either the
    old or the new content is there. If the block fails, the temporary file is removed.

    :param path: of the file; its folder is made if missing.
    :raises StorageError: if the disk refuses; the old file, if there was one, is untouched.
    """
    # two processes may write the same file at the same time
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as error:
        raise StorageError(
            f'{path}: cannot be written ({error}); what was there before is untouched. Free some '
            'space or choose another folder') from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(content: bytes, path: Path) -> None:
    """
    Write a file so that at any moment either the old or the new content is there.

    :raises StorageError: if that fails; the old file is untouched.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
