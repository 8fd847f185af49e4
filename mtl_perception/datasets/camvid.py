# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CamVid: semantics of drives through Cambridge."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, find_earlier, images_in, need_folder, to_ids
from mtl_perception.errors import ConfigurationError
from mtl_perception.media.pictures import read_map
from mtl_perception.tasks import UNLABELLED, Task

SPLITS = ('train', 'val', 'test')

SEMANTIC = Task(
    name='semantic', kind='classes',
    classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign_symbol', 'fence', 'car',
             'pedestrian', 'bicyclist'),
    palette=((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222),
             (128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0),
             (0, 128, 192)),
    movable=(8, 9, 10), sky=0)

_IDS = {**{number: number for number in range(11)}, 11: UNLABELLED}


class CamVid(RecordedClips):
    """
    CamVid (Brostow et al., ECCV 2008) in 11 classes, in the layout of SegNet's authors.

    Reads ``<root>/<split>/*.png`` and the labels ``<root>/<split>annot/*.png``: 0 to 10 are the
    classes, 11 is unlabelled. The frames of a drive are numbered as in the 30 Hz video; those of
    ``val`` are 2 apart, the others 30, so ``frames: 2`` needs ``spacing: 2`` and ``split: val``.

    :param root: the folder with ``train``, ``trainannot``, ...
    :param split: ``train``, ``val`` or ``test``.
    :param frames: images T per clip.
    :param spacing: difference between the numbers of two images of a clip.
    :raises ConfigurationError: if the split is unknown.
    :raises DataError: if a folder is missing or empty.
    """

    tasks = (SEMANTIC,)
    filmed = True

    def __init__(self, root: str, split: str, frames: int = 1, spacing: int = 2) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'CamVid has no split {split!r}; it has {list(SPLITS)}')
        self._labels = need_folder(expand(root) / f'{split}annot')
        super().__init__(images_in(expand(root) / split), frames, spacing)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of the same drive whose number is smaller by ``back``."""
        return find_earlier(image, back)

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return the semantics of an image."""
        path = self._labels / f'{image.stem}.png'
        return {'semantic': to_ids(read_map(path, shape), _IDS, path)}
