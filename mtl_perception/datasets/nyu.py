# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""NYU Depth v2: rooms, with semantics in 13 classes and depth."""

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, need_folder
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media.listing import natural_order
from mtl_perception.tasks import UNLABELLED, Task

SPLITS = ('train', 'test')

SEMANTIC = Task(
    name='semantic', kind='classes',
    classes=('bed', 'books', 'ceiling', 'chair', 'floor', 'furniture', 'objects', 'picture',
             'sofa', 'table', 'tv', 'wall', 'window'),
    palette=((0, 0, 255), (232, 88, 47), (0, 217, 0), (148, 0, 240), (222, 241, 23),
             (255, 205, 205), (0, 223, 228), (106, 135, 204), (116, 28, 41), (240, 35, 235),
             (0, 166, 156), (249, 139, 0), (225, 228, 194)))
"""The 13 classes of Couprie et al., ICLR 2013."""

DEPTH = Task(name='depth', kind='regression', maximum=10.0, unit='m')
"""Depth along the camera's axis; the sensor measures up to 10 m."""

LABELLED = 'nyu_depth_v2_labeled.mat'
FOCAL_PX = 518.8579
"""Focal length of the colour camera at a width of 640 pixels, from the set's own toolbox."""


class NyuV2(RecordedClips):
    """
    NYU Depth v2 (Silberman et al., ECCV 2012), 795 images to train and 654 to test.

    Reads one of two layouts. That of MTAN's authors, which LibMTL and XTasC-Net use as well, at
    288 x 384: ``<root>/<train or val>/image/N.npy`` (H, W, 3) of 0 to 1, ``label/N.npy`` (H, W)
    with -1 = unlabelled, and ``depth/N.npy`` (H, W, 1) metres. Or the official file
    ``nyu_depth_v2_labeled.mat`` at 480 x 640, with ``splits.mat``, ``classMapping40.mat`` (894 to
    40 classes) and ``class13Mapping.mat`` (40 to 13) of the published metadata beside it; this
    one needs h5py and scipy.

    The layouts follow published descriptions and programs and were not tried on files of the set.

    :param root: the folder of either layout.
    :param split: ``train`` or ``test``; the test images are those that MTAN calls ``val``.
    :raises ConfigurationError: if the split is unknown, or h5py or scipy is missing for the
        official file.
    :raises DataError: if neither layout is found.
    """

    tasks = (SEMANTIC, DEPTH)

    def __init__(self, root: str, split: str) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'NYUv2 has no split {split!r}; it has {list(SPLITS)}')
        folder = expand(root)
        self._mat = folder / LABELLED
        self._official = self._mat.is_file()

        # The official file holds all images; their paths are made up and end in their numbers.
        if self._official:
            images = [self._mat / f'{number:04d}' for number in _numbers(folder, split)]
            self._class_of = _class_table(folder)
        else:
            folder = need_folder(folder / {'train': 'train', 'test': 'val'}[split] / 'image')
            images = sorted(folder.glob('*.npy'), key=natural_order)
        super().__init__(images, 1, 1)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return None: the labelled images are single ones."""
        return None

    def read_image(self, image: Path) -> NDArray[np.uint8]:
        """Return the (H, W, 3) uint8 RGB of one image."""
        if self._official:
            return np.asarray(self._entry('images', image).transpose(2, 1, 0), np.uint8, 'C')

        values = _array(image, 3)
        if values.dtype == np.uint8:
            return values
        low = float(values.min(initial=0))
        high = float(values.max(initial=0))
        if not (low >= 0 and high <= 1):  # true for NaN as well
            raise DataError(
                f'{image}: holds {values.dtype} from {low:g} to {high:g}, wanted 0 to 1, or '
                'uint8; divide by 255')
        return np.asarray(np.rint(values * 255), np.uint8)

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return semantics and depth of an image."""
        # MATLAB's arrays arrive with rows and columns exchanged.
        if self._official:
            labels = self._entry('labels', image).T
            if labels.max(initial=0) >= len(self._class_of):
                raise DataError(
                    f'{image}: label {labels.max()} is above {len(self._class_of) - 1}; use '
                    f'the classMapping40.mat that belongs to {LABELLED}')
            depth = self._entry('depths', image).T.astype(np.float32)
            return {'semantic': self._class_of[labels], 'depth': depth}

        semantic = _array(image.parents[1] / 'label' / image.name, 2)
        depth = _array(image.parents[1] / 'depth' / image.name, 3)[..., 0].astype(np.float32)

        for name, label in (('label', semantic), ('depth', depth)):
            if label.shape != shape:
                raise DataError(
                    f'{image}: is {shape[0]} x {shape[1]}, its {name} {label.shape[0]} x '
                    f'{label.shape[1]} (height x width); they must have the same size')
        if not (depth >= 0).all():
            raise DataError(
                f'{image}: its depth goes from {depth.min():g} to {depth.max():g}, wanted metres '
                'of 0 = unknown or more')

        if not np.isin(semantic, range(-1, len(SEMANTIC.classes))).all():
            raise DataError(
                f'{image}: its labels go from {semantic.min():g} to {semantic.max():g}, wanted -1 '
                f'to {len(SEMANTIC.classes) - 1}, whole numbers')

        ids = np.where(semantic < 0, UNLABELLED, semantic).astype(np.uint8)
        return {'semantic': ids, 'depth': depth}

    def focal_length(self, image: Path) -> float | None:
        """Return the focal length at the width of the image, pixels."""
        return FOCAL_PX * int(self.read_image(image).shape[1]) / 640

    def _entry(self, name: str, image: Path) -> NDArray[Any]:
        """Return one entry of the official file for one image."""
        try:
            return np.asarray(_opened(self._mat)[name][int(image.name) - 1])
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise DataError(
                f'{self._mat}: {name} of image {image.name} cannot be read ({error}); download '
                'the file again') from error


