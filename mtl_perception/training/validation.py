# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluate a network on clips that it does not learn from."""

import warnings
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import DataError
from mtl_perception.frames import Detections
from mtl_perception.instances import SMALLEST_OBJECT
from mtl_perception.losses import BoxLoss, DepthInUnit
from mtl_perception.losses.depth_units import Stereo
from mtl_perception.metrics import (
    MAIN_METRICS,
    DepthMetrics,
    DetectionMetrics,
    InstanceMetrics,
    InverseDepthMetrics,
    MotionMetrics,
    SegmentationMetrics,
)
from mtl_perception.models.boxes import find_boxes
from mtl_perception.models.streaming import at_height, metres
from mtl_perception.postprocessing import colourise_instance, draw_boxes, separate
from mtl_perception.tasks import NOT_LABELLED, Task
from mtl_perception.training.dataloading import UNREADABLE_SHARE, Batch, Clips, collate
from mtl_perception.training.distributed import Ranks
from mtl_perception.training.learner import ClipLearner

SCORE_KEY = 'merit'
"""Key of :func:`selection_score` in logs and manifests, as it was in version 0.1.0."""

INVERSE_UNITS = ('disparity_px', 'disparity_256', 'mtan')

SURE_ENOUGH_TO_DRAW = 0.3
"""Lowest score of the boxes in a picture; metrics count the boxes below it too."""


