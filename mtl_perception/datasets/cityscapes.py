# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cityscapes: fine semantics, objects, depth from disparity, the frames before."""

import json
import math
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, images_in, need_folder, to_ids
from mtl_perception.datasets.geometry import (
    check_camera,
    cityscapes_disparity,
    depth_from_disparity,
)
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.instances import class_boxes
from mtl_perception.media.listing import find_image
from mtl_perception.media.pictures import read_bytes, read_map
from mtl_perception.tasks import STREET_DEPTH, STREET_INSTANCE, UNLABELLED, Task

SPLITS: dict[str, tuple[tuple[str, ...], tuple[float, float]]] = {
    'train': (('train',), (0.0, 1.0)),
    'val': (('val',), (0.0, 1.0)),
    'test': (('test',), (0.0, 1.0)),
    'train_60': (('train', 'val'), (0.0, 0.6)),
    'val_20': (('train', 'val'), (0.6, 0.8)),
    'test_20': (('train', 'val'), (0.8, 1.0)),
}
"""Split -> folders of its images, and the part of each city's images, in the order of names."""

SEMANTIC = Task(
    name='semantic', kind='classes',
    classes=('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light',
             'traffic sign', 'vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck',
             'bus', 'train', 'motorcycle', 'bicycle'),
    palette=((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
             (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
             (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
             (0, 80, 100), (0, 0, 230), (119, 11, 32)),
    movable=(11, 12, 13, 14, 15, 16, 17, 18), sky=10)
"""The 19 classes of the benchmark."""

CATEGORIES = Task(
    name='semantic', kind='classes',
    classes=('flat', 'construction', 'object', 'nature', 'sky', 'human', 'vehicle'),
    palette=((128, 64, 128), (70, 70, 70), (220, 220, 0), (107, 142, 35), (70, 130, 180),
             (220, 20, 60), (0, 0, 142)),
    movable=(5, 6), sky=4)
"""The 7 groups of the 19 classes, as MTAN and XTasC-Net predict them."""

WITH_VOID = replace(
    SEMANTIC, classes=(*SEMANTIC.classes, 'void'), palette=(*SEMANTIC.palette, (0, 0, 0)))
"""The 19 classes and a twentieth for everything else, as MultiNet++ predicts them."""

ROAD = Task(
    name='semantic', kind='classes', classes=('road', 'sidewalk', 'void'),
    palette=((128, 64, 128), (244, 35, 232), (0, 0, 0)))
"""Road, sidewalk and everything else, as Leang et al. merge the classes."""

CLASS_COUNTS = (3, 7, 19, 20)
"""Possible numbers of semantic classes."""

DETECTION = Task(
    name='detection', kind='boxes',
    classes=tuple(SEMANTIC.classes[number] for number in SEMANTIC.movable),
    palette=tuple(SEMANTIC.palette[number] for number in SEMANTIC.movable),
    semantic_ids=SEMANTIC.movable)
"""Boxes around the instances of the 8 classes that have instances."""

DETECTION_ALONE = replace(DETECTION, semantic_ids=())
"""The same boxes beside semantic classes that do not tell theirs apart."""

_CATEGORY_OF = (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 6, 6, 6, 6, 6)
"""Class -> category."""

LABEL_IDS = {
    'unlabeled': 0, 'ego vehicle': 1, 'rectification border': 2, 'out of roi': 3, 'static': 4,
    'dynamic': 5, 'ground': 6, 'road': 7, 'sidewalk': 8, 'parking': 9, 'rail track': 10,
    'building': 11, 'wall': 12, 'fence': 13, 'guard rail': 14, 'bridge': 15, 'tunnel': 16,
    'pole': 17, 'polegroup': 18, 'traffic light': 19, 'traffic sign': 20, 'vegetation': 21,
    'terrain': 22, 'sky': 23, 'person': 24, 'rider': 25, 'car': 26, 'truck': 27, 'bus': 28,
    'caravan': 29, 'trailer': 30, 'train': 31, 'motorcycle': 32, 'bicycle': 33}
"""Name of a label -> its number in ``labelIds``; a licence plate has none."""

_CLASS_OF = {number: SEMANTIC.classes.index(name) if name in SEMANTIC.classes else UNLABELLED
             for name, number in LABEL_IDS.items()}
_SUFFIX = '_leftImg8bit'
_THINGS = range(24, 34)
"""Labels that have instances; a pixel with such a bare number belongs to a group of objects."""
_FIRST_OBJECT = 1000
"""Smallest number of an object in ``instanceIds``: label * 1000 + count."""


def ids_for(classes: int) -> dict[int, int]:
    """
    Return number of a label -> class id, 255 = unlabelled.

    :param classes: one of :data:`CLASS_COUNTS`.
    """
    def merged(kind: int) -> int:
        if classes == 3:
            return kind if kind < 2 else 2
        if classes == 20 and kind == UNLABELLED:
            return len(SEMANTIC.classes)
        return _CATEGORY_OF[kind] if classes == 7 and kind != UNLABELLED else kind
    return {number: merged(kind) for number, kind in _CLASS_OF.items()}


class Cityscapes(RecordedClips):
    """
    Cityscapes (Cordts et al., CVPR 2016) with fine labels in 19, 20, 7 or 3 classes.

    Reads ``<root>/leftImg8bit/<split>/<city>/<city>_SSSSSS_FFFFFF_leftImg8bit.png`` and, where
    the folders exist,

    - ``gtFine``: ``..._gtFine_labelIds.png``, or else ``..._gtFine_polygons.json``, drawn here;
      ``..._gtFine_instanceIds.png`` for objects
    - ``disparity``: ``..._disparity.png``, stored as 256 d + 1 with d in pixels, 0 = unknown
    - ``camera``: ``..._camera.json`` with focal length and baseline, for metric depth
    - ``leftImg8bit_sequence``: the 19 frames before and the 10 after, at 17 Hz, unlabelled

    :param root: the folder with ``leftImg8bit``.
    :param split: ``train``, ``val`` or ``test``. Leang et al. divide all images by 60, 20 and 20 %
        and do not say how; the labels of ``test`` are not public. ``train_60``, ``val_20`` and
        ``test_20`` are the first 60 %, the next 20 % and the last 20 % of each city's images of
        ``train`` and ``val``: neighbouring images lie in one part.
    :param classes: 19 for the benchmark's classes, 7 for their categories, 20 for the 19 and one
        for everything else, 3 for road, sidewalk and everything else.
    :param frames: images T per clip.
    :param spacing: distance between two images of a clip in frames of the sequence.
    :param focal_px: focal length in pixels, in place of ``camera``.
    :param baseline_m: baseline in metres, in place of ``camera``.
    :raises ConfigurationError: if the split or the number of classes is unknown, or one of
        ``focal_px`` and ``baseline_m`` is missing.
    :raises DataError: if a folder is missing or empty.
    """

    def __init__(
            self, root: str, split: str, classes: int = 19, frames: int = 1, spacing: int = 1,
            focal_px: float = 0.0, baseline_m: float = 0.0) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'Cityscapes has no split {split!r}; it has {list(SPLITS)}')
        if classes not in CLASS_COUNTS:
            raise ConfigurationError(
                f'classes is {classes}; wanted 19, or 7 for their categories, 20 with void, 3 for '
                'the road')
        check_camera(focal_px, baseline_m)

        self.tasks = self.tasks_for(classes)
        self._ids = ids_for(classes)
        self._camera = (focal_px, baseline_m)
        self._root = expand(root)
        self._annotated = self._root / 'leftImg8bit'
        folders, (first, last) = SPLITS[split]

        # Each archive is optional; but disparity without a camera is not metric.
        self._has_labels = any((self._root / 'gtFine' / name).is_dir() for name in folders)
        self._has_disparity = any((self._root / 'disparity' / name).is_dir() for name in folders)
        for name in folders:
            if self._has_disparity and not focal_px:
                need_folder(self._root / 'camera' / name)
            if frames > 1:
                need_folder(self._root / 'leftImg8bit_sequence' / name)

        images: list[Path] = []
        for name in folders:
            there = images_in(self._annotated / name, f'*/*{_SUFFIX}')
            for _, city in groupby(there, key=lambda image: image.parent):
                own = list(city)
                images += own[round(first * len(own)):round(last * len(own))]
        super().__init__(images, frames, spacing)

    @staticmethod
    def tasks_for(classes: int) -> tuple[Task, ...]:
        """Return the tasks that can be labelled with 3, 7, 19 or 20 semantic classes."""
        semantic = {3: ROAD, 7: CATEGORIES, 19: SEMANTIC, 20: WITH_VOID}[classes]
        objects = {3: (DETECTION_ALONE,), 7: (STREET_INSTANCE,)}.get(
            classes, (STREET_INSTANCE, DETECTION))
        return (semantic, STREET_DEPTH, *objects)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of the sequence ``back`` frames before."""
        city, snippet, frame = _key(image).rsplit('_', 2)
        if int(frame) < back:
            return None
        name = f'{city}_{snippet}_{int(frame) - back:06d}{_SUFFIX}'
        return find_image(
            self._root / 'leftImg8bit_sequence' / image.parents[1].name / city / name)

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return semantics and depth of an annotated image."""
        if not image.is_relative_to(self._annotated):
            return {}

        # The label maps of an archive without labelIds are drawn from the polygons.
        labels: dict[str, NDArray[Any]] = {}
        if self._has_labels:
            path = self._file(image, 'gtFine', 'gtFine_labelIds.png')
            polygons = self._file(image, 'gtFine', 'gtFine_polygons.json')
            if not path.is_file() and polygons.is_file():
                path, values = polygons, draw_polygons(polygons, shape)
            else:
                values = read_map(path, shape)
            labels['semantic'] = to_ids(values, self._ids, path)

        if self._has_disparity and self.wants('depth'):
            path = self._file(image, 'disparity', 'disparity.png')
            disparity = cityscapes_disparity(read_map(path, shape, 16))
            labels['depth'] = depth_from_disparity(disparity, *self.stereo_camera(image))
        return labels

    def read_instances(self, image: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
        """Return the objects of an annotated image: label * 1000 + count, -1 in a group."""
        path = self._file(image, 'gtFine', 'gtFine_instanceIds.png')
        if not self._has_labels or not path.is_file():
            return None

        numbers = read_map(path, shape, 16).astype(np.int32)
        group = np.where(np.isin(numbers, _THINGS), np.int32(-1), np.int32(0))
        return np.where(numbers >= _FIRST_OBJECT, numbers, group)

    def read_boxes(self, image: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """Return the boxes of an annotated image."""
        if DETECTION_ALONE not in self.tasks:
            return super().read_boxes(image, shape)
        return boxes_by_label(self.read_instances(image, shape), _FIRST_OBJECT)

    def focal_length(self, image: Path) -> float | None:
        """Return the focal length of an image, pixels."""
        return self.stereo_camera(image)[0]

    def stereo_camera(self, image: Path) -> tuple[float, float]:
        """
        Return (focal length in pixels, baseline in metres) of an image.

        :raises DataError: if its camera file is missing or lacks them.
        """
        if self._camera[0]:
            return self._camera
        path = self._file(image, 'camera', 'camera.json')
        try:
            camera = json.loads(read_bytes(path))
            found = float(camera['intrinsic']['fx']), float(camera['extrinsic']['baseline'])
            if not all(0 < value < math.inf for value in found):
                raise ValueError(f'they are {found}')
            return found
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'{path}: lacks intrinsic.fx or extrinsic.baseline, both positive ({error!r}); '
                'unpack the camera archive again') from error

    def _file(self, image: Path, kind: str, ending: str) -> Path:
        """Return the file that belongs to an image."""
        split, city = image.parts[-3:-1]
        return self._root / kind / split / city / f'{_key(image)}_{ending}'


def boxes_by_label(
        instances: NDArray[np.int32] | None, per_label: int) -> NDArray[np.float32] | None:
    """
    Return the boxes of the 8 classes that have instances, whose numbers tell their labels.

    :param instances: (H, W) label * ``per_label`` + count; 0 and below = no object or unknown.
    :param per_label: largest number of objects of a label, plus one.
    :return: (M, 5) float32 left, top, right, bottom in pixels and class of :data:`DETECTION`;
        None without objects' numbers.
    """
    if instances is None:
        return None
    classes = np.full(np.iinfo(np.uint16).max // per_label + 1, UNLABELLED, np.uint8)
    classes[list(_CLASS_OF)] = list(_CLASS_OF.values())
    boxes, _ = class_boxes(
        instances, classes[instances.clip(min=0) // per_label], DETECTION.semantic_ids)
    return boxes


def draw_polygons(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """
    Return the label ids of the polygons of an annotation, later ones drawn over earlier ones.

    Edges differ by up to a pixel from the ``labelIds`` that the data set's own tools draw.

    :param path: a ``gtFine_polygons.json``.
    :param shape: (H, W) of its image.
    :return: (H, W) uint8 label ids.
    :raises DataError: if it is another file, of another size, or has an unknown label.
    """
    try:
        content = json.loads(read_bytes(path))
        size = (int(content['imgHeight']), int(content['imgWidth']))
        objects = [(str(part['label']), np.array(part['polygon'], np.float64).reshape(-1, 2))
                   for part in content['objects'] if not part.get('deleted')]

        if not all(len(corners) and np.isfinite(corners).all() for _, corners in objects):
            raise ValueError('a polygon has no corners, or a corner without coordinates')
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{path}: is not an annotation of Cityscapes ({error!r}); unpack gtFine again',
        ) from error

    if size != shape:
        raise DataError(
            f'{path}: is for {size[0]} x {size[1]} (height x width), its image is {shape[0]} x '
            f'{shape[1]}; they must have the same size')

    # Licence plates have no label id: their pixels stay part of the car. A group of objects has
    # the id of its class.
    ids: NDArray[np.uint8] = np.zeros(shape, np.uint8)
    for label, corners in objects:
        if label.removesuffix('group') == 'license plate':
            continue
        number = LABEL_IDS.get(label, LABEL_IDS.get(label.removesuffix('group')))
        if number is None:
            raise DataError(
                f'{path}: label {label!r} is unknown, wanted one of {sorted(LABEL_IDS)}; unpack '
                'gtFine again')
        cv2.fillPoly(ids, [np.rint(corners).astype(np.int32)], number)
    return ids


def _key(image: Path) -> str:
    """Return the part that the names of all files of an image share."""
    return image.stem.removesuffix(_SUFFIX)
