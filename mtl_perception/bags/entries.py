# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the files of a rosbag2 have in common, whatever their format."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Entry:
    """
    One message of a file.

    :param topic: its topic.
    :param logged_ns: when the recorder received it, nanoseconds.
    :param stamp_ns: of its header, nanoseconds; meaningless for a type without a header, None for
        a message that is too short for one.
    :param place: where the file finds it.
    """

    topic: str
    logged_ns: int
    stamp_ns: int | None
    place: Any = field(repr=False)


@dataclass(frozen=True)
class RecordedTopic:
    """
    A topic of a file.

    :param kind: type of its messages.
    :param definition: of the type, as the file has it; empty if it has none.
    """

    kind: str
    definition: str = ''


@dataclass
class Damage:
    """
    What is wrong with a file, though some of it can be read.

    :param chunks: parts that were left out, because their checksum or structure is wrong.
    :param cut: why the rest of the file is missing; empty if it is complete.
    """

    chunks: int = 0
    cut: str = ''


class StorageFile(Protocol):
    """One file of a bag."""

    topics: dict[str, RecordedTopic]
    entries: list[Entry]
    damage: Damage

    def read(self, entry: Entry) -> memoryview:
        """
        Return a serialised message.

        :raises DataError: if that is impossible.
        """

    def close(self) -> None:
        """Release the file."""


def damage_text(damages: Sequence[Damage]) -> str:
    """Return in words what is wrong."""
    chunks = sum(one.chunks for one in damages)
    cuts = [one.cut for one in damages if one.cut]
    words = [f'{chunks} damaged part(s) left out'] if chunks else []
    return '; '.join([*cuts, *words])
