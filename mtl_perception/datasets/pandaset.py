# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PandaSet: drives with semantics, depth and moving objects at the points of a lidar."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, find_earlier, images_in
from mtl_perception.errors import DataError
from mtl_perception.frames import rotation_of_quaternion
from mtl_perception.media.pictures import read_bytes
from mtl_perception.tasks import (
    STREET_DEPTH,
    STREET_INSTANCE,
    STREET_MOTION,
    UNKNOWN_MOTION,
    UNLABELLED,
    Task,
)

SEMANTIC = Task(
    name='semantic', kind='classes',
    classes=('road', 'road marking', 'sidewalk', 'building', 'vegetation', 'car', 'person'),
    palette=((128, 64, 128), (250, 250, 250), (244, 35, 232), (70, 70, 70), (107, 142, 35),
             (0, 0, 142), (220, 20, 60)),
    movable=(5, 6))
"""Seven classes: vegetation has the ground, cars have trucks and buses, persons two wheels."""

_LABELS = {
    'road': ('Road',),
    'road marking': ('Lane Line Marking', 'Stop Line Marking', 'Other Road Marking'),
    'sidewalk': ('Sidewalk',),
    'building': ('Building',),
    'vegetation': ('Vegetation', 'Ground'),
    'car': ('Car', 'Pickup Truck', 'Medium-sized Truck', 'Semi-truck', 'Bus'),
    'person': ('Pedestrian', 'Pedestrian with Object', 'Bicycle', 'Motorcycle'),
}
"""Class -> names of PandaSet's classes; all others are unlabelled."""

_FIELDS = ('u', 'v', 'depth', 'semantic', 'object', 'moving')
_INTRINSICS = 'intrinsics_1920x1080'
_ORIGINAL_WIDTH = 1920


@dataclass(frozen=True, eq=False)
class _Recording:
    """
    The ``meta.json`` of one camera of one sequence.

    :param folder: of the camera.
    """

    folder: Path

    @cached_property
    def content(self) -> dict[str, Any]:
        """
        Its content.

        :raises DataError: if it cannot be read or lacks an entry.
        """
        path = self.folder / 'meta.json'
        try:
            content = json.loads(read_bytes(path))
            float(content[_INTRINSICS]['fy']), content['image_size'][0]
            return {**content, 'classes': {
                int(number): str(name) for number, name in content['classes'].items()}}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f'{path}: is no description of a PandaSet camera ({error!r}); wanted '
                            f'{_INTRINSICS}, image_size, classes and frames') from error

    @cached_property
    def ids(self) -> NDArray[np.uint8]:
        """(256,) uint8: number of a PandaSet class -> class id or 255."""
        ids = np.full(256, UNLABELLED, np.uint8)
        for number, name in self.content['classes'].items():
            for place, kind in enumerate(SEMANTIC.classes):
                if name in _LABELS[kind]:
                    ids[number] = place
        return ids


