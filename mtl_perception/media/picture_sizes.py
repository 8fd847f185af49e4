# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Sizes of BMP, TIFF, WebP, PGM and PPM files by their headers, without decoding them.

Those of JPEG and PNG files: :mod:`mtl_perception.compressed_header`.
"""

import re
import struct

_NETPBM = re.compile(rb'P[1-6](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s')
_HEIGHT_TAG, _WIDTH_TAG = 257, 256
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
        if content[:4] in (b'II*\0', b'II+\0', b'MM\0*', b'MM\0+'):
            return _tiff(content)
    except (struct.error, IndexError):
        return None

    found = _NETPBM.match(content[:4096])
    return (int(found[2]), int(found[1])) if found else None


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


def _tiff(content: bytes) -> tuple[int, int] | None:
    """Return the size of the first image of a TIFF or BigTIFF."""
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
        if tag in (_WIDTH_TAG, _HEIGHT_TAG) and kind in _TIFF_NUMBERS:
            found[tag] = struct.unpack_from(
                order + _TIFF_NUMBERS[kind], content, entry + value)[0]
    if len(found) < 2:
        return None
    return found[_HEIGHT_TAG], found[_WIDTH_TAG]
