# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Messages from the bytes that the middleware received.

The middleware could do that by itself, but what it cannot read never reaches the node, so nobody
counts it, and some damaged messages end its process: Fast CDR 2.3 crashes on a message that claims
more padding than it has bytes. Images are read here, without a copy of their pixels; other
messages by rclpy, after a look at their head.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mtl_perception.cdr import (
    ENCAPSULATION,
    RawCompressed,
    RawHeader,
    RawImage,
    read_compressed,
    read_image,
)
from mtl_perception.errors import FrameError
from mtl_perception.reason_codes import ReasonCode

PLAIN = (b'\0\0', b'\0\1')
"""Beginning of a message in plain CDR, big and little endian."""
PADDING = 3
"""Bits of the fourth byte that tell how many bytes at the end are padding."""


@dataclass(eq=False)
class ReceivedImage(RawImage):
    """A ``sensor_msgs/Image``."""

    header: Header = field(default_factory=Header)


@dataclass(eq=False)
class ReceivedCompressed(RawCompressed):
    """A ``sensor_msgs/CompressedImage``."""

    header: Header = field(default_factory=Header)


def deserialised(data: bytes, kind: type[Any]) -> Any:
    """
    Return a message from its bytes.

    :param data: what a raw subscription gets.
    :param kind: type of the message.
    :return: of that type; for images what has the same fields, with a view of ``data``.
    :raises FrameError: ``I20_message`` if it is damaged.
    """
    try:
        if kind in IMAGES and data[:2] in PLAIN:
            return IMAGES[kind](memoryview(data))
        if len(data) < ENCAPSULATION + (data[3] & PADDING if len(data) >= ENCAPSULATION else 0):
            raise ValueError(f'it has {len(data)} bytes, too few for its head')
        return deserialize_message(data, kind)
    except Exception as error:
        raise FrameError(
            f'the message cannot be read as {kind.__name__} ({error})',
            ReasonCode.IMAGE_MESSAGE) from error


def _image(content: memoryview) -> ReceivedImage:
    """Return an image."""
    raw = read_image(content)
    return ReceivedImage(**vars(raw), header=_header(raw.head))


def _compressed(content: memoryview) -> ReceivedCompressed:
    """Return a compressed image."""
    raw = read_compressed(content)
    return ReceivedCompressed(**vars(raw), header=_header(raw.head))


def _header(head: RawHeader) -> Header:
    """Return a header as ROS has it."""
    return Header(
        stamp=Time(sec=head.seconds, nanosec=head.nanoseconds), frame_id=head.frame_id)


IMAGES: dict[type[Any], Callable[[memoryview], Any]] = {
    Image: _image, CompressedImage: _compressed}
"""Types that are read here."""
