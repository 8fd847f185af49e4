# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the folder of a data set that was downloaded to its description."""

from pathlib import Path
from typing import Any

from mtl_perception.errors import DataError

LAYOUTS: dict[str, tuple[tuple[str, ...], str, str]] = {
    'camvid': (('train', 'trainannot', 'val', 'valannot'), 'train', 'val'),
    'cityscapes': (
        ('leftImg8bit/train', 'gtFine/train', 'leftImg8bit/val', 'gtFine/val'), 'train', 'val'),
    'kitti_object': (('training/image_2', 'training/label_2'), 'train', 'validation'),
    'kitti2015': (('training/image_2', 'training/disp_occ_0'), 'train', 'validation'),
}
"""Data set -> the folders that it is known by, and its splits to learn from and to choose by."""


def recognise(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Return the descriptions of what to learn from and what to choose the model by.

    :param folder: as the data set's archives unpack.
    :return: see :func:`mtl_perception.datasets.build.build_dataset`.
    :raises DataError: if it is none of :data:`LAYOUTS`.
    """
    for name, (parts, train, validation) in LAYOUTS.items():
        if all((folder / part).is_dir() for part in parts):
            common = {'dataset': name, 'root': str(folder)}
            return {**common, 'split': train}, {**common, 'split': validation}
    there = sorted(path.name for path in folder.iterdir())[:8]
    raise DataError(
        f'{folder} is no data set that is known by its folders; it holds {there}, wanted '
        + ', or '.join(f'{" ".join(parts)} ({name})' for name, (parts, *_) in LAYOUTS.items())
        + '. Others, and images of your own, are described in a recipe: see config/train')
