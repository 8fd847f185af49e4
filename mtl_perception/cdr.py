# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages from their serialised bytes; pixels are views and are not copied."""

import struct
from dataclasses import dataclass

from mtl_perception.errors import FrameError
from mtl_perception.image_codec import ImageFields
from mtl_perception.reason_codes import ReasonCode

ENCAPSULATION = 4
"""Bytes before the message; alignment is relative to their end."""

STAMP = ENCAPSULATION + 8
"""Number of bytes of a message with a header that hold its stamp."""


@dataclass(frozen=True)
class RawHeader:
    """The fields of a ``std_msgs/Header``."""

    seconds: int
    nanoseconds: int
    frame_id: str

    @property
    def stamp_ns(self) -> int:
        """Return the stamp, nanoseconds."""
        return self.seconds * 10 ** 9 + self.nanoseconds


@dataclass(eq=False)
class RawImage(ImageFields):
    """A ``sensor_msgs/Image``; ``data`` is a view of the serialised message."""

    head: RawHeader


@dataclass(eq=False)
class RawCompressed:
    """The fields of a ``sensor_msgs/CompressedImage``; ``data`` is a view of the message."""

    head: RawHeader
    format: str
    data: memoryview


class Cursor:
    """
    Walk through a message in CDR.

    :param content: the message with its encapsulation.
    :raises FrameError: if it is not plain CDR.
    """

    def __init__(self, content: memoryview) -> None:
        if len(content) < ENCAPSULATION or content[0] or content[1] not in (0, 1):
            raise FrameError(
                f'the message starts with {bytes(content[:4]).hex()!r}, wanted the head of plain '
                'CDR', ReasonCode.BAG_MESSAGE)
        self._content = content
        self._order = '<' if content[1] else '>'
        self._place = ENCAPSULATION

    def numbers(self, layout: str) -> tuple[int, ...]:
        """
        Return numbers of 4 bytes each, or of one.

        :param layout: such as ``iI``, as ``struct`` has it, or ``B``.
        :raises FrameError: if the message ends before.
        """
        # numbers of 4 bytes are aligned to 4
        if layout != 'B':
            self._place += -(self._place - ENCAPSULATION) % 4
        fields = struct.Struct(self._order + layout)
        start = self._advance(fields.size)
        return fields.unpack_from(self._content, start)

    def block(self) -> memoryview:
        """
        Return a sequence of bytes; its length comes first.

        :raises FrameError: if the message ends before.
        """
        length, = self.numbers('I')
        start = self._advance(length)
        return self._content[start:start + length]

    def text(self) -> str:
        """Return a string, which ends at its first zero; bytes that are no UTF-8 are replaced."""
        return bytes(self.block()).partition(b'\0')[0].decode('utf-8', 'replace')

    def header(self) -> RawHeader:
        """Return a header."""
        seconds, nanoseconds = self.numbers('iI')
        return RawHeader(seconds, nanoseconds, self.text())

    def _advance(self, size: int) -> int:
        """Return the start of the next field and move past it."""
        start = self._place
        if start + size > len(self._content):
            raise FrameError(
                f'the message has {len(self._content)} bytes, wanted at least {start + size}; it '
                'is cut short or of another type', ReasonCode.BAG_MESSAGE)
        self._place = start + size
        return start


def read_stamp(content: memoryview) -> int | None:
    """
    Return the stamp of a message that begins with a header, nanoseconds; None if it is cut.

    :param content: at least the first :data:`STAMP` bytes.
    """
    if len(content) < STAMP:
        return None
    seconds, nanoseconds = struct.unpack_from('<iI' if content[1] else '>iI', content, 4)
    return int(seconds) * 10 ** 9 + int(nanoseconds)


def read_image(content: memoryview) -> RawImage:
    """
    Return the fields of a serialised ``sensor_msgs/Image``.

    :raises FrameError: ``B05``, if it cannot be one.
    """
    cursor = Cursor(content)
    head = cursor.header()
    height, width = cursor.numbers('II')
    encoding = cursor.text()
    bigendian, = cursor.numbers('B')
    step, = cursor.numbers('I')
    return RawImage(height, width, encoding, bigendian, step, cursor.block(), head)


def read_compressed(content: memoryview) -> RawCompressed:
    """
    Return the fields of a serialised ``sensor_msgs/CompressedImage``.

    :raises FrameError: ``B05``, if it cannot be one.
    """
    cursor = Cursor(content)
    return RawCompressed(cursor.header(), cursor.text(), cursor.block())
