# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From objects in time to messages: for programs, and for viewers."""

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.frames import Objects
from mtl_perception.ros.cloud_messages import cloud_message
from mtl_perception.tasks import MOVING, Task

STATE = np.dtype([
    ('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('id', '<u4'), ('class', '<u4'), ('score', '<f4'),
    ('moving', '<u4'), ('vx', '<f4'), ('vy', '<f4'), ('vz', '<f4')])
"""One object of ``objects/state``."""

DIAMETER_M = 1.0
TEXT_M = 0.6
ARROW_S = 1.0
"""An arrow ends where the object will be after so many seconds."""
ARROW_WIDTHS_M = 0.15, 0.4
"""Of its shaft and of its head."""


def state_message(header: Header, found: Objects) -> PointCloud2:
    """
    Return objects as a cloud with one point an object, see :data:`STATE`.

    :param header: of the image; copied unchanged.
    :param found: the objects.
    """
    rows = np.empty(len(found.ids), STATE)
    for column, name in enumerate('xyz'):
        rows[name] = found.positions[:, column]
        rows[f'v{name}'] = found.velocities[:, column]
    rows['id'] = found.ids
    rows['class'] = found.classes
    rows['score'] = found.scores
    rows['moving'] = found.moving
    return cloud_message(header, rows)


def marker_array(header: Header, found: Objects, task: Task) -> MarkerArray:
    """
    Return objects as spheres in the colours of their classes, with id and velocity.

    The first marker clears those of the frame before.

    :param header: of the image; copied unchanged into each marker.
    :param found: the objects.
    :param task: the semantic task, with one RGB colour per class.
    """
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for number, kind, moving, place, velocity in zip(
            found.ids.tolist(), found.classes.tolist(), found.moving.tolist(),
            found.positions.astype(float), found.velocities.astype(float)):
        red, green, blue = (value / 255 for value in task.palette[kind])
        colour = ColorRGBA(r=red, g=green, b=blue, a=1.0)

        sphere = _marker(header, 'objects', number, Marker.SPHERE, colour)
        text = _marker(header, 'ids', number, Marker.TEXT_VIEW_FACING, colour)
        sphere.scale.x = sphere.scale.y = sphere.scale.z = DIAMETER_M
        text.scale.z = TEXT_M
        text.text = f'{task.classes[kind]} {number}'
        sphere.pose.position = _point(place)
        text.pose.position = _point(place - [0, DIAMETER_M, 0])
        markers += [sphere, text]

        if moving == MOVING and np.isfinite(velocity).all():
            arrow = _marker(header, 'velocities', number, Marker.ARROW, colour)
            arrow.points = [_point(place), _point(place + ARROW_S * velocity)]
            arrow.scale.x, arrow.scale.y = ARROW_WIDTHS_M
            markers.append(arrow)
    return MarkerArray(markers=markers)


def _marker(header: Header, namespace: str, number: int, kind: int, colour: ColorRGBA) -> Marker:
    """Return a marker of an object; the middle is its place."""
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD)
    marker.color = colour
    marker.pose.orientation.w = 1.0
    return marker


def _point(place: NDArray[np.float64]) -> Point:
    """Return (3,) metres as a message."""
    return Point(**dict(zip('xyz', place.tolist())))
