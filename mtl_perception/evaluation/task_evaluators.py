# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One evaluator for each task: its metrics and its image-blind baseline."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Perception, Truth
from mtl_perception.instances import SMALLEST_OBJECT
from mtl_perception.metrics import (
    BoundaryMetrics,
    DepthMetrics,
    DetectionMetrics,
    ErrorMap,
    InstanceMetrics,
    InverseDepthMetrics,
    MajorityClass,
    MeanDepth,
    MotionMetrics,
    SegmentationMetrics,
    points_in_cells,
)
from mtl_perception.preprocessing import resize_nearest
from mtl_perception.tasks import STREET_SEMANTIC, Task

LOWEST_SCORE = 0.01
"""Lowest score of the boxes that enter the average precision."""

CELL = 5
"""Rows and columns of a cell of the baseline of points, in pixels of the model's input."""

MOST_KEPT = 1000
"""Most true maps that are kept for the baselines; of more frames every second, third, ... one."""


class TaskEvaluator(Protocol):
    """
    The metrics of one task.

    :ivar groups: the group of each frame that was counted, such as its drive.
    """

    groups: list[Hashable]

    def update(
            self, truth: Truth, prediction: Perception, repeated: Perception | None = None,
            group: Hashable = None) -> None:
        """
        Count one frame; one without truth or prediction of this task is not counted.

        :param truth: of the frame.
        :param prediction: after the previous frame, at the size of the truth.
        :param repeated: prediction for the same image after itself, where nothing can move; None
            if it was not made.
        :param group: frames of a group resemble one another; None for a group of its own.
        """

    def compute(self) -> dict[str, Any]:
        """Return the metrics so far."""

    def intervals(self) -> dict[str, Any]:
        """Return the bootstrap intervals of the main metrics."""

    def baseline(self) -> dict[str, Any] | None:
        """Return the metrics of a prediction that ignores the image, None without one."""


