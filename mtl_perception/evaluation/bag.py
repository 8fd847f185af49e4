# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a recorded bag: a camera's images, what the node answered, and the truth, by stamp."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection

from mtl_perception.errors import DataError, FrameError
from mtl_perception.image_codec import decode_array, decode_image

TOPICS = {
    'image': 'image_raw',
    'semantic': 'semantic/image',
    'depth': 'depth/image',
    'motion': 'motion/image',
    'instance': 'instances/image',
    'detection': 'detections/markers',
    'true_semantic': 'truth/semantic/image',
    'true_depth': 'truth/depth/image',
    'true_motion': 'truth/motion/image',
    'true_instance': 'truth/instances/image',
}
"""Role of an image or of boxes -> its topic, relative to the camera's namespace."""

ANSWERS = ('semantic', 'depth', 'motion', 'instance', 'detection')
WAITING = 50
"""For so many later images a frame waits for its answer."""


@dataclass(eq=False)
class Moment:
    """
    All images with one stamp, and the boxes.

    :param stamp_ns: the stamp, nanoseconds.
    :param arrays: role of :data:`TOPICS` -> (H, W, 3) uint8 RGB, or (H, W) uint8, uint16, float32;
        of the boxes (M, 7) float32: x_min, y_min, x_max, y_max in pixels and RGB from 0 to 255.
    :param logged_ns: role -> when the recorder received it, nanoseconds.
    """

    stamp_ns: int
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    logged_ns: dict[str, int] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether there is any answer to the image."""
        return any(role in self.arrays for role in ANSWERS)

    @property
    def latency_ms(self) -> float | None:
        """Time from the stamp until the recorder had the last answer, milliseconds."""
        times = [self.logged_ns[role] for role in ANSWERS if role in self.logged_ns]
        return (max(times) - self.stamp_ns) / 1e6 if times else None


class Bag:
    """
    A rosbag2 that is open for reading.

    :param path: the bag's folder, or the mcap file itself.
    :param namespace: of the camera, empty for none.
    :raises DataError: if it is not there, is cut short, or cannot be read.
    """

    def __init__(self, path: Path, namespace: str = '') -> None:
        self.path = path
        self.duplicates = 0
        prefix = '/' + namespace.strip('/')
        self._roles = {f'{prefix.rstrip("/")}/{name}': role for role, name in TOPICS.items()}
        try:
            self._reader = AnyReader([_file(path)])
            self._reader.open()
        except Exception as error:
            raise DataError(
                f'{path}: cannot be read as a rosbag2 ({_text(error)}); it may be cut short: '
                f'"mcap recover" saves what is there.{_listed(path)}', 'B01') from error
        self.topics: dict[str, int] = {
            name: info.msgcount for name, info in self._reader.topics.items()}

    def __enter__(self) -> 'Bag':
        """Return the bag."""
        return self

    def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None,
            trace: TracebackType | None) -> None:
        """Close the file."""
        self._reader.close()

    @property
    def roles(self) -> set[str]:
        """The roles that the bag has at least one image for."""
        return {self._roles[topic] for topic, count in self.topics.items()
                if count and topic in self._roles}

    def count(self, role: str) -> int:
        """Return the number of images of a role."""
        return sum(count for topic, count in self.topics.items()
                   if self._roles.get(topic) == role)

    def require(self, roles: Sequence[str]) -> None:
        """
        Check that there are images of each role.

        :raises DataError: that lists the topics of the bag.
        """
        wanted = {role: topic for topic, role in self._roles.items()}
        for role in roles:
            if role in self.roles:
                continue
            near = difflib.get_close_matches(wanted[role], list(self.topics), 1)
            raise DataError(
                f'{self.path}: no message on {wanted[role]}'
                + (f' (did you mean {near[0]}?)' if near else '')
                + f'; the bag has {_shown(self.topics)}', 'B03')

    def moments(self) -> Iterator[Moment]:
        """
        Yield the images, grouped by their stamps.

        A complete moment comes at once, one that something is missing of after some later images.

        :raises DataError: if the file turns out to be damaged, or an image is not of its encoding.
        """
        roles = self.roles
        waiting: dict[int, Moment] = {}
        for topic, logged_ns, message in self._messages(self._roles):
            role = self._roles[topic]
            stamp_ns = message.header.stamp.sec * 10 ** 9 + message.header.stamp.nanosec
            moment = waiting.setdefault(stamp_ns, Moment(stamp_ns))
            if role in moment.arrays:
                self.duplicates += 1
            moment.arrays[role] = self._pixels(topic, role, message)
            moment.logged_ns[role] = logged_ns
            if moment.arrays.keys() == roles:
                yield waiting.pop(stamp_ns)
            elif len(waiting) > WAITING:
                yield waiting.pop(min(waiting))
        yield from (waiting[stamp] for stamp in sorted(waiting))

    def last_statuses(self) -> dict[str, dict[str, str]]:
        """
        Return the last word of each diagnostic status in the bag.

        :return: name of the status -> its key-value pairs.
        """
        statuses: dict[str, dict[str, str]] = {}
        topics = [connection.topic for connection in self._reader.connections
                  if connection.msgtype == 'diagnostic_msgs/msg/DiagnosticArray']
        for topic, _, message in self._messages(topics):
            for status in message.status:
                name = status.name if topic == '/diagnostics' else f'{topic}: {status.name}'
                statuses[name] = {pair.key: pair.value for pair in status.values}
        return statuses

    def _pixels(self, topic: str, role: str, message: Any) -> NDArray[Any]:
        try:
            if role == 'detection':
                return _boxes(message)
            return decode_image(message) if role == 'image' else decode_array(message)
        except FrameError as error:
            raise DataError(f'{self.path}: {topic}: {error}', 'B05') from error

    def _messages(self, topics: Any) -> Iterator[tuple[str, int, Any]]:
        """Yield topic, time of reception and message; no connection at all yields nothing."""
        connections: list[Connection] = [
            connection for connection in self._reader.connections if connection.topic in topics]
        if not connections:
            return
        try:
            for connection, logged_ns, raw in self._reader.messages(connections):
                message = self._reader.deserialize(raw, connection.msgtype)
                yield connection.topic, logged_ns, message
        except Exception as error:
            raise DataError(f'{self.path}: damaged ({_text(error)})', 'B02') from error


def _boxes(message: Any) -> NDArray[np.float32]:
    """
    Return the (M, 7) boxes of outlines: four lines for each, all of one colour.

    :raises FrameError: if they are not outlines of boxes.
    """
    points = np.array([(point.x, point.y) for point in message.points], np.float32)
    colours = np.array(
        [(colour.r, colour.g, colour.b) for colour in message.outline_colors], np.float32)
    if len(points) % 8 or len(colours) * 2 != len(points):
        raise FrameError(
            f'{len(points)} points and {len(colours)} colours are no boxes of four lines each',
            'B05')
    points, colours = points.reshape(-1, 8, 2), colours.reshape(-1, 4, 3)
    return np.hstack([points.min(1), points.max(1), colours[:, 0] * 255]) if len(points) else (
        np.zeros((0, 7), np.float32))


def _file(path: Path) -> Path:
    """Return what the reader wants: a folder with metadata, or the only file in it."""
    if path.is_dir() and not (path / 'metadata.yaml').is_file():
        files = sorted(path.glob('*.mcap'))
        if len(files) == 1:
            return files[0]
        raise FileNotFoundError(f'neither metadata.yaml nor one single .mcap file in {path}')
    return path


def _listed(path: Path) -> str:
    """Return what the metadata beside a damaged file say about it."""
    try:
        lines = (path / 'metadata.yaml').read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError):
        return ''
    names = [line.split('name:')[1].strip() for line in lines if line.strip().startswith('name:')]
    return f' Its metadata list {", ".join(names)}' if names else ''


def _shown(topics: dict[str, int]) -> str:
    return ', '.join(f'{name} ({count})' for name, count in sorted(topics.items())) or 'no topics'


def _text(error: BaseException) -> str:
    return f'{type(error).__name__}: {error}' if str(error) else type(error).__name__
