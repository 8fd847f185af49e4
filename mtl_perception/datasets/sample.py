# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One training sample: a clip of consecutive frames and the labels of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.preprocessing import resize_nearest
from mtl_perception.tasks import NO_BOX

VISIBLE_SHARE = 0.25
"""Smallest share of a box that must be left inside a part of an image for it to be kept."""


@dataclass(frozen=True, eq=False)
class Sample:
    """
    T consecutive frames, the oldest first, with their labels.

    A label that does not exist is None and never made up.

    :param image: (T, H, W, 3) uint8 RGB.
    :param semantic: (T, H, W) uint8 class ids, 255 = unlabelled.
    :param depth: (T, H, W) floating metres along Z; Inf, NaN and 0 = no finite depth known.
    :param motion: (T, H, W) uint8, 0 static, 1 moving, 255 unknown.
    :param instance: (T, H, W) int32, an id per object of the clip; 0 = none, negative = unknown.
    :param detection: (T, M, 5) float32: x_min, y_min, x_max, y_max in pixels, from 0 to width and
        height, and the class of each box; the class is -1 in rows that pad the array and -2 in
        every row of a frame without box labels.
    :param height_ratio: height of the camera over the height that depth is scaled to; 1 where
        depth is in true metres.
    """

    image: NDArray[np.uint8]
    semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.floating[Any]] | None = None
    motion: NDArray[np.uint8] | None = None
    instance: NDArray[np.int32] | None = None
    detection: NDArray[np.float32] | None = None
    height_ratio: float = 1.0

    def __post_init__(self) -> None:
        if self.image.ndim != 4 or self.image.shape[3] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f'image is {self.image.dtype} of shape {self.image.shape}; expected uint8 of '
                'shape (T, H, W, 3)')

        for name, label in self.labels().items():
            if label.shape != self.image.shape[:3]:
                raise ValueError(
                    f'{name} has shape {label.shape}, the images {self.image.shape[:3]}')

        boxes = self.detection
        if boxes is not None and (
                boxes.ndim != 3 or len(boxes) != len(self.image) or boxes.shape[2] != 5):
            raise ValueError(
                f'detection has shape {boxes.shape}; expected (T, M, 5) for the '
                f'{len(self.image)} images')

    def labels(self) -> dict[str, NDArray[Any]]:
        """Return task name -> (T, H, W) label, of the tasks that label pixels."""
        labels = {
            'semantic': self.semantic, 'depth': self.depth, 'motion': self.motion,
            'instance': self.instance}
        return {task: label for task, label in labels.items() if label is not None}

    def window(self, first: int, frames: int) -> 'Sample':
        """Return the sample of ``frames`` consecutive frames, beginning with frame ``first``."""
        labels: dict[str, Any] = {
            task: label[first:first + frames] for task, label in self.labels().items()}
        boxes = None if self.detection is None else self.detection[first:first + frames]
        return replace(
            self, image=self.image[first:first + frames], detection=boxes, **labels)

    def lasting(self, frames: int) -> 'Sample':
        """Return the sample with its first frame repeated until there are ``frames`` of them."""
        missing = frames - len(self.image)
        if missing <= 0:
            return self

        def longer(values: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([np.repeat(values[:1], missing, 0), values])

        labels: dict[str, Any] = {task: longer(label) for task, label in self.labels().items()}
        boxes = None if self.detection is None else longer(self.detection)
        return replace(self, image=longer(self.image), detection=boxes, **labels)

    def flipped(self) -> 'Sample':
        """Return the sample mirrored left to right, images and labels alike."""
        labels: dict[str, Any] = {task: label[:, :, ::-1] for task, label in self.labels().items()}

        boxes = self.detection
        if boxes is not None:
            boxes = boxes.copy()
            boxes[..., [0, 2]] = self.image.shape[2] - boxes[..., [2, 0]]
        return replace(self, image=self.image[:, :, ::-1], detection=boxes, **labels)

    def cropped(self, top: int, left: int, height: int, width: int) -> 'Sample':
        """
        Return a part of every frame, images and labels alike.

        Boxes are cut at the edge; one that keeps less than a quarter of its area is dropped.

        :param top: first row of the part.
        :param left: first column.
        :param height: rows of the part.
        :param width: columns of the part.
        """
        part = np.s_[:, top:top + height, left:left + width]
        labels: dict[str, Any] = {task: label[part] for task, label in self.labels().items()}

        boxes = self.detection
        if boxes is not None:
            whole = _areas(boxes)
            boxes = boxes.copy()
            boxes[..., [0, 2]] = (boxes[..., [0, 2]] - left).clip(0, width)
            boxes[..., [1, 3]] = (boxes[..., [1, 3]] - top).clip(0, height)

            # Rows of padding and of unlabelled frames (-1 and -2) keep their class.
            visible = _areas(boxes)
            gone = (visible <= 0) | (visible < VISIBLE_SHARE * whole)
            boxes[gone & (boxes[..., 4] >= 0), 4] = NO_BOX
        return replace(self, image=self.image[part], detection=boxes, **labels)

    def resized(self, height: int, width: int) -> 'Sample':
        """
        Return the sample at another size.

        Images are averaged over the area of a new pixel, labels take the nearest pixel. Depth is
        unchanged: the camera sees the same angle with fewer pixels.
        """
        if self.image.shape[1:3] == (height, width):
            return self

        # INTER_AREA averages where an image shrinks and repeats pixels where it grows.
        size = (width, height)
        shrinks = height <= self.image.shape[1] and width <= self.image.shape[2]
        smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.stack([cv2.resize(frame, size, interpolation=smooth) for frame in self.image])

        labels: dict[str, Any] = {
            task: resize_nearest(label, height, width) for task, label in self.labels().items()}

        boxes = self.detection
        if boxes is not None:
            scale = np.array([
                width / self.image.shape[2], height / self.image.shape[1]], np.float32)
            boxes = boxes.copy()
            boxes[..., :4] *= np.tile(scale, 2)
        return replace(
            self, image=image.astype(np.uint8, copy=False), detection=boxes, **labels)


def stacked(boxes: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """
    Return the boxes of several frames as one array.

    :param boxes: one (M_t, 5) per frame, see :class:`Sample`.
    :return: (T, max M_t, 5), padded with rows of class -1; at least one row.
    """
    most = max([1, *(len(frame) for frame in boxes)])

    result = np.zeros((len(boxes), most, 5), np.float32)
    result[..., 4] = NO_BOX
    for row, frame in zip(result, boxes):
        row[:len(frame)] = frame
    return result


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (T, M) square pixels of (T, M, 5) boxes."""
    areas: NDArray[np.float32] = (
        (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))
    return areas
