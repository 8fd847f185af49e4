# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI Stereo and Scene Flow 2015: depth from disparity, moving cars."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.files import expand, find_image, images_in, need_folder, read_map
from mtl_perception.datasets.geometry import (
    check_camera,
    depth_from_disparity,
    kitti_disparity,
    stereo_camera,
)
from mtl_perception.datasets.recorded import RecordedClips
from mtl_perception.errors import ConfigurationError
from mtl_perception.tasks import MOVING, STATIC, STREET_DEPTH, STREET_MOTION

SPLITS = ('all', 'train', 'validation')
REFERENCE = 10
"""Number of the labelled frame of every scene."""


class Kitti2015(RecordedClips):
    """
    KITTI Stereo and Scene Flow 2015 (Menze and Geiger, CVPR 2015), the 200 training scenes.

    Reads ``<root>/training/image_2/NNNNNN_10.png`` and, where the folders exist,

    - ``disp_occ_0/NNNNNN_10.png``: disparity of the left colour camera, 1/256 px, 0 = unknown
    - ``obj_map/NNNNNN_10.png``: 0, or the number of a moving car. What moves on foot or by
      bicycle, and cars too far for a model, are 0 there and count as static.
    - ``calib_cam_to_cam/NNNNNN.txt``: focal length and baseline, for metric depth

    The benchmark's archive has frames 10 and 11 of a scene, its multi-view extension 0 to 20. The
    labels belong to frame 10, so the frame before is 09 of the extension. With ``reverse`` it is
    11, which the first archive has: the film is then seen backwards, in which the same cars move.

    :param root: the folder with ``training``.
    :param split: ``all``; ``validation`` for every fifth scene (number 4, 9, 14, ...), ``train``
        for the others. The benchmark has no such split: it is ours.
    :param frames: images T per clip.
    :param spacing: difference between the numbers of two images of a clip.
    :param reverse: whether later frames stand for earlier ones.
    :param focal_px: focal length in pixels where there is no ``calib_cam_to_cam``.
    :param baseline_m: baseline in metres where there is no ``calib_cam_to_cam``.
    :raises ConfigurationError: if there is no such split or the camera is given half.
    :raises DataError: if a folder is missing or empty.
    """

    tasks = (STREET_DEPTH, STREET_MOTION)

    def __init__(
            self, root: str, split: str = 'all', frames: int = 1, spacing: int = 1,
            reverse: bool = False, focal_px: float = 0.0, baseline_m: float = 0.0) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'KITTI 2015 has no split {split!r}; it has {list(SPLITS)}')
        check_camera(focal_px, baseline_m)
        self._camera = (focal_px, baseline_m)
        self._folder = expand(root) / 'training'
        self._step = 1 if reverse else -1
        self._has_disparity = (self._folder / 'disp_occ_0').is_dir()
        self._has_objects = (self._folder / 'obj_map').is_dir()
        if self._has_disparity and not focal_px:
            need_folder(self._folder / 'calib_cam_to_cam')
        images = images_in(self._folder / 'image_2', f'{"[0-9]" * 6}_{REFERENCE}')
        if split != 'all':
            held_out = split == 'validation'
            images = [path for path in images if (_scene(path) % 5 == 4) == held_out]
        super().__init__(images, frames, spacing)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of the same scene ``back`` frames before, or after with ``reverse``."""
        number = REFERENCE + self._step * back
        return find_image(image.with_name(f'{_scene(image):06d}_{number:02d}'))

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return depth and motion of frame 10."""
        if not image.stem.endswith(f'_{REFERENCE}'):
            return {}
        labels: dict[str, NDArray[Any]] = {}
        if self._has_disparity:
            path = self._folder / 'disp_occ_0' / f'{image.stem}.png'
            disparity = kitti_disparity(read_map(path, shape))
            labels['depth'] = depth_from_disparity(disparity, *self.camera(image))
        objects = self.read_instances(image, shape)
        if objects is not None:
            labels['motion'] = np.where(objects > 0, MOVING, STATIC).astype(np.uint8)
        return labels

    def read_instances(self, image: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
        """Return the numbers of the moving cars of frame 10."""
        if not self._has_objects:
            return None
        return read_map(self._folder / 'obj_map' / f'{image.stem}.png', shape).astype(np.int32)

    def camera(self, image: Path) -> tuple[float, float]:
        """Return (focal length in pixels, baseline in metres) of an image's scene."""
        if self._camera[0]:
            return self._camera
        return stereo_camera(self._folder / 'calib_cam_to_cam' / f'{_scene(image):06d}.txt')


def _scene(image: Path) -> int:
    """Return the number of an image's scene."""
    return int(image.stem[:6])
