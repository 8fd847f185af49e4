# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
From a lens with distortion to the pinhole that the networks know, and back.

The pinhole looks along the same axis, so depth along Z stays what it is: only pixels move.
"""

import functools
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import FrameError
from mtl_perception.frames import UNKNOWN, Detections, Perception
from mtl_perception.media.lens import Lens
from mtl_perception.reason_codes import ReasonCode

Roi = tuple[int, int, int, int]
Map = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Column and row in another image for each pixel."""

CENTRE_SHARE = 0.75
"""The pinhole's focal length is at least this share of the lens's in the middle."""
WIDEST = 0.5
"""And at least this share of the width, a view of 90 degrees: networks know no wider ones."""
OUTSIDE = -1e4
"""Column and row of a pixel that the other image does not have."""
POINTS_PER_EDGE = 9


def rectified_focal_length(lens: Lens, width: int) -> float:
    """
    Return the focal length of the pinhole in place of a lens, pixels.

    It shows all that the lens sees to its left and right, unless that were a wider view than the
    networks know, or the middle became too small; then what lies farther out is unknown.
    """
    columns = np.array([0.0, width - 1.0])
    x, _ = lens.unproject(columns, np.full(2, lens.cy))
    seen = np.abs(x[np.isfinite(x)])

    # The rectified image has its principal point in the middle: f tan(angle) = width / 2.
    whole = width / 2 / float(seen.max()) if seen.size == 2 else 0.0
    return max(whole, CENTRE_SHARE * lens.fx, WIDEST * width)


