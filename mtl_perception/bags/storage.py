# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a rosbag2: which there are, what is in them, and how much of it is whole."""

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import lz4.frame
import yaml
import zstandard

from mtl_perception.bags.cdr import read_stamp
from mtl_perception.errors import DataError

LARGEST_UNPACKED = 1 << 30
"""What was compressed is not unpacked to more bytes than this at a time."""

SMALL_UNPACKED = 16 << 20
"""Up to so many bytes any ratio is believed: masks of one class shrink to nearly nothing."""

LARGEST_RATIO = 200
LARGEST_METADATA = 16 << 20
SUFFIXES = ('.mcap', '.db3')


@dataclass(frozen=True)
class Entry:
    """
    One message of a file.

    :param topic: its topic.
    :param logged_ns: when the recorder received it, nanoseconds.
    :param stamp_ns: of its header, if it has one; else meaningless.
    :param place: what the file finds it by.
    """

    topic: str
    logged_ns: int
    stamp_ns: int | None
    place: Any = field(repr=False)


@dataclass(frozen=True)
class Topic:
    """
    A topic of a file.

    :param kind: type of its messages.
    :param definition: of the type, as it is in the file; empty if it is not.
    """

    kind: str
    definition: str = ''


@dataclass
class Damage:
    """
    What is wrong with a file, though some of it can be read.

    :param chunks: parts that were left out, because their checksum or structure is wrong.
    :param cut: why the rest of the file is missing; empty if it is not.
    """

    chunks: int = 0
    cut: str = ''


class StorageFile(Protocol):
    """One file of a bag."""

    topics: dict[str, Topic]
    entries: list[Entry]
    damage: Damage

    def read(self, entry: Entry) -> memoryview:
        """
        Return a serialised message.

        :raises DataError: if that is impossible.
        """

    def close(self) -> None:
        """Let go of the file."""


class Storage:
    """
    All files of a bag.

    :param path: folder, or an mcap or sqlite3 file itself.
    :raises DataError: ``B01``, ``B06`` or ``B09``, if not even a part of it can be read.
    """

    def __init__(self, path: Path) -> None:
        from mtl_perception.bags.mcap_file import McapFile
        from mtl_perception.bags.sqlite_file import SqliteFile
        paths, mode = files_of(path)
        self._packed = mode == 'message'
        self._unpacked = tempfile.TemporaryDirectory(prefix='bag') if mode == 'file' else None
        self._files: list[StorageFile] = []
        try:
            for number, one in enumerate(paths):
                if self._unpacked is not None:
                    one = _unpack_file(one, Path(self._unpacked.name) / f'{number}{one.stem}')
                kind = SqliteFile if one.suffix == '.db3' else McapFile
                self._files.append(kind(one))
        except BaseException:
            self.close()
            raise

    @functools.cached_property
    def topics(self) -> dict[str, Topic]:
        """Name -> topic; of a topic of several types the first one found."""
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
            if error.code == 'B09':
                raise
            file.damage.chunks += 1
            stamp_ns = None
        return dataclasses.replace(entry, stamp_ns=stamp_ns)

    def close(self) -> None:
        """Let go of the files."""
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
            f'{path}: is a compressed part of a rosbag2; name the folder that it is in', 'B06')
    if path.is_file():
        return [path], ''
    metadata = path / 'metadata.yaml'
    if not metadata.is_file():
        found = sorted(one for suffix in SUFFIXES for one in path.glob(f'*{suffix}'))
        if not found:
            raise DataError(
                f'{path}: cannot be read as a rosbag2: there is neither metadata.yaml nor an '
                '.mcap or .db3 file', 'B06')
        return found, ''
    try:
        if metadata.stat().st_size > LARGEST_METADATA:
            raise ValueError(f'it has more than {LARGEST_METADATA} bytes')
        fields = yaml.safe_load(metadata.read_text(encoding='utf-8'))
        fields = fields['rosbag2_bagfile_information']
        names = [Path(str(name)).name for name in fields['relative_file_paths']]
        mode = str(fields.get('compression_mode') or '').lower()
        form = str(fields.get('compression_format') or '')
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise DataError(
            f'{path}: cannot be read as a rosbag2: metadata.yaml is damaged '
            f'({type(error).__name__}: {" ".join(str(error).split())}); without it the files are '
            'read by themselves', 'B06') from error
    if mode in ('message', 'file') and form != 'zstd':
        raise DataError(
            f'{path}: is compressed with {form!r}, wanted zstd; convert it with '
            '"ros2 bag convert"', 'B06')
    if missing := [name for name in names if not (path / name).is_file()]:
        raise DataError(
            f'{path}: cannot be read as a rosbag2: metadata.yaml lists {", ".join(missing)}, '
            'which is not there', 'B06')
    return [path / name for name in names], mode if mode in ('message', 'file') else ''


