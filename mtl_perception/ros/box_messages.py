# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From boxes to messages: for programs, and for viewers that draw on an image."""

from typing import Any

from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import ImageMarker

from mtl_perception.frames import Detections
from mtl_perception.tasks import Task

try:
    import vision_msgs.msg as vision
except ImportError:  # there are no wheels of it
    vision = None

DETECTIONS: Any = getattr(vision, 'Detection2DArray', None)
"""The message type ``vision_msgs/Detection2DArray``, None where it is not installed."""

LINE_WIDTH = 2.0


def detections_message(header: Header, found: Detections, task: Task) -> Any:
    """
    Return boxes as a ``vision_msgs/Detection2DArray``; only where that package is installed.

    :param header: copied unchanged into the message and each of its boxes.
    :param found: boxes in pixels of the image that the header belongs to.
    :param task: whose class names become the ids of the hypotheses.
    """
    boxes = []
    for (left, top, right, bottom), score, kind in _rows(found):
        box = vision.Detection2D(header=header)
        box.bbox.center.position.x, box.bbox.center.position.y = (
            (left + right) / 2, (top + bottom) / 2)
        box.bbox.size_x = right - left
        box.bbox.size_y = bottom - top

        result = vision.ObjectHypothesisWithPose()
        result.hypothesis.class_id = task.classes[kind]
        result.hypothesis.score = score
        box.results.append(result)
        boxes.append(box)
    return DETECTIONS(header=header, detections=boxes)


def markers_message(header: Header, found: Detections, task: Task) -> ImageMarker:
    """
    Return the outlines of boxes, each in the colour of its class.

    A message without points clears the boxes of the frame before.

    :param header: copied unchanged into the message.
    :param found: boxes in pixels of the image that the header belongs to.
    :param task: with one RGB colour per class.
    """
    marker = ImageMarker(
        header=header, ns='detections', type=ImageMarker.LINE_LIST, action=ImageMarker.ADD,
        scale=LINE_WIDTH)

    # each side of a box is a line of two points, with one colour for each line
    for (left, top, right, bottom), _, kind in _rows(found):
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        red, green, blue = (value / 255 for value in task.palette[kind])
        for first, second in zip(corners, corners[1:] + corners[:1]):
            marker.points += [Point(x=x, y=y, z=0.0) for x, y in (first, second)]
            marker.outline_colors.append(ColorRGBA(r=red, g=green, b=blue, a=1.0))
    return marker


def _rows(found: Detections) -> list[tuple[list[float], float, int]]:
    """Return corners, score and class of each box as plain numbers."""
    return list(zip(found.corners.tolist(), found.scores.tolist(), found.classes.tolist()))
