# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are images, and in which order."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mtl_perception.errors import DataError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.pgm', '.ppm')
"""Suffixes of images in lower case; of files that differ only in it, the first listed counts."""

_NUMBER = re.compile(r'(\d+)')


def list_images(folder: Path, pattern: str = '*') -> list[Path]:
    """
    Return the images of a folder in natural order, without hidden files.

    :param folder: must exist.
    :param pattern: of the path below the folder, without the suffix; ``**/*`` for all below it,
        also behind symbolic links.
    :raises DataError: if there is no image.
    """
    files = _below(folder) if pattern == '**/*' else folder.glob(pattern + '.*')
    found = [path for path in files
             if path.suffix.lower() in IMAGE_SUFFIXES
             and not any(map(is_hidden, path.relative_to(folder).parts))]
    if not found:
        raise DataError(f'{folder}: no image {pattern} with one of {list(IMAGE_SUFFIXES)} in it')
    return sorted(found, key=natural_order)


def natural_order(path: Path) -> tuple[list[list[str | int]], str]:
    """
    Return a sort key of paths that compares numbers as numbers, so 9 comes before 10.

    The full name decides only between files that differ in nothing but suffix or leading zeros.
    """
    # Splitting at a group gives text and numbers in turn, so text is never compared with a number.
    names = [_NUMBER.split(name) for name in path.with_suffix('').parts]
    return [[int(part) if place % 2 else part for place, part in enumerate(parts)]
            for parts in names], path.name


def is_hidden(name: str) -> bool:
    """Return whether a file or folder was left by a system or a program, such as ``._a.jpg``."""
    return name.startswith('.') or name == '__MACOSX'


def find_image(stem: Path) -> Path | None:
    """Return the image with this path and any suffix, None if there is none."""
    names = (stem.name + change(suffix)
             for change in (str.lower, str.upper) for suffix in IMAGE_SUFFIXES)
    return next((path for name in names if (path := stem.with_name(name)).is_file()), None)


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder; one that links reach again is not entered twice."""
    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = Path(place).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in names)
