# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SYNTHIA's video sequences: semantics, objects and depth of a rendered city."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, find_earlier, images_in, need_folder, to_ids
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media.pictures import read_channels, read_map
from mtl_perception.tasks import STREET_DEPTH, STREET_INSTANCE, UNLABELLED, Task

SPLITS = ('all', 'train', 'validation')

SEMANTIC = Task(
    name='semantic', kind='classes',
    classes=('misc', 'sky', 'building', 'road', 'sidewalk', 'fence', 'vegetation', 'pole', 'car',
             'traffic sign', 'pedestrian', 'bicycle', 'lane marking'),
    palette=((0, 0, 0), (128, 128, 128), (128, 0, 0), (128, 64, 128), (0, 0, 192), (64, 64, 128),
             (128, 128, 0), (192, 192, 128), (64, 0, 128), (192, 128, 128), (64, 64, 0),
             (0, 128, 192), (0, 172, 0)),
    movable=(8, 10, 11), sky=1)
"""The 13 classes of the sequences."""

_TRAFFIC_LIGHT = 15
_IDS = {**{number: number for number in range(13)}, 13: UNLABELLED, 14: UNLABELLED,
        _TRAFFIC_LIGHT: SEMANTIC.classes.index('traffic sign')}
"""Number in a label file -> class. Two are reserved; traffic lights count as traffic signs."""

VALIDATION_SHARE = 0.2
BEYOND_M = 655.0
"""Depth that stands for the sky, metres: the largest in 16 bits of centimetres."""


class Synthia(RecordedClips):
    """
    SYNTHIA-SEQS (Ros et al., CVPR 2016).

    Reads ``<root>/SYNTHIA-SEQS-NN-SEASON/RGB/<camera>/NNNNNN.png`` and, where the folders exist,

    - ``GT/LABELS/<camera>/NNNNNN.png``: 16 bits; the first channel has the class, the second an
      object
    - ``Depth/<camera>/NNNNNN.png``: 16 bits, centimetres along the axis of the camera

    The layout follows published descriptions and programs and was not tried on files of the set.

    :param root: the folder with the sequences.
    :param split: ``all``; ``validation`` for the last fifth of each sequence, ``train`` for the
        frames before. SYNTHIA has no official split: this one is ours. MultiNet++ trains on all
        of SEQS-02 and validates on all of SEQS-05.
    :param sequences: names of the only sequences to use, such as ``SYNTHIA-SEQS-02-SUMMER``.
    :param camera: folder of the camera below ``RGB``.
    :param frames: images T per clip.
    :param spacing: distance between two images of a clip in frames, at 5 Hz.
    :raises ConfigurationError: if the split is unknown.
    :raises DataError: if a folder or a sequence is missing.
    """

    tasks = (SEMANTIC, STREET_DEPTH, STREET_INSTANCE)
    filmed = True

    def __init__(
            self, root: str, split: str = 'all', sequences: Sequence[str] = (),
            camera: str = 'Stereo_Left/Omni_F', frames: int = 1, spacing: int = 1) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'SYNTHIA has no split {split!r}; it has {list(SPLITS)}')

        self._camera = camera
        folders = sorted(path for path in expand(root).glob('SYNTHIA-SEQS-*') if path.is_dir())
        names = [path.name for path in folders]
        if unknown := sorted(set(sequences) - set(names)):
            raise DataError(f'{root}: no sequence {unknown[0]!r}; there are {names}')

        images = []
        for folder in folders:
            if sequences and folder.name not in sequences:
                continue

            # The end of a sequence is held out, because neighbouring frames are nearly alike.
            there = images_in(need_folder(folder / 'RGB' / camera))
            held_out = len(there) - round(VALIDATION_SHARE * len(there))
            images += {'all': there, 'train': there[:held_out],
                       'validation': there[held_out:]}[split]
        self._chosen = frozenset(images)
        super().__init__(images, frames, spacing)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of the same sequence and split ``back`` frames before."""
        earlier = find_earlier(image, back)
        return earlier if earlier in self._chosen else None

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return semantics and depth of an image."""
        labels: dict[str, NDArray[Any]] = {}

        path = self._file(image, 'GT/LABELS')
        if path.parent.is_dir():
            labels['semantic'] = to_ids(read_channels(path, shape)[..., 0], _IDS, path)

        path = self._file(image, 'Depth')
        if path.parent.is_dir():
            metres = read_map(path, shape, 16).astype(np.float32) / 100
            labels['depth'] = np.where(metres >= BEYOND_M, np.float32(np.inf), metres)
        return labels

    def read_instances(self, image: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
        """Return the objects of an image."""
        path = self._file(image, 'GT/LABELS')
        if not path.parent.is_dir():
            return None
        return read_channels(path, shape)[..., 1].astype(np.int32)

    def _file(self, image: Path, kind: str) -> Path:
        """Return the file that belongs to an image."""
        sequence = image.parents[1 + len(Path(self._camera).parts)]
        return sequence / kind / self._camera / f'{image.stem}.png'
