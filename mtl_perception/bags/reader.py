# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a recording: the images of one camera, their predictions and their truth, by stamp."""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception import topics
from mtl_perception.bags.boxes import boxes_from_detections, boxes_from_markers
from mtl_perception.bags.camera_topics import (
    IMAGE_KINDS,
    camera_topics,
    missing_image,
    missing_output,
)
from mtl_perception.bags.entries import Entry, StorageFile, damage_text
from mtl_perception.bags.message_types import deserialise
from mtl_perception.bags.stamps import match_stamps
from mtl_perception.bags.storage import Storage
from mtl_perception.cdr import Cursor, read_compressed, read_image
from mtl_perception.errors import DataError, FrameError
from mtl_perception.frames import FrameRecord, Perception, Truth
from mtl_perception.image_codec import decode_array, decode_compressed, decode_image
from mtl_perception.image_range import ImageRange, Limits
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import Task

TRUE = 'true_'
"""The role of a ground truth is this and its task."""

TOPICS = {
    'image': topics.IMAGE,
    **topics.PREDICTIONS,
    **{TRUE + task: topic for task, topic in topics.TRUTH.items()},
}
"""
Role of a message -> its topic.

Where there is no raw image, the compressed one has its role; where boxes were recorded with their
scores, these have the role of the outlines.
"""

ODOMETRY = 'nav_msgs/msg/Odometry'
"""Type of the way of a robot."""

EARLY_NS = 10 * 10 ** 9
"""How long before the first image an answer may be stamped that belongs to one before it."""

Found = tuple[StorageFile, Entry]


