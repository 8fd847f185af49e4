# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Protocol buffers, as far as ONNX files need them: fields of a message, read and written."""

from collections.abc import Iterator


def number_field(number: int, value: int) -> bytes:
    """Return a field of a whole number that is not negative."""
    return varint(number << 3) + varint(value)


def field(number: int, value: bytes) -> bytes:
    """Return a field of bytes: its number and kind, its length, its content."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a message; a ValueError if it is none."""
    place = 0
    while place < len(content):
        key, place = _read_varint(content, place)
        if key & 7 == 0:
            value, place = _read_varint(content, place)
            yield key >> 3, value
            continue

        # numbers of fixed length, or a length and bytes
        if key & 7 not in (1, 2, 5):
            raise ValueError(f'no field of kind {key & 7}')
        length = {1: 8, 5: 4}.get(key & 7)
        if length is None:
            length, place = _read_varint(content, place)
        if place + length > len(content):
            raise ValueError('a field is longer than the file')
        yield key >> 3, content[place:place + length]
        place += length


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it."""
    value = shift = 0
    while True:
        value |= (content[place] & 127) << shift
        shift += 7
        place += 1
        if content[place - 1] < 128:
            return value, place
        if shift > 63:
            raise ValueError('a number of more than 64 bits')


def text_of(value: int | bytes) -> bytes:
    """Return the value of a field of bytes; a ValueError if it is a number."""
    if not isinstance(value, bytes):
        raise ValueError('a number in place of text')
    return value
