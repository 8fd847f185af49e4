# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all recorded data sets share: images on disk, earlier frames, labels where they exist."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.sample import Sample
from mtl_perception.datasets.sample import stacked as stacked_boxes
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.instances import class_boxes
from mtl_perception.media.pictures import read_rgb
from mtl_perception.tasks import NOT_LABELLED, UNKNOWN_MOTION, UNLABELLED, Task

_UNKNOWN = {'semantic': UNLABELLED, 'depth': np.nan, 'motion': UNKNOWN_MOTION}


class RecordedClips(ABC):
    """
    Clips of T images on disk; the last one of each is the image that the data set is about.

    Where a label exists for some images of a clip only, the others' pixels are unknown (255, NaN);
    where it exists for none, the sample has none.

    :param images: the last image of each clip.
    :param frames: images T per clip.
    :param spacing: how many frames of the recording lie between two images of a clip; 1 takes
        neighbours.
    :ivar clips: the T paths of each clip, the oldest first.
    :ivar incomplete: images that are left out because an earlier one does not exist.
    :raises ConfigurationError: if frames or spacing is below 1.
    :raises DataError: if there is no image or no clip is complete.
    """

    tasks: tuple[Task, ...]
    """What samples have labels of, with class names and colours."""
    filmed = False
    """Whether images of one folder, whose names differ in the number at their end, are known to
    be frames of one drive."""

    def __init__(self, images: Sequence[Path], frames: int, spacing: int) -> None:
        if frames < 1 or spacing < 1:
            raise ConfigurationError(
                f'frames is {frames} and spacing {spacing}; both must be at least 1')
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
                f'{type(self).__name__}: no image is in the split, drives or sequences that were '
                'asked for; choose others or unpack the missing archives')
        if not self.clips:
            raise DataError(
                f'none of {len(images)} images has the {frames - 1} earlier ones that frames: '
                f'{frames} and spacing: {spacing} ask for ({images[0]} is the first of them); set '
                "frames to 1 or get the data set's sequences")

    def read_image(self, image: Path) -> NDArray[np.uint8]:
        """
        Return the (H, W, 3) uint8 RGB of one image.

        :raises DataError: naming the file that is wrong.
        """
        return read_rgb(image)

    @abstractmethod
    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image ``back`` frames before another, None if there is none."""

    @abstractmethod
    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """
        Return task name -> (H, W) label of one image, as in :class:`Sample`.

        :param image: its path.
        :param shape: (H, W) of the image.
        :raises DataError: naming the file that is wrong.
        """

    def read_instances(self, image: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
        """
        Return which object each pixel of one image belongs to.

        :param image: its path.
        :param shape: (H, W) of the image.
        :return: (H, W) int32, 0 = no object; None if the data set does not say.
        :raises DataError: naming the file that is wrong.
        """
        return None

    def read_boxes(self, image: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """
        Return the boxes of the objects of one image.

        Where nothing else is known these are the boxes around the instances whose class the
        detection task has.

        :param image: its path.
        :param shape: (H, W) of the image.
        :return: (M, 5) float32: x_min, y_min, x_max, y_max in pixels and class; None if the data
            set does not say.
        :raises DataError: naming the file that is wrong.
        """
        task = next((task for task in self.tasks if task.name == 'detection'), None)
        instances = self.read_instances(image, shape)
        semantic = self.read_labels(image, shape).get('semantic')
        if task is None or instances is None or semantic is None:
            return None
        boxes, _ = class_boxes(instances, semantic, task.semantic_ids)
        return boxes

    def focal_length(self, image: Path) -> float | None:
        """
        Return the focal length of one image's camera along its rows, pixels.

        :param image: its path.
        :return: None if the data set does not say.
        :raises DataError: naming the calibration file that is missing or wrong.
        """
        return None

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample:
        """
        Return one clip.

        :raises DataError: naming the file that is wrong.
        """
        clip = self.clips[index]
        images = [self.read_image(path) for path in clip]
        shape = (images[-1].shape[0], images[-1].shape[1])
        for path, image in zip(clip, images):
            if image.shape != images[-1].shape:
                raise DataError(
                    f'{path}: is {image.shape[0]} x {image.shape[1]} (height x width), '
                    f'{clip[-1].name} of the same clip {shape[0]} x {shape[1]}')
        labels = [self.read_labels(path, shape) for path in clip]
        stacked = {task: _stack([label.get(task) for label in labels], unknown)
                   for task, unknown in _UNKNOWN.items() if self.wants(task)}
        instances = boxes = None
        if self.wants('instance'):
            instances = _stack([self.read_instances(path, shape) for path in clip], -1)
        if self.wants('detection'):
            boxes = _stack_boxes([self.read_boxes(path, shape) for path in clip])
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


def _stack_boxes(frames: list[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """Return (T, M, 5) boxes, the rows of unknown frames of class -2; None if nothing is known."""
    if all(boxes is None for boxes in frames):
        return None
    empty = np.zeros((0, 5), np.float32)
    result = stacked_boxes([empty if boxes is None else boxes for boxes in frames])
    for row, boxes in zip(result, frames):
        if boxes is None:
            row[:, 4] = NOT_LABELLED
    return result


def _stack(labels: list[NDArray[Any] | None], unknown: float) -> NDArray[Any] | None:
    """Return (T, H, W) with what is missing unknown; None if nothing is known."""
    known = next((label for label in labels if label is not None), None)
    if known is None:
        return None
    return np.stack([np.full_like(known, unknown) if label is None else label for label in labels])
