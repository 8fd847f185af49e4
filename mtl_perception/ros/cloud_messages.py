# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From arrays of points to ``sensor_msgs/PointCloud2``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from mtl_perception.ros.messages import fill

_FIELD_TYPES = {'<f4': PointField.FLOAT32, '<u4': PointField.UINT32}
PACKED = 'rgb'
"""By the convention of PCL, these 32 bits count as a float."""


def cloud_message(
    header: Header, points: NDArray[Any], used: PointCloud2 | None = None,
) -> PointCloud2:
    """
    Return points as a message.

    :param header: copied unchanged into the message.
    :param points: a structured array of float32 and uint32: (H, W), in which x may be NaN, or
        (N,) without such points.
    :param used: an earlier message whose memory is overwritten.
    """
    message = PointCloud2() if used is None else used
    message.header = header
    message.height, message.width = points.shape if points.ndim == 2 else (1, len(points))
    message.is_dense = points.ndim == 1
    message.point_step = points.itemsize
    message.row_step = message.width * points.itemsize

    message.fields = [_field(name, points.dtype) for name in points.dtype.names or ()]
    fill(message.data, np.ascontiguousarray(points).ravel().view(np.uint8).data)
    return message


def _field(name: str, layout: np.dtype[Any]) -> PointField:
    """Return the description of a field of a point."""
    assert layout.fields is not None  # it is structured
    kind, offset = layout.fields[name][:2]
    return PointField(name=name, offset=offset, count=1, datatype=(
        PointField.FLOAT32 if name == PACKED else _FIELD_TYPES[kind.str]))