def unpack(content: memoryview, form: str, size: int | None, partial: bool = False) -> bytes:
    """
    Return what was compressed.

    :param form: ``zstd`` or ``lz4``.
    :param size: how many bytes it is to be, None if that is not known.
    :param partial: return what there is, though the end is missing.
    :raises DataError: ``B09`` for a bomb, ``B02`` if it is damaged.
    """
    most = size
    if most is None:
        most = min(LARGEST_UNPACKED, max(SMALL_UNPACKED, LARGEST_RATIO * len(content)))
    else:
        refuse_bomb(len(content), most)
    try:
        if form == 'zstd':
            with zstandard.ZstdDecompressor().stream_reader(content) as stream:
                raw = stream.read(most + 1)
        elif form == 'lz4':
            raw = lz4.frame.LZ4FrameDecompressor().decompress(content, most + 1)
        else:
            raise DataError(f'a part is compressed with {form[:16]!r}; wanted zstd or lz4', 'B02')
    except (zstandard.ZstdError, RuntimeError, EOFError) as error:
        raise DataError(f'a part cannot be unpacked ({error})', 'B02') from error
    if size is None:
        if len(raw) > most:
            refuse_bomb(len(content), LARGEST_UNPACKED + 1)
    elif len(raw) != size and not (partial and len(raw) < size):
        raise DataError(
            f'a part unpacks to {"more than " if len(raw) > size else ""}{min(len(raw), size)} '
            f'bytes, its head says {size}', 'B02')
    return bytes(raw)


def refuse_bomb(packed: int, unpacked: int) -> None:
    """
    Refuse what grows too much.

    :raises DataError: ``B09``.
    """
    if unpacked > LARGEST_UNPACKED or (
            unpacked > SMALL_UNPACKED and unpacked > LARGEST_RATIO * packed):
        raise DataError(
            f'{packed} bytes would unpack to {unpacked}; more than {LARGEST_UNPACKED} bytes, or '
            f'{LARGEST_RATIO} times as many as there are, are not unpacked', 'B09')


def _unpack_file(path: Path, target: Path) -> Path:
    """Return an unpacked copy of a file."""
    packed = path.stat().st_size
    size = 0
    try:
        with path.open('rb') as source, zstandard.open(source, 'rb') as stream, \
                target.open('wb') as file:
            while block := stream.read(1 << 20):
                size += len(block)
                if size > SMALL_UNPACKED and size > LARGEST_RATIO * packed:
                    refuse_bomb(packed, size)
                file.write(block)
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise DataError(f'{path}: cannot be unpacked ({error})', 'B02') from error
    return target


def damage_text(damages: Sequence[Damage]) -> str:
    """Return in words what is wrong."""
    chunks, cuts = sum(one.chunks for one in damages), [one.cut for one in damages if one.cut]
    words = [f'{chunks} damaged part(s) left out'] if chunks else []
    return '; '.join([*cuts, *words])