class PandaSet(RecordedClips):
    """
    Front camera of PandaSet (Xiao et al., ITSC 2021), labelled at the points of its lidars.

    Reads ``<root>/<sequence>/front_camera/image/NN.jpg`` with

    - ``points/NN.npz``: the lidar points that fall into the image, a value each: ``u``, ``v``
      (pixels), ``depth`` (m along Z), ``semantic`` (number of PandaSet's class), ``object``
      (number in the frame, -1 = none), ``moving`` (1 moving, 0 not, 255 unknown)
    - ``meta.json``: ``intrinsics_1920x1080``, ``image_size``, ``classes`` (number -> name), and
      per frame of ``frames`` ``position`` and ``heading_wxyz`` of the camera, and the ``uuid`` of
      each of its ``objects``

    This is an arrangement of the published data, not its own layout. A point labels the pixel
    that it falls into, of several the nearest point; all other pixels are unknown. Points near
    the edge of an object may lie on the background that the lidar saw from its own place.

    :param root: the folder with the sequences.
    :param sequences: names of the only sequences to use, such as ``002``.
    :param frames: images T per clip.
    :param spacing: distance between two images of a clip in frames, at 10 Hz.
    :raises DataError: if a folder or a sequence is missing.
    """

    tasks = (SEMANTIC, STREET_DEPTH, STREET_MOTION, STREET_INSTANCE)
    filmed = True
    points = True
    smallest_object = 30

    def __init__(
            self, root: str, sequences: Sequence[str] = (), frames: int = 1,
            spacing: int = 1) -> None:
        images = images_in(expand(root), '*/front_camera/image/*')
        self._recordings = {
            folder: _Recording(folder) for folder in {image.parents[1] for image in images}}
        there = sorted(folder.parent.name for folder in self._recordings)
        if unknown := sorted(set(sequences) - set(there)):
            raise DataError(f'{root}: no sequence {unknown[0]!r}; there are {there}')

        wanted = [image for image in images
                  if not sequences or image.parents[2].name in sequences]
        super().__init__(wanted, frames, spacing)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of the same sequence ``back`` frames before."""
        return find_earlier(image, back)

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return semantics, depth and motion at the points of an image."""
        place, points = self._read_points(image, shape)

        semantic = np.full(shape, UNLABELLED, np.uint8)
        semantic[place] = self._recordings[image.parents[1]].ids[points['semantic']]
        depth = np.full(shape, np.nan, np.float32)
        depth[place] = points['depth']
        motion = np.full(shape, UNKNOWN_MOTION, np.uint8)
        motion[place] = points['moving']
        return {'semantic': semantic, 'depth': depth, 'motion': motion}

    def read_instances(self, image: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
        """Return the objects at the points of an image; everywhere else they are unknown."""
        place, points = self._read_points(image, shape)
        instances = np.full(shape, -1, np.int32)
        instances[place] = points['object'].astype(np.int32) + 1
        return instances

    def object_names(self, image: Path) -> tuple[str, ...]:
        """
        Return the ``uuid`` of each object of an image.

        :raises DataError: if the recording does not tell.
        """
        recording = self._recordings[image.parents[1]]
        try:
            objects = recording.content['frames'][image.stem]['objects']
            return tuple(str(one['uuid']) for one in objects)
        except (KeyError, TypeError) as error:
            raise DataError(
                f'{recording.folder / "meta.json"}: frame {image.stem} has no objects with a uuid '
                f'each ({error!r})') from error

    def focal_length(self, image: Path) -> float | None:
        """Return the focal length of the image, pixels."""
        content = self._recordings[image.parents[1]].content
        scale = float(content['image_size'][0]) / _ORIGINAL_WIDTH
        return float(content[_INTRINSICS]['fy']) * scale

    def pose(self, image: Path) -> NDArray[np.float64]:
        """
        Return where the camera was: (4, 4) float64 from its axes to those of the world, metres.

        :raises DataError: if the recording does not tell.
        """
        recording = self._recordings[image.parents[1]]
        try:
            frame = recording.content['frames'][image.stem]
            w, x, y, z = frame['heading_wxyz']
            pose = np.eye(4)
            pose[:3, :3] = rotation_of_quaternion((x, y, z, w))
            pose[:3, 3] = frame['position']
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f'{recording.folder / "meta.json"}: frame {image.stem} has no position and '
                f'heading_wxyz ({error!r})') from error
        return pose

    def _read_points(
            self, image: Path, shape: tuple[int, int],
    ) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], dict[str, NDArray[Any]]]:
        """
        Return (rows, columns) of the labelled pixels of an image, and the values of their points.

        :raises DataError: if the file is missing or wrong.
        """
        path = image.parents[1] / 'points' / f'{image.stem}.npz'
        try:
            with np.load(path, allow_pickle=False) as stored:
                points = {name: stored[name] for name in _FIELDS}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DataError(
                f'{path}: cannot be read ({error}); wanted arrays {", ".join(_FIELDS)}; copy it '
                'again') from error
        if len({values.shape for values in points.values()}) > 1 or points['u'].ndim != 1:
            raise DataError(f'{path}: its arrays have the shapes '
                            f'{[values.shape for values in points.values()]}, wanted (N,) each')

        # Written from far to near: of several points in a pixel the nearest stays.
        order = np.argsort(-points['depth'], kind='stable')
        height, width = shape
        rows = np.rint(points['v'][order]).astype(np.intp).clip(0, height - 1)
        columns = np.rint(points['u'][order]).astype(np.intp).clip(0, width - 1)
        return (rows, columns), {name: values[order] for name, values in points.items()}
