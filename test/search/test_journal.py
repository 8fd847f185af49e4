# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A file that only grows survives whatever happens to the process and the disk."""

import math
import resource
import signal

import pytest

from mtl_perception.errors import CheckpointError, StorageError
from mtl_perception.search.journal import Journal


def test_a_cut_line_is_dropped_and_a_damaged_one_refused(tmp_path):
    path = tmp_path / 'deep' / 'journal.jsonl'
    journal = Journal(path)
    for number in range(3):
        journal.add({'number': number, 'fitness': math.nan})
    journal.close()
    content = path.read_bytes()

    # whatever is cut off the last line, the others stay and new ones follow
    for cut in range(1, len(content.splitlines()[-1]) + 1):
        path.write_bytes(content[:-cut])
        torn = Journal(path)
        assert [entry['number'] for entry in torn.entries] == [0, 1]
        assert torn.torn
        torn.add({'number': 9})
        torn.close()
        assert [entry['number'] for entry in Journal(path).entries] == [0, 1, 9]

    # a changed byte in a line before the last is an error
    first = len(content.splitlines(keepends=True)[0])
    refused = 0
    for place in range(first):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(bytes(changed))
        with pytest.raises(CheckpointError, match='line 1 has changed since it was written'):
            Journal(path)
        refused += 1

    assert refused == first

    path.write_bytes(content)  # the control
    assert len(Journal(path).entries) == 3


def test_a_full_disk_leaves_the_journal_unchanged(tmp_path):
    path = tmp_path / 'journal.jsonl'
    journal = Journal(path)
    journal.add({'number': 0})
    before = path.read_bytes()

    # a limit on the size of files stands for a full disk
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(StorageError, match='could not be written'):
            journal.add({'number': 1})
        assert path.read_bytes() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    journal.add({'number': 2})
    journal.close()
    assert [entry['number'] for entry in Journal(path).entries] == [0, 2]
