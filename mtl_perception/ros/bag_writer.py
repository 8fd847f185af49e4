# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Write serialised messages into a rosbag2, in a separate thread."""

import os
import queue
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.ros.message_types import MessageTypes

VERSION: Literal[9] = 9
"""Version of the bag's metadata; the one that Jazzy and later write."""

MAGIC = b'\x89MCAP0\r\n'
END_OF_DATA, FOOTER = 0x0F, 0x02
RESERVE = '.reserve'
RESERVE_BYTES = 64 << 10
"""Room for ``metadata.yaml`` on a disk that gets full."""
MOST_WAITING_BYTES = 256 << 20
"""Messages beyond this, while the disk is slow, are dropped instead of filling the memory."""


@dataclass(frozen=True)
class Channel:
    """
    One topic of the bag.

    :param name: absolute name of the topic.
    :param msgtype: such as ``sensor_msgs/msg/Image``.
    :param offered: quality of service of its publishers.
    """

    name: str
    msgtype: str
    offered: tuple[Qos, ...] = field(default=(), compare=False)


class BagWriter:
    """
    Write messages to a new bag (mcap) without making the caller wait for the disk.

    :param folder: the bag's folder; must not exist yet.
    :param types: knows the definitions of the message types.
    :param compress: compress the chunks of the file with zstd.
    :raises ConfigurationError: if the folder exists.
    :raises StorageError: if it cannot be made.
    """

    def __init__(self, folder: Path, types: MessageTypes, compress: bool = False) -> None:
        self.folder = folder
        self.received = 0
        self.written = 0
        self.error: OSError | None = None
        self._types = types
        if folder.exists():
            raise ConfigurationError(
                f'{folder} exists already; remove it, or record into another folder')

        self._writer = Writer(folder, version=VERSION, storage_plugin=StoragePlugin.MCAP)
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        try:
            self._writer.open()
        except (OSError, WriterError) as error:
            raise StorageError(f'{folder}: the bag cannot be made: {error}') from error
        with suppress(OSError):  # without this much room, the first messages will say so
            (folder / RESERVE).write_bytes(bytes(RESERVE_BYTES))

        # The queue has no length of its own: what counts is the memory that waits in it.
        self._connections: dict[Channel, Connection] = {}
        self._waiting: queue.SimpleQueue[tuple[Channel, int, bytes] | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()

        self._thread = threading.Thread(target=self._run, name='bag', daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file inside the bag's folder."""
        return self.folder / f'{self.folder.name}.mcap'

    def write(self, channel: Channel, stamp_ns: int, data: bytes) -> bool:
        """
        Hand over a message.

        :param stamp_ns: when it was received, nanoseconds.
        :param data: the message in CDR.
        :return: False if it was dropped because the disk cannot keep up or gave an error.
        """
        with self._lock:
            self.received += 1
            if self.error is not None or self._waiting_bytes > MOST_WAITING_BYTES:
                return False
            self._waiting_bytes += len(data)
        self._waiting.put((channel, stamp_ns, data))
        return True

    def close(self) -> None:
        """
        Write the waiting messages, finish the file and close it.

        :raises StorageError: if not every message could be written; the file is still readable,
            up to the point where the disk failed.
        """
        self._waiting.put(None)
        self._thread.join()

        (self.folder / RESERVE).unlink(missing_ok=True)
        if self.error is None:
            try:
                self._writer.close()
            except OSError as error:
                self.error = error

        # the end of the file did not reach the disk: write one by hand after the last whole record
        if self.error is not None:
            with suppress(OSError):
                self._writer.abort()
            self.written = seal(self.path)
            if self.written:
                self._describe_sealed()
            raise StorageError(
                f'{self.path}: {self.error.strerror or self.error}; recorded {self.written} of '
                f'{self.received} messages' + (', the file is readable' if self.written else ''))

        if self.written != self.received:
            raise StorageError(
                f'{self.path}: the disk could not keep up; recorded {self.written} of '
                f'{self.received} messages')

    def _describe_sealed(self) -> None:
        """Write ``metadata.yaml`` of what is in a file that was sealed."""
        with Reader(self.path) as reader:
            counts = {name: topic.msgcount for name, topic in reader.topics.items()}
            writer = self._writer
            writer.counts = {one.id: counts.get(one.topic, 0) for one in writer.connections}
            writer.min_timestamp = reader.start_time
            writer.max_timestamp = reader.end_time - 1  # the first nanosecond after it
        writer.storage = cast(Any, _Sealed(self.path))
        with suppress(OSError):
            writer.close()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            channel, stamp_ns, data = item
            with self._lock:
                self._waiting_bytes -= len(data)

            # after an error the queue is only emptied, or close() would wait forever
            if self.error is not None:
                continue
            try:
                self._writer.write(self._connection(channel), stamp_ns, data)
                self.written += 1
            except OSError as error:
                self.error = error

    def _connection(self, channel: Channel) -> Connection:
        if channel not in self._connections:
            definition, digest = self._types.definition(channel.msgtype)
            self._connections[channel] = self._writer.add_connection(
                channel.name, channel.msgtype, msgdef=definition, rihs01=digest,
                offered_qos_profiles=channel.offered)
        return self._connections[channel]


@dataclass(frozen=True)
class _Sealed:
    """
    Stands for a file that is closed already.

    :param path: of the file.
    """

    path: Path

    def close(self, version: int, metadata: str) -> None:
        """Do nothing."""


def seal(path: Path) -> int:
    """
    Make a file readable whose writing broke off: cut incomplete records, end it without an index.

    :param path: an mcap file without a footer.
    :return: the number of messages in it.
    """
    ends = _record_ends(path)
    while ends:
        try:
            with path.open('r+b') as file:
                file.truncate(ends[-1])
                file.seek(ends[-1])
                file.write(_record(END_OF_DATA, bytes(4)) + _record(FOOTER, bytes(20)) + MAGIC)
                file.flush()
                os.fsync(file.fileno())
            with Reader(path) as reader:
                return reader.message_count
        except OSError:  # not even room for the end: give up one more record
            ends.pop()
    return 0


def _record(code: int, content: bytes) -> bytes:
    """Return a record of an mcap file: its code, the length of its content, the content."""
    return bytes([code]) + len(content).to_bytes(8, 'little') + content


def _record_ends(path: Path) -> list[int]:
    """Return the offsets at which the file's complete records end, the magic bytes first."""
    ends = [len(MAGIC)]
    with path.open('rb') as file:
        size = os.fstat(file.fileno()).st_size
        while len(head := os.pread(file.fileno(), 9, ends[-1])) == 9:
            end = ends[-1] + 9 + int.from_bytes(head[1:], 'little')
            if end > size or head[0] in (END_OF_DATA, FOOTER):
                break
            ends.append(end)
    return ends
