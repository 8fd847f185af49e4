# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""WoodScape: fisheye cameras around a car; semantics, motion, boxes, the previous frame."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, images_in, need_folder, to_ids, visible_box
from mtl_perception.datasets.geometry import FisheyeCamera
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media.listing import find_image
from mtl_perception.media.pictures import read_bytes, read_map
from mtl_perception.tasks import MOVING, STATIC, STREET_MOTION, Task

SPLITS = ('all', 'train', 'validation')
CAMERAS = ('FV', 'RV', 'MVL', 'MVR')
"""Front, rear, left and right."""

SEMANTIC = Task(
    name='semantic', kind='classes',
    classes=('void', 'road', 'lane marking', 'curb', 'person', 'rider', 'vehicle', 'bicycle',
             'motorcycle', 'traffic sign'),
    palette=((0, 0, 0), (255, 0, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255),
             (255, 255, 0), (0, 255, 255), (128, 128, 255), (0, 128, 128)),
    movable=(4, 5, 6, 7, 8))
"""The ten classes of ``semantic_annotations``; the first is everything else."""

ROAD_CLASSES = Task(
    name='semantic', kind='classes', classes=('void', 'road', 'lane marking', 'curb'),
    palette=SEMANTIC.palette[:4])
"""The four classes that Leang et al. segment."""

DETECTION = Task(
    name='detection', kind='boxes',
    classes=('vehicle', 'person', 'bicycle', 'traffic light', 'traffic sign'),
    palette=((255, 255, 0), (0, 0, 255), (0, 255, 255), (250, 170, 30), (0, 128, 128)))
"""The five classes of ``box_2d_annotations``."""