class Rectifier:
    """
    Turn the images of one lens into those of a pinhole, and its answers back.

    Both images have the same size. The maps are made once; an image then costs one remap, and an
    answer another one.

    :param lens: at the size of the images.
    :param height: of the images, pixels.
    :param width: of the images, pixels.
    :ivar focal_px: focal length of the pinhole, pixels; its principal point is in the middle.
    """

    def __init__(self, lens: Lens, height: int, width: int) -> None:
        self.lens = lens
        self.size = height, width
        self.focal_px = rectified_focal_length(lens, width)
        self._backs: dict[tuple[int, int], Map] = {}

        # Where each pixel of the pinhole's image lies in the camera's.
        row, column = np.mgrid[0:height, 0:width].astype(np.float64)
        x = (column - (width - 1) / 2) / self.focal_px
        y = (row - (height - 1) / 2) / self.focal_px
        self._forth = _as_map(*lens.project(x, y))

    @functools.cached_property
    def _seen(self) -> NDArray[np.bool_]:
        """Which of the camera's pixels the pinhole sees, (H, W)."""
        column, row = self._back(*self.size)
        height, width = self.size
        inside: NDArray[np.bool_] = (
            (column > -1) & (column < width) & (row > -1) & (row < height))
        return inside

    @property
    def unseen(self) -> float:
        """Share of the camera's pixels that the pinhole does not see."""
        return float(1 - self._seen.mean())

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pinhole's image, (H, W, 3) uint8; black where the camera sees nothing."""
        return np.asarray(cv2.remap(image, *self._forth, cv2.INTER_LINEAR), np.uint8)

    def restore(self, found: Perception, height: int, width: int) -> Perception:
        """
        Return what was found in the pinhole's image, at the pixels of the camera.

        :param found: in the pinhole's image at some size.
        :param height: of that size, pixels.
        :param width: of that size, pixels.
        :return: at the same size; unlabelled, NaN, unknown or no object where the pinhole does
            not see. There is no residual flow.
        """
        back = self._back(height, width)

        maps: dict[str, Any] = {
            name: np.asarray(cv2.remap(
                values, *back, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT,
                borderValue=outside), values.dtype)
            for name, outside in UNKNOWN.items()
            if (values := getattr(found, name)) is not None}
        boxes = found.detection
        return Perception(
            **maps, step=found.step,
            detection=None if boxes is None else self._boxes(boxes, height, width))

    def roi(self, roi: Roi) -> Roi:
        """
        Return the smallest part of the pinhole's image around a part of the camera's.

        :param roi: inside of the camera's image.
        :raises FrameError: ``I25_fit`` if the pinhole sees no pixel of it.
        """
        x, y, columns, rows = roi
        if not self._seen[y:y + rows, x:x + columns].any():
            raise FrameError(
                f'the roi is {columns} x {rows} pixels at ({x}, {y}), so far out in the image of '
                'a wide lens that the rectified image shows none of it; choose a part nearer to '
                'the middle, or set rectify to "off"', ReasonCode.IMAGE_FIT)
        share = np.linspace(0, 1, POINTS_PER_EDGE)
        across, down = x + share * columns - 0.5, y + share * rows - 0.5
        edge = np.concatenate([across, across, np.full_like(down, x - 0.5),
                               np.full_like(down, x + columns - 0.5)])
        along = np.concatenate([np.full_like(across, y - 0.5),
                                np.full_like(across, y + rows - 0.5), down, down])

        # Where the lens sees more than the pinhole, the part ends with the pinhole's image.
        u, v = self.lens.unproject(edge, along)
        height, width = self.size
        u = np.clip(self.focal_px * u + width / 2, 0, width)
        v = np.clip(self.focal_px * v + height / 2, 0, height)
        seen = np.isfinite(u) & np.isfinite(v)
        if not seen.any():
            return 0, 0, width, height
        left, top = min(int(u[seen].min()), width - 1), min(int(v[seen].min()), height - 1)
        return (left, top, max(1, math.ceil(u[seen].max()) - left),
                max(1, math.ceil(v[seen].max()) - top))

    def _back(self, height: int, width: int) -> Map:
        """Return where each pixel of the camera's image lies in the pinhole's, at a size."""
        if (height, width) not in self._backs:
            down, right = self.size[0] / height, self.size[1] / width
            row, column = np.mgrid[0:height, 0:width].astype(np.float64)

            # Pixel 0 covers -0.5 to 0.5: the edge at -0.5 stays in place, not the centre at 0.
            x, y = self.lens.unproject(
                (column + 0.5) * right - 0.5, (row + 0.5) * down - 0.5)
            u = self.focal_px * x + (self.size[1] - 1) / 2
            v = self.focal_px * y + (self.size[0] - 1) / 2
            self._backs[height, width] = _as_map((u + 0.5) / right - 0.5, (v + 0.5) / down - 0.5)
        return self._backs[height, width]

    def _boxes(self, found: Detections, height: int, width: int) -> Detections:
        """Return the smallest boxes around the edges of boxes, in the camera's pixels."""
        if not len(found.corners):
            return found
        down, right = self.size[0] / height, self.size[1] / width
        share = np.linspace(0, 1, POINTS_PER_EDGE)
        left, top, far, low = (found.corners[:, [place]].astype(np.float64) for place in range(4))
        across = left + (far - left) * share
        along = top + (low - top) * share
        ones = np.ones_like(across)

        # Points along the four edges; corners of boxes lie between pixels, half a pixel off.
        u = np.concatenate([across, across, left * ones, far * ones], 1) * right - 0.5
        v = np.concatenate([top * ones, low * ones, along, along], 1) * down - 0.5
        column, row = self.lens.project((u - (self.size[1] - 1) / 2) / self.focal_px,
                                        (v - (self.size[0] - 1) / 2) / self.focal_px)
        seen = np.isfinite(column).any(1)
        column, row = column[seen], row[seen]
        column = np.clip((column + 0.5) / right, 0, width)
        row = np.clip((row + 0.5) / down, 0, height)
        corners = np.stack([np.nanmin(column, 1), np.nanmin(row, 1),
                            np.nanmax(column, 1), np.nanmax(row, 1)], 1)
        return Detections(
            corners.astype(np.float32), found.scores[seen], found.classes[seen])


def _as_map(column: NDArray[np.float64], row: NDArray[np.float64]) -> Map:
    """Return a map for OpenCV, far outside where there is no pixel."""
    known = np.isfinite(column) & np.isfinite(row)
    return tuple(  # type: ignore[return-value]
        np.clip(np.where(known, values, OUTSIDE), OUTSIDE, 3e4).astype(np.float32)
        for values in (column, row))
