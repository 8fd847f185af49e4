# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which calibration belongs to an image, and what becomes of it when the image is resized."""

import threading
from collections import OrderedDict

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

KEPT = 16


class CameraInfoMemory:
    """The last calibrations of one camera, by stamp; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._infos: OrderedDict[tuple[int, int], CameraInfo] = OrderedDict()

    def put(self, info: CameraInfo) -> None:
        """Keep a calibration and forget the oldest one."""
        stamp = info.header.stamp
        with self._lock:
            self._infos.pop((stamp.sec, stamp.nanosec), None)
            self._infos[stamp.sec, stamp.nanosec] = info
            while len(self._infos) > KEPT:
                self._infos.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._infos.clear()

    def find(self, header: Header) -> CameraInfo | None:
        """
        Return the calibration with the stamp of a header, or else the latest one.

        A camera often sends the image first, and a calibration hardly ever changes.
        """
        with self._lock:
            exact = self._infos.get((header.stamp.sec, header.stamp.nanosec))
            return exact or next(reversed(self._infos.values()), None)


def fit_info(info: CameraInfo, header: Header, height: int, width: int) -> CameraInfo:
    """
    Return the calibration for an output.

    :param info: the camera's calibration.
    :param header: the output's header; goes in as it is.
    :param height: the output's height, pixels.
    :param width: the output's width, pixels.
    :return: the calibration with that header; if the output has another size than the sensor,
        ``k`` and ``p`` are scaled and window and binning are gone. Pixel centres lie at whole
        numbers, so a centre ``c`` goes to ``(c + 0.5) * scale - 0.5``.
    """
    fitted = CameraInfo(
        header=header, height=height, width=width, distortion_model=info.distortion_model,
        d=info.d, k=info.k, r=info.r, p=info.p)
    if (height, width) == (info.height, info.width):
        return fitted
    window_height, window_width = info.roi.height or info.height, info.roi.width or info.width
    x, y = width / max(1, window_width), height / max(1, window_height)
    move = np.array([[x, 0, (0.5 - info.roi.x_offset) * x - 0.5],
                     [0, y, (0.5 - info.roi.y_offset) * y - 0.5],
                     [0, 0, 1]])
    fitted.k = (move @ np.reshape(info.k, (3, 3))).ravel()
    fitted.p = (move @ np.reshape(info.p, (3, 4))).ravel()
    return fitted
