# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate-motion``: ego-motion and moving objects on streets that no training saw."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import RESIDUAL_CHANNELS, Pinhole
from mtl_perception.egomotion.estimate import BELIEVABLE
from mtl_perception.egomotion.pinhole import inverse
from mtl_perception.egomotion.static import of_classes
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.frames import Outputs
from mtl_perception.inference.engine import Engine, MotionScorer
from mtl_perception.inference.moving_objects import Moving, MovingObjects
from mtl_perception.metrics import MotionMetrics
from mtl_perception.metrics.motion import area_under_curve
from mtl_perception.synthetic import Street, StreetFrame
from mtl_perception.tasks import MOVING, UNKNOWN_MOTION

RATE = 10.0
FRAMES = 4
"""Frames of a clip, 0.3 s at 10 Hz: the longest baseline."""
STANDING_M = 0.1
"""Below this travel the direction is not evaluated, and the translation may be off by 0.03 m."""
TRANSLATION, DIRECTION = 0.30, 5.0
"""An ego-motion fails beyond this share of the travel, or this many degrees of its direction."""


GROUPS = {'size': (200, 800), 'distance': (15.0, 30.0), 'displacement': (1.0, 2.0, 4.0)}
"""
Bounds of the groups of objects: pixels, metres, and pixels of flow left after the camera's own
motion over 0.3 s.
"""

CHI = 2.0
"""Without a head, what has a whitened residual above this is called moving."""


@dataclass(frozen=True, eq=False)
class Clip:
    """
    Neighbouring frames, the predictions for them, and the ground truth.

    :param images: each (H, W, 3) uint8 RGB.
    :param outputs: depth and semantics of each, at the network's size, which is the images'.
    :param poses: each (4, 4) float64, camera to world.
    :param truth: labels of the last frame.
    :param camera: of all.
    :param papers: (H, W) float32 score of the network's own motion head on the last frame with
        the first as its previous one; None if it has none.
    :param papers_identical: the same with the last frame as its own previous one.
    :param stamps: time of each frame, in tenths of a second; one after the other if empty.
    """

    images: Sequence[NDArray[np.uint8]]
    outputs: Sequence[Outputs]
    poses: Sequence[NDArray[np.float64]]
    truth: StreetFrame
    camera: Pinhole
    papers: NDArray[np.float32] | None = None
    papers_identical: NDArray[np.float32] | None = None
    stamps: Sequence[int] = ()


class EgoErrors:
    """Ego-motion beside the truth, over many frames."""

    def __init__(self) -> None:
        self.translation: list[float] = []
        self.direction: list[float] = []
        self.quality: list[float] = []
        self.travel: list[float] = []

    def update(
        self, pose: NDArray[np.float64], truth: NDArray[np.float64], quality: float,
    ) -> None:
        """
        Count one pose.

        :param pose: (4, 4) float64 that was estimated.
        :param truth: (4, 4) float64.
        :param quality: 0 to 1, what the estimate says of itself.
        """
        found = pose[:3, 3]
        true = truth[:3, 3]
        lengths = float(np.linalg.norm(found)), float(np.linalg.norm(true))
        self.travel.append(lengths[1])
        self.quality.append(quality)

        # relative error of the length; a standing camera would divide by 0
        self.translation.append(abs(lengths[0] - lengths[1]) / max(lengths[1], STANDING_M))

        # cos(angle) = t_found . t_true / (|t_found| |t_true|)
        cosine = float(found @ true) / max(lengths[0] * lengths[1], 1e-9)
        angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        self.direction.append(0.0 if lengths[1] < STANDING_M else angle)

    def compute(self) -> dict[str, Any]:
        """Return shares, percentiles, and how well the quality detects failures (ROC AUC)."""
        translation = np.array(self.translation)
        direction = np.array(self.direction)
        quality = np.array(self.quality)
        good = (translation <= TRANSLATION) & (direction <= DIRECTION)
        believed = quality >= BELIEVABLE
        return {
            'frames': len(good), 'good': _mean(good), 'believed': _mean(believed),
            'good_of_believed': _mean(good[believed]),
            'failures_flagged_auc': area_under_curve(quality, good),
            'failures': int((~good).sum()),
            'translation_median': _mean(np.median(translation, keepdims=True)),
            'translation_p95': _mean(np.percentile(translation, [95])),
            'direction_median_deg': _mean(np.median(direction, keepdims=True)),
            'direction_p95_deg': _mean(np.percentile(direction, [95])),
            'travel_median_m': _mean(np.median(np.array(self.travel), keepdims=True))}


