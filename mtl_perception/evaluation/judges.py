# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What judges each task on the street, and what can be had without looking at the image."""

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Perception
from mtl_perception.metrics import (
    DepthMetrics,
    DetectionMetrics,
    InstanceMetrics,
    MajorityClass,
    MeanDepth,
    MotionMetrics,
    SegmentationMetrics,
)
from mtl_perception.synthetic.street import StreetFrame
from mtl_perception.tasks import Task

TARGETS = {'mIoU': '>= 0.72', 'depth AbsRel': '<= 0.11', 'depth delta1': '>= 0.88',
           'box AP50': '>= 0.5', 'cars found as instances': '>= 0.6'}
"""What the models of the street are to reach."""

SMALLEST_OBJECT = 60
"""Objects of which fewer pixels are visible need not be found."""

LOWEST_SCORE = 0.01
"""Score from which boxes enter the average precision."""

Row = tuple[str, float | None, float | None, str]
"""Name of a figure, what the model has, what can be had without looking, and the target."""


class Metric(Protocol):
    """An accumulator of :mod:`mtl_perception.metrics`."""

    def compute(self) -> dict[str, Any]:
        """Return the figures so far."""


class Judge(Protocol):
    """What judges one task."""

    @property
    def metric(self) -> Metric:
        """Where the figures come from."""

    def update(self, truth: StreetFrame, found: Perception, again: Perception) -> None:
        """
        Count one frame.

        :param truth: what is true.
        :param found: what the network said after the frame before.
        :param again: what it said to the same frame after itself.
        """

    def guess(self) -> dict[str, Any] | None:
        """Return the figures of an answer that does not look at the image, None if none."""


