# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Moving objects of one camera, from the flow that its own motion does not explain."""

import collections
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import Comparison, FrameRing, MotionTracker, Pinhole
from mtl_perception.egomotion.estimate import BELIEVABLE
from mtl_perception.egomotion.static import near_classes
from mtl_perception.frames import Outputs, Step
from mtl_perception.inference.engine import MotionScorer
from mtl_perception.manifest import Manifest
from mtl_perception.tasks import MOVING

Odometry = Callable[[int, int], NDArray[np.float64] | None]
"""
From two times in nanoseconds, the earlier first, to the (4, 4) float64 pose of the camera at the
later one in its frame at the earlier one; None if that is not known.
"""

MINIMUM_MOTION_SCORE = 0.5
"""A pixel or an object moves from above this probability on, by default."""

ASSUMED_FOCAL = 0.6
"""Focal length of a camera without intrinsics, as a share of its image's width."""


@dataclass(frozen=True, eq=False)
class Moving:
    """
    The motion in a frame, and why it is unknown if it is.

    :param outputs: those of the frame with ``motion`` and ``motion_score`` of the residual flow,
        zero if motion is unknown.
    :param reason: why motion is unknown: a reason of :class:`.Timeline`, ``camera`` (other
        intrinsics), ``poor_ego_motion`` or ``no_depth``; empty if it is known.
    :param comparison: of the frame with an earlier one, None if there was none.
    :param step: how the camera moved since the frame before, None if that is not known.
    :param minimum_score: probability above which a pixel or an object moves.
    """

    outputs: Outputs
    reason: str
    comparison: Comparison | None
    step: Step | None = None
    minimum_score: float = MINIMUM_MOTION_SCORE

    def residual(self) -> NDArray[np.float32] | None:
        """Return the (h, w, 2) residual flow in pixels, None if nothing moves."""
        if self.reason or self.comparison is None or not np.any(self.outputs.motion):
            return None
        return self.comparison.residual