class SemanticEvaluator:
    """
    Semantics, beside the most frequent class of each pixel, or of each cell around points.

    :param task: of the semantics.
    :param height: rows of the map of most frequent classes; masks are resized to it.
    :param width: columns of the same.
    :param points: whether labels are points: they have no outlines.
    """

    def __init__(self, task: Task, height: int, width: int, points: bool = False) -> None:
        self.metric = SegmentationMetrics(task.classes)
        self.groups: list[Hashable] = []
        self._boundary = BoundaryMetrics(task.classes)
        self._shape = (height, width)
        self._points = points
        self._pixels = np.arange(height * width, dtype=np.int32)  # all frames share it
        self._majority = MajorityClass(len(task.classes), *_grid(self._shape, points))
        self._truths = EvenSample()

    def update(
            self, truth: Truth, prediction: Perception, repeated: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`TaskEvaluator`."""
        if truth.semantic is None or prediction.semantic is None:
            return
        _append_group(self.groups, group)
        if self._points:
            labelled = truth.semantic < len(self.metric.classes)
            self.metric.update(prediction.semantic[labelled], truth.semantic[labelled])
            self._keep(*points_in_cells(truth.semantic, labelled, self._majority.shape))
            return

        # Outlines and the baseline are computed at the model's size, so that cameras compare.
        self.metric.update(prediction.semantic, truth.semantic)
        small = resize_nearest(truth.semantic, *self._shape)
        self._boundary.update(resize_nearest(prediction.semantic, *self._shape), small)
        self._keep(self._pixels, small.ravel())

    def _keep(self, cells: NDArray[np.integer[Any]], truth: NDArray[np.uint8]) -> None:
        """Keep a truth for the baseline."""
        self._majority.update(cells, truth)
        self._truths.add((cells, truth))

    def compute(self) -> dict[str, Any]:
        """Return the metrics so far, with the confusion matrix."""
        return {**self.metric.compute(), 'confusion': self.metric.confusion.tolist(),
                'boundary': self._boundary.compute()}

    def intervals(self) -> dict[str, Any]:
        """Return the bootstrap intervals."""
        found: dict[str, Any] = self.metric.intervals(groups=self.groups)
        if not self._points:
            found['boundary'] = self._boundary.intervals(groups=self.groups)
        return found

    def baseline(self) -> dict[str, Any]:
        """Return the metrics of the most frequent class of each pixel."""
        metric = SegmentationMetrics(self.metric.classes)
        boundary = BoundaryMetrics(self.metric.classes)
        prediction = self._majority.predict()
        for cells, truth in self._truths.kept:
            metric.update(prediction.ravel()[cells], truth)
            if not self._points:
                boundary.update(prediction, truth.reshape(self._shape))
        return {**metric.compute(), 'boundary': boundary.compute()}


class DepthEvaluator:
    """
    Depth, beside the mean depth of each pixel, or of each cell around points.

    :param task: of the depth.
    :param height: rows of the map of mean depths; images are resized to it.
    :param width: columns of the same.
    :param points: whether labels are points.
    """

    def __init__(self, task: Task, height: int, width: int, points: bool = False) -> None:
        self.metric = DepthMetrics(task.maximum)
        self.errors = ErrorMap(task.maximum, height, width)
        self.groups: list[Hashable] = []
        self._inverse = InverseDepthMetrics('inverse_depth')
        self._shape = (height, width)
        self._points = points
        self._pixels = np.arange(height * width, dtype=np.int32)  # all frames share it
        self._mean = MeanDepth(task.maximum, *_grid(self._shape, points))
        self._truths = EvenSample()

    def update(
            self, truth: Truth, prediction: Perception, repeated: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`TaskEvaluator`."""
        if truth.depth is None or prediction.depth is None:
            return
        self.metric.update(prediction.depth, truth.depth)
        self._inverse.update(prediction.depth, truth.depth)
        _append_group(self.groups, group)

        small = resize_nearest(truth.depth, *self._shape)
        self.errors.update(resize_nearest(prediction.depth, *self._shape), small)
        if self._points:
            labelled = np.isfinite(truth.depth) & (truth.depth > 0)
            self._keep(*points_in_cells(truth.depth, labelled, self._mean.shape))
        else:
            self._keep(self._pixels, small.ravel())

    def _keep(
            self, cells: NDArray[np.integer[Any]], truth: NDArray[np.floating[Any]]) -> None:
        """Keep a truth for the baseline."""
        self._mean.update(cells, truth)
        self._truths.add((cells, truth.astype(np.float16)))  # half the memory, good to 0.05 %

    def compute(self) -> dict[str, Any]:
        """Return the metrics so far."""
        return {**self.metric.compute(), 'inverse': self._inverse.compute()}

    def intervals(self) -> dict[str, Any]:
        """Return the bootstrap intervals."""
        return {**self.metric.intervals(groups=self.groups),
                'inverse': self._inverse.intervals(groups=self.groups)}

    def baseline(self) -> dict[str, Any]:
        """Return the metrics of the mean depth of each pixel."""
        metric = DepthMetrics(self.metric.maximum)
        inverse = InverseDepthMetrics('inverse_depth')
        prediction = self._mean.predict().ravel()
        for cells, truth in self._truths.kept:
            metric.update(prediction[cells], truth)
            inverse.update(prediction[cells], truth)
        return {**metric.compute(), 'inverse': inverse.compute()}


class MotionEvaluator:
    """
    Motion; its metrics contain their own baseline, every movable object called moving.

    :param semantic: says which classes are movable.
    :param points: whether labels are points; an object's score is then the share of its points
        that are called moving.
    :param smallest: fewest labelled pixels of an object.
    """

    def __init__(
            self, semantic: Task, points: bool = False, smallest: int = SMALLEST_OBJECT) -> None:
        self.metric = MotionMetrics(semantic.movable, smallest)
        self._points = points
        self.groups: list[Hashable] = []

    def update(
            self, truth: Truth, prediction: Perception, repeated: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`TaskEvaluator`."""
        semantic = truth.semantic if truth.semantic is not None else prediction.semantic
        if truth.motion is None or prediction.motion is None or semantic is None:
            return

        self.metric.update(
            prediction.motion, None if self._points else prediction.motion_score, truth.motion,
            semantic, truth.instance)
        _append_group(self.groups, group)

        if repeated is not None and repeated.motion is not None:
            self.metric.update_identical(repeated.motion, semantic)

    def compute(self) -> dict[str, Any]:
        """Return the metrics so far."""
        return self.metric.compute()

    def intervals(self) -> dict[str, Any]:
        """Return the bootstrap intervals."""
        return self.metric.intervals(groups=self.groups)

    def baseline(self) -> None:
        """Return None: the metrics contain the baseline."""


class InstanceEvaluator:
    """
    Instances, beside the connected regions of each class in the true mask.

    :param semantic: says which classes have objects.
    """

    def __init__(self, semantic: Task) -> None:
        names = {kind: semantic.classes[kind] for kind in semantic.movable}
        self.metric = InstanceMetrics(names, SMALLEST_OBJECT)
        self.groups: list[Hashable] = []
        self._regions = InstanceMetrics(names, SMALLEST_OBJECT)

    def update(
            self, truth: Truth, prediction: Perception, repeated: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`TaskEvaluator`."""
        if truth.instance is None or truth.semantic is None or prediction.instance is None \
                or prediction.semantic is None:
            return
        ids = truth.instance.astype(np.int64)
        self.metric.update(prediction.instance, prediction.semantic, ids, truth.semantic)
        _append_group(self.groups, group)

        # The baseline knows the true classes and not where one object ends and the next begins.
        regions = np.zeros(ids.shape, np.int64)
        for kind in self.metric.classes:
            _, region = cv2.connectedComponents((truth.semantic == kind).astype(np.uint8))
            regions = np.where(region > 0, region + regions.max(), regions)
        self._regions.update(regions, truth.semantic, ids, truth.semantic)

    def compute(self) -> dict[str, Any]:
        """Return the metrics so far."""
        return self.metric.compute()

    def intervals(self) -> dict[str, Any]:
        """Return the bootstrap intervals."""
        return self.metric.intervals(groups=self.groups)

    def baseline(self) -> dict[str, Any]:
        """Return the metrics of the connected regions."""
        return self._regions.compute()


class DetectionEvaluator:
    """
    Boxes; a prediction that ignores the image has none.

    :param task: of the boxes.
    """

    def __init__(self, task: Task) -> None:
        self.metric = DetectionMetrics(task.classes)
        self.groups: list[Hashable] = []
        self._scored = True

    def update(
            self, truth: Truth, prediction: Perception, repeated: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`TaskEvaluator`."""
        true = truth.detection
        boxes = prediction.detection
        if true is None or boxes is None:
            return
        _append_group(self.groups, group)

        # Recall and precision do not need scores, the average precision does.
        unknown = np.isnan(boxes.scores)
        self._scored = self._scored and not unknown.any()
        scores = np.where(unknown, np.float32(1), boxes.scores)
        self.metric.update(
            boxes.corners, scores, boxes.classes, true.corners.astype(np.float64),
            true.classes.astype(np.int64), true.difficult)

    def compute(self) -> dict[str, Any]:
        """Return the metrics so far; without scores there is no average precision."""
        metrics = self.metric.compute()
        if not self._scored:
            metrics |= {'ap50': None, 'ap': None, 'ap50_of': dict.fromkeys(metrics['ap50_of'])}
        return metrics

    def intervals(self) -> dict[str, Any]:
        """Return the bootstrap intervals."""
        intervals = self.metric.intervals(groups=self.groups)
        return intervals if self._scored else intervals | {'ap50': None, 'ap': None}

    def baseline(self) -> None:
        """Return None: there are no boxes without an image."""


def build_evaluators(
        tasks: Sequence[Task], height: int, width: int, points: bool = False,
        smallest: int = SMALLEST_OBJECT) -> dict[str, TaskEvaluator]:
    """
    Return task name -> evaluator, for every task of a model that can be evaluated.

    :param tasks: of the model.
    :param height: rows of the maps of the baselines, such as the model's input.
    :param width: columns of the same.
    :param points: whether labels are points, which tell nothing of the area of instances.
    :param smallest: fewest labelled pixels of an object whose motion is evaluated.
    """
    semantic = next((task for task in tasks if task.name == 'semantic'), None)
    evaluators: dict[str, TaskEvaluator] = {}
    for task in tasks:
        if task.name == 'semantic':
            evaluators[task.name] = SemanticEvaluator(task, height, width, points)
        elif task.name == 'depth':
            evaluators[task.name] = DepthEvaluator(task, height, width, points)
        elif task.name == 'motion':
            evaluators[task.name] = MotionEvaluator(
                semantic or STREET_SEMANTIC, points, smallest)
        elif task.name == 'instance' and semantic is not None and not points:
            evaluators[task.name] = InstanceEvaluator(semantic)
        elif task.name == 'detection':
            evaluators[task.name] = DetectionEvaluator(task)
    return evaluators


def compute_metrics(evaluators: Mapping[str, TaskEvaluator]) -> dict[str, Any]:
    """
    Return task name -> metrics, with baselines and intervals.

    :return: besides the tasks ``baseline`` (task -> metrics that ignore the image) and
        ``intervals`` (``level``, ``groups``: how many were drawn from, and task -> metric -> low
        and high).
    """
    metrics: dict[str, Any] = {}
    baseline: dict[str, Any] = {'from': 'the evaluated frames themselves'}
    intervals: dict[str, Any] = {'level': 0.95, 'groups': 0}
    for name, evaluator in evaluators.items():
        metrics[name] = evaluator.compute()
        if (blind := evaluator.baseline()) is not None:
            baseline[name] = blind

        intervals[name] = evaluator.intervals()
        intervals['groups'] = max(intervals['groups'], len(set(evaluator.groups)))
    return {**metrics, 'baseline': baseline, 'intervals': intervals}


class EvenSample:
    """Keep a bounded number of truths, evenly spread over all that come."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self._every = 1
        self._count = 0

    def add(self, values: Any) -> None:
        """Keep one, or pass it over."""
        if self._count % self._every == 0:
            self.kept.append(values)
        self._count += 1

        # When there are too many, every second one goes, and from now on so do the new ones.
        if len(self.kept) > MOST_KEPT:
            self.kept = self.kept[::2]
            self._every *= 2


def _grid(shape: tuple[int, int], points: bool) -> tuple[int, int]:
    """Return rows and columns of a baseline: the model's pixels, or the cells around points."""
    return (-(-shape[0] // CELL), -(-shape[1] // CELL)) if points else shape


def _append_group(groups: list[Hashable], group: Hashable) -> None:
    """Append the group of a frame; one without gets a group of its own."""
    groups.append(('frame', len(groups)) if group is None else group)
