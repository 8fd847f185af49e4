# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How good the answers in a recording are, how late they came, and where each frame went."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtl_perception.bags.reader import ANSWERS, Moment
from mtl_perception.evaluation.evaluator import Examiner
from mtl_perception.evaluation.records import Truth, perception_of, resized, truth_of
from mtl_perception.frames import Outputs
from mtl_perception.metrics import MotionMetrics
from mtl_perception.tasks import Task

PERCENTILES = (50, 95, 99)
STRETCH_NS = 5 * 10 ** 9
"""Neighbouring frames resemble one another: those of such a stretch of time are drawn together."""

OBJECT_FIGURES = (
    'auc', 'balanced_accuracy', 'by_mask', 'objects', 'objects_moving', 'identical_frames_moving')
"""Figures about objects: from the network's probabilities where there are any."""

NOT_RECEIVED = 'not_received'
"""Reason of a frame that the camera published and the node never got."""


class Score:
    """
    Compare answers with the truth, moment by moment.

    :param tasks: of the network; without semantics nothing can be said about motion.
    :param height: rows of the network's input, see :class:`Examiner`.
    :param width: columns of the same.
    """

    def __init__(self, tasks: Sequence[Task], height: int = 224, width: int = 384) -> None:
        self.tasks = tuple(tasks)
        self.images = self.answered = self.orphans = 0
        self.answers: Counter[str] = Counter()
        self.examiner = Examiner(tasks, height, width)
        self._latencies_ms: list[float] = []
        self._answer_times_ns: list[int] = []
        self._stamps_ns: list[int] = []
        semantic = next((task for task in tasks if task.name == 'semantic'), None)
        self._objects = MotionMetrics(semantic.movable) if semantic else None
        self._object_stretches: list[int] = []

    def update(self, moment: Moment, truth: Truth | None = None) -> None:
        """
        Count one moment.

        :param truth: what is true of it, that of the recording if None.
        """
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
        first_ns = self._stamps_ns[0]
        if truth is None:
            truth = truth_of(moment, self.tasks)
        self.examiner.add(
            f't = {(moment.stamp_ns - first_ns) / 1e9:.2f} s', moment.arrays['image'], truth,
            perception_of(moment, self.tasks, truth), group=self._stretch(moment))

    def update_offline(self, moving: Outputs, identical: Outputs, moment: Moment) -> None:
        """
        Count what only the network itself can tell, not the masks of a recording.

        :param moving: its answer to a frame after the one before.
        :param identical: its answer to the same frame after itself, where nothing can move.
        :param moment: the frame with its truth.
        """
        arrays = moment.arrays
        truth, semantic = arrays.get('true_motion'), arrays.get('true_semantic')
        if self._objects is None or truth is None or semantic is None \
                or moving.motion is None or moving.motion_score is None:
            return
        self._objects.update(
            resized(moving.motion, truth.shape), resized(moving.motion_score, truth.shape), truth,
            semantic, arrays.get('true_instance'))
        self._object_stretches.append(self._stretch(moment))
        if identical.motion is not None:
            self._objects.update_identical(resized(identical.motion, truth.shape), semantic)

    def compute(self) -> dict[str, Any]:
        """
        Return the figures so far; a task without truth has none.

        :return: ``rate`` (images per second by their stamps), ``fps`` (answers per second as
            they were received), ``latency_ms``, and what
            :func:`mtl_perception.evaluation.evaluators.figures_of` returns.
        """
        figures: dict[str, Any] = {
            'rate': _rate(self._stamps_ns), 'fps': _rate(self._answer_times_ns),
            'latency_ms': percentiles(self._latencies_ms)}
        judged = self.examiner.figures(judged_only=True)
        if not judged.keys() & {'semantic', 'depth', 'motion', 'instance', 'detection'}:
            return figures
        figures |= judged
        if boxes := figures.get('detection'):  # the recording has no scores to rank them by
            boxes |= {'ap50': None, 'ap': None, 'ap50_of': dict.fromkeys(boxes['ap50_of'])}
            figures['intervals']['detection'] |= {'ap50': None, 'ap': None}
        if 'motion' in figures and self._objects is not None \
                and (objects := self._objects.compute())['objects']:
            figures['motion'] |= {name: objects[name] for name in OBJECT_FIGURES}
            figures['intervals']['motion'] |= {
                name: one for name, one in self._objects.intervals(
                    groups=self._object_stretches).items()
                if name in OBJECT_FIGURES}
        return figures

    def _stretch(self, moment: Moment) -> int:
        """Return in which stretch of time after the first image a moment lies."""
        first_ns = self._stamps_ns[0] if self._stamps_ns else 0
        return (moment.stamp_ns - first_ns) // STRETCH_NS


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
        source: Mapping[str, str] | None, images: int | None = None,
        before: Mapping[str, str] | None = None) -> Account:
    """
    Check that no frame is unaccounted for, to the last one.

    :param score: has seen every moment of the recording.
    :param answer_counts: role -> messages in the recording.
    :param node: the last counters of the node, see :mod:`mtl_perception.ros.diagnostics`; None if
        there are none, which leaves every unanswered frame without a reason.
    :param source: the last counters of ``camera_source``, if that was the camera.
    :param images: of the recording, also those that cannot be read; those of the score if None.
    :param before: the first counters of the node in the recording. Where it had answered frames
        before the recording began, what it dropped since then is all that its counters tell.
    """
    images = score.images if images is None else images
    if node is None:
        missing = images - score.answered
        return Account(images, score.answered, {'unknown': missing} if missing else {},
                       ['the recording has no diagnostics of the node'])
    received, published, in_flight = (
        int(node[key]) for key in ('received', 'published', 'in_flight'))
    dropped = _dropped(node)
    problems = []
    if before is not None and received > images >= received - int(before['received']):
        earlier = _dropped(before)
        dropped = {reason: count - earlier.get(reason, 0) for reason, count in dropped.items()
                   if count > earlier.get(reason, 0)}
        if (missing := images - score.answered - sum(dropped.values())) > 0:
            dropped['unknown'] = missing
        return Account(images, score.answered, dropped, [
            f'the recording began when the node had received {before["received"]} frames; what '
            'it dropped before its first diagnostics here has no reason'])
    if received != published + sum(dropped.values()) + in_flight:
        problems.append(f'the node received {received} frames, but published {published}, dropped '
                        f'{sum(dropped.values())} and has {in_flight} in flight')
    if in_flight:
        problems.append(f'{in_flight} frames were still in flight at the end')
    if received > images:
        problems.append(f'the node received {received} frames, the recording has {images}')
    elif received < images:
        dropped[NOT_RECEIVED] = images - received
    for role, count in answer_counts.items():
        if count != published:
            problems.append(f'the node published {published} frames, the recording has {count} '
                            f'messages of {role}')
    if score.answered != published:
        problems.append(f'{score.answered} frames are answered in the recording, the node '
                        f'published {published}')
    if score.orphans:
        problems.append(f'{score.orphans} answers carry the stamp of no image')
    if source is not None and int(source['published']) != images:
        problems.append(f'the camera published {source["published"]} frames, the recording has '
                        f'{images}')
    return Account(images, published, dropped, problems)


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
    span = (max(times_ns) - min(times_ns)) / 1e9 if len(times_ns) > 1 else 0.0
    return (len(times_ns) - 1) / span if span > 0 else None
