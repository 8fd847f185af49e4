# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Between what a recording holds and what a model says: one form, whichever door it comes by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.bags.reader import Moment
from mtl_perception.errors import DataError
from mtl_perception.frames import Detections, Perception
from mtl_perception.tasks import UNLABELLED, Task

SMALLEST_OBJECT = 60
"""Objects of which fewer pixels are visible need not be found."""


@dataclass(frozen=True, eq=False)
class Truth:
    """
    What is true of one frame, at its own size (H, W); what is not known is None.

    :param semantic: (H, W) uint8 class ids, 255 = unlabelled.
    :param depth: (H, W) floating metres; NaN, Inf and 0 are not judged.
    :param motion: (H, W) uint8, 255 = unknown.
    :param instance: (H, W) integer ids of objects, 0 = none, negative = unknown.
    :param boxes: (M, 5) floating: x_min, y_min, x_max, y_max in pixels, and the class.
    :param difficult: (M,) bool, boxes that need not be found.
    """

    semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.floating[Any]] | None = None
    motion: NDArray[np.uint8] | None = None
    instance: NDArray[np.integer[Any]] | None = None
    boxes: NDArray[np.floating[Any]] | None = None
    difficult: NDArray[np.bool_] | None = None


MAPS = ('semantic', 'depth', 'motion', 'instance')


def moment_of(
        stamp_ns: int, image: NDArray[np.uint8], found: Perception, tasks: Sequence[Task],
        truth: Truth | None = None) -> Moment:
    """Return an answer, and what is true of it, as a recording would hold them."""
    arrays: dict[str, NDArray[Any]] = {'image': image}
    for name in MAPS:
        if (values := getattr(found, name)) is not None:
            arrays[name] = values
        if truth is not None and (true := getattr(truth, name)) is not None:
            arrays[f'true_{name}'] = true
    task = _task(tasks, 'detection')
    if found.detection is not None and task is not None:
        colours = np.array(task.palette, np.float32)[found.detection.classes].reshape(-1, 3)
        arrays['detection'] = np.hstack([found.detection.corners, colours])
    return Moment(stamp_ns, arrays)


def truth_of(moment: Moment, tasks: Sequence[Task]) -> Truth:
    """
    Return what a recording says is true; boxes are those around the true instances.

    Maps of several sizes are brought to that of the first.

    :raises DataError: if an id is none of the task's.
    """
    maps = [moment.arrays.get(f'true_{name}') for name in MAPS]
    _check_ids(moment, tasks)
    shape = next((values.shape for values in maps if values is not None), ())
    semantic, depth, motion, instance = (
        None if values is None else resized(values, shape) for values in maps)
    task, boxes, difficult = _task(tasks, 'detection'), None, None
    if instance is not None and semantic is not None and task is not None and task.semantic_ids:
        boxes, difficult = boxes_of(instance, semantic, task)
    return Truth(semantic, depth, motion, instance, boxes, difficult)


def _check_ids(moment: Moment, tasks: Sequence[Task]) -> None:
    """Refuse true ids that the model does not know, as those of a data set are refused."""
    for name in ('semantic', 'motion'):
        task, ids = _task(tasks, name), moment.arrays.get(f'true_{name}')
        if task is None or ids is None:
            continue
        wrong = (ids >= len(task.classes)) & (ids != UNLABELLED)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(
                f'truth/{name}/image at {moment.stamp_ns}: label {ids[row, column]} at row {row}, '
                f'column {column} is none of 0-{len(task.classes) - 1}, {UNLABELLED}; publish the '
                "ids of the model's classes")


def boxes_of(
        instance: NDArray[np.integer[Any]], semantic: NDArray[np.uint8], task: Task,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """
    Return the boxes around the true instances.

    :param instance: (H, W), 0 = no object.
    :param semantic: (H, W) class ids.
    :param task: of the boxes, with the semantic ids of its classes.
    :return: (M, 5) corners and class, and (M,) whether it is too small to be judged.
    """
    boxes, small = [], []
    for number in np.unique(instance[instance > 0]):
        rows, columns = np.nonzero(instance == number)
        kind = int(semantic[rows[0], columns[0]])
        if kind in task.semantic_ids:
            boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
                          task.semantic_ids.index(kind)))
            small.append(len(rows) < SMALLEST_OBJECT)
    return np.array(boxes, np.float64).reshape(-1, 5), np.array(small, bool)


def perception_of(moment: Moment, tasks: Sequence[Task], truth: Truth) -> Perception:
    """
    Return what a recording says was answered, at the size of the truth.

    Boxes are recorded without their scores, which are therefore 1, the most certain first; their
    colours tell their classes.
    """
    maps, shape = [moment.arrays.get(name) for name in MAPS], shape_of(truth)
    if shape is not None:
        maps = [None if values is None else resized(values, shape) for values in maps]
    task, detections = _task(tasks, 'detection'), None
    if (boxes := moment.arrays.get('detection')) is not None and task is not None:
        palette = np.array(task.palette, np.float32)
        corners = boxes[:, :4].astype(np.float32)
        if shape is not None and 'image' in moment.arrays:
            height, width = moment.arrays['image'].shape[:2]
            corners *= np.tile(np.array([shape[1] / width, shape[0] / height], np.float32), 2)
        kinds = np.abs(boxes[:, None, 4:] - palette).sum(2).argmin(1).astype(np.uint8)
        detections = Detections(corners, np.ones(len(boxes), np.float32), kinds)
    semantic, depth, motion, instance = maps
    return Perception(semantic=semantic, depth=depth, motion=motion, instance=instance,
                      detection=detections)


def shape_of(truth: Truth) -> tuple[int, ...] | None:
    """Return (H, W) of what is true, None if nothing is."""
    return next((values.shape for values in (
        truth.semantic, truth.depth, truth.motion, truth.instance) if values is not None), None)


def resized(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the nearest values at another size, (H, W)."""
    if values.shape == shape:
        return values
    return np.asarray(cv2.resize(
        values, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def _task(tasks: Sequence[Task], name: str) -> Task | None:
    return next((task for task in tasks if task.name == name), None)
