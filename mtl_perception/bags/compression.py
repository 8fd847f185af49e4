# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decompressing parts of a rosbag2, with limits that a decompression bomb cannot pass."""

from pathlib import Path

import lz4.frame
import zstandard

from mtl_perception.errors import DataError
from mtl_perception.reason_codes import ReasonCode

LARGEST_UNPACKED = 1 << 30
"""At most this many bytes are unpacked at a time."""

SMALL_UNPACKED = 16 << 20
"""Up to this many bytes any ratio is accepted: masks of one class shrink to nearly nothing."""

LARGEST_RATIO = 200


def unpack(content: memoryview, form: str, size: int | None, partial: bool = False) -> bytes:
    """
    Return the bytes that were compressed.

    :param form: ``zstd`` or ``lz4``.
    :param size: how many bytes are expected, None if that is unknown.
    :param partial: return the beginning if the end is missing.
    :raises DataError: ``B09`` for a bomb, ``B02`` if it is damaged.
    """
    if size is None:
        limit = min(LARGEST_UNPACKED, max(SMALL_UNPACKED, LARGEST_RATIO * len(content)))
    else:
        limit = size
        refuse_bomb(len(content), size)

    # One byte more than the limit shows that there is more, without unpacking it.
    try:
        if form == 'zstd':
            with zstandard.ZstdDecompressor().stream_reader(content) as stream:
                raw = stream.read(limit + 1)
        elif form == 'lz4':
            raw = lz4.frame.LZ4FrameDecompressor().decompress(content, limit + 1)
        else:
            raise DataError(
                f'a part is compressed with {form[:16]!r}; wanted zstd or lz4',
                ReasonCode.BAG_DAMAGED)
    except (zstandard.ZstdError, RuntimeError, EOFError) as error:
        raise DataError(f'a part cannot be unpacked ({error})', ReasonCode.BAG_DAMAGED) from error

    if size is None:
        if len(raw) > limit:
            refuse_bomb(len(content), LARGEST_UNPACKED + 1)
    elif len(raw) != size and not (partial and len(raw) < size):
        raise DataError(
            f'a part unpacks to {"more than " if len(raw) > size else ""}{min(len(raw), size)} '
            f'bytes, its head says {size}', ReasonCode.BAG_DAMAGED)
    return bytes(raw)


def unpack_file(path: Path, target: Path) -> Path:
    """
    Return an unpacked copy of a file.

    :param target: the new file.
    :raises DataError: ``B09`` for a bomb, ``B02`` if it is damaged.
    """
    packed = path.stat().st_size
    size = 0
    try:
        with path.open('rb') as source, zstandard.open(source, 'rb') as stream, \
                target.open('wb') as file:
            while block := stream.read(1 << 20):
                size += len(block)
                if size > SMALL_UNPACKED and size > LARGEST_RATIO * packed:
                    refuse_bomb(packed, size)
                file.write(block)
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise DataError(f'{path}: cannot be unpacked ({error})', ReasonCode.BAG_DAMAGED) from error
    return target


def refuse_bomb(packed: int, unpacked: int) -> None:
    """
    Refuse content that grows too much.

    :param packed: size as it is stored, bytes.
    :param unpacked: size that it claims or has reached, bytes.
    :raises DataError: ``B09``.
    """
    if unpacked > LARGEST_UNPACKED or (
            unpacked > SMALL_UNPACKED and unpacked > LARGEST_RATIO * packed):
        raise DataError(
            f'{packed} bytes would unpack to {unpacked}; more than {LARGEST_UNPACKED} bytes, or '
            f'{LARGEST_RATIO} times the stored size, are not unpacked', ReasonCode.BAG_BOMB)