class SemanticJudge:
    """
    Semantics, beside the most frequent class of each pixel.

    :param task: of the semantics.
    :param height: rows of the judged masks.
    :param width: columns of the judged masks.
    """

    def __init__(self, task: Task, height: int, width: int) -> None:
        self.metric = SegmentationMetrics(task.classes)
        self._majority = MajorityClass(len(task.classes), height, width)
        self._truths: list[NDArray[np.uint8]] = []

    def update(self, truth: StreetFrame, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        assert found.semantic is not None
        self.metric.update(found.semantic, truth.semantic)
        self._majority.update(truth.semantic)
        self._truths.append(truth.semantic)

    def guess(self) -> dict[str, Any]:
        """Return the figures of the most frequent class of each pixel."""
        metric, answer = SegmentationMetrics(self.metric.classes), self._majority.predict()
        for truth in self._truths:
            metric.update(answer, truth)
        return metric.compute()


class DepthJudge:
    """
    Depth, beside the mean depth of each pixel.

    :param task: of the depth.
    :param height: rows of the judged images.
    :param width: columns of the judged images.
    """

    def __init__(self, task: Task, height: int, width: int) -> None:
        self.metric = DepthMetrics(task.maximum)
        self._mean = MeanDepth(task.maximum, height, width)
        self._truths: list[NDArray[np.float16]] = []

    def update(self, truth: StreetFrame, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        assert found.depth is not None
        self.metric.update(found.depth, truth.depth)
        self._mean.update(truth.depth)
        self._truths.append(truth.depth.astype(np.float16))

    def guess(self) -> dict[str, Any]:
        """Return the figures of the mean depth of each pixel."""
        metric, answer = DepthMetrics(self.metric.maximum), self._mean.predict()
        for truth in self._truths:
            metric.update(answer, truth)
        return metric.compute()


class MotionJudge:
    """
    Motion; its metric has its own baselines.

    :param semantic: whose movable classes are meant.
    """

    def __init__(self, semantic: Task) -> None:
        self.metric = MotionMetrics(semantic.movable)

    def update(self, truth: StreetFrame, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        assert found.motion is not None
        assert again.motion is not None
        self.metric.update(
            found.motion, found.motion_score, truth.motion, truth.semantic, truth.instance)
        self.metric.update_identical(again.motion, truth.semantic)

    def guess(self) -> None:
        """Return nothing: the metric has the baselines."""


class InstanceJudge:
    """
    Instances, beside the connected regions of each class in the true mask.

    :param semantic: whose movable classes have objects.
    """

    def __init__(self, semantic: Task) -> None:
        names = {kind: semantic.classes[kind] for kind in semantic.movable}
        self.metric = InstanceMetrics(names, SMALLEST_OBJECT)
        self._regions = InstanceMetrics(names, SMALLEST_OBJECT)

    def update(self, truth: StreetFrame, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        assert found.instance is not None
        semantic = found.semantic
        assert semantic is not None
        true = truth.instance.astype(np.int64)
        self.metric.update(found.instance, semantic, true, truth.semantic)
        regions = np.zeros(true.shape, np.int64)
        for kind in self.metric.classes:
            _, region = cv2.connectedComponents((truth.semantic == kind).astype(np.uint8))
            regions = np.where(region > 0, region + regions.max(), regions)
        self._regions.update(regions, truth.semantic, true, truth.semantic)

    def guess(self) -> dict[str, Any]:
        """Return the figures of the connected regions."""
        return self._regions.compute()


class DetectionJudge:
    """
    Boxes, beside none.

    :param task: of the boxes.
    """

    def __init__(self, task: Task) -> None:
        self.metric = DetectionMetrics(task.classes)
        self._ids = list(task.semantic_ids)

    def update(self, truth: StreetFrame, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        boxes = found.detections
        assert boxes is not None
        visible = np.bincount(truth.instance.ravel())
        corners = np.array([
            (box.x_min, box.y_min, box.x_max + 1, box.y_max + 1) for box in truth.boxes
        ], np.float64).reshape(-1, 4)
        self.metric.update(
            boxes.corners, boxes.scores, boxes.classes, corners,
            np.array([self._ids.index(box.class_id) for box in truth.boxes], np.int64),
            np.array([visible[box.instance] < SMALLEST_OBJECT for box in truth.boxes], bool))

    def guess(self) -> None:
        """Return nothing: without looking there are no boxes."""


def rows(figures: dict[str, Any]) -> list[Row]:
    """
    Return the table of a street's figures.

    :param figures: of :func:`mtl_perception.evaluation.street.evaluate`.
    """
    base, found = figures['baseline'], list[Row]()
    if semantic := figures.get('semantic'):
        guess = base['semantic']
        found += [(label, semantic[key], guess[key], '') for label, key in (
            ('mIoU', 'miou'), ('mIoU per image', 'miou_per_image'),
            ('pixel accuracy', 'pixel_accuracy'))]
        found += [(f'IoU {name}', iou, guess['iou'][name], '')
                  for name, iou in semantic['iou'].items()]
    if depth := figures.get('depth'):
        guess = base['depth']
        found += [(f'depth {label}', depth[key], guess[key], '') for label, key in (
            ('AbsRel', 'abs_rel'), ('RMSE (m)', 'rmse'), ('delta1', 'delta1'),
            ('delta2', 'delta2'), ('delta3', 'delta3'))]
    if motion := figures.get('motion'):
        found += [
            ('moving IoU', motion['iou_moving'], motion['iou_all_movable'], ''),
            ('moving objects AUC', motion['auc'], 0.5, ''),
            ('moving objects balanced accuracy', motion['balanced_accuracy'], 0.5, ''),
            ('called moving on identical frames', motion['identical_frames_moving'], 1.0, '0')]
    if instance := figures.get('instance'):
        guess = base['instance']
        found += [('objects found as instances', instance['found'], guess['found'], '')]
        found += [(f'{name}s found as instances', value, guess['found_of'][name], '')
                  for name, value in instance['found_of'].items()]
        found += [('instances that are objects', instance['precision'], guess['precision'], '')]
    if boxes := figures.get('detection'):
        found += [('box AP50', boxes['ap50'], 0.0, ''), ('box AP', boxes['ap'], 0.0, '')]
        found += [(f'box AP50 {name}', value, 0.0, '')
                  for name, value in boxes['ap50_of'].items()]
        found += [(f'{name}s found as boxes', value, 0.0, '')
                  for name, value in boxes['found_of'].items()]
    return [(name, value, guess, target or TARGETS.get(name, ''))
            for name, value, guess, target in found]
