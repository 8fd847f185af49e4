# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mtl_perception.errors import StorageError

ABANDONED_S = 24 * 3600.0
"""Nobody works any more on a part that was not written to for so long, seconds."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    Give a temporary path to write to, which takes the place of a file at the end of the block.

    The new file and its folder are flushed to the disk, so that even after a power cut either the
    old or the new content is there. If the block fails, the temporary file is removed.

    :param path: of the file; its folder is made if missing.
    :raises StorageError: if the disk refuses; the old file, if there was one, is untouched.
    """
    temporary = part_of(path)
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


def check_writable(folder: Path) -> None:
    """
    Make a folder and see that files can be written into it, before hours of work.

    :raises StorageError: if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f'{folder}: nothing can be written there ({error}); choose another folder') from error


def part_of(path: Path) -> Path:
    """
    Return where to write a file or a folder that shall appear whole.

    Several processes may write it at the same time, each its own part. They may be on hosts that
    share the folder: the number of a process is not enough to tell them apart.
    """
    return path.with_name(f'.{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part')


def remove_abandoned(folder: Path) -> None:
    """
    Remove the parts that killed processes have left in a folder; what cannot be removed stays.

    A part counts as left once nothing was written to it for a day. Whether its process lives
    cannot be asked: it may run on another host or in another container.

    :param folder: need not exist.
    """
    for part in folder.glob('.*.part'):
        with contextlib.suppress(OSError):
            written = max(path.stat().st_mtime for path in (part, *part.glob('*')))
            if time.time() - written < ABANDONED_S:
                continue
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink()


def digest_of_files(path: Path) -> str:
    """
    Return a digest of which files there are: their names, sizes and times, not their content.

    :param path: a file, or a folder with everything below it.
    """
    files = sorted(one for one in path.rglob('*') if one.is_file()) if path.is_dir() else [path]
    lines = []
    for one in files:
        found = one.stat()
        lines.append(f'{one.relative_to(path)} {found.st_size} {found.st_mtime_ns}')
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
