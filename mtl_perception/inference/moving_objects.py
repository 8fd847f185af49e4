# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which objects of one camera move, by the flow that the camera's own motion leaves."""

import collections
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import Comparison, FrameRing, MotionTracker, Pinhole
from mtl_perception.egomotion.estimate import BELIEVABLE
from mtl_perception.frames import Outputs, Step
from mtl_perception.inference.motion_head_file import MotionHead
from mtl_perception.manifest import Manifest
from mtl_perception.tasks import MOVING

Odometry = Callable[[int, int], NDArray[np.float64] | None]
"""
From two times in nanoseconds, the earlier first, to the (4, 4) float64 pose of the camera at the
later one in its frame at the earlier one; None if that is not known.
"""

ASSUMED_FOCAL = 0.6
"""Focal length of a camera without intrinsics, as a share of its image's width."""


@dataclass(frozen=True, eq=False)
class Moving:
    """
    What is known about motion in a frame.

    :param outputs: those of the frame with ``motion`` and ``motion_score`` of the residual flow,
        zero where nothing is known.
    :param reason: why nothing is known: ``first``, ``reset``, ``gap``, ``camera`` (other
        intrinsics), ``stamp``, ``poor_ego_motion`` or ``no_depth``; empty if something is.
    :param comparison: what it is from, None if there was no earlier frame.
    :param step: how the camera moved since the frame before, None if that is not known.
    """

    outputs: Outputs
    reason: str
    comparison: Comparison | None
    step: Step | None = None


class MovingObjects:
    """
    Tell what moves in the frames of one camera; for a model with a residual motion head.

    The network sees each frame once, for depth and semantics. A ring of recent frames replaces
    the fixed predecessor. Motion is unknown on the first frame, after a reset and after a gap,
    and where the camera's own motion is not to be believed; :attr:`unknown` counts why.

    Not safe to use from several threads; each camera has its own.

    :param head: of the model.
    :param manifest: of the model.
    :param max_gap_s: longest time between two frames, seconds; a longer one starts anew.
    """

    def __init__(self, head: MotionHead, manifest: Manifest, max_gap_s: float = 0.5) -> None:
        self.head, self.manifest, self.max_gap_s = head, manifest, max_gap_s
        self.unknown: collections.Counter[str] = collections.Counter()
        """How many frames nothing was known about, by reason."""
        self.assumed = 0
        """How many frames came without intrinsics."""
        self._reason = 'first'
        self.tracker: MotionTracker | None = None
        """Of the ego-motion; None before the first frame."""

    def reset(self) -> None:
        """Forget all frames."""
        self.tracker, self._reason = None, 'reset'

    def process(
        self, image: NDArray[np.uint8], stamp_ns: int, outputs: Outputs,
        camera: Pinhole | None = None, depth_scale: float = 1.0,
        odometry: Odometry | None = None,
    ) -> Moving:
        """
        Return the frame's outputs with what moves.

        :param image: (h, w, 3) uint8 RGB at the network's size.
        :param stamp_ns: time of exposure, nanoseconds; not positive if it cannot be trusted: the
            frame then leaves no trace.
        :param outputs: of the network: depth and semantics.
        :param camera: at the network's size; None assumes a focal length of
            :data:`ASSUMED_FOCAL` of the width.
        :param depth_scale: factor that makes the network's depth that of this camera.
        :param odometry: tells how the camera moved between two times, if the robot knows.
        """
        depth, semantic = outputs.depth, outputs.semantic
        if camera is None:
            self.assumed += 1
            camera = _assumed(image)
        if stamp_ns <= 0:
            return self._nothing(outputs, image, 'stamp')
        if depth is None or semantic is None:
            return self._nothing(outputs, image, 'no_depth')
        tracker = self._fitting(stamp_ns, camera)
        if tracker is None:
            return self._nothing(outputs, image, 'stamp')
        before = tracker.ring.newest
        moved = None if odometry is None or before is None else odometry(
            before.stamp_ns, stamp_ns)
        comparison = tracker.add(
            stamp_ns, image, depth * np.float32(depth_scale), semantic, moved)
        if comparison is None or before is None:
            return self._nothing(outputs, image, self._reason)
        step = None
        if tracker.step is not None and tracker.step.quality >= BELIEVABLE:
            step = Step(tracker.step.pose, (stamp_ns - before.stamp_ns) * 1e-9)
        if comparison.ego.quality < BELIEVABLE:
            return self._nothing(outputs, image, 'poor_ego_motion', comparison, step)
        score = self.head.score(comparison.features)
        score = np.asarray(cv2.resize(
            score, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
        movable = cv2.dilate(
            np.isin(semantic, tracker.movable).view(np.uint8), np.ones((5, 5), np.uint8))
        score *= movable.astype(np.float32)  # leaves and reflections move too
        motion = np.where(score > 0.5, np.uint8(MOVING), np.uint8(0))
        return Moving(
            dataclasses.replace(outputs, motion=motion, motion_score=score), '', comparison, step)

    def _fitting(self, stamp_ns: int, camera: Pinhole) -> MotionTracker | None:
        """Return the tracker for a frame, a new one if it does not follow; None if it is late."""
        tracker = self.tracker
        if tracker is not None and tracker.ring.newest is not None:
            passed = stamp_ns - tracker.ring.newest.stamp_ns
            if tracker.camera == camera and passed <= self.max_gap_s * 1e9:
                return tracker if passed > 0 else None
            self._reason = 'gap' if tracker.camera == camera else 'camera'
        semantic = self.manifest.task('semantic')
        assert semantic is not None  # a head was trained for its classes
        self.tracker = MotionTracker(camera, semantic.movable, semantic.sky, FrameRing())
        return self.tracker

    def _nothing(
        self, outputs: Outputs, image: NDArray[np.uint8], reason: str,
        comparison: Comparison | None = None, step: Step | None = None,
    ) -> Moving:
        """Count a frame that nothing is known about."""
        self.unknown[reason] += 1
        blank = dataclasses.replace(
            outputs, motion=np.zeros(image.shape[:2], np.uint8),
            motion_score=np.zeros(image.shape[:2], np.float32))
        return Moving(blank, reason, comparison, step)


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