class MovingObjects:
    """
    Find what moves in the frames of one camera, with a model's residual motion head.

    The network sees each frame once, for depth and semantics. A ring of recent frames replaces
    the fixed predecessor. Motion is unknown on the first frame, on the first after
    :meth:`forget`, and where the camera's own motion was estimated badly; :attr:`unknown` counts
    why. Which frames may be compared is not decided here: see :class:`.Timeline`.

    Not safe to use from several threads; each camera has its own.

    :param head: of the model.
    :param manifest: of the model.
    """

    def __init__(self, head: MotionScorer, manifest: Manifest) -> None:
        self.head = head
        self.manifest = manifest
        self.unknown: collections.Counter[str] = collections.Counter()
        """In how many frames motion was unknown, by reason."""
        self.minimum_score = MINIMUM_MOTION_SCORE
        """Probability above which a pixel or an object moves; may change between frames."""
        self.tracker: MotionTracker | None = None
        """Of the ego-motion; None before the first frame."""
        self._why_none = 'first'

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the last frame, nanoseconds; None if there is none."""
        newest = None if self.tracker is None else self.tracker.ring.newest
        return None if newest is None else newest.stamp_ns

    def forget(self, reason: str) -> None:
        """
        Forget all frames.

        :param reason: why motion is unknown in the next one.
        """
        self.tracker = None
        self._why_none = reason

    def process(
        self, image: NDArray[np.uint8], stamp_ns: int, outputs: Outputs,
        camera: Pinhole | None = None, depth_scale: float = 1.0,
        odometry: Odometry | None = None,
    ) -> Moving:
        """
        Return the frame's outputs with what moves.

        :param image: (h, w, 3) uint8 RGB at the network's size.
        :param stamp_ns: time of exposure, nanoseconds; after that of the last frame.
        :param outputs: of the network: depth and semantics.
        :param camera: at the network's size; None assumes a focal length of
            :data:`ASSUMED_FOCAL` of the width.
        :param depth_scale: factor that makes the network's depth that of this camera.
        :param odometry: tells how the camera moved between two times, if the robot knows.
        :raises ValueError: if the stamp is not after the last one.
        """
        depth, semantic = outputs.depth, outputs.semantic
        if depth is None or semantic is None:
            return self.unknown_motion(outputs, image, 'no_depth')
        tracker = self._tracker_for(_assumed(image) if camera is None else camera)

        # The tracker estimates the step from the frame before, unless the robot measured it.
        before = tracker.ring.newest
        moved = None
        if odometry is not None and before is not None:
            moved = odometry(before.stamp_ns, stamp_ns)
        comparison = tracker.add(
            stamp_ns, image, depth * np.float32(depth_scale), semantic, moved)
        if comparison is None or before is None:
            return self.unknown_motion(outputs, image, self._why_none)

        step = None
        if tracker.step is not None and tracker.step.quality >= BELIEVABLE:
            step = Step(tracker.step.pose, (stamp_ns - before.stamp_ns) * 1e-9)
        if comparison.ego.quality < BELIEVABLE:
            return self.unknown_motion(outputs, image, 'poor_ego_motion', comparison, step)

        score = self._score(comparison.features, semantic, tracker.movable)
        motion = np.where(score > self.minimum_score, np.uint8(MOVING), np.uint8(0))
        return Moving(
            dataclasses.replace(outputs, motion=motion, motion_score=score), '', comparison, step,
            self.minimum_score)

    def unknown_motion(
        self, outputs: Outputs, image: NDArray[np.uint8], reason: str,
        comparison: Comparison | None = None, step: Step | None = None,
    ) -> Moving:
        """Return and count a frame in which motion is unknown."""
        self.unknown[reason] += 1
        blank = dataclasses.replace(
            outputs, motion=np.zeros(image.shape[:2], np.uint8),
            motion_score=np.zeros(image.shape[:2], np.float32))
        return Moving(blank, reason, comparison, step)

    def _tracker_for(self, camera: Pinhole) -> MotionTracker:
        """Return the tracker of a camera, a new one if there is none or for other intrinsics."""
        if self.tracker is not None and self.tracker.camera != camera:
            self.forget('camera')
        if self.tracker is None:
            semantic = self.manifest.task('semantic')
            assert semantic is not None  # a head was trained for its classes
            self.tracker = MotionTracker(camera, semantic.movable, semantic.sky, FrameRing())
        return self.tracker

    def _score(
        self, features: NDArray[np.float32], semantic: NDArray[np.uint8],
        movable: tuple[int, ...],
    ) -> NDArray[np.float32]:
        """Return (h, w) float32, the probability that the object in a pixel moves."""
        height, width = semantic.shape
        score = np.asarray(cv2.resize(
            self.head.score(features), (width, height),
            interpolation=cv2.INTER_LINEAR), np.float32)

        # Leaves and reflections move too: only classes that can drive or walk count.
        score *= near_classes(semantic, movable)
        return score


def pinhole_of(
    focal_px: float | None, shape: tuple[int, ...], wanted: tuple[int, ...],
) -> Pinhole | None:
    """
    Return the camera of a resized image, its principal point in the middle.

    :param focal_px: focal length at the camera's size, pixels; None or an impossible value is
        unknown.
    :param shape: of the camera's image, rows and columns first.
    :param wanted: of the resized one.
    """
    if focal_px is None or not 0 < focal_px < np.inf:
        return None
    height, width = shape[:2]
    camera = Pinhole(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)
    return camera.resized((height, width), (wanted[0], wanted[1]))


def _assumed(image: NDArray[np.uint8]) -> Pinhole:
    """Return a camera whose intrinsics are not known."""
    height, width = image.shape[:2]
    focal = ASSUMED_FOCAL * width
    return Pinhole(focal, focal, (width - 1) / 2, (height - 1) / 2)
