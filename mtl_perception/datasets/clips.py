# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The base class of data sets: images on disk, earlier frames, labels where they exist."""

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.sample import Sample
from mtl_perception.datasets.sample import stacked as stacked_boxes
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.image_range import ImageRange
from mtl_perception.instances import SMALLEST_OBJECT, class_boxes
from mtl_perception.media.pictures import read_rgb, show_some
from mtl_perception.tasks import NOT_LABELLED, UNKNOWN_MOTION, UNLABELLED, Task

_UNKNOWN = {'semantic': UNLABELLED, 'depth': np.nan, 'motion': UNKNOWN_MOTION}


class RecordedClips(ABC):
    """
    Clips of T images on disk; the last one of each is the annotated image.

    Where only some images of a clip have a label, the pixels of the others are unknown (255, NaN);
    where no image has it, the sample does not have it either.

    :param images: the last image of each clip.
    :param frames: images T per clip.
    :param spacing: distance between two images of a clip in frames of the recording; 1 =
        neighbours.
    :ivar spacing: as given.
    :ivar clips: the T paths of each clip, the oldest first.
    :ivar image_range: what is black and white in images of more than 8 bits; found once, from
        some images of the whole set, so that every run reads the same pixels.
    :ivar faint: images of more than 8 bits that were read and had almost no contrast.
    :ivar incomplete: images that are left out because an earlier one does not exist.
    :raises ConfigurationError: if frames or spacing is below 1.
    :raises DataError: if there is no image or no clip is complete.
    """

    tasks: tuple[Task, ...]
    """The tasks that samples have labels of, with class names and colours."""
    filmed = False
    """Whether images of one folder whose names differ only in the last number are known to be
    frames of one drive."""
    points = False
    """Whether labels are points, such as those of a lidar, and not areas."""
    own_classes = False
    """Whether the owner of the data wrote the classes down, so that each should occur."""
    assumed: Collection[str] = ()
    """Tasks of which the meaning of the numbers in the files is not described but assumed."""
    smallest_object = SMALLEST_OBJECT
    """Fewest labelled pixels of an object whose motion is evaluated."""

    def __init__(self, images: Sequence[Path], frames: int, spacing: int) -> None:
        if frames < 1 or spacing < 1:
            raise ConfigurationError(
                f'frames is {frames} and spacing {spacing}; both must be at least 1')

        self.spacing = spacing
        self._all = list(images)
        self.image_range = ImageRange(sample=partial(show_some, list(images)))
        self.faint: dict[Path, None] = {}

        self.clips: list[tuple[Path, ...]] = []
        self.incomplete: list[Path] = []
        for image in images:
            earlier = [
                self.find_earlier(image, step * spacing) for step in range(frames - 1, 0, -1)]
            clip = [path for path in [*earlier, image] if path is not None]
            if len(clip) == frames:
                self.clips.append(tuple(clip))
            else:
                self.incomplete.append(image)

        if not images:
            raise DataError(
                f'{type(self).__name__}: the split, drives or sequences that were asked for hold '
                'no image; choose others or unpack the missing archives')
        if not self.clips:
            raise DataError(
                f'none of {len(images)} images has the {frames - 1} earlier ones that frames: '
                f'{frames} and spacing: {spacing} need ({images[0]} is the first of them); set '
                "frames to 1 or get the data set's sequences")

    @property
    def drives(self) -> list[Hashable]:
        """The drive of each clip; a clip whose drive is not known stands for itself."""
        found = drives_of([clip[-1] for clip in self.clips], self.filmed)
        return [number if drive is None else drive for number, drive in enumerate(found)]

    def read_image(self, image: Path) -> NDArray[np.uint8]:
        """
        Return the (H, W, 3) uint8 RGB of one image.

        :raises DataError: naming the faulty file.
        """
        faint = self.image_range.faint
        pixels = read_rgb(image, image_range=self.image_range)
        if self.image_range.faint > faint:
            self.faint[image] = None
        return pixels

    @abstractmethod
    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image ``back`` frames before another, None if it does not exist."""

    @abstractmethod
    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """
        Return task name -> (H, W) label of one image, as in :class:`.Sample`.

        :param image: its path.
        :param shape: (H, W) of the image.
        :raises DataError: naming the faulty file.
        """

    def read_instances(self, image: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
        """
        Return the object that each pixel of one image belongs to.

        :param image: its path.
        :param shape: (H, W) of the image.
        :return: (H, W) int32, 0 = no object, negative = unknown; None without such labels.
        :raises DataError: naming the faulty file.
        """
        return None

    def read_boxes(self, image: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """
        Return the boxes of the objects of one image.

        By default these are the boxes around the instances of the classes of the detection task.

        :param image: its path.
        :param shape: (H, W) of the image.
        :return: (M, 5) float32: x_min, y_min, x_max, y_max in pixels and class; None without such
            labels.
        :raises DataError: naming the faulty file.
        """
        task = next((task for task in self.tasks if task.name == 'detection'), None)
        instances = self.read_instances(image, shape)
        semantic = self.read_labels(image, shape).get('semantic')
        if task is None or instances is None or semantic is None:
            return None
        boxes, _ = class_boxes(instances, semantic, task.semantic_ids)
        return boxes

    def object_names(self, image: Path) -> Sequence[str] | None:
        """
        Return the names of the objects of one image, the same in every frame of a drive.

        :param image: its path.
        :return: that of object 1 of :meth:`read_instances` first; None if the data set does not
            tell which object is which.
        :raises DataError: naming the file that is wrong.
        """
        return None

    def focal_length(self, image: Path) -> float | None:
        """
        Return the focal length of one image's camera along its rows, pixels.

        :param image: its path.
        :return: None if the data set does not contain it.
        :raises DataError: naming the calibration file that is missing or wrong.
        """
        return None

    def pose(self, image: Path) -> NDArray[np.float64] | None:
        """
        Return where the camera was: (4, 4) float64 from its axes to those of the world, metres.

        :param image: its path.
        :return: None if the data set does not tell.
        :raises DataError: naming the file that is wrong.
        """
        return None

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample:
        """
        Return one clip.

        :raises DataError: naming the faulty file.
        """
        clip = self.clips[index]
        images = [self.read_image(path) for path in clip]

        # Labels and network see a clip as one array, so its images must have one size.
        height, width = images[-1].shape[:2]
        for path, image in zip(clip, images):
            if image.shape != images[-1].shape:
                raise DataError(
                    f'{path}: is {image.shape[0]} x {image.shape[1]} (height x width), '
                    f'{clip[-1].name} of the same clip {height} x {width}; take it out or resize '
                    'it')

        labels = [self.read_labels(path, (height, width)) for path in clip]
        stacked: dict[str, Any] = {
            task: _stack([label.get(task) for label in labels], unknown)
            for task, unknown in _UNKNOWN.items() if self.wants(task)}

        instances = boxes = None
        if self.wants('instance'):
            instances = _stack([self.read_instances(path, (height, width)) for path in clip], -1)
        if self.wants('detection'):
            boxes = _stack_boxes([self.read_boxes(path, (height, width)) for path in clip])
        return Sample(np.stack(images), instance=instances, detection=boxes, **stacked)

    def wants(self, task: str) -> bool:
        """Return whether samples have labels of a task."""
        return any(one.name == task for one in self.tasks)

    def narrowed_to(self, names: Collection[str]) -> 'RecordedClips':
        """
        Return the same clips with labels of fewer tasks; the others are not read.

        :param names: of the tasks to keep; one that the data set does not label changes nothing.
        """
        narrowed = copy.copy(self)
        narrowed.tasks = tuple(task for task in self.tasks if task.name in names)
        return narrowed

    def selected(self, start: int = 0, stop: int | None = None, step: int = 1) -> 'RecordedClips':
        """
        Return the clips of a part of the images; the earlier images of a clip may lie before it.

        :param start: number of the first image, counted from 0.
        :param stop: number of the first image behind the part, None for all to the end.
        :param step: 2 takes every second image.
        :raises DataError: if no clip is left.
        """
        chosen = set(self._all[start:stop:step])
        part = copy.copy(self)
        part.clips = [clip for clip in self.clips if clip[-1] in chosen]
        part.incomplete = [image for image in self.incomplete if image in chosen]
        if not part.clips:
            raise DataError(
                f'select: none of {len(self)} clips ends with one of the images {start} to '
                f'{len(self._all) if stop is None else stop} (not included) of '
                f'{len(self._all)}; choose others')
        return part


def drives_of(images: Sequence[Path], filmed: bool = False) -> list[Hashable]:
    """
    Return the drive of each image: its folder and its name up to the number at the end.

    Where that is the same for all, each image stands for itself, unless they were filmed.

    :param images: paths.
    :param filmed: whether the frames of a folder are known to be of one drive.
    """
    # frame_000123.png and frame_000124.png are of one drive, named "frame_".
    drives = [(image.parent, re.sub(r'\d+$', '', image.stem)
               if image.stem[-1:].isdigit() else '') for image in images]

    # One name for all says nothing about drives.
    return list(drives) if filmed or len(set(drives)) > 1 else [None] * len(images)


def _stack_boxes(frames: list[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """Return (T, M, 5) boxes, rows of class -2 in frames without labels; None if no frame has."""
    if all(boxes is None for boxes in frames):
        return None

    empty = np.zeros((0, 5), np.float32)
    result = stacked_boxes([empty if boxes is None else boxes for boxes in frames])
    for row, boxes in zip(result, frames):
        if boxes is None:
            row[:, 4] = NOT_LABELLED
    return result


def _stack(labels: list[NDArray[Any] | None], unknown: float) -> NDArray[Any] | None:
    """Return (T, H, W) with missing labels as unknown; None if all are missing."""
    known = next((label for label in labels if label is not None), None)
    if known is None:
        return None

    return np.stack([np.full_like(known, unknown) if label is None else label for label in labels])
