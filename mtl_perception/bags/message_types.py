# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The message types that recordings use; no ROS installation is needed."""

import functools
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from mtl_perception.errors import FrameError
from mtl_perception.reason_codes import ReasonCode

VISION_MSGS = {
    'Point2D': 'float64 x\nfloat64 y',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta',
    'BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y',
    'ObjectHypothesis': 'string class_id\nfloat64 score',
    'ObjectHypothesisWithPose': (
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose'),
    'Detection2D': (
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id'),
    'Detection2DArray': 'std_msgs/Header header\nvision_msgs/Detection2D[] detections',
}
"""Name -> fields of the types of ``vision_msgs`` 4 that boxes need; rosbags does not have them."""


@functools.lru_cache(maxsize=1)
def message_store() -> Any:
    """Return the types of ROS 2 and those of boxes, a rosbags ``Typestore``."""
    store = get_typestore(Stores.ROS2_KILTED)
    types: dict[str, Any] = {}
    for name, fields in VISION_MSGS.items():
        types |= get_types_from_msg(fields, f'vision_msgs/msg/{name}')
    store.register(types)
    return store


def deserialise(content: memoryview, kind: str) -> Any:
    """
    Return a message.

    :param content: its bytes, in CDR.
    :param kind: its type, such as ``sensor_msgs/msg/CameraInfo``.
    :raises FrameError: ``B05``, if the bytes are not a message of the type.
    """
    try:
        return message_store().deserialize_cdr(bytes(content), kind)
    except Exception as error:
        detail = f'{type(error).__name__}: {error}' if str(error) else type(error).__name__
        raise FrameError(f'is not a valid {kind} ({detail})', ReasonCode.BAG_MESSAGE) from error
