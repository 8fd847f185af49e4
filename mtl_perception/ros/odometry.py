# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The motion of the camera as a message."""

from geometry_msgs.msg import TwistStamped, Vector3
from std_msgs.msg import Header

from mtl_perception.frames import Step


def twist_message(header: Header, step: Step) -> TwistStamped:
    """
    Return the velocity of a camera in its own optical frame.

    :param header: of the image; copied unchanged.
    :param step: how the camera moved since the image before.
    """
    message = TwistStamped(header=header)
    velocity, rate = step.velocity()
    message.twist.linear = Vector3(**dict(zip('xyz', velocity.tolist())))
    message.twist.angular = Vector3(**dict(zip('xyz', rate.tolist())))
    return message
