# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Reading an mcap file from its start, without its index.

The index lies at the end, and a recording that broke off has none; read from the start,
everything before the break is found. The file is mapped into memory: uncompressed messages are
views of it and are not copied.
"""

import functools
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from mtl_perception.bags.compression import unpack
from mtl_perception.bags.entries import Damage, Entry, RecordedTopic
from mtl_perception.cdr import read_stamp
from mtl_perception.errors import DataError
from mtl_perception.reason_codes import ReasonCode

MAGIC = b'\x89MCAP0\r\n'
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 1, 2, 3, 4, 5, 6, 15
MESSAGE_HEAD = struct.Struct('<HIQQ')
"""Channel, sequence number, time of logging and time of publishing, nanoseconds."""
CHUNK_HEAD = struct.Struct('<QQQI')
"""First and last time, size when unpacked, checksum."""
KEPT_CHUNKS = 4
"""Number of unpacked chunks in memory: neighbouring messages lie in the same one."""

Place = tuple[int, int, int]
"""Of a message: its chunk or -1 if it lies in the file itself, where it starts, its length."""


class _Broken(Exception):  # noqa: N818
    """The structure ends here."""


class McapFile:
    """
    An mcap file, see :class:`mtl_perception.bags.entries.StorageFile`.

    :param path: of the file.
    :raises DataError: ``B01`` if it does not start as one; ``B09`` for a decompression bomb.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, RecordedTopic] = {}
        self.entries: list[Entry] = []
        self.damage = Damage()
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, str] = {}
        self._chunks: list[tuple[int, int, str, int, bool]] = []

        try:
            with path.open('rb') as file:
                self._content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise DataError(
                f'{path}: cannot be read as a rosbag2 ({error})',
                ReasonCode.BAG_UNREADABLE) from error
        if bytes(self._content[:len(MAGIC)]) != MAGIC:
            raise DataError(
                f'{path}: cannot be read as a rosbag2: it does not begin as an mcap file',
                ReasonCode.BAG_UNREADABLE)

        # what is whole before a break counts; the break is noted
        self._kept = functools.lru_cache(KEPT_CHUNKS)(self._unpacked)
        try:
            self._scan()
        except (_Broken, struct.error) as error:
            self.damage.cut = str(error)
        except DataError as error:
            text = str(error).removeprefix(f'[{error.code}] ')
            raise DataError(f'{path}: {text}', error.code) from error

    def read(self, entry: Entry) -> memoryview:
        """Return a serialised message; a view of the file if it is not compressed."""
        chunk, start, length = entry.place
        content = self._content if chunk < 0 else self._kept(chunk)
        return content[start:start + length]

    def close(self) -> None:
        """Release the unpacked chunks; the file is closed with the last view of it."""
        self._kept.cache_clear()
        self._content = memoryview(b'')

    def _scan(self) -> None:
        """Read the file from its start to its end."""
        for code, start, end in self._records(self._content, len(MAGIC)):
            if code == CHUNK:
                self._scan_chunk(start, end)
            elif code == DATA_END:
                crc, = struct.unpack_from('<I', self._content, start)
                if crc and zlib.crc32(self._content[:start - 9]) != crc:
                    self.damage.chunks += 1
                return self._check_end()
            elif code == FOOTER:
                return self._check_end()
            else:
                self._take(self._content, code, start, end, -1)
        raise _Broken('it has no end mark, so it is cut short')

    def _check_end(self) -> None:
        """Refuse a file that breaks off after its messages, in its index."""
        if bytes(self._content[-len(MAGIC):]) != MAGIC:
            raise _Broken('all messages are there, but its index is cut short')

    def _records(self, content: memoryview, place: int) -> Iterator[tuple[int, int, int]]:
        """
        Yield code, start and end of the records.

        :raises _Broken: if one claims to end after the content, or has no type.
        """
        while place < len(content):
            if place + 9 > len(content):
                raise _Broken(f'it is cut short inside a record at byte {place}')
            code, length = struct.unpack_from('<BQ', content, place)
            start = place + 9
            end = start + length

            if not code:
                raise _Broken(f'there is no record at byte {place}')
            if code == CHUNK and end > len(content):
                yield code, start, end  # what is left of a chunk may hold whole messages
            if end > len(content):
                raise _Broken(
                    f'a record at byte {place} claims {length} bytes, {len(content) - start} are '
                    'left; it is cut short or damaged')

            yield code, start, end
            place = end

    def _scan_chunk(self, start: int, end: int) -> None:
        """Read one chunk, whole or cut; a damaged one is counted and left out."""
        content = self._content
        whole = end <= len(content)
        end = min(end, len(content))
        try:
            _, _, size, crc = CHUNK_HEAD.unpack_from(content, start)
            place = start + CHUNK_HEAD.size
            form, place = _text(content, place)

            # the records follow, compressed or not
            packed, = struct.unpack_from('<Q', content, place)
            first = place + 8
            if whole and first + packed != end:
                raise _Broken('a chunk is not as long as its record')
            if not form:
                records = content[first:end]
                if whole and size != len(records):
                    raise _Broken('a chunk has another size than its head says')
            else:
                records = memoryview(unpack(content[first:end], form, size, partial=not whole))

        except (struct.error, _Broken, DataError) as error:
            if isinstance(error, DataError) and error.code == ReasonCode.BAG_BOMB:
                raise
            self.damage.chunks += 1
            return

        if whole and crc and zlib.crc32(records) != crc:
            self.damage.chunks += 1
            return

        # places in a compressed chunk count from its start, others from that of the file
        number = -1
        if form:
            number = len(self._chunks)
            self._chunks.append((first, end, form, size, whole))
        offset = 0 if form else first
        try:
            for code, inner, last in self._records(records, 0):
                self._take(records, code, inner, last, number, offset)
        except (_Broken, struct.error):
            self.damage.chunks += whole  # a cut chunk is reported as the cut of the file

    def _take(
            self, content: memoryview, code: int, start: int, end: int, chunk: int,
            offset: int = 0) -> None:
        """Record a schema, a channel or a message."""
        if code == SCHEMA:
            number, = struct.unpack_from('<H', content, start)
            name, place = _text(content, start + 2)
            _, place = _text(content, place)
            definition, _ = _text(content, place)
            self._schemas[number] = name, definition

        elif code == CHANNEL:
            number, schema = struct.unpack_from('<HH', content, start)
            topic, place = _text(content, start + 4)
            self._channels[number] = topic
            name, definition = self._schemas.get(schema, ('', ''))
            self.topics.setdefault(topic, RecordedTopic(name, definition))

        elif code == MESSAGE:
            number, _, logged_ns, _ = MESSAGE_HEAD.unpack_from(content, start)
            first = start + MESSAGE_HEAD.size
            if number not in self._channels:
                raise _Broken(f'a message is of channel {number}, which does not exist')
            where: Place = (chunk, first + offset, end - first)
            self.entries.append(Entry(
                self._channels[number], logged_ns, read_stamp(content[first:end]), where))

    def _unpacked(self, chunk: int) -> memoryview:
        first, end, form, size, whole = self._chunks[chunk]
        return memoryview(unpack(self._content[first:end], form, size, partial=not whole))


def _text(content: memoryview, place: int) -> tuple[str, int]:
    """
    Return a string and its end.

    :raises _Broken: if it ends after the content.
    """
    length, = struct.unpack_from('<I', content, place)
    end = place + 4 + length
    if end > len(content):
        raise _Broken('a name is longer than what is left')
    return bytes(content[place + 4:end]).decode('utf-8', 'replace'), end
