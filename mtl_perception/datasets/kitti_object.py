# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI object detection: boxes, sparse depth from the lidar, the frames before."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, images_in, need_folder, visible_box
from mtl_perception.datasets.geometry import (
    Matrix,
    calibrated,
    project_points,
    read_kitti_calibration,
    read_scan,
)
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media.listing import find_image
from mtl_perception.media.pictures import read_bytes
from mtl_perception.tasks import STREET_DEPTH, Task

SPLITS = ('all', 'train', 'validation')

DETECTION = Task(
    name='detection', kind='boxes', classes=('car', 'pedestrian', 'cyclist'),
    palette=((0, 0, 142), (220, 20, 60), (119, 11, 32)))
"""The three classes of the benchmark."""

CLASS_OF = {'Car': 0, 'Van': 0, 'Pedestrian': 1, 'Person_sitting': 1, 'Cyclist': 2}
"""
Type in a label file -> class.

The benchmark ignores vans when it scores detectors of cars; here a van is a car.
"""

NO_CLASS = ('Truck', 'Tram', 'Misc', 'DontCare')
"""Types outside the three classes, which are skipped."""


class KittiObject(RecordedClips):
    """
    KITTI object detection (Geiger et al., CVPR 2012), the 7481 training images.

    Reads ``<root>/training/image_2/NNNNNN.png`` and, where the folders exist,

    - ``label_2/NNNNNN.txt``: type, truncation, occlusion, angle, box, and a box in 3D
    - ``velodyne/NNNNNN.bin`` and ``calib/NNNNNN.txt``: sparse depth
    - ``prev_2/NNNNNN_01.png`` to ``_03.png``: the frames before, unlabelled

    :param root: the folder with ``training``.
    :param split: ``all``; ``validation`` for every fifth image (number 4, 9, 14, ...), ``train``
        for the others. The benchmark has no such split: this one is ours.
    :param frames: images T per clip.
    :param spacing: distance between two images of a clip in frames, at 10 Hz.
    :raises ConfigurationError: if the split is unknown.
    :raises DataError: if a folder is missing or empty.
    """

    tasks = (DETECTION, STREET_DEPTH)

    def __init__(self, root: str, split: str = 'all', frames: int = 1, spacing: int = 1) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'KITTI object has no split {split!r}; it has {list(SPLITS)}')

        self._folder = expand(root) / 'training'
        # Each archive is optional; but a scan without a calibration cannot be projected.
        self._has_boxes = (self._folder / 'label_2').is_dir()
        self._has_scans = (self._folder / 'velodyne').is_dir()
        if self._has_scans:
            need_folder(self._folder / 'calib')
        if frames > 1:
            need_folder(self._folder / 'prev_2')

        images = images_in(self._folder / 'image_2', '[0-9]' * 6)
        if split != 'all':
            held_out = split == 'validation'
            images = [path for path in images if (int(path.stem) % 5 == 4) == held_out]
        super().__init__(images, frames, spacing)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of ``prev_2`` that is ``back`` frames before."""
        return find_image(self._folder / 'prev_2' / f'{image.stem}_{back:02d}')

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return the depth of the lidar's points in a labelled image, if it has a scan."""
        scan = self._folder / 'velodyne' / f'{image.stem}.bin'
        if not (self.wants('depth') and self._is_labelled(image) and scan.is_file()):
            return {}
        projection = _projection(self._folder / 'calib' / f'{image.stem}.txt')
        return {'depth': project_points(read_scan(scan), projection, shape)}

    def read_boxes(self, image: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """Return the boxes of cars, pedestrians and cyclists of a labelled image."""
        if not self._has_boxes or not self._is_labelled(image):
            return None

        path = self._folder / 'label_2' / f'{image.stem}.txt'
        rows = []
        for number, line in enumerate(read_bytes(path).decode('utf-8', 'replace').splitlines(), 1):
            words = line.split()
            if not words or words[0] in NO_CLASS:
                continue

            # type, truncated, occluded, alpha, then the box in the image
            try:
                x_min, y_min, x_max, y_max = map(float, words[4:8])
                kind = CLASS_OF[words[0]]
            except (KeyError, ValueError) as error:
                raise DataError(
                    f'{path}: line {number} is {line[:60]!r}, wanted one of '
                    f'{[*CLASS_OF, *NO_CLASS]} with 14 numbers ({error}); unpack label_2 again',
                ) from error

            box = visible_box((x_min, y_min, x_max, y_max), shape, f'{path}: line {number}')
            rows.append((*box, kind))
        return np.array(rows, np.float32).reshape(-1, 5)

    def focal_length(self, image: Path) -> float | None:
        """Return the focal length of an image, pixels; None without the calibration archive."""
        folder = self._folder / 'calib'
        if not folder.is_dir():
            return None
        path = folder / f'{image.stem[:6]}.txt'
        return float(calibrated(read_kitti_calibration(path), 'P2', (3, 4), path)[0, 0])

    def _is_labelled(self, image: Path) -> bool:
        """Return whether an image is one of the benchmark's, not one of its earlier frames."""
        return image.parent.name == 'image_2'


def _projection(path: Path) -> Matrix:
    """Return the (3, 4) projection of the lidar's points into the left colour camera."""
    numbers = read_kitti_calibration(path)
    to_camera, rectification = np.eye(4), np.eye(4)
    to_camera[:3] = calibrated(numbers, 'Tr_velo_to_cam', (3, 4), path)
    rectification[:3, :3] = calibrated(numbers, 'R0_rect', (3, 3), path)
    return np.asarray(calibrated(numbers, 'P2', (3, 4), path) @ rectification @ to_camera)
