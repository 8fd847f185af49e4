# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are images, and in which order."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mtl_perception.errors import DataError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.pgm', '.ppm')
"""Suffixes of images in lower case; of files that differ only in it, the first listed counts."""

SYSTEM_NAMES = frozenset({'__macosx', 'thumbs.db', 'ehthumbs.db', 'desktop.ini', '@eadir'})
"""Names, in lower case, that systems and their viewers leave in folders of images."""

VIDEO_SUFFIXES = ('.mp4', '.mkv', '.avi', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.ts')
"""Suffixes by which a video beside no image is named; others are read as well."""

SEARCHED = 10_000
"""So many files below a folder without images are looked at for some."""

NAMED = 3
"""So many files are named in a message; of more, the number is told."""

_NUMBER = re.compile(r'(\d+)')


@dataclass(frozen=True)
class Listing:
    """
    What a folder holds.

    :param folder: its path.
    :param images: in natural order.
    :param left_out: visible files that are no images by their suffix, and links to nothing.
    """

    folder: Path
    images: tuple[Path, ...]
    left_out: tuple[Path, ...]

    def remarks(self) -> list[str]:
        """Return sentences for whoever expects every file in plain order of the names."""
        remarks = [order] if (order := order_remark(self.images)) else []
        if self.left_out:
            names = [path.name for path in self.left_out]
            remarks.append(
                f'{self.folder}: {counted(len(names), "file")} left out, no image by the suffix: '
                f'{shortened(names)}')
        return remarks


def survey(folder: Path, pattern: str = '*') -> Listing:
    """
    Return the images of a folder and what is left out, without hidden files.

    :param folder: must exist.
    :param pattern: of the path below the folder, without the suffix; ``**/*`` for all below it,
        also behind symbolic links.
    :raises DataError: if there is no image.
    """
    if pattern == '*':
        files: Iterator[Path] = folder.iterdir()
    else:
        files = _below(folder) if pattern == '**/*' else folder.glob(pattern + '.*')
    try:
        visible = sorted((path for path in files if not path.is_dir() and not any(
            map(is_hidden, path.relative_to(folder).parts))), key=natural_order)
    except OSError as error:
        raise DataError(f'{folder}: cannot be read ({error})') from error

    images = tuple(path for path in visible
                   if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    left_out = tuple(path for path in visible if path not in set(images))
    if not images:
        raise DataError(f'{folder}: {_without_images(folder, pattern, left_out)}')
    return Listing(folder, images, left_out)


def _without_images(folder: Path, pattern: str, left_out: Sequence[Path]) -> str:
    """Return that a folder holds no image, what it holds, and what may have been meant."""
    such = 'no image' if pattern == '*' else f'no image {pattern}'
    said = f'{such} in it ({", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)})'
    if left_out:
        said += f'; it holds {shortened([path.name for path in left_out])}'
    if pattern != '*':
        return said

    # the folder of a data set, or of videos, in place of what lies in it
    videos = [str(path) for path in left_out if path.suffix.lower() in VIDEO_SUFFIXES]
    below = dict.fromkeys(
        str(path.parent) for path in islice(_below(folder), SEARCHED)
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(map(is_hidden, path.relative_to(folder).parts)))
    if meant := [*videos, *sorted(below)]:
        said += f'; give what is in it: {shortened(meant)}'
    return said


def list_images(folder: Path, pattern: str = '*') -> list[Path]:
    """Return the images of a folder in natural order, see :func:`survey`."""
    return [*survey(folder, pattern).images]


def order_remark(images: Sequence[Path]) -> str:
    """Return where natural order differs from plain sorting; empty if it does not."""
    plain = sorted(images, key=str)
    for first, other in zip(images, plain):
        if first != other:
            return (f'{first.parent}: {first.name} comes before {other.name}, because numbers in '
                    'names are compared as numbers')
    return ''


def counted(number: int, what: str) -> str:
    """Return a number with its noun and the verb, such as ``2 files are``."""
    return f'{number} {what} is' if number == 1 else f'{number} {what}s are'


def shortened(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - NAMED
    return ', '.join(names[:NAMED]) + (f' and {more} more' if more > 0 else '')


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
    return name.startswith('.') or name.lower() in SYSTEM_NAMES


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
