# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""DAVIS: masks of an object that moves, filmed by a camera that moves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, find_earlier, images_in, need_folder, to_ids
from mtl_perception.errors import DataError
from mtl_perception.media.pictures import read_bytes, read_map
from mtl_perception.tasks import MOVING, STATIC, STREET_MOTION

_IDS = {0: STATIC, **dict.fromkeys(range(1, 21), MOVING), 255: MOVING}
"""DAVIS 2016 marks the object by 255, DAVIS 2017 several objects by 1, 2, ..."""


class Davis(RecordedClips):
    """
    DAVIS (Perazzi et al., CVPR 2016), or other masks of what moves in the same layout.

    Reads ``<root>/JPEGImages/<resolution>/<sequence>/NNNNN.jpg`` and the masks
    ``Annotations/<resolution>/<sequence>/NNNNN.png``: 0 is background, anything else moves. Only
    the annotated objects are marked: other moving objects count as static.

    :param root: the folder with ``JPEGImages``.
    :param split: ``all``, or the name of a list in ``ImageSets/<resolution>`` such as ``train``.
    :param sequences: names of the only sequences to use.
    :param resolution: name of the folder of one image size.
    :param frames: images T per clip.
    :param spacing: distance between two images of a clip in frames, at 24 Hz.
    :raises DataError: if a folder, a list or a sequence is missing.
    """

    tasks = (STREET_MOTION,)
    filmed = True

    def __init__(
            self, root: str, split: str = 'all', sequences: Sequence[str] = (),
            resolution: str = '480p', frames: int = 1, spacing: int = 1) -> None:
        folder = expand(root)
        self._masks = need_folder(folder / 'Annotations' / resolution)
        images = images_in(folder / 'JPEGImages' / resolution, '*/*')

        there = {path.parent.name for path in images}
        listed = there if split == 'all' else _sequences(
            folder / 'ImageSets' / resolution / f'{split}.txt')
        if unknown := sorted((listed | set(sequences)) - there):
            raise DataError(
                f'{root}: no sequence {unknown[0]!r}; there are {sorted(there)}')

        wanted = listed & set(sequences) if sequences else listed
        super().__init__([path for path in images if path.parent.name in wanted], frames, spacing)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of the same sequence ``back`` frames before."""
        return find_earlier(image, back)

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return the motion mask of an image."""
        path = self._masks / image.parent.name / f'{image.stem}.png'
        return {'motion': to_ids(read_map(path, shape), _IDS, path)}


def _sequences(path: Path) -> set[str]:
    """Return the sequences of a list, which names a sequence or an image and its mask per line."""
    lines = read_bytes(path).decode('utf-8', 'replace').split('\n')
    first = [line.split()[0] for line in lines if line.strip()]
    return {Path(word).parent.name if '/' in word else word for word in first}
