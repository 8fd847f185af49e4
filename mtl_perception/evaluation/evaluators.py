# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What judges each task, and what can be had without looking at the image."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.records import SMALLEST_OBJECT, Truth, resized
from mtl_perception.frames import Perception
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
)
from mtl_perception.tasks import STREET_SEMANTIC, Task

LOWEST_SCORE = 0.01
"""Score from which boxes enter the average precision."""

MOST_KEPT = 1000
"""So many true maps are kept for the baselines; of more frames every second, third, ... one."""

class Metric(Protocol):
    """An accumulator of :mod:`mtl_perception.metrics`."""

    def compute(self) -> dict[str, Any]:
        """Return the figures so far."""

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Any]:
        """Return the bootstrap intervals of the main figures."""


class Judge(Protocol):
    """What judges one task."""

    @property
    def metric(self) -> Metric:
        """Where the figures come from."""

    groups: list[Hashable]
    """The group of each frame that was counted, such as its drive."""

    def update(
            self, truth: Truth, found: Perception, again: Perception | None = None,
            group: Hashable = None) -> None:
        """
        Count one frame; one that does not say what is judged, or has no answer, is not counted.

        :param truth: what is true.
        :param found: what the network said after the frame before, at the size of the truth.
        :param again: what it said to the same frame after itself, if it was asked.
        :param group: frames of a group resemble one another; None for a group of its own.
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
        self.boundary = BoundaryMetrics(task.classes)
        self._shape = (height, width)
        self._majority = MajorityClass(len(task.classes), height, width)
        self.groups: list[Hashable] = []
        self._truths = Thinned()

    def update(
            self, truth: Truth, found: Perception, again: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`Judge`."""
        if truth.semantic is None or found.semantic is None:
            return
        self.metric.update(found.semantic, truth.semantic)
        _note(self.groups, group)
        small = resized(truth.semantic, self._shape)
        self.boundary.update(resized(found.semantic, self._shape), small)
        self._majority.update(small)
        self._truths.add(small)

    def guess(self) -> dict[str, Any]:
        """Return the figures of the most frequent class of each pixel."""
        metric, answer = SegmentationMetrics(self.metric.classes), self._majority.predict()
        boundary = BoundaryMetrics(self.metric.classes)
        for truth in self._truths.kept:
            metric.update(answer, truth)
            boundary.update(answer, truth)
        return {**metric.compute(), 'boundary': boundary.compute()}


