# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all recorded data sets share: images on disk, earlier frames, labels where they exist."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.files import read_rgb
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.tasks import UNKNOWN_MOTION, UNLABELLED, Task

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
    """What the data set can label, with class names and colours."""

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

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample:
        """
        Return one clip.

        :raises DataError: naming the file that is wrong.
        """
        clip = self.clips[index]
        images = [read_rgb(path) for path in clip]
        shape = (images[-1].shape[0], images[-1].shape[1])
        for path, image in zip(clip, images):
            if image.shape != images[-1].shape:
                raise DataError(
                    f'{path}: is {image.shape[0]} x {image.shape[1]} (height x width), '
                    f'{clip[-1].name} of the same clip {shape[0]} x {shape[1]}')
        labels = [self.read_labels(path, shape) for path in clip]
        stacked = {task: _stack([label.get(task) for label in labels], unknown)
                   for task, unknown in _UNKNOWN.items()}
        return Sample(np.stack(images), **stacked)


def boxes_of(instances: NDArray[np.int32]) -> dict[int, tuple[int, int, int, int]]:
    """
    Return the box of each object.

    :param instances: (H, W) int32, 0 = no object.
    :return: object -> (left, top, right, bottom) in pixels, right and bottom excluded.
    """
    boxes = {}
    for number in np.unique(instances[instances > 0]):
        mask = instances == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes[int(number)] = (
            int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return boxes


def _stack(labels: list[NDArray[Any] | None], unknown: float) -> NDArray[Any] | None:
    """Return (T, H, W) with what is missing unknown; None if nothing is known."""
    known = next((label for label in labels if label is not None), None)
    if known is None:
        return None
    return np.stack([np.full_like(known, unknown) if label is None else label for label in labels])