class WoodScape(RecordedClips):
    """
    WoodScape (Yogamani et al., ICCV 2019).

    Reads ``<root>/rgb_images/NNNNN_<camera>.png`` and, where the folders exist,

    - ``semantic_annotations/gtLabels/NNNNN_<camera>.png``: ids of the ten classes
    - ``motion_annotations/gtLabels/NNNNN_<camera>.png``: 0, or the class of a moving object
    - ``box_2d_annotations/NNNNN_<camera>.txt``: name, class, and two corners, with commas between
    - ``previous_images/NNNNN_<camera>_prev.png``: the previous frame, unlabelled
    - ``calibration_data/calibration/NNNNN_<camera>.json``: the lens, see :meth:`fisheye`

    The layout follows the authors' own programs; of the set itself it was tried on one image and
    its calibration only.

    :param root: the folder with ``rgb_images``.
    :param split: ``all``; ``validation`` for every fifth image (number 4, 9, 14, ...), ``train``
        for the others. The split is ours, not that of the authors' programs.
    :param classes: 10, or 4 for road, lane marking, curb and void.
    :param cameras: the only cameras to use, of ``FV``, ``RV``, ``MVL`` and ``MVR``.
    :param frames: images T per clip, 1 or 2.
    :raises ConfigurationError: if the split, a camera or the number of classes is unknown.
    :raises DataError: if a folder is missing or empty.
    """

    def __init__(
            self, root: str, split: str = 'all', classes: int = 10,
            cameras: Sequence[str] = CAMERAS, frames: int = 1) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'WoodScape has no split {split!r}; it has {list(SPLITS)}')
        if classes not in (4, 10):
            raise ConfigurationError(f'classes is {classes}; wanted 10, or 4 for the road')
        if unknown := sorted(set(cameras) - set(CAMERAS)):
            raise ConfigurationError(
                f'WoodScape has no camera {unknown[0]!r}; it has {list(CAMERAS)}')
        if frames > 2:
            raise ConfigurationError(
                f'frames is {frames}; WoodScape has one frame before each image: wanted 1 or 2')

        self.tasks = self.tasks_for(classes)
        self._ids = {number: number if number < classes else 0 for number in range(10)}

        self._root = expand(root)
        if frames > 1:
            need_folder(self._root / 'previous_images')
        images = [path for path in images_in(self._root / 'rgb_images', '[0-9]*_*')
                  if path.stem.rpartition('_')[2] in cameras]
        if split != 'all':
            held_out = split == 'validation'
            images = [path for path in images if (_number(path) % 5 == 4) == held_out]
        super().__init__(images, frames, 1)

    @staticmethod
    def tasks_for(classes: int) -> tuple[Task, ...]:
        """Return the tasks that can be labelled with 10 or 4 semantic classes."""
        return (SEMANTIC if classes == 10 else ROAD_CLASSES, STREET_MOTION, DETECTION)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the previous image."""
        return find_image(self._root / 'previous_images' / f'{image.stem}_prev')

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return semantics and motion of an annotated image."""
        labels: dict[str, NDArray[Any]] = {}
        if image.parent.name != 'rgb_images':
            return labels

        path = self._root / 'semantic_annotations' / 'gtLabels' / f'{image.stem}.png'
        if path.parent.is_dir():
            labels['semantic'] = to_ids(read_map(path, shape), self._ids, path)
        path = self._root / 'motion_annotations' / 'gtLabels' / f'{image.stem}.png'
        if path.parent.is_dir():
            labels['motion'] = np.where(
                read_map(path, shape) > 0, MOVING, STATIC).astype(np.uint8)
        return labels

    def read_boxes(self, image: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """Return the boxes of an annotated image."""
        path = self._root / 'box_2d_annotations' / f'{image.stem}.txt'
        if image.parent.name != 'rgb_images' or not path.parent.is_dir():
            return None

        rows = []
        for number, line in enumerate(read_bytes(path).decode('utf-8', 'replace').splitlines(), 1):
            if not line.strip():
                continue

            try:
                kind, x0, y0, x1, y1 = map(float, line.split(',')[1:6])
                if kind not in range(len(DETECTION.classes)):
                    raise ValueError(f'class {kind:g} is unknown')
            except ValueError as error:
                raise DataError(
                    f'{path}: line {number} is {line[:60]!r}, wanted name,class,x,y,x,y with a '
                    f'class of 0 to {len(DETECTION.classes) - 1} ({error}); unpack '
                    'box_2d_annotations again') from error

            # The two corners come in any order.
            box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
            rows.append((*visible_box(box, shape, f'{path}: line {number}'), kind))
        return np.array(rows, np.float32).reshape(-1, 5)

    def fisheye(self, image: Path) -> FisheyeCamera:
        """
        Return the lens of an image.

        :raises DataError: if its calibration file is missing or wrong.
        """
        name = image.stem.removesuffix('_prev')
        return read_fisheye(self._root / 'calibration_data' / 'calibration' / f'{name}.json')

    def focal_length(self, image: Path) -> float | None:
        """
        Return the focal length in the middle of the image, pixels.

        :raises DataError: if its calibration file is missing or wrong.
        """
        return self.fisheye(image).coefficients[0]


def read_fisheye(path: Path) -> FisheyeCamera:
    """
    Return the lens that a calibration file of WoodScape describes.

    :param path: JSON with ``intrinsic`` of the model ``radial_poly``, and ``extrinsic``.
    :raises DataError: if it cannot be read, is of another model or lacks a number.
    """
    try:
        content = json.loads(read_bytes(path))
        lens, place = content['intrinsic'], content['extrinsic']
        if lens['model'] != 'radial_poly':
            raise ValueError(f'the model is {lens["model"]!r}')
        return FisheyeCamera(
            tuple(float(lens[f'k{power}']) for power in range(1, 5)),
            (float(lens['width']), float(lens['height'])),
            (float(lens['cx_offset']), float(lens['cy_offset'])), float(lens['aspect_ratio']),
            tuple(map(float, place['quaternion'])), tuple(map(float, place['translation'])))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{path}: is not a calibration of the model radial_poly ({error!r}); unpack '
            'calibration_data again') from error


def _number(image: Path) -> int:
    """Return the number of an image."""
    digits = image.stem.split('_')[0]
    if not digits.isdigit():
        raise DataError(f'{image}: is named {image.name}, wanted NNNNN_CAMERA; remove it')
    return int(digits)