class DepthJudge:
    """
    Depth, beside the mean depth of each pixel.

    :param task: of the depth.
    :param height: rows of the map of mean depths; images are resized to it.
    :param width: columns of the same.
    """

    def __init__(self, task: Task, height: int, width: int) -> None:
        self.metric = DepthMetrics(task.maximum)
        self.inverse = InverseDepthMetrics('inverse_depth')
        self.errors = ErrorMap(task.maximum, height, width)
        self.groups: list[Hashable] = []
        self._shape = (height, width)
        self._mean = MeanDepth(task.maximum, height, width)
        self._truths = Thinned()

    def update(
            self, truth: Truth, found: Perception, again: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`Judge`."""
        if truth.depth is None or found.depth is None:
            return
        self.metric.update(found.depth, truth.depth)
        self.inverse.update(found.depth, truth.depth)
        _note(self.groups, group)
        small = resized(truth.depth, self._shape)
        self.errors.update(resized(found.depth, self._shape), small)
        self._mean.update(small)
        self._truths.add(small.astype(np.float16))

    def guess(self) -> dict[str, Any]:
        """Return the figures of the mean depth of each pixel."""
        metric, answer = DepthMetrics(self.metric.maximum), self._mean.predict()
        inverse = InverseDepthMetrics('inverse_depth')
        for truth in self._truths.kept:
            metric.update(answer, truth)
            inverse.update(answer, truth)
        return {**metric.compute(), 'inverse': inverse.compute()}


class MotionJudge:
    """
    Motion; its metric has its own baselines.

    :param semantic: whose movable classes are meant.
    """

    def __init__(self, semantic: Task) -> None:
        self.metric = MotionMetrics(semantic.movable)
        self.groups: list[Hashable] = []

    def update(
            self, truth: Truth, found: Perception, again: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`Judge`."""
        semantic = truth.semantic if truth.semantic is not None else found.semantic
        if truth.motion is None or found.motion is None or semantic is None:
            return  # the semantics say what is movable
        self.metric.update(
            found.motion, found.motion_score, truth.motion, semantic, truth.instance)
        _note(self.groups, group)
        if again is not None and again.motion is not None:
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
        self.groups: list[Hashable] = []

    def update(
            self, truth: Truth, found: Perception, again: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`Judge`."""
        semantic = found.semantic
        if truth.instance is None or truth.semantic is None or found.instance is None \
                or semantic is None:
            return
        _note(self.groups, group)
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
        self.groups: list[Hashable] = []

    def update(
            self, truth: Truth, found: Perception, again: Perception | None = None,
            group: Hashable = None) -> None:
        """Count one frame, see :class:`Judge`."""
        boxes, difficult = found.detection, truth.difficult
        if truth.boxes is None or boxes is None:
            return
        _note(self.groups, group)
        self.metric.update(
            boxes.corners, boxes.scores, boxes.classes, truth.boxes[:, :4].astype(np.float64),
            truth.boxes[:, 4].astype(np.int64),
            np.zeros(len(truth.boxes), bool) if difficult is None else difficult)

    def guess(self) -> None:
        """Return nothing: without looking there are no boxes."""


def judges_of(tasks: Sequence[Task], height: int, width: int) -> dict[str, Judge]:
    """
    Return task name -> what judges it, for every task of a model that can be judged.

    :param tasks: of the model.
    :param height: rows of the maps of the baselines, such as the model's input.
    :param width: columns of the same.
    """
    semantic = next((task for task in tasks if task.name == 'semantic'), None)
    judges: dict[str, Judge] = {}
    for task in tasks:
        if task.name == 'semantic':
            judges[task.name] = SemanticJudge(task, height, width)
        elif task.name == 'depth':
            judges[task.name] = DepthJudge(task, height, width)
        elif task.name == 'motion':
            judges[task.name] = MotionJudge(semantic or STREET_SEMANTIC)
        elif task.name == 'instance' and semantic is not None:
            judges[task.name] = InstanceJudge(semantic)
        elif task.name == 'detection':
            judges[task.name] = DetectionJudge(task)
    return judges


def figures_of(judges: Mapping[str, Judge]) -> dict[str, Any]:
    """
    Return task name -> figures, those without looking, and how sure they are.

    :return: besides the tasks ``baseline`` (task -> figures without looking) and ``intervals``
        (``level``, ``groups``: how many were drawn from, and task -> figure -> low and high).
    """
    baseline: dict[str, Any] = {'from': 'the judged frames themselves'}
    figures: dict[str, Any] = {}
    intervals: dict[str, Any] = {'level': 0.95, 'groups': 0}
    for name, judge in judges.items():
        figures[name] = judge.metric.compute()
        if (guess := judge.guess()) is not None:
            baseline[name] = guess
        intervals[name] = judge.metric.intervals(groups=judge.groups)
        intervals['groups'] = max(intervals['groups'], len(set(judge.groups)))
        if isinstance(judge, SemanticJudge):
            figures[name]['confusion'] = judge.metric.confusion.tolist()
            figures[name]['boundary'] = judge.boundary.compute()
            intervals[name]['boundary'] = judge.boundary.intervals(groups=judge.groups)
        if isinstance(judge, DepthJudge):
            figures[name]['inverse'] = judge.inverse.compute()
            intervals[name]['inverse'] = judge.inverse.intervals(groups=judge.groups)
    return {**figures, 'baseline': baseline, 'intervals': intervals}


class Thinned:
    """Keep maps evenly spread over all that come, a bounded number of them."""

    def __init__(self) -> None:
        self.kept: list[NDArray[Any]] = []
        self._every = 1
        self._count = 0

    def add(self, values: NDArray[Any]) -> None:
        """Keep one, or pass it over."""
        if self._count % self._every == 0:
            self.kept.append(values)
        self._count += 1
        if len(self.kept) > MOST_KEPT:
            self.kept, self._every = self.kept[::2], 2 * self._every


def _note(groups: list[Hashable], group: Hashable) -> None:
    """Append the group of a frame; one without gets a group of its own."""
    groups.append(('frame', len(groups)) if group is None else group)
