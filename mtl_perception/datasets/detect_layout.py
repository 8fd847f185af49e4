# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Guess the description of a data set from the folders that it consists of."""

import colorsys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.datasets.build import read_descriptions
from mtl_perception.datasets.folder import DESCRIPTION, read_description
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media.listing import IMAGE_SUFFIXES, is_hidden
from mtl_perception.media.pictures import read_map
from mtl_perception.tasks import UNLABELLED

LAYOUTS: dict[str, tuple[tuple[str, ...], str, str]] = {
    'camvid': (('train', 'trainannot', 'val', 'valannot'), 'train', 'val'),
    'cityscapes': (
        ('leftImg8bit/train', 'gtFine/train', 'leftImg8bit/val', 'gtFine/val'), 'train', 'val'),
    'kitti_object': (('training/image_2', 'training/label_2'), 'train', 'validation'),
    'kitti2015': (('training/image_2', 'training/disp_occ_0'), 'train', 'validation'),
}
"""Data set -> the folders that identify it, its split for training and that for validation."""

MASKS_READ = 200
"""Number of masks, spread over all of them, in which the classes are looked up."""

Description = dict[str, Any]


def detect_layout(folder: Path) -> tuple[Description, Description]:
    """
    Return the descriptions of the training and the validation split in a folder.

    Of images and masks in two folders, with equal names up to the suffix, the last fifth is held
    out. Each number in the masks is a class; 255 is unlabelled, unless the masks hold 0 and 255
    alone.

    :param folder: as a data set's archives unpack; or one with a ``dataset.yaml``; or with a
        folder of images and one of masks.
    :return: see :func:`mtl_perception.datasets.build.build_dataset`.
    :raises DataError: if the layout is unknown.
    """
    # Published layouts come first: two of their folders could pass for images and masks.
    for name, (parts, train, validation) in LAYOUTS.items():
        if all((folder / part).is_dir() for part in parts):
            common: Description = {'dataset': name, 'root': str(folder)}
            return {**common, 'split': train}, {**common, 'split': validation}

    common = {'dataset': 'folder', 'root': str(folder)}
    if (folder / DESCRIPTION).is_file():
        train, validation = _splits(folder)
        return {**common, 'split': train}, {**common, 'split': validation}
    if found := _images_and_masks(folder):
        common['description'] = _described(folder, *found)
        return {**common, 'split': 'train'}, {**common, 'split': 'validation'}

    there = sorted(path.name for path in folder.iterdir())[:8]
    raise DataError(
        f'{folder}: the layout of this data set is unknown; it holds {there}, wanted '
        + ', or '.join(f'{" ".join(parts)} ({name})' for name, (parts, *_) in LAYOUTS.items())
        + f', or a {DESCRIPTION}, or a folder of images and one of masks (PNG, a number per '
        'pixel) with the same names. Others are described in a recipe: see config/train')


def describe(path: Path, root: Path | None = None) -> dict[str, Mapping[str, Any]]:
    """
    Return the descriptions of data sets by name, from a YAML file or from what a folder holds.

    :param path: of the file or the folder.
    :param root: folder of the data set in place of that in the file.
    :raises ConfigurationError: if the file cannot be read, or a folder comes with a root.
    :raises DataError: if the layout of the folder is unknown.
    """
    if not path.is_dir():
        return read_descriptions(path, root)
    if root is not None:
        raise ConfigurationError(
            f'{path} is a folder already; leave --root out, or give a YAML file before it')
    train, validation = detect_layout(path)
    return {'train': train, 'validation': validation}


def is_divided_by_share(folder: Path) -> bool:
    """Return whether training and validation of a folder are shares of the same images."""
    path = folder / DESCRIPTION
    return not path.is_file() or '{split}' not in read_description(path).images


def _splits(folder: Path) -> tuple[str, str]:
    """Return the names of the splits of a folder with a ``dataset.yaml``."""
    images = read_description(folder / DESCRIPTION).images
    if '{split}' not in images:
        return 'train', 'validation'

    before, _, after = images.partition('{split}')
    for name in ('val', 'validation', 'valid', 'test'):
        if (folder / f'{before}{name}{after}').is_dir():
            return 'train', name
    raise DataError(
        f'{folder / DESCRIPTION}: images is {images!r}, but no folder val or validation exists; '
        'make one, or take {split} out of all paths to hold the last fifth out')


def _images_and_masks(folder: Path) -> tuple[Path, Path, list[Path]] | None:
    """Return the folders of images and of masks, and the masks; None without such folders."""
    stems = {
        part: {path.stem: path for path in sorted(part.iterdir())
               if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name)}
        for part in sorted(folder.iterdir()) if part.is_dir() and not is_hidden(part.name)}

    # Every image needs a mask; of several pairs of folders the one with the most images wins.
    best: tuple[Path, Path, list[Path]] | None = None
    for images, pictures in stems.items():
        for masks, labels in stems.items():
            both = [labels[name] for name in pictures if name in labels]
            if images == masks or not both or not _is_mask(both[0]) or _is_mask(
                    pictures[both[0].stem]):
                continue
            if len(both) == len(pictures) and (best is None or len(both) > len(best[2])):
                best = images, masks, both
    return best


def _is_mask(path: Path) -> bool:
    """Return whether a file is a PNG of few different numbers in one channel."""
    if path.suffix.lower() != '.png':
        return False
    try:
        return len(np.unique(read_map(path, None))) <= UNLABELLED // 4
    except DataError:
        return False


def _described(folder: Path, images: Path, masks: Path, labels: list[Path]) -> Description:
    """Return the content that a ``dataset.yaml`` for images and masks would have."""
    numbers: set[int] = set()
    for place in np.unique(np.linspace(0, len(labels) - 1, MASKS_READ).astype(int)):
        numbers |= set(np.unique(read_map(labels[int(place)], None)).tolist())

    known = sorted(numbers if numbers <= {0, UNLABELLED} else numbers - {UNLABELLED})
    if len(known) < 2 or known[-1] > UNLABELLED:
        raise DataError(
            f'{masks}: the masks hold the numbers {known}; wanted at least two classes from 0 to '
            f'254 (and {UNLABELLED} = unlabelled). Describe others in {folder / DESCRIPTION}')

    # The golden ratio spreads any number of hues evenly.
    classes = {
        f'class {number}': [round(255 * value) for value in colorsys.hsv_to_rgb(
            0.618 * place % 1, 0.7, 0.9)] for place, number in enumerate(known)}
    ids = {number: f'class {number}' for number in known}
    return {
        'images': images.name, 'semantic': f'{masks.name}/{{name}}.png', 'classes': classes,
        'ids': {**{UNLABELLED: 'unlabelled'}, **ids}}
