# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which objects of one camera move, by the flow that the camera's own motion leaves."""

import collections
import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import Comparison, FrameRing, MotionTracker, Pinhole
from mtl_perception.egomotion.estimate import BELIEVABLE
from mtl_perception.frames import Outputs
from mtl_perception.inference.motion_head import MotionHead
from mtl_perception.manifest import Manifest
from mtl_perception.tasks import MOVING

ASSUMED_FOCAL = 0.6
"""Focal length of a camera without intrinsics, as a share of its image's width."""


@dataclass(frozen=True, eq=False)
class Moving:
    """
    What is known about motion in a frame.

    :param outputs: those of the frame with ``motion`` and ``motion_score`` of the residual flow;
        without them where nothing is known.
    :param reason: why nothing is known: ``first``, ``gap``, ``poor_ego_motion`` or ``no_depth``;
        empty if something is.
    :param comparison: what it is from, None if there was no earlier frame.
    """

    outputs: Outputs
    reason: str
    comparison: Comparison | None


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
        self.tracker: MotionTracker | None = None
        """Of the ego-motion; None before the first frame."""

    def reset(self) -> None:
        """Forget all frames."""
        self.tracker = None

    def process(
        self, image: NDArray[np.uint8], stamp_ns: int, outputs: Outputs,
        camera: Pinhole | None = None, depth_scale: float = 1.0,
        odometry: NDArray[np.float64] | None = None,
    ) -> Moving:
        """
        Return the frame's outputs with what moves.

        :param image: (h, w, 3) uint8 RGB at the network's size.
        :param stamp_ns: time of exposure, nanoseconds.
        :param outputs: of the network: depth and semantics.
        :param camera: at the network's size; None assumes a focal length of
            :data:`ASSUMED_FOCAL` of the width.
        :param depth_scale: factor that makes the network's depth that of this camera.
        :param odometry: (4, 4) float64 from this camera's frame to that of the frame before.
        """
        depth, semantic = outputs.depth, outputs.semantic
        blank = dataclasses.replace(outputs, motion=None, motion_score=None)
        if depth is None or semantic is None:
            return self._nothing(blank, 'no_depth')
        reason = self._fit(stamp_ns, camera or self._assumed(image))
        assert self.tracker is not None
        comparison = self.tracker.add(
            stamp_ns, image, depth * np.float32(depth_scale), semantic, odometry)
        if comparison is None:
            return self._nothing(blank, reason or 'first')
        if comparison.ego.quality < BELIEVABLE:
            return self._nothing(blank, 'poor_ego_motion', comparison)
        score = self.head.score(comparison.features)
        score = np.asarray(cv2.resize(
            score, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
        motion = np.where(score > 0.5, np.uint8(MOVING), np.uint8(0))
        return Moving(
            dataclasses.replace(outputs, motion=motion, motion_score=score), '', comparison)

    def _assumed(self, image: NDArray[np.uint8]) -> Pinhole:
        """Return a camera whose intrinsics are not known."""
        height, width = image.shape[:2]
        focal = ASSUMED_FOCAL * width
        return Pinhole(focal, focal, (width - 1) / 2, (height - 1) / 2)

    def _fit(self, stamp_ns: int, camera: Pinhole) -> str:
        """Start anew if the frame does not follow the last one; return why, empty if it does."""
        tracker, reason = self.tracker, ''
        if tracker is not None and tracker.camera == camera:
            newest = tracker.ring.newest
            if newest is None or 0 < stamp_ns - newest.stamp_ns <= self.max_gap_s * 1e9:
                return ''
            reason = 'gap'
        semantic = self.manifest.task('semantic')
        assert semantic is not None  # a head was trained for its classes
        self.tracker = MotionTracker(camera, semantic.movable, semantic.sky, FrameRing())
        return reason

    def _nothing(
        self, outputs: Outputs, reason: str, comparison: Comparison | None = None,
    ) -> Moving:
        """Count a frame that nothing is known about."""
        self.unknown[reason] += 1
        return Moving(outputs, reason, comparison)
