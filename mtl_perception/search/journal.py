# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An append-only file whose entries survive a crash of the process or the machine."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mtl_perception.errors import CheckpointError, StorageError
from mtl_perception.reason_codes import ReasonCode

DIGITS = 16
"""Hexadecimal digits of the sha256 that each line begins with."""


class Journal:
    """
    Entries in lines of a file, each with a checksum, on the disk before :meth:`add` returns.

    :param path: of the file; its folder is made.
    :ivar entries: all that were read or added.
    :ivar torn: whether the last line was cut off, as by a killed process; it is removed.
    :raises CheckpointError: if any other line has changed.
    :raises StorageError: if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            self._stream = open(path, 'ab+', buffering=0)  # noqa: SIM115

            # a new file survives a power failure only once its folder is on the disk
            if is_new:
                folder = os.open(path.parent, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)

            self._stream.seek(0)
            content = self._stream.read()
            self.entries, whole = _read(content, path)

            # what a killed process wrote in part is cut off, so that the next entry fits
            self.torn = whole < len(content)
            if self.torn:
                self._stream.truncate(whole)
        except OSError as error:
            raise StorageError(f'{path}: cannot be read or written ({error})') from error

    def add(self, entry: dict[str, Any]) -> None:
        """
        Append an entry.

        :param entry: plain JSON; numbers that are not finite are kept.
        :raises StorageError: if it could not be written; the journal is as it was.
        """
        text = json.dumps(entry, sort_keys=True)
        before = self._stream.seek(0, os.SEEK_END)
        try:
            line = f'{_digest(text)} {text}\n'.encode()
            # an unbuffered write may write a part when the disk is full
            if self._stream.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._stream.fileno())
        except OSError as error:
            os.ftruncate(self._stream.fileno(), before)
            raise StorageError(
                f'{self.path}: could not be written ({error}); free some space, then go on with '
                'the same command') from error
        self.entries.append(entry)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _digest(text: str) -> str:
    """Return the checksum of a line."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _read(content: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the entries, and how many bytes of the content they take."""
    entries, place = [], 0
    lines = content.split(b'\n')
    for number, line in enumerate(lines[:-1], 1):
        digest, _, text = line.decode('utf-8', 'replace').partition(' ')
        if _digest(text) != digest:
            if number == len(lines) - 1 and not lines[-1]:  # the last line, written in part
                break
            raise CheckpointError(
                f'{path}: line {number} has changed since it was written; restore the file from '
                'a copy, or start again in another folder', ReasonCode.MODEL_UNREADABLE)
        entries.append(json.loads(text))
        place += len(line) + 1
    return entries, place