class TaskMetrics:
    """
    The metrics of all tasks, and their losses.

    :param tasks: tasks of the network.
    :param unit: in which the network learns depth, one of
        :data:`mtl_perception.losses.depth_units.UNITS`. In metres, inverse metres and disparities
        there are ``abs_err`` and ``rel_err`` in this unit, as the papers print them.
    :param stereo: camera pair of a disparity.
    """

    def __init__(
            self, tasks: Sequence[Task], unit: str = 'log_metres',
            stereo: Stereo | None = None) -> None:
        by_name = {task.name: task for task in tasks}
        semantic = by_name.get('semantic')
        detection = by_name.get('detection')
        movable = semantic.movable if semantic else ()
        names = semantic.classes if semantic else ()

        self.tasks = by_name
        self.semantic = SegmentationMetrics(names)
        self.depth = DepthMetrics(by_name['depth'].maximum if 'depth' in by_name else 1.0)

        # depth also in the unit that the network learns
        self.unit = unit
        self.inverse = None
        if unit == 'inverse_metres':
            self.inverse = InverseDepthMetrics('inverse_depth')
        elif stereo is not None and unit in INVERSE_UNITS:
            self.inverse = InverseDepthMetrics(unit, stereo.focal_px, stereo.baseline_m)

        self.motion = MotionMetrics(movable)
        self.instance = InstanceMetrics(
            {kind: names[kind] for kind in movable}, SMALLEST_OBJECT)
        self.detection = DetectionMetrics(detection.classes if detection else ())
        # per task: the drive of each update, for intervals
        self.drives = defaultdict[str, list[Hashable]](list)
        # per task: the sum of losses times the amounts that they are means over, and of amounts
        self.losses = {task: np.zeros(2) for task in by_name}

    def update(self, learner: ClipLearner, sample: Sample, drive: Hashable = None) -> None:
        """
        Evaluate the predictions for one clip, at the size of its images.

        :param drive: which the clip is from.
        """
        semantic = self.tasks.get('semantic')
        batch = collate([sample])
        found = learner.outputs(batch['image'].to(learner.mean.device))
        if 'depth' in found:
            found['depth'] = at_height(found['depth'], batch.get('height_ratio'))
        self._update_losses(learner, batch, found)
        outputs = {task: output.cpu() for task, output in found.items()}

        if 'semantic' in outputs and sample.semantic is not None:
            for prediction, truth in zip(_ids(outputs['semantic']), sample.semantic):
                self.semantic.update(prediction, truth)
                self.drives['semantic'].append(drive)

        if 'depth' in outputs and sample.depth is not None:
            inverse = self.tasks['depth'].inverse
            self.depth.update(metres(outputs['depth'][:, 0], inverse).numpy(), sample.depth)
            self.drives['depth'].append(drive)
            if self.inverse is not None:
                # without the limits of a published depth: an output of 0 is infinitely far
                with np.errstate(divide='ignore'):
                    depth = inverse / outputs['depth'][:, 0].double().clamp(min=0).numpy()
                self.inverse.update(depth, sample.depth)

        # the first frame has no earlier one to move against
        if 'motion' in outputs and sample.motion is not None:
            moving = _ids(outputs['motion'])
            labels = sample.semantic
            for frame in range(1, len(moving)):
                truth = sample.motion[frame]
                self.motion.update(
                    moving[frame], None, truth,
                    np.zeros_like(truth) if labels is None else labels[frame])
                self.drives['motion'].append(drive)

        if 'instance' in outputs and semantic is not None and sample.instance is not None \
                and sample.semantic is not None:
            for offset, classes, true, labels in zip(
                    outputs['instance'].numpy(), _ids(outputs['semantic']), sample.instance,
                    sample.semantic):
                self.instance.update(separate(offset, classes, semantic), classes, true, labels)
                self.drives['instance'].append(drive)

        # frames where a box is unlabelled would turn correct predictions into false positives
        if 'detection' in outputs and sample.detection is not None:
            for boxes, known in zip(_boxes(learner, outputs['detection']), sample.detection):
                if (known[:, 4] != NOT_LABELLED).all():
                    true = known[known[:, 4] >= 0]
                    small = (true[:, 2:4] - true[:, :2]).prod(1) < SMALLEST_OBJECT
                    self.detection.update(
                        boxes.corners, boxes.scores, boxes.classes, true[:, :4],
                        true[:, 4].astype(int), small)
                    self.drives['detection'].append(drive)

    def _update_losses(
            self, learner: ClipLearner, batch: Batch, outputs: dict[str, torch.Tensor]) -> None:
        """Add the losses of one clip, each task's own: without the cross-task loss."""
        for task, output in outputs.items():
            if task not in batch or task not in learner.losses:
                continue
            loss: Any = learner.losses[task]
            target = learner.target(task, batch[task]).to(output.device)
            value = loss(output, target)
            if value is not None:
                amount = float(loss.amount(target))
                self.losses[task] += (float(value) * amount, amount)

    def merge(self, other: 'TaskMetrics') -> None:
        """Add the counts of another, as if they had been counted here."""
        for task in self.tasks:
            getattr(self, task).merge(getattr(other, task))
            self.losses[task] += other.losses[task]
            self.drives[task] += other.drives[task]
        if self.inverse is not None and other.inverse is not None:
            self.inverse.merge(other.inverse)

    def compute(self) -> dict[str, Any]:
        """Return task name -> metrics."""
        metrics = {task: getattr(self, task).compute() for task in self.tasks}
        if 'motion' in metrics and not self.motion.movable:
            # without semantics there is no baseline that calls everything movable moving
            metrics['motion']['iou_all_movable'] = None

        if 'depth' in metrics and self.unit == 'metres':
            depth = metrics['depth']
            depth |= {'abs_err': depth['mae'], 'rel_err': depth['abs_rel'], 'unit': self.unit}
        elif 'depth' in metrics and self.inverse is not None:
            errors = self.inverse.compute()
            metrics['depth'] |= {
                'abs_err': errors['abs_err'], 'rel_err': errors['rel_err'], 'unit': self.unit}

        for task, (total, amount) in self.losses.items():
            if amount:
                metrics[task]['loss'] = float(total / amount)
        return metrics


    def intervals(self) -> dict[str, list[float]]:
        """
        Return label of a main metric -> [low, high], its 95 % bootstrap interval.

        Drives are drawn as wholes, see :func:`.bootstrap_interval`. Metrics without an interval,
        such as those of fewer than five drives, are left out.
        """
        found = {
            task: getattr(self, task).intervals(groups=drives)
            for task, drives in self.drives.items() if drives and task in self.tasks}
        if 'depth' in found and self.inverse is not None:
            found['depth'] |= self.inverse.intervals(groups=self.drives['depth'])
        elif 'depth' in found and self.unit == 'metres':
            found['depth'] |= {
                'abs_err': found['depth']['mae'], 'rel_err': found['depth']['abs_rel']}
        return {
            metric.label: list(found[metric.task][metric.key]) for metric in MAIN_METRICS
            if found.get(metric.task, {}).get(metric.key) is not None}


