# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""File handling shared by the data sets: folders, label numbers, boxes, neighbouring frames."""

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
    Return the class id of each number in a label file.

    :param values: (H, W) uint8 or uint16.
    :param ids: number in the file -> class id or 255 = unlabelled.
    :param path: the file, for the message.
    :return: (H, W) uint8.
    :raises DataError: if a number is not in ``ids``.
    """
    table = np.full(np.iinfo(values.dtype).max + 1, -1, np.int16)  # -1 = not in ids
    table[list(ids)] = list(ids.values())
    found: NDArray[np.int16] = table[values]

    if (found < 0).any():
        row, column = np.argwhere(found < 0)[0]
        raise DataError(
            f'{path}: label {values[row, column]} at row {row}, column {column} (and '
            f'{int((found < 0).sum()) - 1} more wrong pixels) is unknown, wanted {ranges(ids)}; '
            'correct the file or describe the number')
    return found.astype(np.uint8)


def visible_box(
        corners: Sequence[float], shape: tuple[int, int], where: str) -> tuple[float, ...]:
    """
    Return the part of a box that lies in its image.

    :param corners: x_min, y_min, x_max, y_max in pixels.
    :param shape: (H, W) of the image.
    :param where: file and line, for the message.
    :raises DataError: if the corners are not a box or no part of it lies in the image.
    """
    height, width = shape
    x_min, y_min, x_max, y_max = corners
    if not all(map(math.isfinite, corners)) or not (x_min < x_max and y_min < y_max):
        raise DataError(
            f'{where}: the box is {[*corners]}, wanted x_min < x_max and y_min < y_max; correct '
            'the line')

    # The box of an object at the edge may reach beyond the image.
    found = (max(x_min, 0.0), max(y_min, 0.0), min(x_max, width), min(y_max, height))
    if not (found[0] < found[2] and found[1] < found[3]):
        raise DataError(
            f'{where}: the box {[*corners]} lies outside its image of {height} x {width} '
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

    :raises DataError: if it does not exist.
    """
    return need_folder(Path(root).expanduser())


def need_folder(folder: Path) -> Path:
    """
    Return the folder.

    :raises DataError: if it does not exist, listing the nearest parent that does.
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
    :raises DataError: if the folder is missing or holds no such image.
    """
    return list_images(need_folder(folder), pattern)


def find_earlier(image: Path, back: int) -> Path | None:
    """
    Return the image whose name ends in a number that is smaller by ``back``.

    :return: None if the folder does not hold it.
    """
    match = _NUMBERED.fullmatch(image.stem)
    if match is None or int(match[2]) < back:
        return None
    return find_image(image.with_name(f'{match[1]}{int(match[2]) - back:0{len(match[2])}d}'))