class MotionHeadEvaluator:
    """
    Evaluate motion and its controls, clip by clip.

    :param head: the residual motion head.
    :param engine: the network that the clips are from.
    """

    def __init__(self, head: MotionScorer, engine: Engine) -> None:
        self.head, self.manifest = head, engine.manifest
        semantic = self.manifest.task('semantic')
        if semantic is None:
            raise ConfigurationError(f'model {self.manifest.name!r} has no semantics')

        self.metrics = {
            name: MotionMetrics(semantic.movable, bounds=GROUPS if name == 'residual' else {})
            for name in ('residual', 'residual, true odometry', 'residual, single frame',
                         'chi without a head', 'papers', 'papers, single frame')}
        self._movable = semantic.movable
        self.ego = EgoErrors()
        self.ego_steps = EgoErrors()
        self.unknown: dict[str, int] = {}

    def update(self, clip: Clip) -> None:
        """Count one clip."""
        truth = clip.truth

        # as on the robot
        last = self._follow(clip, self.ego_steps)[-1]
        if last.comparison is not None:
            stamps = list(clip.stamps or range(len(clip.images)))
            start = stamps.index(stamps[-1] - round(last.comparison.baseline.seconds * RATE))
            true = inverse(clip.poses[start]) @ clip.poses[-1]
            self.ego.update(last.comparison.ego.pose, true, last.comparison.ego.quality)
        if last.reason:
            self.unknown[last.reason] = self.unknown.get(last.reason, 0) + 1

        # controls: the true odometry, and a frame that is compared with itself
        odometry = [np.eye(4)] + [
            inverse(before) @ after
            for before, after in zip(clip.poses[:-1], clip.poses[1:], strict=True)]
        known = self._follow(clip, None, odometry)[-1]
        same = Clip([clip.images[-1]] * 2, [clip.outputs[-1]] * 2, [clip.poses[-1]] * 2, truth,
                    clip.camera)
        identical = self._follow(same)[-1]

        self._count('residual', score_of(last), truth, {
            'distance': truth.depth, 'displacement': _displacement(known, truth)})
        for name, moving in (('residual, true odometry', known),
                             ('residual, single frame', identical)):
            self._count(name, score_of(moving), truth)
        self._identical('residual', score_of(identical), truth)
        self._count('chi without a head', self._chi(last, clip.outputs[-1]), truth)

        if clip.papers is not None and clip.papers_identical is not None:
            self._count('papers', clip.papers, truth)
            self._count('papers, single frame', clip.papers_identical, truth)
            self._identical('papers', clip.papers_identical, truth)

    def _follow(
        self, clip: Clip, steps: EgoErrors | None = None,
        odometry: Sequence[NDArray[np.float64]] | None = None,
    ) -> list[Moving]:
        """Return the moving objects of each frame of a clip."""
        objects = MovingObjects(self.head, self.manifest)
        found = []
        stamps = clip.stamps or range(len(clip.images))
        for number, (image, outputs) in enumerate(zip(clip.images, clip.outputs, strict=True)):
            found.append(objects.process(
                image, round((stamps[number] + 1) * 1e9 / RATE), outputs, clip.camera,
                odometry=None if odometry is None else partial(_constant, odometry[number])))
            step = None if objects.tracker is None else objects.tracker.step
            if steps is not None and number and step is not None:
                steps.update(
                    step.pose, inverse(clip.poses[number - 1]) @ clip.poses[number], step.quality)
        return found

    def _count(
        self, name: str, score: NDArray[np.float32] | None, truth: StreetFrame,
        measures: Mapping[str, NDArray[np.floating[Any]]] = MappingProxyType({}),
    ) -> None:
        """Count a score, None for one that is unknown everywhere."""
        if score is None:
            score = np.full(truth.motion.shape, np.nan, np.float32)
        self.metrics[name].update(
            mask_of(score), score, truth.motion, truth.semantic, truth.instance, measures)

    def _chi(self, moving: Moving, outputs: Outputs) -> NDArray[np.float32] | None:
        """Return a score from the whitened residual alone, 0.5 where it is :data:`CHI`."""
        if moving.reason or moving.comparison is None or outputs.semantic is None:
            return None

        # the features hold log(1 + chi)
        chi = np.expm1(moving.comparison.features[RESIDUAL_CHANNELS.index('chi')])
        height, width = outputs.semantic.shape
        chi = np.asarray(cv2.resize(chi, (width, height)), np.float32)
        movable = of_classes(outputs.semantic, self._movable)
        return np.where(movable, chi / (chi + np.float32(CHI)), np.float32(0))

    def _identical(
        self, name: str, score: NDArray[np.float32] | None, truth: StreetFrame,
    ) -> None:
        if score is not None:
            self.metrics[name].update_identical(mask_of(score), truth.semantic)

    def compute(self) -> dict[str, Any]:
        """Return all metrics."""
        return {'motion': {name: metrics.compute() for name, metrics in self.metrics.items()},
                'ego_motion': self.ego.compute(), 'ego_motion_steps': self.ego_steps.compute(),
                'unknown': self.unknown}


