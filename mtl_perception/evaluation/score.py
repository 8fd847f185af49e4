# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How good the answers in a recording are, how late they came, and where each frame went."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.bag import ANSWERS, Moment
from mtl_perception.frames import Outputs
from mtl_perception.metrics import (
    DepthMetrics,
    InstanceMetrics,
    MajorityClass,
    MeanDepth,
    MotionMetrics,
    SegmentationMetrics,
)
from mtl_perception.tasks import Task

PERCENTILES = (50, 95, 99)
BASELINE_EVERY = 5
OBJECT_FIGURES = ('auc', 'balanced_accuracy', 'objects', 'objects_moving')
"""Figures about objects: from the network's probabilities where there are any."""

NOT_RECEIVED = 'not_received'
"""Reason of a frame that the camera published and the node never got."""


class Score:
    """
    Compare answers with the truth, moment by moment.

    :param tasks: of the network; without semantics nothing can be said about motion.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.name: task for task in tasks}
        self.images = self.answered = self.orphans = 0
        self.answers: Counter[str] = Counter()
        self._latencies_ms: list[float] = []
        self._answer_times_ns: list[int] = []
        self._stamps_ns: list[int] = []
        self._truths: list[tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]] = []
        semantic, depth = self._tasks.get('semantic'), self._tasks.get('depth')
        self._semantic = SegmentationMetrics(semantic.classes) if semantic else None
        self._depth = DepthMetrics(depth.maximum) if depth else None
        self._motion = MotionMetrics(semantic.movable) if semantic else None
        self._objects = MotionMetrics(semantic.movable) if semantic else None
        self._instance = InstanceMetrics(
            {kind: semantic.classes[kind] for kind in semantic.movable}) if semantic else None

    def update(self, moment: Moment) -> None:
        """Count one moment."""
        if 'image' in moment.arrays:
            self.images += 1
            self._stamps_ns.append(moment.stamp_ns)
        self.answers.update(role for role in ANSWERS if role in moment.arrays)
        if not moment.answered:
            return
        self.answered += 1
        if 'image' not in moment.arrays:
            self.orphans += 1
            return
        latency = moment.latency_ms
        if latency is not None:
            self._latencies_ms.append(latency)
            self._answer_times_ns.append(round(moment.stamp_ns + latency * 1e6))
        self._judge(moment.arrays)

    def update_offline(
            self, moving: Outputs, identical: Outputs, arrays: Mapping[str, NDArray[Any]]) -> None:
        """
        Count what only the network itself can tell, not the masks of a recording.

        :param moving: its answer to a frame after the one before.
        :param identical: its answer to the same frame after itself, where nothing can move.
        :param arrays: role -> truth of the frame.
        """
        truth, semantic = arrays.get('true_motion'), arrays.get('true_semantic')
        if self._motion is None or self._objects is None or truth is None or semantic is None \
                or moving.motion is None or moving.motion_score is None:
            return
        self._objects.update(
            _as_large(moving.motion, truth), _as_large(moving.motion_score, truth), truth,
            semantic, arrays.get('true_instance'))
        if identical.motion is not None:
            self._motion.update_identical(_as_large(identical.motion, truth), semantic)

    def compute(self) -> dict[str, Any]:
        """
        Return the figures so far; a task without truth has none.

        :return: ``rate`` (images per second by their stamps), ``fps`` (answers per second as
            they were received), ``latency_ms``, and per task those of its metric with the
            figures of its trivial baseline.
        """
        figures: dict[str, Any] = {
            'rate': _rate(self._stamps_ns), 'fps': _rate(self._answer_times_ns),
            'latency_ms': percentiles(self._latencies_ms)}
        for name, metric in (('semantic', self._semantic), ('depth', self._depth),
                             ('motion', self._motion)):
            if metric is not None and (found := metric.compute())['pixels']:
                figures[name] = found
        if self._instance is not None and (found := self._instance.compute())['frames']:
            figures['instance'] = found
        if 'motion' in figures and self._objects is not None \
                and (objects := self._objects.compute())['objects']:
            figures['motion'] |= {name: objects[name] for name in OBJECT_FIGURES}
        self._add_baselines(figures)
        return figures

    def _judge(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        semantic, depth = arrays.get('true_semantic'), arrays.get('true_depth')
        if self._semantic is not None and semantic is not None and 'semantic' in arrays:
            self._semantic.update(_as_large(arrays['semantic'], semantic), semantic)
        if self._depth is not None and depth is not None and 'depth' in arrays:
            self._depth.update(_as_large(arrays['depth'], depth), depth)
        motion = arrays.get('true_motion')
        if self._motion is not None and motion is not None and semantic is not None \
                and 'motion' in arrays:
            self._motion.update(
                _as_large(arrays['motion'], motion), None, motion, semantic,
                arrays.get('true_instance'))
        instance, mask = arrays.get('true_instance'), arrays.get('semantic')
        if self._instance is not None and 'instance' in arrays and instance is not None \
                and semantic is not None and mask is not None:
            self._instance.update(
                _as_large(arrays['instance'], instance), _as_large(mask, instance),
                instance.astype(np.int64), semantic)
        if self.answered % BASELINE_EVERY == 1:
            self._truths.append((semantic, depth))

    def _add_baselines(self, figures: dict[str, Any]) -> None:
        """Add what the most frequent class and the mean depth of each pixel would score."""
        semantics = [truth for truth, _ in self._truths if truth is not None]
        if self._semantic is not None and 'semantic' in figures and _one_size(semantics):
            classes = self._semantic.classes
            majority = MajorityClass(len(classes), *semantics[0].shape)
            metric = SegmentationMetrics(classes)
            for semantic in semantics:
                majority.update(semantic)
            guess = majority.predict()
            for semantic in semantics:
                metric.update(guess, semantic)
            figures['semantic']['baseline_miou'] = metric.compute()['miou']
        depths = [truth for _, truth in self._truths if truth is not None]
        if self._depth is not None and 'depth' in figures and _one_size(depths):
            mean = MeanDepth(self._depth.maximum, *depths[0].shape)
            errors = DepthMetrics(self._depth.maximum)
            for depth in depths:
                mean.update(depth)
            for depth in depths:
                errors.update(mean.predict(), depth)
            found = errors.compute()
            figures['depth']['baseline_abs_rel'] = found['abs_rel']
            figures['depth']['baseline_delta1'] = found['delta1']


@dataclass(frozen=True)
class Account:
    """
    Where every frame went.

    :param frames_in: images that the camera published.
    :param published: of them, those that the node answered.
    :param dropped: reason -> number of those it did not answer.
    :param problems: why the sums do not add up; empty if they do.
    """

    frames_in: int
    published: int
    dropped: dict[str, int]
    problems: list[str] = field(default_factory=list)


def settle(
        score: Score, answer_counts: Mapping[str, int], node: Mapping[str, str] | None,
        source: Mapping[str, str] | None) -> Account:
    """
    Check that no frame is unaccounted for, to the last one.

    :param score: has seen every moment of the recording.
    :param answer_counts: role -> messages in the recording.
    :param node: the last counters of the node, see :mod:`mtl_perception.ros.diagnostics`; None if
        there are none, which leaves every unanswered frame without a reason.
    :param source: the last counters of ``camera_source``, if that was the camera.
    """
    if node is None:
        missing = score.images - score.answered
        return Account(score.images, score.answered, {'unknown': missing} if missing else {},
                       ['the recording has no diagnostics of the node'])
    received, published, in_flight = (
        int(node[key]) for key in ('received', 'published', 'in_flight'))
    dropped = {key.removeprefix('dropped.'): int(value) for key, value in node.items()
               if key.startswith('dropped.') and int(value)}
    problems = []
    if received != published + sum(dropped.values()) + in_flight:
        problems.append(f'the node received {received} frames, but published {published}, dropped '
                        f'{sum(dropped.values())} and has {in_flight} in flight')
    if in_flight:
        problems.append(f'{in_flight} frames were still in flight at the end')
    if received > score.images:
        problems.append(f'the node received {received} frames, the recording has {score.images}')
    elif received < score.images:
        dropped[NOT_RECEIVED] = score.images - received
    for role, count in answer_counts.items():
        if count != published:
            problems.append(f'the node published {published} frames, the recording has {count} '
                            f'messages of {role}')
    if score.answered != published:
        problems.append(f'{score.answered} frames are answered in the recording, the node '
                        f'published {published}')
    if score.orphans:
        problems.append(f'{score.orphans} answers carry the stamp of no image')
    if source is not None and int(source['published']) != score.images:
        problems.append(f'the camera published {source["published"]} frames, the recording has '
                        f'{score.images}')
    return Account(score.images, published, dropped, problems)


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return the nearest-rank percentiles and the maximum, None for each without a value."""
    ordered = sorted(values)
    if not ordered:
        return {**{f'p{rank}': None for rank in PERCENTILES}, 'max': None}
    ranks = {f'p{rank}': ordered[max(0, -(-rank * len(ordered) // 100) - 1)]
             for rank in PERCENTILES}
    return {**ranks, 'max': ordered[-1]}


def _rate(times_ns: Sequence[int]) -> float | None:
    span = (max(times_ns) - min(times_ns)) / 1e9 if len(times_ns) > 1 else 0.0
    return (len(times_ns) - 1) / span if span > 0 else None


def _as_large(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Return values at the size of another array, those of the nearest pixel."""
    if values.shape == like.shape:
        return values
    height, width = like.shape
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _one_size(arrays: Sequence[NDArray[Any]]) -> bool:
    return len({array.shape for array in arrays}) == 1
