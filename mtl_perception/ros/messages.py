# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
From arrays to messages, quickly.

The only fast way into ``Image.data`` is ``array.frombytes``: half a millisecond for 1080p.
Assigning an ndarray is accepted silently and takes 700 times as long.
"""

import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from mtl_perception.tasks import UNKNOWN_MOTION, UNLABELLED, Task

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # there are no wheels of it
    LabelInfo = VisionClass = None

DTYPES = {'mono8': np.uint8, 'rgb8': np.uint8, '16UC1': np.uint16, '32FC1': np.float32}
LARGEST_MILLIMETRES = 65535


def image_message(header: Header, encoding: str, image: NDArray[Any]) -> Image:
    """
    Return an image message.

    :param header: goes into the message as it is.
    :param encoding: one of :data:`DTYPES`.
    :param image: (H, W) or, for ``rgb8``, (H, W, 3), of the encoding's type.
    :raises ValueError: if the array does not fit the encoding.
    """
    channels = image.shape[2:] == (3,) if encoding == 'rgb8' else image.ndim == 2
    if image.dtype != DTYPES[encoding] or not channels:
        raise ValueError(f'{image.dtype} of shape {image.shape} is not {encoding}')
    rows = np.ascontiguousarray(image)
    message = Image(
        header=header, height=image.shape[0], width=image.shape[1], encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big' and rows.itemsize > 1), step=rows.strides[0])
    message.data.frombytes(memoryview(rows.reshape(-1)).cast('B'))
    return message


def millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """
    Return depth as the raw images of REP 118 have it.

    :param depth: (H, W) float32 metres; NaN = invalid, +Inf = beyond range.
    :return: (H, W) uint16 millimetres; 0 = invalid, not positive, or more than 65.535 m.
    """
    valid = np.isfinite(depth) & (depth > 0) & (depth < (LARGEST_MILLIMETRES + 0.5) / 1000)
    return np.rint(np.where(valid, depth, 0) * np.float32(1000)).astype(np.uint16)


def labels_message(task: Task) -> String:
    """
    Return what the ids of a mask mean, as JSON.

    ``{"task": ..., "classes": [{"id", "name", "color": [r, g, b], "movable"}, ...],
    "unlabelled": 255}``
    """
    classes = [
        {'id': index, 'name': name, 'color': list(colour), 'movable': index in task.movable}
        for index, (name, colour) in enumerate(zip(task.classes, task.palette))]
    return String(data=json.dumps(
        {'task': task.name, 'classes': classes, 'unlabelled': _unlabelled(task)}))


def label_info_message(task: Task, header: Header) -> Any:
    """Return the same as a ``vision_msgs/LabelInfo``; only where that package is installed."""
    info = LabelInfo(header=header)
    info.class_map = [
        VisionClass(class_id=index, class_name=name) for index, name in enumerate(task.classes)]
    info.class_map.append(VisionClass(class_id=_unlabelled(task), class_name='unlabelled'))
    return info


def _unlabelled(task: Task) -> int:
    """Return the id of a pixel about which nothing is said."""
    return UNKNOWN_MOTION if task.name == 'motion' else UNLABELLED
