# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Preparing the record of a frame for evaluation: prediction and truth at one size, with boxes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtl_perception.errors import DataError
from mtl_perception.frames import Detections, FrameRecord, Perception, TrueBoxes, Truth
from mtl_perception.instances import SMALLEST_OBJECT, class_boxes
from mtl_perception.preprocessing import resize_nearest
from mtl_perception.tasks import UNLABELLED, Task


def has_prediction(record: FrameRecord) -> bool:
    """Return whether a record has both an image and a prediction for it."""
    return record.image is not None and record.prediction is not None


def complete_truth(record: FrameRecord, tasks: Sequence[Task]) -> FrameRecord:
    """
    Return a record whose truth is ready for evaluation.

    Maps of several sizes are brought to that of the first; boxes are those around the true
    instances, if the truth has no boxes of its own.

    :param record: of a recording.
    :param tasks: of the model.
    :raises DataError: if the truth has ids that the model does not know.
    """
    truth = record.truth
    if truth is None:
        return record
    _check_ids(record.stamp_ns, truth, tasks)
    if truth.size is not None:
        truth = _at_one_size(truth, *truth.size)

    task = next((task for task in tasks if task.name == 'detection'), None)
    if (truth.detection is None and truth.instance is not None and truth.semantic is not None
            and task is not None and task.semantic_ids):
        boxes, pixels = class_boxes(truth.instance, truth.semantic, task.semantic_ids)
        truth = dataclasses.replace(truth, detection=TrueBoxes(
            boxes[:, :4], boxes[:, 4].astype(np.int64), pixels < SMALLEST_OBJECT))
    return dataclasses.replace(record, truth=truth)


def prediction_at(record: FrameRecord, height: int, width: int) -> Perception:
    """
    Return the prediction of a record at another size: the nearest pixels, and scaled boxes.

    :param record: with an image and a prediction.
    """
    prediction = record.prediction
    assert prediction is not None
    assert record.image is not None

    # Boxes are in pixels of the maps; of boxes alone, in pixels of the image.
    old_height, old_width = prediction.size or record.image.shape[:2]
    detection = prediction.detection
    if detection is not None:
        factors = np.array([width / old_width, height / old_height], np.float32)
        detection = Detections(
            detection.corners * np.tile(factors, 2), detection.scores, detection.classes)

    maps: dict[str, Any] = {
        name: resize_nearest(values, height, width)
        for name in ('semantic', 'depth', 'motion', 'motion_score', 'instance')
        if (values := getattr(prediction, name)) is not None}
    return dataclasses.replace(prediction, **maps, detection=detection)


def _at_one_size(truth: Truth, height: int, width: int) -> Truth:
    """Return the maps of a truth at one size, the nearest pixels of each."""
    maps: dict[str, Any] = {
        name: resize_nearest(values, height, width)
        for name in ('semantic', 'depth', 'motion', 'instance')
        if (values := getattr(truth, name)) is not None}
    return dataclasses.replace(truth, **maps)


def _check_ids(stamp_ns: int, truth: Truth, tasks: Sequence[Task]) -> None:
    """
    Refuse true ids that the model does not know, as those of a data set are refused.

    :raises DataError: naming the pixel.
    """
    for task in tasks:
        if task.name not in ('semantic', 'motion') or getattr(truth, task.name) is None:
            continue
        ids = getattr(truth, task.name)
        wrong = (ids >= len(task.classes)) & (ids != UNLABELLED)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(
                f'truth/{task.name}/image at {stamp_ns}: label {ids[row, column]} at row {row}, '
                f'column {column} is not one of 0-{len(task.classes) - 1}, {UNLABELLED}; publish '
                "the ids of the model's classes")
