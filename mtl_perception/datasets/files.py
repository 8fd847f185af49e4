# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Read the files of a data set; what is wrong with one names it."""

import math
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.compressed_header import PNG, read_header
from mtl_perception.errors import DataError, FrameError
from mtl_perception.image_codec import decode_compressed

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')
_NUMBERED = re.compile(r'(.*?)(\d+)')
_PNG_GREY, _PNG_PALETTE = 0, 3


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """
    Return the (H, W, 3) uint8 RGB of a JPEG or PNG file; a rotation in EXIF is not applied.

    :raises DataError: naming the file, if it is missing, cut, damaged or of another kind.
    """
    message = SimpleNamespace(format='', data=read_bytes(path))
    try:
        return decode_compressed(message)
    except FrameError as error:
        raise DataError(f'{path}: {error}; copy or unpack the file again') from error


def read_map(path: Path, shape: tuple[int, int], wanted_bits: int = 0) -> NDArray[Any]:
    """
    Return the numbers in a PNG of one channel: labels, disparity, depth.

    Of a PNG with a palette these are the indices, not the colours. Of a grey picture that was
    saved with colour channels it is the one value that they share.

    :param path: the file.
    :param shape: (H, W) of the image that it belongs to.
    :param wanted_bits: 16 if the numbers need so many; a file of fewer was saved anew by a program
        that cut them. 0 takes any.
    :return: (H, W) uint8 or uint16.
    :raises DataError: naming the file, if it is missing, damaged, coloured or of another size or
        depth.
    """
    content = read_bytes(path)
    try:
        read_header(np.frombuffer(content, np.uint8))
    except FrameError as error:
        raise DataError(f'{path}: {error}; copy or unpack the file again') from error
    if not content.startswith(PNG):
        raise DataError(
            f'{path}: is a JPEG, which changes numbers; labels and depth have to be a PNG')
    bits = content[24]
    scale = 255 // (2 ** bits - 1) if bits < 8 else 1  # OpenCV spreads fewer bits over 0 to 255
    if content[25] == _PNG_PALETTE:
        content = _as_grey(content)
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DataError(f'{path}: the PNG cannot be decoded; copy or unpack the file again')
    if values.ndim == 3:
        if (values[:, :, :3] != values[:, :, :1]).any():
            raise DataError(
                f'{path}: holds colours, wanted one number per pixel; name the file with the ids, '
                'not the one with the colours')
        values = values[:, :, 0]
    if values.shape != shape:
        raise DataError(
            f'{path}: is {values.shape[0]} x {values.shape[1]} (height x width), its image '
            f'{shape[0]} x {shape[1]}; they must be of one size')
    if values.dtype.itemsize * 8 < wanted_bits:
        raise DataError(
            f'{path}: has {values.dtype.itemsize * 8} bits per pixel, wanted {wanted_bits}; a '
            'program that saved it anew has cut its numbers: unpack the file again')
    return values // scale if scale > 1 else values


def read_channels(path: Path, shape: tuple[int, int]) -> NDArray[Any]:
    """
    Return the numbers in a PNG of three channels, in the order of the file: red, green, blue.

    :param path: the file.
    :param shape: (H, W) of the image that it belongs to.
    :return: (H, W, 3) uint8 or uint16.
    :raises DataError: naming the file, if it is missing, damaged or of another size or kind.
    """
    content = read_bytes(path)
    values = None
    if content.startswith(PNG):
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DataError(f'{path}: is no PNG that can be decoded; copy or unpack the file again')
    if values.ndim != 3 or values.shape[:2] != shape:
        raise DataError(
            f'{path}: has the shape {values.shape}, wanted {(*shape, 3)} (height, width, '
            'channels); it must be as large as its image')
    return values[:, :, 2::-1]


def to_ids(values: NDArray[Any], ids: Mapping[int, int], path: Path) -> NDArray[np.uint8]:
    """
    Return what each number of a label file means.

    :param values: (H, W) uint8 or uint16.
    :param ids: number in the file -> class id or 255 = unlabelled.
    :param path: the file, for the message.
    :return: (H, W) uint8.
    :raises DataError: if a number is not in ``ids``.
    """
    table = np.full(np.iinfo(values.dtype).max + 1, -1, np.int16)
    table[list(ids)] = list(ids.values())
    found: NDArray[np.int16] = table[values]
    if (found < 0).any():
        row, column = np.argwhere(found < 0)[0]
        raise DataError(
            f'{path}: label {values[row, column]} at row {row}, column {column} (and '
            f'{int((found < 0).sum()) - 1} more wrong pixels) is none of {ranges(ids)}; correct '
            'the file or say what the number means')
    return found.astype(np.uint8)