def _array(path: Path, dimensions: int) -> NDArray[Any]:
    """Return the array in a file of the layout of .npy files."""
    try:
        values: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f'{path}: cannot be read ({error}); copy the file again') from error

    if values.ndim != dimensions or (dimensions == 3 and values.shape[2] not in (1, 3)):
        raise DataError(
            f'{path}: has the shape {values.shape}, wanted {dimensions} dimensions, height and '
            'width first')
    return values


def _numbers(folder: Path, split: str) -> list[int]:
    """Return the numbers of the images of a split, from 1 on."""
    numbers = _matlab(folder / 'splits.mat', f'{split}Ndxs')
    return sorted(int(number) for number in numbers.ravel())


def _class_table(folder: Path) -> NDArray[np.uint8]:
    """Return number of one of 894 labels -> class id; 0 = unlabelled."""
    to_40 = _matlab(folder / 'classMapping40.mat', 'mapClass').ravel().astype(int)

    entry = _matlab(folder / 'class13Mapping.mat', 'classMapping13')
    while entry.dtype == object or entry.dtype.names:  # a struct in a cell
        entry = entry.ravel()[0]
        entry = np.asarray(entry[0] if isinstance(entry, np.void) else entry)
    to_13 = np.concatenate([[0], entry.ravel().astype(int)])

    if to_40.max(initial=0) >= len(to_13) or not 0 <= to_13.min() <= to_13.max() <= 13:
        raise DataError(
            f'{folder}: classMapping40.mat has classes up to {to_40.max(initial=0)}, '
            f'class13Mapping.mat maps {len(to_13) - 1} of them; take both from one source')

    # Both tables begin with label 1; 0 in front stands for unlabelled.
    classes = to_13[np.concatenate([[0], to_40])] - 1
    return np.where(classes < 0, UNLABELLED, classes).astype(np.uint8)


def _matlab(path: Path, name: str) -> NDArray[Any]:
    """Return a variable of a MATLAB file."""
    try:
        loadmat = importlib.import_module('scipy.io').loadmat
    except ImportError as error:
        raise ConfigurationError(
            f'{path}: reading it needs scipy; pip install scipy h5py') from error

    try:
        return np.asarray(loadmat(path)[name])
    except (OSError, KeyError, ValueError, NotImplementedError) as error:
        raise DataError(
            f'{path}: {name} cannot be read ({error!r}); put the published file of that name '
            f'beside {LABELLED}') from error


@lru_cache(maxsize=2)
def _opened(path: Path) -> Any:
    """Return the official file, opened."""
    try:
        return importlib.import_module('h5py').File(path, 'r')
    except ImportError as error:
        raise ConfigurationError(f'{path}: reading it needs h5py; pip install h5py') from error
