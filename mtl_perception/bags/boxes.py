# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes in messages: as outlines for viewers, and as detections with class and score."""

from typing import Any

import numpy as np

from mtl_perception.errors import FrameError
from mtl_perception.frames import Detections
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import Task

POINTS_PER_BOX = 8
"""An outline has four lines of two points each."""


def boxes_from_markers(message: Any, task: Task) -> Detections:
    """
    Return the boxes of a ``visualization_msgs/ImageMarker``: outlines, each of one colour.

    A box gets the class whose colour is nearest. Outlines do not tell scores, so these are NaN.

    :param message: the outlines.
    :param task: with one colour per class.
    :raises FrameError: ``B05``, if they are not outlines of boxes.
    """
    points = np.array([(point.x, point.y) for point in message.points], np.float32)
    colours = np.array(
        [(colour.r, colour.g, colour.b) for colour in message.outline_colors], np.float32)
    if len(points) % POINTS_PER_BOX or len(colours) * 2 != len(points):
        raise FrameError(
            f'{len(points)} points and {len(colours)} colours are not boxes of four lines each',
            ReasonCode.BAG_MESSAGE)

    # A line has one colour and two points; the box spans the points of its four lines.
    points = points.reshape(-1, POINTS_PER_BOX, 2)
    colours = colours.reshape(-1, POINTS_PER_BOX // 2, 3)[:, :1] * 255
    palette = np.array(task.palette, np.float32)
    classes = np.abs(colours - palette).sum(axis=2).argmin(axis=1)
    corners = np.hstack([points.min(axis=1), points.max(axis=1)]) if len(points) else points
    return Detections(
        corners.reshape(-1, 4), np.full(len(points), np.nan, np.float32),
        classes.astype(np.uint8))


def boxes_from_detections(message: Any, task: Task) -> Detections:
    """
    Return the boxes of a ``vision_msgs/Detection2DArray``.

    :param message: the boxes; of several hypotheses about one box the most probable counts, and a
        box without any is left out.
    :param task: with the names of the classes.
    :raises FrameError: ``B05``, if a class is not one of the task's.
    """
    corners = []
    scores = []
    classes = []
    for box in message.detections:
        if not box.results:
            continue

        best = max((result.hypothesis for result in box.results), key=lambda one: one.score)
        if best.class_id not in task.classes:
            raise FrameError(
                f'has a box of class {best.class_id!r}, wanted one of {list(task.classes)}',
                ReasonCode.BAG_MESSAGE)

        # The message has centre and size, we have corners.
        x = box.bbox.center.position.x
        y = box.bbox.center.position.y
        half_width = box.bbox.size_x / 2
        half_height = box.bbox.size_y / 2
        corners.append((x - half_width, y - half_height, x + half_width, y + half_height))
        scores.append(best.score)
        classes.append(task.classes.index(best.class_id))
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.array(classes, np.uint8))
