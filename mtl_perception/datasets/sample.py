# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One training sample: a clip of consecutive frames and what is known about each."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sample:
    """
    T consecutive frames, the oldest first, with their labels.

    A label that does not exist is None; it is never made up.

    :param image: (T, H, W, 3) uint8 RGB.
    :param semantic: (T, H, W) uint8 class ids, 255 = unlabelled.
    :param depth: (T, H, W) floating metres along Z; Inf, NaN and 0 = no finite depth known.
    :param motion: (T, H, W) uint8, 0 static, 1 moving, 255 unknown.
    """

    image: NDArray[np.uint8]
    semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.floating[Any]] | None = None
    motion: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 4 or self.image.shape[3] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f'image is {self.image.dtype} of shape {self.image.shape}; expected uint8 of '
                'shape (T, H, W, 3)')
        for name, label in self.labels().items():
            if label.shape != self.image.shape[:3]:
                raise ValueError(
                    f'{name} has shape {label.shape}, the images {self.image.shape[:3]}')

    def labels(self) -> dict[str, NDArray[Any]]:
        """Return task name -> (T, H, W) label of the labels that exist."""
        labels = {'semantic': self.semantic, 'depth': self.depth, 'motion': self.motion}
        return {task: label for task, label in labels.items() if label is not None}

    def window(self, first: int, frames: int) -> 'Sample':
        """Return the sample of ``frames`` consecutive frames from frame ``first`` on."""
        labels = {
            task: label[first:first + frames] for task, label in self.labels().items()}
        return replace(self, image=self.image[first:first + frames], **labels)

    def flipped(self) -> 'Sample':
        """Return the sample mirrored left to right, images and labels alike."""
        labels = {task: label[:, :, ::-1] for task, label in self.labels().items()}
        return replace(self, image=self.image[:, :, ::-1], **labels)

    def resized(self, height: int, width: int) -> 'Sample':
        """
        Return the sample at another size.

        Images are averaged over the area of a new pixel, labels take the nearest pixel. Depth
        values stay what they are: the camera sees the same angle with fewer pixels.
        """
        if self.image.shape[1:3] == (height, width):
            return self
        size = (width, height)
        shrinks = height <= self.image.shape[1] and width <= self.image.shape[2]
        smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.stack([cv2.resize(frame, size, interpolation=smooth) for frame in self.image])
        rows = _nearest(self.image.shape[1], height)
        columns = _nearest(self.image.shape[2], width)
        labels = {
            task: label[:, rows[:, None], columns] for task, label in self.labels().items()}
        return replace(self, image=image.astype(np.uint8, copy=False), **labels)


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """Return (new,) index of the old pixel in which the centre of each new pixel lies."""
    return ((np.arange(new) * 2 + 1) * old // (2 * new)).astype(np.int64)
