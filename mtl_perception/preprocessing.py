# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a camera's image to the network's input, the same in evaluation and on the robot."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

STRIDE = 32
"""Stride of the coarsest stage of an encoder without dilation."""


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """
    Return an image at another size; the aspect ratio may change.

    Linear interpolation reads a neighbourhood of two pixels, which aliases when an image shrinks
    more than twofold. Such an image is first brought to twice the wanted size and then averaged
    over areas, in a third of the time of averaging alone. Normalisation is part of the network.

    :param image: (H, W, 3) or (H, W) uint8.
    :param height: wanted height, pixels.
    :param width: wanted width, pixels.
    :return: (height, width, 3) or (height, width) uint8, the image itself if the size is right.
    """
    found_height, found_width = image.shape[:2]
    if (found_height, found_width) == (height, width):
        return image

    method = cv2.INTER_LINEAR
    if found_height > 2 * height or found_width > 2 * width:
        twice = (min(found_width, 2 * width), min(found_height, 2 * height))
        image = cv2.resize(image, twice, interpolation=cv2.INTER_LINEAR).astype(
            np.uint8, copy=False)

        # One side may grow; there OpenCV's INTER_AREA would repeat pixels.
        if twice[0] >= width and twice[1] >= height:
            method = cv2.INTER_AREA
    return cv2.resize(image, (width, height), interpolation=method).astype(np.uint8, copy=False)


def resize_nearest(values: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """
    Return ids or depth at another size: each new pixel takes the old one under its centre.

    :param values: (..., H, W) of any type; nothing is blended.
    :param height: wanted height, pixels.
    :param width: wanted width, pixels.
    :return: (..., height, width), the array itself if the size is right.
    """
    found_height, found_width = values.shape[-2:]
    if (found_height, found_width) == (height, width):
        return values

    # The centre of new pixel i lies at (i + 1/2) H / height; whole numbers round it down exactly.
    rows = (2 * np.arange(height) + 1) * found_height // (2 * height)
    columns = (2 * np.arange(width) + 1) * found_width // (2 * width)
    return np.asarray(values.take(columns, axis=-1).take(rows, axis=-2))


def focal_length_at(focal_px: float, own: int, wanted: int) -> float:
    """
    Return the focal length along one side of an image that is resized.

    :param focal_px: focal length at the camera's own size, pixels.
    :param own: width or height of the camera's image, pixels.
    :param wanted: the same side of the resized image, pixels.
    """
    return focal_px * wanted / own


def check_size(height: int, width: int, stride: int = STRIDE) -> None:
    """
    Check that an image size is divisible by a stride.

    :param height: pixels.
    :param width: pixels.
    :param stride: the largest stride.
    :raises ValueError: with the nearest size that fits.
    """
    if height % stride or width % stride or height < stride or width < stride:
        fits = [max(stride, round(size / stride) * stride) for size in (height, width)]
        raise ValueError(
            f'the image is {height} x {width} (height x width); both must be multiples of '
            f'{stride}; the nearest that fits is {fits[0]} x {fits[1]}')
