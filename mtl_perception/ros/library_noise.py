# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Catch what image libraries print about damaged images.

libjpeg and libpng write a line for each to the standard error of the process, whoever asks; at 30
images per second that would flood the console, and it is the only trace of a JPEG that decodes in
spite of damage.
"""

import os
import re
import tempfile
import threading
from types import TracebackType

NOISE = re.compile(
    rb'(Corrupt JPEG|Premature end of JPEG|Invalid SOS|Unsupported marker|Inconsistent progression'
    rb'|Application transferred|libpng|\[ ?(WARN|ERROR):\d)')
"""How lines of libjpeg, libpng and OpenCV begin."""

_TURN = threading.Lock()


class LibraryNoise:
    """
    A context in which the lines of libraries are kept; all others are passed on afterwards.

    The standard error belongs to the process: threads that use such a context take turns.
    """

    def __init__(self) -> None:
        self.line = ''
        """The first line of the last context, empty if there was none."""
        self.lines = 0
        """Number of lines so far."""
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (lives with the object)
        self._stderr = -1

    def __enter__(self) -> 'LibraryNoise':
        _TURN.acquire()
        self.line = ''
        try:
            self._stderr = os.dup(2)
            os.dup2(self._file.fileno(), 2)
        except OSError:
            _TURN.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            os.dup2(self._stderr, 2)
            os.close(self._stderr)
        finally:
            _TURN.release()
        if not (size := os.lseek(self._file.fileno(), 0, os.SEEK_CUR)):
            return

        printed = os.pread(self._file.fileno(), size, 0).splitlines(keepends=True)
        os.ftruncate(self._file.fileno(), 0)
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)

        # other threads may have written meanwhile
        noise = [line for line in printed if NOISE.match(line)]
        if others := b''.join(line for line in printed if not NOISE.match(line)):
            os.write(2, others)
        if noise:
            self.lines += len(noise)
            self.line = noise[0].decode('utf-8', 'replace').strip()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