def visible_box(
        corners: Sequence[float], shape: tuple[int, int], where: str) -> tuple[float, ...]:
    """
    Return a box without what lies outside of its image.

    :param corners: x_min, y_min, x_max, y_max in pixels.
    :param shape: (H, W) of the image.
    :param where: file and line, for the message.
    :raises DataError: if it is no box or lies outside altogether.
    """
    height, width = shape
    x_min, y_min, x_max, y_max = corners
    if not all(map(math.isfinite, corners)) or not (x_min < x_max and y_min < y_max):
        raise DataError(
            f'{where}: the box is {[*corners]}, wanted x_min < x_max and y_min < y_max; correct '
            'the line')
    found = (max(x_min, 0.0), max(y_min, 0.0), min(x_max, width), min(y_max, height))
    if not (found[0] < found[2] and found[1] < found[3]):
        raise DataError(
            f'{where}: the box {[*corners]} lies outside of its image of {height} x {width} '
            '(height x width); correct the line, or use the image that it belongs to')
    return found


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text, such as ``0-11, 255``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ', '.join('-'.join(map(str, part)) for part in parts)


def read_bytes(path: Path) -> bytes:
    """
    Return the content of a file.

    :raises DataError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f'{path}: does not exist; is the data set complete?') from None
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error})') from error


def expand(root: str | Path) -> Path:
    """
    Return the folder of a data set.

    :raises DataError: if there is none.
    """
    return need_folder(Path(root).expanduser())


def need_folder(folder: Path) -> Path:
    """
    Return the folder.

    :raises DataError: if it does not exist, naming what its nearest existing parent holds.
    """
    if folder.is_dir():
        return folder
    parent = next(parent for parent in [*folder.absolute().parents] if parent.is_dir())
    there = sorted(path.name for path in parent.iterdir())[:8]
    raise DataError(
        f'{folder}: no such folder; {parent} holds {there or "nothing"}. Set root to the folder '
        "that the data set's archives were unpacked into")


def images_in(folder: Path, pattern: str = '*') -> list[Path]:
    """
    Return the JPEG and PNG files of a folder in order, without what systems leave in folders.

    :param folder: must exist.
    :param pattern: of the path below it, without the suffix; ``**/*`` for all below it, also
        behind symbolic links.
    :raises DataError: if there is no folder or no such file.
    """
    need_folder(folder)
    there = _below(folder) if pattern == '**/*' else folder.glob(pattern + '.*')
    found = sorted(path for path in there if path.suffix.lower() in IMAGE_SUFFIXES and not any(
        is_hidden(part) for part in path.relative_to(folder).parts))
    if not found:
        raise DataError(f'{folder}: no image {pattern} with one of {list(IMAGE_SUFFIXES)} in it')
    return found


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none of a data set's, but a system's or a program's."""
    return name.startswith('.') or name == '__MACOSX'


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, of each folder once, whatever links lead to it."""
    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = Path(place).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in names)


def find_image(stem: Path) -> Path | None:
    """Return the JPEG or PNG file with this path but for the suffix, None if there is none."""
    paths = (stem.with_name(stem.name + change(suffix))
             for change in (str.lower, str.upper) for suffix in IMAGE_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def find_earlier(image: Path, back: int) -> Path | None:
    """
    Return the image whose number, with which the name ends, is smaller by ``back``.

    :return: None if there is none in the folder.
    """
    match = _NUMBERED.fullmatch(image.stem)
    if match is None or int(match[2]) < back:
        return None
    return find_image(image.with_name(f'{match[1]}{int(match[2]) - back:0{len(match[2])}d}'))


def _as_grey(content: bytes) -> bytes:
    """Return a PNG with a palette as one whose grey values are the indices."""
    parts, position = [PNG], len(PNG)
    while position < len(content):
        length = int.from_bytes(content[position:position + 4], 'big')
        kind = content[position + 4:position + 8]
        body = content[position + 8:position + 8 + length]
        position += 12 + length
        if kind == b'IHDR':
            body = body[:9] + bytes([_PNG_GREY]) + body[10:]
        if kind in (b'IHDR', b'IDAT', b'IEND'):
            checksum = zlib.crc32(kind + body)
            parts.append(struct.pack('>I', length) + kind + body + struct.pack('>I', checksum))
    return b''.join(parts)
