# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of a folder as frames: in natural order, one step apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import DataError
from mtl_perception.image_range import ImageRange, Limits
from mtl_perception.media.listing import IMAGE_SUFFIXES, Listing, survey
from mtl_perception.media.omissions import Omissions
from mtl_perception.media.pictures import read_rgb, show_some


@dataclass(frozen=True)
class PictureFrame:
    """
    One picture of a folder.

    :param name: of its file, without the suffix.
    :param seconds: time since the first picture of the folder.
    :param path: of its file.
    :param image_range: of the 16-bit pictures of the folder.
    """

    name: str
    seconds: float
    path: Path
    image_range: ImageRange

    def read(self) -> NDArray[np.uint8]:
        """
        Return the (H, W, 3) uint8 RGB, upright.

        :raises DataError: naming the file, if it cannot be read.
        """
        return read_rgb(self.path, self.image_range)


class PictureFolder:
    """
    The pictures of a folder, or a single one.

    :param path: of a folder, or of a picture.
    :param rate: pictures per second.
    :param limits: of the 16-bit pictures; None finds them in a sample.
    :ivar count: of the pictures.
    :ivar omissions: what the last call of :meth:`frames` could not give; who reads a picture adds
        the error.
    :raises DataError: if there is no picture.
    """

    def __init__(self, path: Path, rate: float, limits: Limits | None = None) -> None:
        self.path = path
        self.rate = rate
        self._listing = survey(path) if path.is_dir() else Listing(path.parent, (path,), ())
        self.paths = self._listing.images
        self.count = len(self.paths)
        self.omissions = Omissions()
        self._limits = limits

    def remarks(self) -> list[str]:
        """Return what is left out, and where the order differs from plain sorting."""
        return self._listing.remarks()

    def frames(self, first: int = 0) -> Iterator[PictureFrame]:
        """
        Yield every picture; one that cannot be read leaves its place in time empty.

        :param first: index of the first one, which gets the time 0.
        """
        self.omissions.clear()
        image_range = ImageRange(self._limits) if self._limits else ImageRange(
            sample=partial(show_some, self.paths))
        for number, path in enumerate(self.paths[first:]):
            yield PictureFrame(path.stem, number / self.rate, path, image_range)

        if remark := image_range.remark():
            self.omissions.add(f'{self.path}: {remark}', 0)

    def check_names(self) -> None:
        """
        Refuse pictures that differ in their suffix alone, where a file is made of each.

        :raises DataError: naming two of them.
        """
        stems: dict[str, Path] = {}
        for path in self.paths:
            if stems.setdefault(path.stem, path) != path:
                raise DataError(
                    f'{self.path}: {stems[path.stem].name} and {path.name} have the same name '
                    'without the suffix, so their output files would too; rename one')


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
