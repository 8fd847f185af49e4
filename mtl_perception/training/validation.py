# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Judge a network on clips that it does not learn from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_perception.metrics import DepthMetrics, MotionMetrics, SegmentationMetrics
from mtl_perception.models.streaming import metres
from mtl_perception.tasks import Task
from mtl_perception.training.batches import Clips, collate
from mtl_perception.training.learner import ClipLearner


@torch.no_grad()
def validate(
        learner: ClipLearner, clips: Clips, tasks: Sequence[Task], height: int, width: int,
) -> dict[str, Any]:
    """
    Return the figures of every task at one resolution, nested by task name.

    Semantics and depth are judged on all frames of a clip, motion from its second frame on.

    :param learner: its network is put into evaluation mode and back.
    :param clips: the validation clips.
    :param tasks: tasks of the network.
    :param height: rows of the images that the network sees.
    :param width: columns of the images that the network sees.
    """
    by_name = {task.name: task for task in tasks}
    semantic = by_name.get('semantic')
    segmentation = SegmentationMetrics(semantic.classes if semantic else ())
    depth = DepthMetrics(by_name['depth'].maximum if 'depth' in by_name else 1.0)
    motion = MotionMetrics(semantic.movable if semantic else ())
    was_training = learner.training
    learner.eval()
    for number in range(len(clips)):
        sample = clips[number].resized(height, width)
        outputs = learner.outputs(collate([sample])['image'])
        if 'semantic' in outputs and sample.semantic is not None:
            found = _ids(outputs['semantic'])
            for prediction, truth in zip(found, sample.semantic):
                segmentation.update(prediction, truth)
        if 'depth' in outputs and sample.depth is not None:
            depth.update(
                metres(outputs['depth'][:, 0], by_name['depth'].inverse).numpy(), sample.depth)
        if 'motion' in outputs and sample.motion is not None and sample.semantic is not None:
            found = _ids(outputs['motion'])
            for frame in range(1, len(found)):
                motion.update(found[frame], None, sample.motion[frame], sample.semantic[frame])
    learner.train(was_training)
    figures = {
        'semantic': segmentation.compute(), 'depth': depth.compute(), 'motion': motion.compute()}
    return {task: figures[task] for task in by_name if task in figures}


def merit(figures: dict[str, Any]) -> float:
    """
    Return the figure that models are chosen by: the geometric mean of mIoU and delta1.

    :param figures: from :func:`validate`; what does not exist is left out. Motion does not enter.
    """
    parts = [figures.get('semantic', {}).get('miou'), figures.get('depth', {}).get('delta1')]
    known = [max(float(part), 1e-6) for part in parts if part is not None]
    return float(np.exp(np.mean(np.log(known)))) if known else 0.0


@torch.no_grad()
def picture(
        learner: ClipLearner, clips: Clips, tasks: Sequence[Task], height: int, width: int,
        count: int = 4) -> NDArray[np.uint8]:
    """
    Return an image of the last frames of some clips: one row per clip, predictions above truth.

    :param count: number of clips, spread over the data set.
    :return: (rows, columns, 3) uint8 RGB.
    """
    was_training = learner.training
    learner.eval()
    rows = []
    for number in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int):
        sample = clips[int(number)].resized(height, width)
        outputs = learner.outputs(collate([sample])['image'])
        above, below = [sample.image[-1]], [np.zeros_like(sample.image[-1])]
        for task in tasks:
            truth = sample.labels().get(task.name)
            if truth is None or task.kind not in ('classes', 'regression'):
                continue
            if task.kind == 'classes':
                prediction: NDArray[Any] = _ids(outputs[task.name])[-1]
            else:
                prediction = metres(outputs[task.name][-1, 0], task.inverse).numpy()
            above.append(_colours(prediction, task))
            below.append(_colours(truth[-1], task))
        rows.append(np.concatenate([np.concatenate(above, 1), np.concatenate(below, 1)]))
    learner.train(was_training)
    return np.concatenate(rows)


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
    nearness = 1 - np.log(np.clip(finite, 1, task.maximum)) / np.log(task.maximum)
    return np.repeat((nearness * 255).astype(np.uint8)[:, :, None], 3, axis=2)
