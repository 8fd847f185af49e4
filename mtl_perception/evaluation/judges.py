# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What judges each task, and what can be had without looking at the image."""

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError
from mtl_perception.frames import Perception
from mtl_perception.manifest import Manifest
from mtl_perception.metrics import (
    DepthMetrics,
    DetectionMetrics,
    InstanceMetrics,
    MajorityClass,
    MeanDepth,
    MotionMetrics,
    SegmentationMetrics,
)
from mtl_perception.tasks import STREET_SEMANTIC, Task

TARGETS = {'mIoU': '>= 0.72', 'depth AbsRel': '<= 0.11', 'depth delta1': '>= 0.88',
           'box AP50': '>= 0.5', 'cars found as instances': '>= 0.6'}
"""What the models of the street are to reach."""

SMALLEST_OBJECT = 60
"""Objects of which fewer pixels are visible need not be found."""

LOWEST_SCORE = 0.01
"""Score from which boxes enter the average precision."""

Row = tuple[str, float | None, float | None, str]
"""Name of a figure, what the model has, what can be had without looking, and the target."""


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


class Metric(Protocol):
    """An accumulator of :mod:`mtl_perception.metrics`."""

    def compute(self) -> dict[str, Any]:
        """Return the figures so far."""


class Judge(Protocol):
    """What judges one task."""

    @property
    def metric(self) -> Metric:
        """Where the figures come from."""

    def update(self, truth: Truth, found: Perception, again: Perception) -> None:
        """
        Count one frame; one that does not say what is judged is not counted.

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
    :param height: rows of the map of most frequent classes; masks are resized to it.
    :param width: columns of the same.
    """

    def __init__(self, task: Task, height: int, width: int) -> None:
        self.metric = SegmentationMetrics(task.classes)
        self._shape = (height, width)
        self._majority = MajorityClass(len(task.classes), height, width)
        self._truths: list[NDArray[np.uint8]] = []

    def update(self, truth: Truth, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        if truth.semantic is None:
            return
        assert found.semantic is not None
        self.metric.update(found.semantic, truth.semantic)
        small = resized(truth.semantic, self._shape)
        self._majority.update(small)
        self._truths.append(small)

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
    :param height: rows of the map of mean depths; images are resized to it.
    :param width: columns of the same.
    """

    def __init__(self, task: Task, height: int, width: int) -> None:
        self.metric = DepthMetrics(task.maximum)
        self._shape = (height, width)
        self._mean = MeanDepth(task.maximum, height, width)
        self._truths: list[NDArray[np.float16]] = []

    def update(self, truth: Truth, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        if truth.depth is None:
            return
        assert found.depth is not None
        self.metric.update(found.depth, truth.depth)
        small = resized(truth.depth, self._shape)
        self._mean.update(small)
        self._truths.append(small.astype(np.float16))

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

    def update(self, truth: Truth, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        if truth.motion is None:
            return
        assert found.motion is not None
        assert again.motion is not None
        semantic = truth.semantic if truth.semantic is not None else found.semantic
        assert semantic is not None  # it says what is movable
        self.metric.update(
            found.motion, found.motion_score, truth.motion, semantic, truth.instance)
        self.metric.update_identical(again.motion, semantic)

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

    def update(self, truth: Truth, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        if truth.instance is None or truth.semantic is None:
            return
        semantic = found.semantic
        assert found.instance is not None
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

    def update(self, truth: Truth, found: Perception, again: Perception) -> None:
        """Count one frame, see :class:`Judge`."""
        if truth.boxes is None:
            return
        boxes, difficult = found.detections, truth.difficult
        assert boxes is not None
        self.metric.update(
            boxes.corners, boxes.scores, boxes.classes, truth.boxes[:, :4].astype(np.float64),
            truth.boxes[:, 4].astype(np.int64),
            np.zeros(len(truth.boxes), bool) if difficult is None else difficult)

    def guess(self) -> None:
        """Return nothing: without looking there are no boxes."""


def judges_of(manifest: Manifest) -> dict[str, Judge]:
    """
    Return task name -> what judges it, for every task of a model.

    :raises ConfigurationError: if none of its tasks can be judged.
    """
    semantic = manifest.task('semantic')
    size = (manifest.height, manifest.width)
    judges: dict[str, Judge] = {}
    for task in manifest.tasks:
        if task.name == 'semantic':
            judges[task.name] = SemanticJudge(task, *size)
        elif task.name == 'depth':
            judges[task.name] = DepthJudge(task, *size)
        elif task.name == 'motion':
            judges[task.name] = MotionJudge(semantic or STREET_SEMANTIC)
        elif task.name == 'instance' and semantic is not None:
            judges[task.name] = InstanceJudge(semantic)
        elif task.name == 'detection':
            judges[task.name] = DetectionJudge(task)
    if not judges:
        raise ConfigurationError(
            f'model {manifest.name!r} has the tasks {[task.name for task in manifest.tasks]}; '
            'none of them can be judged')
    return judges


def figures_of(judges: dict[str, Judge]) -> dict[str, Any]:
    """Return task name -> figures, and under ``baseline`` those without looking."""
    baseline: dict[str, Any] = {'from': 'the judged frames themselves'}
    figures: dict[str, Any] = {}
    for name, judge in judges.items():
        figures[name] = judge.metric.compute()
        if (guess := judge.guess()) is not None:
            baseline[name] = guess
    return {**figures, 'baseline': baseline}


def resized(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return the nearest values at another size, (H, W)."""
    if values.shape == shape:
        return values
    return np.asarray(cv2.resize(
        values, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def rows(figures: dict[str, Any]) -> list[Row]:
    """
    Return the table of the figures of some data.

    :param figures: of :func:`figures_of`.
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
