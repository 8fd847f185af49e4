# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
What the headers of picture files say, without decoding them: sizes, and how they are turned.

The sizes of JPEG and PNG files: :mod:`mtl_perception.compressed_header`.
"""

import re
import struct

_NETPBM = re.compile(rb'P[1-6](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s')
_HEIGHT_TAG, _WIDTH_TAG, _ORIENTATION_TAG = 257, 256, 274
_TIFF = (b'II*\0', b'II+\0', b'MM\0*', b'MM\0+')
_START_OF_SCAN = 0xda
_TIFF_NUMBERS = {3: 'H', 4: 'I', 16: 'Q'}
"""Type of a field of a TIFF -> its format; sizes have no other type."""


def size_of(content: bytes) -> tuple[int, int] | None:
    """
    Return (height, width) that a picture file claims.

    :param content: of the file.
    :return: None if it is of none of these kinds, or ends within its header.
    """
    try:
        if content.startswith(b'BM'):
            return _bmp(content)
        if content[:4] == b'RIFF' and content[8:12] == b'WEBP':
            return _webp(content)
        if content[:4] in _TIFF:
            fields = _tiff(content)
            if {_WIDTH_TAG, _HEIGHT_TAG} <= fields.keys():
                return fields[_HEIGHT_TAG], fields[_WIDTH_TAG]
    except (struct.error, IndexError):
        return None

    found = _NETPBM.match(content[:4096])
    return (int(found[2]), int(found[1])) if found else None


def orientation_of(content: bytes) -> int:
    """
    Return how a picture file is turned by its EXIF data: 1 = not, 2 to 8 as EXIF has it.

    :param content: of the file.
    """
    try:
        exif = content if content[:4] in _TIFF else _exif(content)
        return _tiff(exif).get(_ORIENTATION_TAG, 1) if exif[:4] in _TIFF else 1
    except (struct.error, IndexError):
        return 1


def _bmp(content: bytes) -> tuple[int, int]:
    """Return the size of a BMP; the rows of one of negative height go downwards."""
    if struct.unpack_from('<I', content, 14)[0] == 12:  # the header of OS/2
        width, height = struct.unpack_from('<HH', content, 18)
    else:
        width, height = struct.unpack_from('<ii', content, 18)
    return abs(height), width


def _webp(content: bytes) -> tuple[int, int] | None:
    """Return the size of a WebP: lossy, lossless or extended."""
    kind = content[12:16]
    if kind == b'VP8 ':
        width, height = struct.unpack_from('<HH', content, 26)
        return height & 0x3fff, width & 0x3fff

    # 14 bits each, the width first; 24 bits each
    if kind == b'VP8L':
        bits = struct.unpack_from('<I', content, 21)[0]
        return (bits >> 14 & 0x3fff) + 1, (bits & 0x3fff) + 1
    if kind == b'VP8X' and len(content) >= 30:
        return (int.from_bytes(content[27:30], 'little') + 1,
                int.from_bytes(content[24:27], 'little') + 1)
    return None


def _tiff(content: bytes) -> dict[int, int]:
    """Return tag -> value of the first image of a TIFF or BigTIFF, of the tags that matter."""
    order = '<' if content.startswith(b'II') else '>'
    if b'+' in content[2:4]:
        place = struct.unpack_from(f'{order}Q', content, 8)[0]
        entries, step, head, value = f'{order}Q', 20, 8, 12
    else:
        place = struct.unpack_from(f'{order}I', content, 4)[0]
        entries, step, head, value = f'{order}H', 12, 2, 8

    # A directory: the number of entries; each has tag, type, count and value.
    found = {}
    for number in range(min(struct.unpack_from(entries, content, place)[0], 4096)):
        entry = place + head + number * step
        tag, kind = struct.unpack_from(f'{order}HH', content, entry)
        if tag in (_WIDTH_TAG, _HEIGHT_TAG, _ORIENTATION_TAG) and kind in _TIFF_NUMBERS:
            found[tag] = struct.unpack_from(
                order + _TIFF_NUMBERS[kind], content, entry + value)[0]
    return found


def _exif(content: bytes) -> bytes:
    """Return the EXIF data of a JPEG, PNG or WebP file: a small TIFF; empty if it has none."""
    if content.startswith(b'\xff\xd8'):
        # segments: marker (2 bytes), length with itself (2), body
        place = 2
        while content[place:place + 1] == b'\xff' and content[place + 1] != _START_OF_SCAN:
            if content[place + 1] == 0xe1 and content[place + 4:place + 10] == b'Exif\0\0':
                return content[place + 10:]
            place += 2 + struct.unpack_from('>H', content, place + 2)[0]
        return b''

    # chunks: of a PNG length, kind, body, checksum; of a WebP kind, length, body of even length
    png = content.startswith(b'\x89PNG')
    if not png and content[8:12] != b'WEBP':
        return b''
    place = 8 if png else 12
    while place + 8 <= len(content):
        length = struct.unpack_from('>I' if png else '<I', content, place + (0 if png else 4))[0]
        kind = content[place + 4:place + 8] if png else content[place:place + 4]
        if kind in (b'eXIf', b'EXIF'):
            return content[place + 8:place + 8 + length].removeprefix(b'Exif\0\0')
        place += 12 + length if png else 8 + length + length % 2
    return b''
