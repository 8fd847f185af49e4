# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frame after frame of one camera: short steps, chained, and the newest pair to compare."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.estimate import BELIEVABLE, EgoMotion, MotionEstimator
from mtl_perception.egomotion.pinhole import Floats, Matrix, Pinhole
from mtl_perception.egomotion.residual import motion_features, residual
from mtl_perception.egomotion.ring import Baseline, FrameRing
from mtl_perception.egomotion.scale import depth_scale


@dataclass(frozen=True, eq=False)
class Comparison:
    """
    The newest frame beside an earlier one.

    :param baseline: which one; its pose is the chained one.
    :param ego: the pose between the two, with the flow.
    :param features: (C, H // 2, W // 2) float32 for a motion head.
    :param depth: (H, W) float32 metres, as it was used.
    :param camera: of both frames.
    """

    baseline: Baseline
    ego: EgoMotion
    features: Floats
    depth: Floats
    camera: Pinhole

    def residual(self) -> Floats:
        """Return (H, W, 2) float32 pixels: the flow that the camera's own motion leaves."""
        assert self.ego.flow is not None  # a comparison keeps it
        return residual(self.ego.flow, self.depth, self.ego.pose, self.camera).left


class MotionTracker:
    """
    Follow the motion of one camera and prepare what a motion head looks at.

    Neighbouring frames give short steps, which are chained in a :class:`FrameRing`. The newest
    frame is then compared with an earlier one: its image is warped by the chained pose, the flow
    that is left refines the pose, and what the refined pose leaves are the features.

    :param camera: of the images, at their size.
    :param movable: ids of the semantic classes whose objects can move.
    :param sky: id of the semantic class without depth, -1 if there is none.
    :param ring: what is remembered, by default 0.3 s or 3 m.
    """

    def __init__(
        self, camera: Pinhole, movable: tuple[int, ...], sky: int = -1,
        ring: FrameRing | None = None,
    ) -> None:
        self.camera, self.movable, self.sky = camera, movable, sky
        self.ring = FrameRing() if ring is None else ring
        self.step: EgoMotion | None = None
        """The last step, None before the second frame."""
        self.scale = 1.0
        """Factor on depth that an odometry asked for, 1 without one."""
        self._near, self._full = MotionEstimator(camera), MotionEstimator(camera, 'full')

    def reset(self) -> None:
        """Forget all frames."""
        self.ring.reset()
        self.step = None

    def add(
        self, stamp_ns: int, image: NDArray[np.uint8], depth: Floats, semantic: NDArray[np.uint8],
        odometry: Matrix | None = None,
    ) -> Comparison | None:
        """
        Take the next frame and compare it with an earlier one.

        :param stamp_ns: time of exposure, nanoseconds, after the last frame's.
        :param image: (H, W, 3) uint8 RGB.
        :param depth: (H, W) float32 metres along Z.
        :param semantic: (H, W) uint8 class ids.
        :param odometry: (4, 4) float64 from this camera's frame to that of the frame before, if
            the robot knows it; depth is then scaled to agree with it.
        :return: None if there is no earlier frame.
        :raises ValueError: if the stamp is not after the last one, or shapes differ.
        """
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        newest = self.ring.newest
        if newest is None:
            self.ring.add(stamp_ns, grey, image)
            return None
        static = self.static(semantic)
        if odometry is None:
            self.step = self._near.estimate(
                grey, newest.grey, depth, static, self.ring.guess(stamp_ns))
        else:
            self.step = EgoMotion(odometry, 1.0, 0)
        self.ring.add(stamp_ns, grey, image, self.step.pose, self.step.quality)
        baseline = self.ring.baseline()
        assert baseline is not None  # there are two frames
        return self._compare(baseline, grey, depth, semantic, static, odometry is not None)

    def static(self, semantic: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return (H, W) where something is that cannot move and has a depth."""
        grown = cv2.dilate(np.isin(semantic, self.movable).view(np.uint8), np.ones((5, 5)))
        static: NDArray[np.bool_] = (grown == 0) & (semantic != self.sky)
        return static

    def _compare(
        self, baseline: Baseline, grey: NDArray[np.uint8], depth: Floats,
        semantic: NDArray[np.uint8], static: NDArray[np.bool_], trusted: bool,
    ) -> Comparison:
        """Return the comparison of the newest frame with that of a baseline."""
        earlier = baseline.earlier.grey
        depth = depth * np.float32(self.scale)
        ego = self._full.estimate(grey, earlier, depth, static, baseline.pose, keep_flow=True)
        flow, pose = ego.flow, ego.pose
        assert flow is not None
        if trusted:
            pose = baseline.pose
            scale = depth_scale(depth, flow, static, pose, self.camera)
            if scale is not None:
                self.scale *= scale
                depth = depth * np.float32(scale)
            ego = EgoMotion(pose, ego.quality, ego.matches, flow)
        elif ego.quality < BELIEVABLE <= baseline.quality:
            pose = baseline.pose
            ego = EgoMotion(pose, ego.quality, ego.matches, flow)
        features = motion_features(
            grey, earlier, flow, depth, semantic, self.movable, pose, self.camera,
            baseline.seconds)
        return Comparison(baseline, ego, features, depth, self.camera)
