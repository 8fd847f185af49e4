# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras attached to this computer."""

import os
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import DataError


class CameraDevice:
    """
    A V4L2 camera; its driver is asked for size and rate and may give others.

    :param path: such as ``/dev/video0``, or a link to it.
    :param width: of its images, pixels; 0 = the driver's choice.
    :param height: of its images, pixels; 0 = the driver's choice.
    :param rate: images per second; 0 = the driver's choice.
    :raises DataError: if it cannot be opened.
    """

    def __init__(self, path: str, width: int = 0, height: int = 0, rate: float = 0.0) -> None:
        self.path = path
        number = re.search(r'(\d+)$', os.path.realpath(path))  # OpenCV opens numbers only
        self._video = cv2.VideoCapture()
        if number is None or not self._video.open(int(number[1]), cv2.CAP_V4L2):
            raise DataError(
                f'{path}: cannot be opened as a V4L2 camera; is it in use by another program, and '
                'may this user read it (group "video")?')

        # A short queue in the driver, so that each read gives a recent image.
        self._video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        for name, value in ((cv2.CAP_PROP_FRAME_WIDTH, width),
                            (cv2.CAP_PROP_FRAME_HEIGHT, height), (cv2.CAP_PROP_FPS, rate)):
            if value:
                self._video.set(name, value)

    def read(self) -> NDArray[np.uint8]:
        """
        Wait for the next image and return its (H, W, 3) uint8 RGB.

        :raises DataError: if the camera was disconnected.
        """
        good, image = self._video.read()
        if not good:
            raise DataError(
                f'{self.path}: the camera gives no images any more; is it still connected?')
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """Release the camera."""
        self._video.release()
