# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics and latencies of the predictions in a recording, and where each frame went."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtl_perception.evaluation.evaluator import Evaluator
from mtl_perception.evaluation.records import prediction_at
from mtl_perception.frames import FrameRecord, Perception, Truth
from mtl_perception.metrics import MotionMetrics
from mtl_perception.preprocessing import resize_nearest
from mtl_perception.tasks import Task
from mtl_perception.topics import PREDICTIONS

PERCENTILES = (50, 95, 99)
STRETCH_NS = 5 * 10 ** 9
"""Neighbouring frames resemble one another: those of such a stretch of time are drawn together."""

OBJECT_METRICS = (
    'auc', 'balanced_accuracy', 'by_mask', 'objects', 'objects_moving', 'identical_frames_moving')
"""Metrics of objects: from the network's probabilities where there are any."""

NOT_RECEIVED = 'not_received'
"""Reason of a frame that the camera published and the node never got."""


class BagScore:
    """
    Compare predictions with the truth, frame by frame.

    :param tasks: of the network; without semantics motion cannot be evaluated.
    :param height: rows of the network's input, see :class:`.Evaluator`.
    :param width: columns of the same.
    :param stamps: of all images of the recording, nanoseconds, also those that cannot be decoded.
    :ivar images: frames with an image that can be decoded.
    :ivar predicted: frames with a prediction.
    :ivar undecoded: predictions whose image cannot be decoded.
    :ivar orphans: predictions without an image.
    """

    def __init__(
            self, tasks: Sequence[Task], height: int = 224, width: int = 384,
            stamps: Collection[int] = ()) -> None:
        self.tasks = tuple(tasks)
        self.images = 0
        self.predicted = 0
        self.undecoded = 0
        self.orphans = 0
        self._all_stamps = frozenset(stamps)
        self.evaluator = Evaluator(tasks, height, width)
        self._latencies_ms: list[float] = []
        self._received_ns: list[int] = []
        self._stamps_ns: list[int] = []
        semantic = next((task for task in tasks if task.name == 'semantic'), None)
        self._objects = MotionMetrics(semantic.movable) if semantic else None
        self._object_stretches: list[int] = []

    @property
    def answered(self) -> int:
        """Images of the recording that have a prediction."""
        return self.predicted - self.orphans

    def update(self, record: FrameRecord) -> None:
        """
        Count one frame.

        :param record: with its complete truth, see
            :func:`mtl_perception.evaluation.records.complete_truth`.
        """
        if record.image is not None:
            self.images += 1
            self._stamps_ns.append(record.stamp_ns)
        if record.prediction is None:
            return
        self.predicted += 1
        if record.image is None and record.stamp_ns in self._all_stamps:
            self.undecoded += 1
            return
        if record.image is None:
            self.orphans += 1
            return

        # Latencies need no truth.
        if record.latency_ms is not None and record.received_ns is not None:
            self._latencies_ms.append(record.latency_ms)
            self._received_ns.append(record.received_ns)

        truth = record.truth or Truth()
        size = truth.size
        evaluated = dataclasses.replace(record, truth=truth)
        if size is not None:
            evaluated = dataclasses.replace(evaluated, prediction=prediction_at(record, *size))

        seconds = (record.stamp_ns - self._stamps_ns[0]) / 1e9
        self.evaluator.update(
            f't = {seconds:.2f} s', evaluated, group=self._stretch(record.stamp_ns))

    def update_objects(
            self, record: FrameRecord, moving: Perception, repeated: Perception) -> None:
        """
        Count the network's own probabilities of motion, which a recording does not hold.

        :param record: of the frame, with its truth.
        :param moving: prediction after the previous frame.
        :param repeated: prediction for the same image after itself, where nothing can move.
        """
        truth = record.truth
        if self._objects is None or truth is None or truth.motion is None \
                or truth.semantic is None or moving.motion is None or moving.motion_score is None:
            return

        # The network sees a smaller image than the truth describes.
        size = truth.motion.shape
        self._objects.update(
            resize_nearest(moving.motion, *size), resize_nearest(moving.motion_score, *size),
            truth.motion, truth.semantic, truth.instance)
        self._object_stretches.append(self._stretch(record.stamp_ns))

        if repeated.motion is not None:
            self._objects.update_identical(
                resize_nearest(repeated.motion, *size), truth.semantic)

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics so far; a task without truth has none.

        :return: ``rate`` (images per second by their stamps), ``fps`` (predictions per second as
            they were received), ``latency_ms``, and the result of
            :func:`mtl_perception.evaluation.task_evaluators.compute_metrics`.
        """
        metrics: dict[str, Any] = {
            'rate': _rate(self._stamps_ns), 'fps': _rate(self._received_ns),
            'latency_ms': percentiles(self._latencies_ms)}
        evaluated = self.evaluator.compute(evaluated_only=True)
        if not evaluated.keys() & PREDICTIONS.keys():
            return metrics
        metrics |= evaluated

        # Probabilities rank objects better than masks do.
        if 'motion' in metrics and self._objects is not None:
            objects = self._objects.compute()
            if objects['objects']:
                intervals = self._objects.intervals(groups=self._object_stretches)
                metrics['motion'] |= {name: objects[name] for name in OBJECT_METRICS}
                metrics['intervals']['motion'] |= {
                    name: one for name, one in intervals.items() if name in OBJECT_METRICS}
        return metrics

    def _stretch(self, stamp_ns: int) -> int:
        """Return in which stretch of time after the first image a stamp lies."""
        first_ns = self._stamps_ns[0] if self._stamps_ns else 0
        return (stamp_ns - first_ns) // STRETCH_NS


@dataclass(frozen=True)
class FrameBalance:
    """
    Where every frame went.

    :param frames_in: images that the camera published.
    :param published: of them, those that the node published a prediction for.
    :param dropped: reason -> number of the others.
    :param problems: why the sums do not add up; empty if they do.
    """

    frames_in: int
    published: int
    dropped: dict[str, int]
    problems: list[str] = field(default_factory=list)


def balance_frames(
        score: BagScore, counts: Mapping[str, int], node: Mapping[str, str] | None,
        source: Mapping[str, str] | None, images: int | None = None,
        before: Mapping[str, str] | None = None) -> FrameBalance:
    """
    Check that every frame is accounted for, to the last one.

    :param score: has seen every frame of the recording.
    :param counts: task -> messages in the recording.
    :param node: the last counters of the node, see :mod:`mtl_perception.ros.diagnostics`; None if
        there are none, which leaves every dropped frame without a reason.
    :param source: the last counters of ``camera_source``, if that was the camera.
    :param images: of the recording, including those that cannot be decoded; those of the score if
        None.
    :param before: the first counters of the node in the recording. If it had processed frames
        before the recording began, its counters tell only what it dropped since then.
    """
    images = score.images if images is None else images
    if node is None:
        missing = images - score.answered
        return FrameBalance(
            images, score.answered, {'unknown': missing} if missing else {},
            ['the recording has no diagnostics of the node'])

    # the node had run before the recording began
    if before is not None and int(node['received']) > images >= (
            int(node['received']) - int(before['received'])):
        return _balance_since(before, node, score, images)

    # Do the counters of the node add up, and does it know every image?
    received, published, in_flight = (
        int(node[key]) for key in ('received', 'published', 'in_flight'))
    dropped = _dropped(node)

    problems = []
    if received != published + sum(dropped.values()) + in_flight:
        problems.append(f'the node received {received} frames, but published {published}, dropped '
                        f'{sum(dropped.values())} and has {in_flight} in flight')
    if in_flight:
        problems.append(f'{in_flight} frames were still in flight at the end')
    if received > images:
        problems.append(f'the node received {received} frames, the recording has {images}')
    elif received < images:
        dropped[NOT_RECEIVED] = images - received

    # Does the recording hold what the node says that it published?
    problems += [
        f'the node published {published} frames, the recording has {count} messages of {task}'
        for task, count in counts.items() if count != published]
    if score.predicted != published:
        problems.append(f'{score.predicted} frames have a prediction in the recording, the node '
                        f'published {published}')
    if score.orphans:
        problems.append(f'{score.orphans} predictions carry the stamp of no image')

    # Was every image of the camera recorded?
    if source is not None and int(source['published']) != images:
        problems.append(f'the camera published {source["published"]} frames, the recording has '
                        f'{images}')
    return FrameBalance(images, published, dropped, problems)


def _balance_since(
        before: Mapping[str, str], node: Mapping[str, str], score: BagScore, images: int,
) -> FrameBalance:
    """Return the balance of a recording that began while the node was running."""
    earlier = _dropped(before)
    dropped = {reason: count - earlier.get(reason, 0) for reason, count in _dropped(node).items()
               if count > earlier.get(reason, 0)}
    if (missing := images - score.answered - sum(dropped.values())) > 0:
        dropped['unknown'] = missing
    return FrameBalance(images, score.answered, dropped, [
        f'the recording began when the node had received {before["received"]} frames; what '
        'it dropped before its first diagnostics here has no reason'])


def _dropped(node: Mapping[str, str]) -> dict[str, int]:
    """Return reason -> frames that the node has dropped so far, without zeros."""
    return {key.removeprefix('dropped.'): int(value) for key, value in node.items()
            if key.startswith('dropped.') and int(value)}


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return the nearest-rank percentiles and the maximum, None for each without a value."""
    if not values:
        return {**{f'p{rank}': None for rank in PERCENTILES}, 'max': None}
    # inverted_cdf is the nearest rank: a value that occurred, never a mean of two
    found = np.percentile(values, PERCENTILES, method='inverted_cdf').tolist()
    ranks = {f'p{rank}': value for rank, value in zip(PERCENTILES, found)}
    return {**ranks, 'max': max(values)}


def _rate(times_ns: Sequence[int]) -> float | None:
    """Return events per second from the first to the last, None for fewer than two."""
    span = (max(times_ns) - min(times_ns)) / 1e9 if len(times_ns) > 1 else 0.0
    return (len(times_ns) - 1) / span if span > 0 else None
