# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The calibration of an image that was resized."""

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header


def fit_info(
    info: CameraInfo, header: Header, height: int, width: int,
    image: tuple[int, int] | None = None,
) -> CameraInfo:
    """
    Return the calibration for an output.

    :param info: the camera's calibration.
    :param header: the output's header, copied unchanged.
    :param height: the output's height, pixels.
    :param width: the output's width, pixels.
    :param image: height and width of the camera's image; None = those of the output. An image as
        large as the sensor is no window of it, whatever the calibration says.
    :return: the calibration with that header; if the output has another size than the sensor,
        ``k`` and ``p`` are scaled and window and binning are gone. Pixel centres lie at whole
        numbers, so a centre ``c`` goes to ``(c + 0.5) * scale - 0.5``.
    """
    fitted = CameraInfo(
        header=header, height=height, width=width, distortion_model=info.distortion_model,
        d=info.d, k=info.k, r=info.r, p=info.p)
    if (height, width) == (info.height, info.width):
        return fitted

    # The image is a window of the sensor, resized: shift by the corner of the window, then scale.
    left, top = info.roi.x_offset, info.roi.y_offset
    window_height, window_width = info.roi.height or info.height, info.roi.width or info.width
    if image == (info.height, info.width):
        left, top, (window_height, window_width) = 0, 0, image
    x, y = width / max(1, window_width), height / max(1, window_height)
    move = np.array([[x, 0, (0.5 - left) * x - 0.5], [0, y, (0.5 - top) * y - 0.5], [0, 0, 1]])

    fitted.k = (move @ np.reshape(info.k, (3, 3))).ravel()
    fitted.p = (move @ np.reshape(info.p, (3, 4))).ravel()
    return fitted
