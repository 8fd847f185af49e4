# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI 2015: depth from disparity, moving cars, semantics, objects."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets import cityscapes
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, images_in, need_folder, to_ids
from mtl_perception.datasets.geometry import (
    check_camera,
    depth_from_disparity,
    kitti_disparity,
    stereo_camera,
)
from mtl_perception.errors import ConfigurationError
from mtl_perception.media.listing import find_image
from mtl_perception.media.pictures import read_map
from mtl_perception.tasks import MOVING, STATIC, STREET_DEPTH, STREET_MOTION, Task

SPLITS = ('all', 'train', 'validation')
REFERENCE = 10
"""Number of the labelled frame of every scene."""

OBJECTS_PER_LABEL = 256
"""An object's number is this times its label, plus a count."""


class Kitti2015(RecordedClips):
    """
    KITTI Stereo and Scene Flow 2015 (Menze and Geiger, CVPR 2015), the 200 training scenes.

    Reads ``<root>/training/image_2/NNNNNN_10.png`` and, where the folders exist,

    - ``disp_occ_0/NNNNNN_10.png``: disparity of the left colour camera, 1/256 px, 0 = unknown
    - ``obj_map/NNNNNN_10.png``: 0, or the number of a moving car. Pedestrians, cyclists and cars
      too far for a model are 0 there and count as static.
    - ``calib_cam_to_cam/NNNNNN.txt``: focal length and baseline, for metric depth
    - ``semantic/NNNNNN_10.png``: of the semantic benchmark (Alhaija et al., IJCV 2018), which
      labels the same images with the numbers of Cityscapes
    - ``instance/NNNNNN_10.png``: of the same, 256 times the label plus the count of an object

    The benchmark's archive has frames 10 and 11 of a scene, its multi-view extension 0 to 20. The
    labels belong to frame 10, so the previous frame is 09 of the extension. With ``reverse`` it is
    11, which the first archive has: time then runs backwards, and the same cars move.

    :param root: the folder with ``training``.
    :param classes: of the semantics: 19 or 20 as of Cityscapes, 7 for their categories, or 3 for
        road, sidewalk and everything else, as Leang et al. merge them.
    :param split: ``all``; ``validation`` for every fifth scene (number 4, 9, 14, ...), ``train``
        for the others. The benchmark has no such split: this one is ours.
    :param frames: images T per clip.
    :param spacing: difference between the numbers of two images of a clip.
    :param reverse: whether later frames stand for earlier ones.
    :param focal_px: focal length in pixels, in place of ``calib_cam_to_cam``.
    :param baseline_m: baseline in metres, in place of ``calib_cam_to_cam``.
    :raises ConfigurationError: if the split or the number of classes is unknown, or one of
        ``focal_px`` and ``baseline_m`` is missing.
    :raises DataError: if a folder is missing or empty.
    """

    def __init__(
            self, root: str, split: str = 'all', frames: int = 1, spacing: int = 1,
            reverse: bool = False, focal_px: float = 0.0, baseline_m: float = 0.0,
            classes: int = 19) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'KITTI 2015 has no split {split!r}; it has {list(SPLITS)}')
        if classes not in cityscapes.CLASS_COUNTS:
            raise ConfigurationError(
                f'classes is {classes}; wanted one of {list(cityscapes.CLASS_COUNTS)}')
        check_camera(focal_px, baseline_m)

        self.tasks = self.tasks_for(classes)
        self._ids = cityscapes.ids_for(classes)
        self._camera = (focal_px, baseline_m)
        self._folder = expand(root) / 'training'
        self._step = 1 if reverse else -1

        # Each archive is optional; but disparity without a camera is not metric.
        self._has_disparity = (self._folder / 'disp_occ_0').is_dir()
        self._has_objects = (self._folder / 'obj_map').is_dir()
        self._has_semantics = (self._folder / 'semantic').is_dir()
        if self._has_disparity and not focal_px:
            need_folder(self._folder / 'calib_cam_to_cam')

        images = images_in(self._folder / 'image_2', f'{"[0-9]" * 6}_{REFERENCE}')
        if split != 'all':
            held_out = split == 'validation'
            images = [path for path in images if (_scene(path) % 5 == 4) == held_out]
        super().__init__(images, frames, spacing)

    @staticmethod
    def tasks_for(classes: int) -> tuple[Task, ...]:
        """Return the tasks that can be labelled with 3, 7, 19 or 20 semantic classes."""
        semantic, _, *objects = cityscapes.Cityscapes.tasks_for(classes)
        return (semantic, STREET_DEPTH, STREET_MOTION, *objects)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of the same scene ``back`` frames before, or after with ``reverse``."""
        number = REFERENCE + self._step * back
        return find_image(image.with_name(f'{_scene(image):06d}_{number:02d}'))

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return depth and motion of frame 10."""
        if not image.stem.endswith(f'_{REFERENCE}'):
            return {}

        labels: dict[str, NDArray[Any]] = {}
        if self._has_disparity and self.wants('depth'):
            path = self._folder / 'disp_occ_0' / f'{image.stem}.png'
            disparity = kitti_disparity(read_map(path, shape, 16))
            labels['depth'] = depth_from_disparity(disparity, *self.stereo_camera(image))
        if self._has_objects:
            moving = read_map(self._folder / 'obj_map' / f'{image.stem}.png', shape)
            labels['motion'] = np.where(moving > 0, MOVING, STATIC).astype(np.uint8)
        if self._has_semantics:
            path = self._folder / 'semantic' / f'{image.stem}.png'
            labels['semantic'] = to_ids(read_map(path, shape), self._ids, path)
        return labels

    def read_instances(self, image: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
        """
        Return the objects of frame 10.

        :return: those of the semantic benchmark, moving or not; without its folder, the moving
            cars, and -1 (unknown) everywhere else, because parked cars are not marked.
        """
        if not image.stem.endswith(f'_{REFERENCE}'):
            return None

        path = self._folder / 'instance' / f'{image.stem}.png'
        if path.parent.is_dir():
            numbers = read_map(path, shape, 16).astype(np.int32)
            return np.where(numbers % OBJECTS_PER_LABEL > 0, numbers, np.int32(0))

        if not self._has_objects:
            return None
        moving = read_map(self._folder / 'obj_map' / path.name, shape).astype(np.int32)
        return np.where(moving > 0, moving, np.int32(-1))

    def read_boxes(self, image: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """Return the boxes of frame 10, if the semantic benchmark's objects are there."""
        if not (self._folder / 'instance').is_dir():
            return None  # with boxes of moving cars alone, parked ones would be background
        if cityscapes.DETECTION_ALONE not in self.tasks:
            return super().read_boxes(image, shape)
        return cityscapes.boxes_by_label(self.read_instances(image, shape), OBJECTS_PER_LABEL)

    def focal_length(self, image: Path) -> float | None:
        """Return the focal length of an image, pixels."""
        return self.stereo_camera(image)[0]

    def stereo_camera(self, image: Path) -> tuple[float, float]:
        """Return (focal length in pixels, baseline in metres) of an image's scene."""
        if self._camera[0]:
            return self._camera
        return stereo_camera(self._folder / 'calib_cam_to_cam' / f'{_scene(image):06d}.txt')


def _scene(image: Path) -> int:
    """Return the number of an image's scene."""
    return int(image.stem[:6])
