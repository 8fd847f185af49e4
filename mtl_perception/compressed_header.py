# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Size and integrity of a JPEG or PNG file, without decoding it.

A kilobyte can claim a gigabyte of pixels, so the size is checked before pixels are decoded.
"""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import FrameError
from mtl_perception.reason_codes import ReasonCode

JPEG, PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'

OTHER_KINDS = {
    b'GIF8': 'GIF', b'BM': 'BMP', b'II*\x00': 'TIFF', b'MM\x00*': 'TIFF', b'RIFF': 'WebP or AVI',
    b'\x00\x00\x00': 'MP4 or H.264', b'P5': 'PGM', b'P6': 'PPM',
}

_START_OF_FRAME = frozenset(range(0xc0, 0xd0)) - {0xc4, 0xc8, 0xcc}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xd0, 0xd9)})
_START_OF_SCAN, _END_OF_IMAGE = 0xda, 0xd9


def read_header(data: NDArray[np.uint8], claimed: str = '') -> tuple[int, int]:
    """
    Return (height, width) of a JPEG or PNG file and check that the file is complete.

    :param data: flat uint8, the file.
    :param claimed: the format by the sender's words, for the message only.
    :raises FrameError: ``I19_format`` if it is neither, ``I17_decode`` if it is cut or damaged.
    """
    buffer: Any = data
    content = memoryview(buffer)

    start = bytes(content[:8])
    if start.startswith(JPEG):
        return _read_jpeg(content)
    if start == PNG:
        return _read_png(content)

    if 'compressedDepth' in claimed:
        raise FrameError(
            'the data is a depth image of compressed_depth_image_transport (compressedDepth); '
            'take the topic of the colour image', ReasonCode.IMAGE_FORMAT)
    kind = next((name for magic, name in OTHER_KINDS.items() if start.startswith(magic)), '')
    raise FrameError(
        f'the data is neither JPEG nor PNG: it starts with {start!r}'
        f'{f", which looks like {kind}" if kind else ""}; format says {ascii(claimed[:32])[:32]}',
        ReasonCode.IMAGE_FORMAT)


def _read_jpeg(content: memoryview) -> tuple[int, int]:
    """
    Return (height, width) of a JPEG.

    The segments up to the first scan are walked, and the end of the image is looked for behind it.
    """
    size: tuple[int, int] | None = None
    position = 2
    while position + 4 <= len(content):
        if content[position] != 0xff:
            raise _damaged(f'no JPEG marker at byte {position}')

        # Markers that stand alone, without a length and content.
        marker = content[position + 1]
        if marker == 0xff:  # fill byte
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        if marker == _END_OF_IMAGE:
            break

        # A frame header: length (2 bytes), bits (1), height (2), width (2).
        length = int.from_bytes(content[position + 2:position + 4], 'big')
        if marker in _START_OF_FRAME and size is None:
            if position + 9 > len(content) or length < 8:
                break
            size = (int.from_bytes(content[position + 5:position + 7], 'big'),
                    int.from_bytes(content[position + 7:position + 9], 'big'))

        # Within a scan FF is followed by 00 or a restart marker, so FF D9 is the end of the image.
        if marker == _START_OF_SCAN:
            if size is None:
                raise _damaged('the JPEG has no size before its first scan')
            if bytes(content[position:]).rfind(b'\xff\xd9') < 0:
                raise _damaged(f'the JPEG is truncated after {len(content)} bytes')
            return size
        position += 2 + length
    raise _damaged(f'the JPEG ends after {len(content)} bytes, before its first scan')


def _read_png(content: memoryview) -> tuple[int, int]:
    """Return (height, width) of a PNG whose chunks are all there and have their checksums."""
    size: tuple[int, int] | None = None
    position = len(PNG)
    while position + 12 <= len(content):
        # A chunk: length of the body (4 bytes), kind (4), body, checksum of kind and body (4).
        length = int.from_bytes(content[position:position + 4], 'big')
        kind = bytes(content[position + 4:position + 8])
        end = position + 12 + length
        if size is None and (kind != b'IHDR' or length != 13):
            raise _damaged('the PNG does not start with its header')
        if end > len(content):
            break

        checksum = int.from_bytes(content[end - 4:end], 'big')
        if zlib.crc32(content[position + 4:end - 4]) != checksum:
            raise _damaged(f'the checksum of the PNG chunk at byte {position} is wrong')

        if size is None:
            size = (int.from_bytes(content[position + 12:position + 16], 'big'),
                    int.from_bytes(content[position + 8:position + 12], 'big'))
        if kind == b'IEND':
            return size
        position = end
    raise _damaged(f'the PNG is truncated after {len(content)} bytes')


def _damaged(what: str) -> FrameError:
    """Return the refusal of a file that is cut or damaged."""
    return FrameError(f'{what}; wanted a complete file', ReasonCode.IMAGE_DECODE)
