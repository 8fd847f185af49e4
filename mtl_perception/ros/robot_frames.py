# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the frames of the robot are: by tf2 where that is installed, else by its description."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import String

from mtl_perception import topics
from mtl_perception.errors import ConfigurationError
from mtl_perception.frames import rotation_of_quaternion
from mtl_perception.media.robot_model import RobotModel
from mtl_perception.ros.log_text import printable
from mtl_perception.ros.qos_matching import MatchingSubscription, following
from mtl_perception.ros.qos_overrides import overridden

try:
    import tf2_ros
except ImportError:
    tf2_ros = None

Matrix = NDArray[np.float64]


class RobotFrames:
    """
    What is known of the robot's frames, shared by all cameras; may be asked from any thread.

    :param node: whose subscriptions they are.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._profile = overridden(
            node, topics.ROBOT_DESCRIPTION.name, 'subscription', following())
        self._model: RobotModel | None = None
        self._description: MatchingSubscription | None = None
        self._buffer: Any = None
        self._listener: Any = None

    def open(self, guard: Callable[[Any], Callable[[Any], None]]) -> None:
        """Subscribe."""
        self._description = MatchingSubscription(
            self._node, String, topics.ROBOT_DESCRIPTION.name, guard(self._on_description),
            self._profile)
        if tf2_ros is not None:
            self._buffer = tf2_ros.Buffer()
            self._listener = tf2_ros.TransformListener(self._buffer, self._node)

    def close(self) -> None:
        """End the subscriptions and forget the robot."""
        if self._description is not None:
            self._description.destroy()
        if self._listener is not None:
            self._listener.unregister()
        self._description = self._listener = self._buffer = self._model = None

    def update_subscriptions(self) -> None:
        """Follow the quality of service that the publishers offer."""
        if self._description is not None:
            self._description.update()

    def pose(self, parent: str, child: str) -> tuple[Matrix, str] | None:
        """
        Return where a frame is in another, and who says so.

        :param parent: name of a frame.
        :param child: name of another.
        :return: (4, 4) float64 metres and ``tf`` or ``robot_description``; None if nobody knows.
        """
        parent, child = parent.lstrip('/'), child.lstrip('/')
        buffer, model = self._buffer, self._model  # another thread may close
        if not parent or not child:
            return None

        if buffer is not None:
            try:
                found = buffer.lookup_transform(parent, child, Time())
                return _matrix(found.transform), 'tf'
            except tf2_ros.TransformException:
                pass

        if model is not None:
            try:
                return model.pose(parent, child), 'robot_description'
            except LookupError:
                pass
        return None

    def _on_description(self, message: String) -> None:
        try:
            self._model = RobotModel(message.data)
        except ConfigurationError as error:
            self._node.get_logger().warning(f'{printable(str(error))}; it is ignored')


def _matrix(transform: Any) -> Matrix:
    """Return the (4, 4) pose of a ``geometry_msgs/Transform``."""
    place, turn = transform.translation, transform.rotation
    result = np.eye(4)
    result[:3, :3] = rotation_of_quaternion((turn.x, turn.y, turn.z, turn.w))
    result[:3, 3] = place.x, place.y, place.z
    return result