class Bag:
    """
    A rosbag2 that is open for reading, mcap or sqlite3.

    Messages are found by the stamps of their headers, in whatever order they were recorded.

    :param path: the bag's folder, or the file itself.
    :param namespace: of the camera, empty for none.
    :param allow_damaged: read the intact part of a bag that is cut short or damaged.
    :param slop_ns: truth belongs to the nearest image at most this far away, nanoseconds;
        predictions carry the stamp of their image exactly.
    :param image_range: the numbers that become black and white in images of more than 8 bits; None
        finds them, see :class:`.ImageRange`.
    :param strict: whether a message that cannot be decoded is an error; else it is left out and
        counted in ``skipped``.
    :param image_topic: of the camera, where it is not that of the node.
    :param camera_info_topic: of its calibration, where it does not stand beside the image.
    :ivar duplicates: messages of a role with a stamp that it had before; the first one counts.
    :ivar skipped: topic -> why messages on it are not read, and how many.
    :ivar matched: role -> messages with the stamp of an image.
    :ivar unmatched: role -> messages without.
    :ivar early: role -> those of images shortly before the recording, if others have one of it.
    :raises DataError: if it does not exist, cannot be read, or is damaged and must not be.
    """

    def __init__(
            self, path: Path, namespace: str = '', allow_damaged: bool = False,
            slop_ns: int = 0, image_range: Limits | None = None,
            strict: bool = False, image_topic: str = '', camera_info_topic: str = '') -> None:
        self.path = path
        self.duplicates = 0
        self.skipped: dict[str, Counter[str]] = defaultdict(Counter)
        self.image_range = ImageRange(image_range)
        """What is black and white in images of more than 8 bits."""

        self._allow_damaged = allow_damaged
        self._strict = strict
        self._namespace = namespace

        # The metadata beside a damaged file still tell what it should contain.
        try:
            self._storage = Storage(path)
        except DataError as error:
            text = str(error).removeprefix(f'[{error.code}] ')
            raise DataError(f'{text}.{_listed(path)}', error.code) from error

        entries = self._storage.entries
        self.damage = damage_text(self._storage.damage)
        """What is missing of the bag; empty if it is complete."""
        if self.damage and not allow_damaged:
            self._storage.close()
            raise DataError(
                f'{path}: cannot be read as a rosbag2 to its end: {self.damage}. {len(entries)} '
                'messages are intact; "mtl evaluate --allow-truncated" uses those, and so does '
                f'"mtl predict" without --strict.{_listed(path)}',
                ReasonCode.BAG_UNREADABLE)

        # Which topics are the camera and what stands on the others.
        self.topics: dict[str, int] = {
            **dict.fromkeys(self._storage.topics, 0),
            **Counter(entry.topic for _, entry in entries)}
        self._kinds = {name: topic.kind for name, topic in self._storage.topics.items()}
        try:
            self.camera = camera_topics(
                self._kinds, self.topics, namespace, image_topic, camera_info_topic)
        except DataError:
            self._storage.close()
            raise

        self._roles = self._roles_of_topics()
        self._found = self._index()
        if strict and self.skipped:
            self._storage.close()
            topic, reasons = next(iter(self.skipped.items()))
            raise DataError(
                f'{path}: {topic}: {next(iter(reasons))}; leave --strict away to go on without '
                'such messages', ReasonCode.BAG_MESSAGE)

        self.matched: Counter[str] = Counter()
        self.unmatched: Counter[str] = Counter()
        self.early: Counter[str] = Counter()
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
        """The roles that the bag has at least one message for."""
        return {role for role, found in self._found.items() if found}

    @functools.cached_property
    def stamps(self) -> list[int]:
        """Every stamp of any role, rising, nanoseconds."""
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
        Check that there are messages of each role.

        :raises DataError: that lists the topics of the bag.
        """
        for role in roles:
            wanted = self.camera.image if role == 'image' else self._name(TOPICS[role])
            if self.stamps_of(role) == [0] and self.count(role) > 1:
                raise DataError(
                    f'{self.path}: all {self.count(role)} messages on {wanted} have the stamp 0; '
                    'set header.stamp where they are published', ReasonCode.BAG_STAMPS)
            if role in self.roles:
                continue

            others = [name for name in self.topics if name != wanted]
            why = '; '.join(self.skipped.get(wanted, ()))
            hint = (missing_image(wanted, self._kinds, self.topics) if role == 'image' else
                    missing_output(wanted, others))
            raise DataError(
                f'{self.path}: no message on {wanted}'
                + (f' can be read ({why})' if why else '')
                + f'{hint}; the bag has {_shown(self.topics)}',
                ReasonCode.BAG_TOPIC_MISSING)

    def records(
            self, tasks: Sequence[Task] = (), roles: Sequence[str] | None = None,
    ) -> Iterator[FrameRecord]:
        """
        Yield what has one stamp, in the order of the stamps.

        Messages that cannot be decoded are left out and counted in ``skipped``.

        :param tasks: of the model that predicted; boxes get the classes of its detection task and
            are left out without one.
        :param roles: that are read; all if None.
        :raises DataError: if the file turns out to be damaged and must not be, or, with
            ``strict``, at the first message that cannot be decoded.
        """
        task = next((task for task in tasks if task.name == 'detection'), None)
        self.image_range.forget()
        for stamp_ns in self.stamps:
            decoded: dict[str, Any] = {}
            received_ns: list[int] = []

            for role, found in self._found.items():
                if stamp_ns not in found or (roles is not None and role not in roles) or (
                        role == 'detection' and task is None):
                    continue

                file, entry = found[stamp_ns]
                try:
                    decoded[role] = self._decoded(role, entry, file, task)
                except (FrameError, DataError) as error:
                    self._leave_out(entry, error)
                    continue
                if role in topics.PREDICTIONS:
                    received_ns.append(entry.logged_ns)
            if decoded:
                yield _record(stamp_ns, decoded, max(received_ns, default=None))

    def _leave_out(self, entry: Entry, error: FrameError | DataError) -> None:
        """Count a message that cannot be decoded, or raise its error."""
        if isinstance(error, DataError) and not self._allow_damaged:
            text = str(error).removeprefix(f'[{error.code}] ')
            raise DataError(f'{self.path}: {entry.topic}: {text}', error.code) from error
        if self._strict:
            text = str(error).removeprefix(f'[{error.code}] ')
            raise DataError(
                f'{self.path}: {entry.topic} at {entry.stamp_ns}: {text}; leave --strict away to '
                'go on without it', error.code) from error
        self.skipped[entry.topic][str(error)] += 1

    @functools.cached_property
    def frame_id(self) -> str:
        """Frame of the camera by the header of the first image; empty if it cannot be read."""
        file, entry = self._found['image'][self.stamps_of('image')[0]]
        try:
            return Cursor(self._storage.read(file, entry)).header().frame_id
        except (FrameError, DataError):
            return ''

    @functools.cached_property
    def infos(self) -> dict[int, Any]:
        """Stamp in nanoseconds -> ``sensor_msgs/CameraInfo`` of the camera."""
        kinds = {self.camera.info: topics.CAMERA_INFO.kind}
        return {entry.stamp_ns: message for entry, message in self._messages(kinds)
                if entry.stamp_ns is not None}

    def odometry(self, topic: str) -> list[Any]:
        """
        Return the messages of an odometry, in the order of their stamps.

        :param topic: its full name.
        :raises DataError: if the bag has no ``nav_msgs/Odometry`` there; the message lists those
            that it has.
        """
        if self._kinds.get(topic) != ODOMETRY:
            others = [name for name, kind in self._kinds.items() if kind == ODOMETRY]
            raise DataError(
                f'{self.path}: no {ODOMETRY} on {topic}; it has {others or "none"}',
                ReasonCode.BAG_TOPIC_MISSING)
        found = [(entry.stamp_ns or 0, message)
                 for entry, message in self._messages({topic: ODOMETRY})]
        return [message for _, message in sorted(found, key=lambda one: one[0])]

    @functools.cached_property
    def statuses(self) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """The first and the last report of each diagnostic status: name -> its pairs, twice."""
        statuses: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        kinds = {name: topic.kind for name, topic in self._storage.topics.items()
                 if topic.kind == topics.DIAGNOSTICS.kind}
        for entry, message in self._messages(kinds):
            for status in message.status:
                name = (status.name if entry.topic == topics.DIAGNOSTICS.name
                        else f'{entry.topic}: {status.name}')
                values = {pair.key: pair.value for pair in status.values}
                statuses[name] = statuses.get(name, (values,))[0], values
        return statuses

    def last_statuses(self) -> dict[str, dict[str, str]]:
        """Return the last report of each diagnostic status, see :attr:`statuses`."""
        return {name: last for name, (_, last) in self.statuses.items()}

    def _name(self, topic: topics.Topic) -> str:
        return topic.below(self._namespace)

    def _roles_of_topics(self) -> dict[str, str]:
        """Return name of a topic -> its role."""
        roles = {self._name(topic): role for role, topic in TOPICS.items() if role != 'image'}
        roles[self.camera.image] = 'image'

        # Outlines have no scores; detections are published where vision_msgs is installed.
        if self.topics.get(self._name(topics.DETECTION)):
            del roles[self._name(topics.MARKERS)]
            roles[self._name(topics.DETECTION)] = 'detection'
        return roles

    def _index(self) -> dict[str, dict[int, Found]]:
        """Return role -> stamp -> message; of several with one stamp the first."""
        kinds = {self._name(topic): topic.kind for topic in topics.EVERY}
        own = self._kinds.get(self.camera.image)
        kinds[self.camera.image] = own if own in IMAGE_KINDS else topics.IMAGE.kind
        index: dict[str, dict[int, Found]] = {role: {} for role in TOPICS}
        for file, entry in self._storage.entries:
            role = self._roles.get(entry.topic)
            if role is None:
                continue

            # a message that does not fit is counted under its topic, never guessed at
            kind = file.topics[entry.topic].kind
            wanted = kinds[entry.topic]
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
        """Move truth to the stamps of the images, and count messages without an image."""
        images = sorted(self._found['image'])
        for role, found in self._found.items():
            if role == 'image':
                continue

            # The node copies the stamp of the image; labels may come from another clock.
            slop = slop_ns if role.startswith(TRUE) else 0
            place = match_stamps(images, sorted(found), slop)
            self._found[role] = {place.get(stamp, stamp): one for stamp, one in found.items()}
            self.matched[role] = len(place)

            # A recording that begins in mid-drive has answers to images that it does not hold.
            # Where no message has an image, or by much longer, the clocks disagree.
            if place:
                self.early[role] = sum(
                    images[0] - EARLY_NS < stamp < images[0] for stamp in found
                    if stamp not in place)
            self.unmatched[role] = len(found) - len(place) - self.early[role]

    def _decoded(self, role: str, entry: Entry, file: StorageFile, task: Task | None) -> Any:
        """
        Return the content of a message.

        :param task: of the boxes.
        :raises FrameError: if it is not the content of its role.
        """
        content = self._storage.read(file, entry)
        kind = file.topics[entry.topic].kind
        if role == 'detection':
            assert task is not None
            decode = (boxes_from_markers if kind == topics.MARKERS.kind else boxes_from_detections)
            return decode(deserialise(content, kind), task)
        if kind == topics.COMPRESSED_IMAGE.kind:
            return decode_compressed(
                read_compressed(content), image_range=self.image_range)

        # Images are most of a recording: their pixels are viewed in place, not deserialised.
        message = read_image(content)
        if role == 'image':
            return decode_image(message, image_range=self.image_range)
        return _checked(role.removeprefix(TRUE), decode_array(message))

    def _messages(self, kinds: Mapping[str, str]) -> Iterator[tuple[Entry, Any]]:
        """Yield the messages of some topics of these types."""
        for file, entry in self._storage.entries:
            kind = kinds.get(entry.topic)
            if kind is None or kind != file.topics[entry.topic].kind:
                continue
            try:
                yield entry, deserialise(self._storage.read(file, entry), kind)
            except (FrameError, DataError) as error:
                self._leave_out(entry, error)


def _record(stamp_ns: int, decoded: Mapping[str, Any], received_ns: int | None) -> FrameRecord:
    """Return the record of a stamp from the content of its roles."""
    prediction = {task: decoded[task] for task in topics.PREDICTIONS if task in decoded}
    truth = {task: decoded[TRUE + task] for task in topics.TRUTH if TRUE + task in decoded}
    return FrameRecord(
        stamp_ns, decoded.get('image'), Perception(**prediction) if prediction else None,
        Truth(**truth) if truth else None, received_ns)


def _checked(task: str, values: NDArray[Any]) -> NDArray[Any]:
    """
    Return the map of a task; depth in metres, also where it was published in millimetres.

    :raises FrameError: ``B05``, if it is not a map of this task.
    """
    wanted = {'depth': ('float32', 'float64', 'uint16'),
              'instance': ('uint8', 'uint16', 'int32')}.get(task, ('uint8',))
    if values.ndim != 2 or str(values.dtype) not in wanted:
        raise FrameError(
            f'has the shape {values.shape} of {values.dtype}, wanted (height, width) of '
            f'{" or ".join(wanted)}', ReasonCode.BAG_MESSAGE)
    if task == 'depth' and values.dtype == np.uint16:  # REP 118: millimetres, 0 = unknown
        return np.where(values > 0, values * np.float32(0.001), np.float32(np.nan))
    return values


def _listed(path: Path) -> str:
    """Return the topics and files that the metadata beside a damaged file name."""
    try:
        lines = (path / 'metadata.yaml').read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError):
        return ''
    names = [line.split('name:')[1].strip() for line in lines if line.strip().startswith('name:')]
    return f' Its metadata list {", ".join(names)}' if names else ''


def _shown(counts: Mapping[str, int]) -> str:
    return ', '.join(f'{name} ({count})' for name, count in sorted(counts.items())) or 'no topics'
