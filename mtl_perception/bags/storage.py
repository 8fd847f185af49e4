# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a rosbag2: which belong to it, what they hold and how much of it is whole."""

import dataclasses
import functools
import tempfile
from pathlib import Path

import yaml

from mtl_perception.bags.compression import unpack, unpack_file
from mtl_perception.bags.entries import Damage, Entry, RecordedTopic, StorageFile
from mtl_perception.bags.mcap_file import McapFile
from mtl_perception.bags.sqlite_file import SqliteFile
from mtl_perception.cdr import read_stamp
from mtl_perception.errors import DataError
from mtl_perception.reason_codes import ReasonCode

LARGEST_METADATA = 16 << 20
SUFFIXES = ('.mcap', '.db3')
ROS1 = b'#ROSBAG V'
"""What every recording of ROS 1 begins with."""


class Storage:
    """
    All files of a bag.

    :param path: folder, or an mcap or sqlite3 file itself.
    :raises DataError: ``B01``, ``B06`` or ``B09``, if not even a part of it can be read.
    """

    def __init__(self, path: Path) -> None:
        paths, mode = files_of(path)
        self._packed = mode == 'message'
        self._unpacked = tempfile.TemporaryDirectory(prefix='bag') if mode == 'file' else None
        self._files: list[StorageFile] = []

        try:
            for number, one in enumerate(paths):
                self._files.append(self._opened(one, number))
        except BaseException:
            self.close()
            raise

    def _opened(self, path: Path, number: int) -> StorageFile:
        """
        Return a file of the bag, unpacked if it is compressed as a whole.

        :raises DataError: naming the file in the bag, not the unpacked one.
        """
        plain = path if self._unpacked is None else unpack_file(
            path, Path(self._unpacked.name) / f'{number}{path.stem}')
        kind = SqliteFile if plain.suffix == '.db3' else McapFile
        try:
            file = kind(plain)
        except DataError as error:
            text = str(error).removeprefix(f'[{error.code}] ')
            raise DataError(text.replace(str(plain), str(path)), error.code) from error
        file.path = path
        return file

    @functools.cached_property
    def topics(self) -> dict[str, RecordedTopic]:
        """Name -> topic; if a topic has several types, the first one."""
        return {name: topic for file in reversed(self._files)
                for name, topic in file.topics.items()}

    @functools.cached_property
    def entries(self) -> list[tuple[StorageFile, Entry]]:
        """Every message with its file, in the order of reception."""
        found = [(file, entry) for file in self._files for entry in file.entries]
        if self._packed:
            found = [(file, self._stamped(file, entry)) for file, entry in found]
        return sorted(found, key=lambda pair: pair[1].logged_ns)

    @property
    def damage(self) -> list[Damage]:
        """What is wrong with the files that are not whole."""
        return [file.damage for file in self._files if file.damage != Damage()]

    def read(self, file: StorageFile, entry: Entry) -> memoryview:
        """
        Return a serialised message.

        :raises DataError: if that is impossible.
        """
        content = file.read(entry)
        return memoryview(unpack(content, 'zstd', None)) if self._packed else content

    def _stamped(self, file: StorageFile, entry: Entry) -> Entry:
        """Return an entry with the stamp that its message has when it is unpacked."""
        try:
            stamp_ns = read_stamp(self.read(file, entry))
        except DataError as error:
            if error.code == ReasonCode.BAG_BOMB:
                raise
            file.damage.chunks += 1
            stamp_ns = None
        return dataclasses.replace(entry, stamp_ns=stamp_ns)

    def close(self) -> None:
        """Release the files."""
        for file in self._files:
            file.close()
        if self._unpacked is not None:
            self._unpacked.cleanup()


def files_of(path: Path) -> tuple[list[Path], str]:
    """
    Return the files of a bag, and how they are compressed: ``message``, ``file`` or not at all.

    Without ``metadata.yaml`` these are the files of the folder, in the order of their names.

    :raises DataError: ``B06``, naming what is missing.
    """
    if path.suffix == '.zstd':
        raise DataError(
            f'{path}: is a compressed part of a rosbag2; name the folder that it is in',
            ReasonCode.BAG_STORAGE)
    if is_ros1(path):
        raise DataError(
            f'{path}: is a recording of ROS 1; convert it with "rosbags-convert --src {path} '
            f'--dst {path.with_suffix("")}" and name the new folder (pip install rosbags)',
            ReasonCode.BAG_STORAGE)
    if path.is_file():
        return [path], ''

    metadata = path / 'metadata.yaml'
    if not metadata.is_file():
        found = sorted(one for suffix in SUFFIXES for one in path.glob(f'*{suffix}'))
        if not found:
            raise DataError(
                f'{path}: cannot be read as a rosbag2: there is neither metadata.yaml nor an '
                '.mcap or .db3 file', ReasonCode.BAG_STORAGE)
        return found, ''

    names, mode, form = _read_metadata(path, metadata)
    if mode in ('message', 'file') and form != 'zstd':
        raise DataError(
            f'{path}: is compressed with {form!r}, wanted zstd; convert it with '
            '"ros2 bag convert"', ReasonCode.BAG_STORAGE)
    if missing := [name for name in names if not (path / name).is_file()]:
        raise DataError(
            f'{path}: cannot be read as a rosbag2: metadata.yaml lists {", ".join(missing)}, '
            'which is not there', ReasonCode.BAG_STORAGE)
    return [path / name for name in names], mode if mode in ('message', 'file') else ''


def is_ros1(path: Path) -> bool:
    """Return whether a file is a recording of ROS 1, by its first bytes."""
    try:
        with path.open('rb') as file:
            return file.read(len(ROS1)) == ROS1
    except OSError:  # a folder, or nothing
        return False


def _read_metadata(path: Path, metadata: Path) -> tuple[list[str], str, str]:
    """
    Return the names of the files, and mode and format of their compression.

    :param path: the bag, for the error.
    :raises DataError: ``B06``.
    """
    try:
        if metadata.stat().st_size > LARGEST_METADATA:
            raise ValueError(f'it has more than {LARGEST_METADATA} bytes')
        fields = yaml.safe_load(metadata.read_text(encoding='utf-8'))
        fields = fields['rosbag2_bagfile_information']

        # The name alone: a path in it must not lead out of the bag's folder.
        names = [Path(str(name)).name for name in fields['relative_file_paths']]
        mode = str(fields.get('compression_mode') or '').lower()
        form = str(fields.get('compression_format') or '')
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise DataError(
            f'{path}: cannot be read as a rosbag2: metadata.yaml is damaged '
            f'({type(error).__name__}: {" ".join(str(error).split())}); without it the files are '
            'read by themselves', ReasonCode.BAG_STORAGE) from error
    return names, mode, form
