# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a recorded bag: a camera's images, what the node answered, and the truth, by stamp."""

import difflib
import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from mtl_perception import topics
from mtl_perception.bags.cdr import read_compressed, read_image
from mtl_perception.bags.entries import Entry, StorageFile, damage_text
from mtl_perception.bags.stamps import match_stamps
from mtl_perception.bags.storage import Storage
from mtl_perception.errors import DataError, FrameError
from mtl_perception.image_codec import decode_array, decode_compressed, decode_image

TOPICS = {
    'image': topics.IMAGE,
    **topics.PREDICTIONS,
    **{f'true_{task}': topic for task, topic in topics.TRUTH.items()},
}
"""Role of an image or of boxes -> its topic; of an image, where there is a raw one."""

ANSWERS = tuple(topics.PREDICTIONS)

Found = tuple[StorageFile, Entry]


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
    A rosbag2 that is open for reading, mcap or sqlite3.

    Messages are found by the stamps of their headers, in whatever order they were recorded.

    :param path: the bag's folder, or the file itself.
    :param namespace: of the camera, empty for none.
    :param allow_damaged: read what is whole of a bag that is cut short or damaged.
    :param slop_ns: truth belongs to the nearest image at most so far away, nanoseconds; answers
        carry the stamp of their image exactly.
    :ivar duplicates: messages of a role with a stamp that it had before; the first one counts.
    :ivar skipped: topic -> why messages on it are not read, and how many.
    :ivar matched: role -> messages with the stamp of an image.
    :ivar unmatched: role -> messages without.
    :raises DataError: if it is not there, cannot be read, or is not whole though it has to be.
    """

    def __init__(
            self, path: Path, namespace: str = '', allow_damaged: bool = False,
            slop_ns: int = 0) -> None:
        self.path = path
        self.duplicates = 0
        self._allow_damaged = allow_damaged
        self.skipped: dict[str, Counter[str]] = defaultdict(Counter)
        self._namespace = namespace
        try:
            self._storage = Storage(path)
        except DataError as error:
            text = str(error).removeprefix(f'[{error.code}] ')
            raise DataError(f'{text}.{_listed(path)}', error.code) from error
        entries = self._storage.entries
        self.damage = damage_text(self._storage.damage)
        """What is missing of the bag; empty if nothing is."""
        if self.damage and not allow_damaged:
            self._storage.close()
            raise DataError(
                f'{path}: cannot be read as a rosbag2 to its end: {self.damage}. {len(entries)} '
                f'messages are whole; allow a truncated bag to judge those.{_listed(path)}', 'B01')
        self.topics: dict[str, int] = {
            **dict.fromkeys(self._storage.topics, 0),
            **Counter(entry.topic for _, entry in entries)}
        self._roles = {self._name(topic): role for role, topic in TOPICS.items()}
        if not self.topics.get(self._name(TOPICS['image'])):
            self._roles[self._name(topics.COMPRESSED_IMAGE)] = 'image'
        self._found: dict[str, dict[int, Found]] = self._index()
        self.matched: Counter[str] = Counter()
        self.unmatched: Counter[str] = Counter()
        self._match(slop_ns)

    def __enter__(self) -> 'Bag':
        """Return the bag."""
        return self

    def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None,
            trace: TracebackType | None) -> None:
        """Close the file."""
        self._storage.close()

    @property
    def roles(self) -> set[str]:
        """The roles that the bag has at least one image for."""
        return {role for role, found in self._found.items() if found}

    @functools.cached_property
    def stamps(self) -> list[int]:
        """Every stamp that something has, rising, nanoseconds."""
        return sorted({stamp for found in self._found.values() for stamp in found})

    def stamps_of(self, role: str) -> list[int]:
        """Return the stamps of a role, rising, nanoseconds."""
        return sorted(self._found[role])

    def count(self, role: str) -> int:
        """Return the number of messages of a role."""
        return sum(count for topic, count in self.topics.items()
                   if self._roles.get(topic) == role)

    def require(self, roles: Sequence[str]) -> None:
        """
        Check that there are images of each role.

        :raises DataError: that lists the topics of the bag.
        """
        for role in roles:
            if self.stamps_of(role) == [0] and self.count(role) > 1:
                raise DataError(
                    f'{self.path}: all {self.count(role)} messages on {self._name(TOPICS[role])} '
                    'have the stamp 0; set header.stamp where they are published', 'B04')
            if role in self.roles:
                continue
            wanted = self._name(TOPICS[role])
            near = difflib.get_close_matches(
                wanted, [name for name in self.topics if name != wanted], 3)
            why = '; '.join(self.skipped.get(wanted, ()))
            raise DataError(
                f'{self.path}: no message on {wanted}'
                + (f' can be read ({why})' if why else '')
                + (f' (did you mean {" or ".join(near)}?)' if near else '')
                + f'; the bag has {_shown(self.topics)}', 'B03')

    def moments(self, roles: Sequence[str] | None = None) -> Iterator[Moment]:
        """
        Yield what has one stamp, in the order of the stamps.

        What cannot be decoded is left out and counted in :attr:`skipped`.

        :param roles: that are read; all if None.
        :raises DataError: if the file turns out to be damaged and must not be.
        """
        for stamp_ns in self.stamps:
            moment = Moment(stamp_ns)
            for role, found in self._found.items():
                if (roles is not None and role not in roles) or stamp_ns not in found:
                    continue
                file, entry = found[stamp_ns]
                try:
                    moment.arrays[role] = self._pixels(role, entry, file)
                except (FrameError, DataError) as error:
                    if isinstance(error, DataError) and not self._allow_damaged:
                        raise
                    self.skipped[entry.topic][str(error)] += 1
                    continue
                moment.logged_ns[role] = entry.logged_ns
            if moment.arrays:
                yield moment

    def infos(self) -> dict[int, Any]:
        """Return stamp in nanoseconds -> ``sensor_msgs/CameraInfo`` of the camera."""
        kinds = {self._name(topics.CAMERA_INFO): topics.CAMERA_INFO_TYPE}
        return {entry.stamp_ns: message for entry, message in self._messages(kinds)
                if entry.stamp_ns is not None}

    def statuses(self) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """
        Return the first and the last word of each diagnostic status in the bag.

        :return: name of the status -> its key-value pairs, twice.
        """
        statuses: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        kinds = {name: topic.kind for name, topic in self._storage.topics.items()
                 if topic.kind == topics.DIAGNOSTICS_TYPE}
        for entry, message in self._messages(kinds):
            for status in message.status:
                name = (status.name if entry.topic == topics.DIAGNOSTICS.name
                        else f'{entry.topic}: {status.name}')
                values = {pair.key: pair.value for pair in status.values}
                statuses[name] = statuses.get(name, (values,))[0], values
        return statuses

    def last_statuses(self) -> dict[str, dict[str, str]]:
        """Return the last word of each diagnostic status, see :meth:`statuses`."""
        return {name: last for name, (_, last) in self.statuses().items()}

    @property
    def image_topics(self) -> tuple[str, str]:
        """The topics that the images may come from, raw and compressed."""
        return self._name(TOPICS['image']), self._name(topics.COMPRESSED_IMAGE)

    def _name(self, topic: topics.Topic) -> str:
        return topic.below(self._namespace)

    def _index(self) -> dict[str, dict[int, Found]]:
        """Return role -> stamp -> message; of several with one stamp the first."""
        index: dict[str, dict[int, Found]] = {role: {} for role in TOPICS}
        for file, entry in self._storage.entries:
            role = self._roles.get(entry.topic)
            if role is None:
                continue
            kind, wanted = file.topics[entry.topic].kind, _kind_of(role, entry.topic)
            if kind != wanted:
                self.skipped[entry.topic][f'its type is {kind!r}, wanted {wanted}'] += 1
            elif entry.stamp_ns is None:
                self.skipped[entry.topic]['too short for a header'] += 1
            elif entry.stamp_ns in index[role]:
                self.duplicates += 1
            else:
                index[role][entry.stamp_ns] = file, entry
        return index

    def _match(self, slop_ns: int) -> None:
        """Bring truth to the stamps of the images, and count what has none."""
        images = sorted(self._found['image'])
        for role, found in self._found.items():
            if role == 'image':
                continue
            place = match_stamps(images, sorted(found), slop_ns if role[:5] == 'true_' else 0)
            self._found[role] = {place.get(stamp, stamp): one for stamp, one in found.items()}
            self.matched[role] = len(place)
            self.unmatched[role] = len(found) - len(place)

    def _pixels(self, role: str, entry: Entry, file: StorageFile) -> NDArray[Any]:
        content = self._storage.read(file, entry)
        if role == 'detection':
            return _boxes(_deserialised(content, topics.MARKER_TYPE))
        if file.topics[entry.topic].kind == topics.COMPRESSED_IMAGE_TYPE:
            return decode_compressed(read_compressed(content))
        message = read_image(content)
        if role == 'image':
            return decode_image(message)
        return _checked(role.removeprefix('true_'), decode_array(message))

    def _messages(self, kinds: Mapping[str, str]) -> Iterator[tuple[Entry, Any]]:
        """Yield the messages of some topics of these types."""
        for file, entry in self._storage.entries:
            if kinds.get(entry.topic) != file.topics[entry.topic].kind:
                continue
            try:
                yield entry, _deserialised(
                    self._storage.read(file, entry), kinds[entry.topic])
            except FrameError as error:
                self.skipped[entry.topic][str(error)] += 1


def _checked(task: str, values: NDArray[Any]) -> NDArray[Any]:
    """
    Return the map of a task; depth in metres, also where it was published in millimetres.

    :raises FrameError: ``B05``, if it is no map of this task.
    """
    wanted = {'depth': ('float32', 'float64', 'uint16'),
              'instance': ('uint8', 'uint16', 'int32')}.get(task, ('uint8',))
    if values.ndim != 2 or str(values.dtype) not in wanted:
        raise FrameError(
            f'has the shape {values.shape} of {values.dtype}, wanted (height, width) of '
            f'{" or ".join(wanted)}', 'B05')
    if task == 'depth' and values.dtype == np.uint16:  # REP 118: millimetres, 0 = unknown
        return np.where(values > 0, values * np.float32(0.001), np.float32(np.nan))
    return values


def _kind_of(role: str, topic: str) -> str:
    """Return the type that messages of a role have."""
    if role == 'detection':
        return topics.MARKER_TYPE
    return topics.COMPRESSED_IMAGE_TYPE if topic.endswith('/compressed') else topics.IMAGE_TYPE


@functools.lru_cache(maxsize=1)
def _types() -> Any:
    return get_typestore(Stores.ROS2_KILTED)


def _deserialised(content: memoryview, kind: str) -> Any:
    """
    Return a message.

    :raises FrameError: ``B05``, if the bytes are none of the type.
    """
    try:
        return _types().deserialize_cdr(bytes(content), kind)
    except Exception as error:
        raise FrameError(f'is no {kind} ({_text(error)})', 'B05') from error


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


def _listed(path: Path) -> str:
    """Return what the metadata beside a damaged file say about it."""
    try:
        lines = (path / 'metadata.yaml').read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError):
        return ''
    names = [line.split('name:')[1].strip() for line in lines if line.strip().startswith('name:')]
    return f' Its metadata list {", ".join(names)}' if names else ''


def _shown(topics: Mapping[str, int]) -> str:
    return ', '.join(f'{name} ({count})' for name, count in sorted(topics.items())) or 'no topics'


def _text(error: BaseException) -> str:
    return f'{type(error).__name__}: {error}' if str(error) else type(error).__name__