def _displacement(moving: Moving, truth: StreetFrame) -> NDArray[np.float32]:
    """Return the length of the flow that the camera's motion does not explain, pixels."""
    if moving.comparison is None:
        return np.zeros(truth.motion.shape, np.float32)
    left = moving.comparison.residual
    return np.asarray(cv2.magnitude(left[..., 0], left[..., 1]), np.float32)


def _constant(pose: NDArray[np.float64], earlier_ns: int, later_ns: int) -> NDArray[np.float64]:
    """Return a pose that is known."""
    return pose


def score_of(moving: Moving) -> NDArray[np.float32] | None:
    """Return the score of a frame, None if its motion is unknown."""
    return None if moving.reason else moving.outputs.motion_score


def mask_of(score: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the mask of a score: 1 above 0.5, 255 where it is NaN."""
    mask = np.where(score > 0.5, np.uint8(MOVING), np.uint8(0))
    mask[np.isnan(score)] = UNKNOWN_MOTION
    return mask


def clips_of(engine: Engine, seed: int, plan: SamplingPlan) -> Iterator[Clip]:
    """Yield the clips of a street, each ending at one of its plan."""
    street = Street(seed, plan.width, plan.height, RATE)
    tasks = ('semantic', 'depth')
    has_motion = 'motion' in engine.manifest.network.channels
    for _, evaluated in plan.pairs(seed):
        evaluated = max(evaluated, FRAMES - 1)
        numbers = range(evaluated - FRAMES + 1, evaluated + 1)
        frames = [street.render(number) for number in numbers]
        results = [engine.step(frame.image, None, tasks) for frame in frames]

        # the network's own motion decoder, with the first frame and with itself as previous one
        papers, same = (
            engine.step(frames[-1].image, results[place][1], ('motion',))[0].motion_score
            if has_motion else None for place in (0, -1))
        yield Clip(
            [frame.image for frame in frames], [outputs for outputs, _ in results],
            [frame.pose for frame in frames], frames[-1],
            Pinhole.from_matrix(street.intrinsics), papers, same)


def as_markdown(metrics: dict[str, Any]) -> str:
    """Return the metrics as tables."""
    motion = metrics['motion']
    ego = metrics['ego_motion']

    lines = ['| motion | AUC | balanced accuracy | moving IoU | all movable | identical frames | '
             'unknown | objects |', '|---|---|---|---|---|---|---|---|']
    lines += [
        f'| {name} | {number_text(row["auc"])} | {number_text(row["balanced_accuracy"])} | '
        f'{number_text(row["iou_moving"])} | {number_text(row["iou_all_movable"])} | '
        f'{number_text(row["identical_frames_moving"])} | {number_text(row["unknown"])} | '
        f'{row["objects"]} |' for name, row in motion.items() if row['pixels']]

    lines += ['', '| objects | moving, parked | AUC | moving found | parked called moving |',
              '|---|---|---|---|---|']
    lines += [
        f'| {name} {_range(row)} | {row["objects_moving"]}, '
        f'{row["objects"] - row["objects_moving"]} | {number_text(row["auc"])} | '
        f'{number_text(row["moving_found"])} | {number_text(row["parked_called_moving"])} |'
        for name, rows in motion['residual']['groups'].items() for row in rows]

    lines += ['', '| ego-motion | at the baseline | steps of 0.1 s |', '|---|---|---|']
    steps = metrics['ego_motion_steps']
    lines += [f'| {name} | {number_text(value)} | {number_text(steps[name])} |'
              for name, value in ego.items()]
    return '\n'.join(lines)


def _range(row: dict[str, Any]) -> str:
    """Return the bounds of a group of objects in words."""
    if row['from'] is None:
        return f'below {row["to"]:g}'
    if row['to'] is None:
        return f'{row["from"]:g} and more'
    return f'{row["from"]:g} to {row["to"]:g}'


def number_text(value: float | None) -> str:
    """Return a number with three digits, or ``n/a``."""
    if value is None:
        return 'n/a'
    return str(value) if isinstance(value, int) else f'{value:.3f}'


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None