@torch.no_grad()
def validate(
        learner: ClipLearner, clips: Clips, tasks: Sequence[Task], height: int, width: int,
        ranks: Ranks | None = None, skip: bool = False) -> dict[str, Any]:
    """
    Return the metrics of every task at one resolution, nested by task name.

    Semantics and depth are evaluated on all frames of a clip, motion from the second frame on.
    ``loss`` of each task is its loss in training, without that between tasks and without weights.
    Each rank evaluates a part of the clips; the counts are merged in the order of the clips, so
    the metrics are the same to the last bit for any number of ranks.

    :param learner: its network is put into evaluation mode and back.
    :param clips: the validation clips.
    :param tasks: tasks of the network.
    :param height: rows of the images that the network sees.
    :param width: columns of the images that the network sees.
    :param ranks: who shares the clips; this process alone if None.
    :param skip: whether a clip that cannot be read is left out, as long as that concerns at most
        one or 0.1 % of them.
    :return: task name -> metrics, and ``intervals``, see :meth:`TaskMetrics.intervals`; clips of a
        data set that does not know its ``drives`` stand for themselves.
    """
    ranks = ranks or Ranks()
    drives = getattr(clips, 'drives', range(len(clips)))

    was_training = learner.training
    learner.eval()
    loss = dict(learner.losses.items()).get('depth')
    unit = (loss.unit, loss.stereo) if isinstance(loss, DepthInUnit) else ('log_metres', None)

    own: list[TaskMetrics] = []
    bad = 0

    for number in range(ranks.rank, len(clips), ranks.count):
        own.append(TaskMetrics(tasks, *unit))
        try:
            sample = clips[number]
        except DataError as error:
            bad += 1
            if not skip or bad > max(1.0, len(clips) * UNREADABLE_SHARE):
                raise
            warnings.warn(f'{error}; it is left out of the validation', stacklevel=2)
        else:
            own[-1].update(learner, sample.resized(height, width), drives[number])
    learner.train(was_training)

    # sums of floats depend on their order, so it is that of the clips
    shares = ranks.gather(own)
    total = TaskMetrics(tasks, *unit)
    for number in range(len(clips)):
        total.merge(shares[number % ranks.count][number // ranks.count])
    return {**total.compute(), 'intervals': total.intervals()}


def _boxes(learner: ClipLearner, output: torch.Tensor) -> list[Detections]:
    """Return the boxes of each image; AP needs those of low score too."""
    loss = cast(BoxLoss, learner.losses['detection'])
    found = find_boxes(output, loss.anchors.tolist(), loss.stride, minimum_score=0.01)
    return [
        Detections(boxes.corners.numpy(), boxes.scores.numpy(), boxes.classes.to(
            torch.uint8).numpy()) for boxes in found]


def selection_score(metrics: dict[str, Any]) -> float | None:
    """
    Return the score that the best checkpoint is selected by.

    It is the geometric mean of the semantic mIoU, the delta1 of depth, the AP50 of boxes and the
    recall of instances. Motion enters only where it is alone: its IoU of what moves.

    :param metrics: from :func:`validate`; tasks that are missing are left out.
    :return: None if the validation labels none of these.
    """
    parts = [metrics.get(task, {}).get(name) for task, name in (
        ('semantic', 'miou'), ('depth', 'delta1'), ('detection', 'ap50'), ('instance', 'found'))]
    known = [float(part) for part in parts if part is not None]
    moving = metrics.get('motion', {}).get('iou_moving')
    if not known and moving is not None:
        known = [float(moving)]
    if not known:
        return None

    # (prod_i m_i)^(1 / n)
    return float(np.exp(np.mean(np.log(np.maximum(known, 1e-6)))))


def with_score(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return metrics with their :func:`selection_score`, if they have one."""
    score = selection_score(metrics)
    return metrics if score is None else {**metrics, SCORE_KEY: score}


@torch.no_grad()
def picture(
        learner: ClipLearner, clips: Clips, tasks: Sequence[Task], height: int, width: int,
        count: int = 4, skip: bool = False) -> NDArray[np.uint8]:
    """
    Return an image of the last frames of some clips: one row per clip, predictions above truth.

    :param count: number of clips, spread over the data set.
    :param skip: whether clips that cannot be read are left out.
    :return: (rows, columns, 3) uint8 RGB.
    """
    was_training = learner.training
    learner.eval()
    rows = []
    for number in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int):
        try:
            sample = clips[int(number)].resized(height, width)
        except DataError:
            if not skip:
                raise
            continue
        image = collate([sample])['image'].to(learner.mean.device)
        outputs = {task: output.cpu() for task, output in learner.outputs(image).items()}

        # predictions go above, the ground truth below; the image stands at the left
        above = [sample.image[-1]]
        below = [np.zeros_like(sample.image[-1])]
        for task in tasks:
            if task.kind == 'boxes' and sample.detection is not None:
                best = _boxes(learner, outputs[task.name])[-1]
                above.append(_drawn(sample.image[-1], best, task))
                true = sample.detection[-1]
                true = true[true[:, 4] >= 0]
                below.append(_drawn(sample.image[-1], Detections(
                    true[:, :4], np.ones(len(true), np.float32), true[:, 4].astype(np.uint8)),
                    task))
                continue

            truth = sample.labels().get(task.name)
            if truth is None:
                continue

            if task.kind == 'offsets':
                semantic = next(one for one in tasks if one.name == 'semantic')
                classes = _ids(outputs['semantic'])[-1]
                above.append(colourise_instance(
                    separate(outputs[task.name][-1].numpy(), classes, semantic)))
                below.append(colourise_instance(truth[-1].clip(min=0).astype(np.uint16)))
                continue

            if task.kind == 'classes':
                prediction: NDArray[Any] = _ids(outputs[task.name])[-1]
            else:
                prediction = metres(outputs[task.name][-1, 0], task.inverse).numpy()
            above.append(_colours(prediction, task))
            below.append(_colours(truth[-1], task))

        rows.append(np.concatenate([np.concatenate(above, 1), np.concatenate(below, 1)]))
    learner.train(was_training)

    # a clip without the labels of a task has a shorter row
    if not rows:
        return np.zeros((height, width, 3), np.uint8)
    widest = max(row.shape[1] for row in rows)
    return np.concatenate([
        np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows])


def _drawn(image: NDArray[np.uint8], boxes: Detections, task: Task) -> NDArray[np.uint8]:
    """Return an image with the boxes that the node would publish."""
    sure = boxes.scores >= SURE_ENOUGH_TO_DRAW
    boxes = Detections(boxes.corners[sure], boxes.scores[sure], boxes.classes[sure])
    return draw_boxes(image, boxes, task, text=False)


def _ids(output: torch.Tensor) -> NDArray[np.uint8]:
    """Return the (N, H, W) uint8 most likely classes of (N, K, H, W)."""
    ids: NDArray[np.uint8] = output.argmax(1).to(torch.uint8).numpy()
    return ids


def _colours(values: NDArray[Any], task: Task) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8: a class's colour, or grey that is light when near."""
    if task.kind == 'classes':
        palette = np.zeros((256, 3), np.uint8)
        palette[:len(task.palette)] = task.palette
        colours: NDArray[np.uint8] = palette[values]
        return colours
    finite = np.where(np.isfinite(values), values, task.maximum).astype(np.float32)
    # 1 at one metre, 0 at the largest distance, linear in log(depth)
    nearness = 1 - np.log(np.clip(finite, 1, task.maximum)) / np.log(task.maximum)
    return np.repeat((nearness * 255).astype(np.uint8)[:, :, None], 3, axis=2)
