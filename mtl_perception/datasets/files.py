# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Read the files of a data set; what is wrong with one names it."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import DataError
from mtl_perception.media.listing import find_image, list_images

_NUMBERED = re.compile(r'(.*?)(\d+)')


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
    Return the images of a folder of a data set in natural order.

    :param folder: of the images.
    :param pattern: as in :func:`mtl_perception.media.listing.list_images`.
    :raises DataError: if there is no folder or no such file.
    """
    return list_images(need_folder(folder), pattern)


def find_earlier(image: Path, back: int) -> Path | None:
    """
    Return the image whose number, with which the name ends, is smaller by ``back``.

    :return: None if there is none in the folder.
    """
    match = _NUMBERED.fullmatch(image.stem)
    if match is None or int(match[2]) < back:
        return None
    return find_image(image.with_name(f'{match[1]}{int(match[2]) - back:0{len(match[2])}d}'))
