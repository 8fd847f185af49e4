# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A file is written whole or not at all."""

import os

import pytest

from mtl_perception.errors import StorageError
from mtl_perception.files import (
    digest_of_files,
    part_of,
    remove_abandoned,
    replacing,
    write_atomically,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_its_folder_are_made_and_replaced(tmp_path):
    path = tmp_path / 'new' / 'file'
    write_atomically(b'old', path)
    write_atomically(b'new', path)

    assert path.read_bytes() == b'new'
    assert names(path.parent) == ['file']


@pytest.mark.parametrize('broken', ['fsync', 'replace'])
def test_a_refused_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / 'file'
    write_atomically(b'old', path)

    def refuse(*_):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, refuse)
        with pytest.raises(StorageError, match=r'No space left.*untouched'):
            write_atomically(b'new', path)
    assert path.read_bytes() == b'old'
    assert names(tmp_path) == ['file']


def test_a_block_that_fails_does_not_replace_the_file(tmp_path):
    path = tmp_path / 'file'
    write_atomically(b'old', path)

    def write_half():
        with replacing(path) as temporary:
            temporary.write_bytes(b'half of it')
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()

    assert path.read_bytes() == b'old'
    assert names(tmp_path) == ['file']


def test_parts_of_one_file_differ_even_where_processes_have_the_same_number(tmp_path):
    assert part_of(tmp_path / 'file') != part_of(tmp_path / 'file')


def test_a_part_is_removed_a_day_after_its_last_write_and_other_files_stay(tmp_path):
    for name in ('file', '.file.7.part', '.other.7.part', 'file.part'):
        (tmp_path / name).write_bytes(b'half')
        if name != '.other.7.part':
            os.utime(tmp_path / name, (0, 0))
    remove_abandoned(tmp_path)
    remove_abandoned(tmp_path / 'nowhere')

    assert names(tmp_path) == ['.other.7.part', 'file', 'file.part']


def test_a_digest_of_files_knows_their_names_sizes_and_times(tmp_path):
    (tmp_path / 'a').mkdir()
    file = tmp_path / 'a' / 'front.mp4'
    file.write_bytes(b'monday')
    os.utime(file, (1, 1))
    folder, alone = digest_of_files(tmp_path), digest_of_files(file)
    assert digest_of_files(tmp_path) == folder

    file.write_bytes(b'tuesday')
    os.utime(file, (1, 1))
    assert digest_of_files(tmp_path) != folder
    assert digest_of_files(file) != alone

    file.write_bytes(b'monday')
    os.utime(file, (2, 2))
    assert digest_of_files(file) != alone
    os.utime(file, (1, 1))
    assert digest_of_files(file) == alone
    (tmp_path / 'a' / 'more.mp4').touch()
    assert digest_of_files(tmp_path) != folder
