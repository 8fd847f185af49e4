# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the images of a drive as a film, whose frames show one another's depth."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import Pinhole
from mtl_perception.manifest import Manifest
from mtl_perception.media.intrinsics import Intrinsics
from mtl_perception.preprocessing import focal_length_at, resize
from mtl_perception.training.drive_depth import Film

FINER = 2
"""The film has so many times the pixels of the network's input in each direction."""


class Reel:
    """
    Collect the images of a camera.

    :param manifest: of the model.
    :param focal_px: of the camera at its images' width; 0 takes what comes with the images.
    :param height_m: of the camera above the road; 0 = unknown.
    """

    def __init__(self, manifest: Manifest, focal_px: float = 0.0, height_m: float = 0.0) -> None:
        self.manifest = manifest
        self.focal_px = focal_px
        self.height_m = height_m
        self.remarks: list[str] = []
        """What should be said about the camera."""
        self._greys: list[NDArray[np.uint8]] = []
        self._stamps_ns: list[int] = []
        self._camera: Pinhole | None = None
        self._metres = 1.0
        self._height_ratio = 1.0
        self._usable = True

    def add(self, image: NDArray[np.uint8], stamp_ns: int, known: Intrinsics) -> None:
        """
        Take the next image.

        :param image: (H, W, 3) uint8 RGB; those of another shape than the first end the film.
        :param stamp_ns: nanoseconds.
        :param known: what its calibration says.
        """
        if self._camera is None and self._usable:
            self._start(image.shape[0], image.shape[1], known)
        if self._usable:
            grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
            self._greys.append(resize(grey, *self._size))
            self._stamps_ns.append(stamp_ns)

    def film(self, numbers: Sequence[int]) -> Film | None:
        """
        Return some of the images as a film, None if they make none.

        :param numbers: of the images, ascending.
        """
        if self._camera is None or not self._usable:
            return None
        return Film(
            [self._greys[number] for number in numbers],
            [self._stamps_ns[number] for number in numbers], self._camera, self._metres,
            self.height_m, self._height_ratio)

    def _start(self, height: int, width: int, known: Intrinsics) -> None:
        """Find out what is known of the camera, from its first image."""
        manifest = self.manifest
        lens = None if self.focal_px else known.lens
        if lens is not None and lens.is_strong(height, width):
            self.remarks.append('the lens is strongly distorted: depth is not adapted; give '
                                'rectified images')
            self._usable = False
            return

        self._size = (max(manifest.height, min(height, FINER * manifest.height)),
                      max(manifest.width, min(width, FINER * manifest.width)))
        trained_y = manifest.focal_y_px or manifest.focal_px
        focal_x = self.focal_px or known.focal_px
        focal_y = self.focal_px or known.focal_y_px or focal_x
        if not focal_x or not focal_y:
            self.remarks.append('nobody says the focal length of the camera: that of the '
                                "model's training is assumed; --focal-length gives it")
            focal_x = focal_length_at(manifest.focal_px, manifest.width, width)
            focal_y = focal_length_at(trained_y, manifest.height, height)

        camera = Pinhole(focal_x, focal_y, (width - 1) / 2, (height - 1) / 2)
        self._camera = camera.resized((height, width), self._size)

        # As a stream does: a longer lens and a higher camera make everything look nearer.
        self._metres = focal_length_at(focal_y, height, manifest.height) / trained_y
        if self.height_m and not manifest.camera_height:
            self.remarks.append('the model does not say at which height it was trained: '
                                '--camera-height is not used')
            self.height_m = 0.0
        elif self.height_m:
            self._height_ratio = self.height_m / manifest.camera_height
            self._metres *= self._height_ratio ** manifest.height_exponent


def used_images(count: int, most: int, together: int = 1) -> list[int]:
    """
    Return which images of a drive are used: all, or groups evenly spread over it.

    :param count: of the images.
    :param most: how many are used at most.
    :param together: images of a group.
    """
    if count <= most:
        return list(range(count))
    groups = most // together
    starts = np.linspace(0, count - together, groups).astype(int)
    return sorted({int(start) + place for start in starts for place in range(together)})
