# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Follow one camera frame by frame: chained short steps, and a comparison over a longer one."""

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
    The newest frame compared with an earlier one.

    :param baseline: the earlier frame; its pose is the chained one.
    :param ego: the pose between the two, with the flow.
    :param features: (C, H // 2, W // 2) float32 for a motion head.
    :param depth: (H, W) float32 metres that were used, scaled if there is an odometry.
    :param camera: of both frames.
    """

    baseline: Baseline
    ego: EgoMotion
    features: Floats
    depth: Floats
    camera: Pinhole

    def residual(self) -> Floats:
        """Return (H, W, 2) float32, the flow that the camera's motion does not explain, pixels."""
        assert self.ego.flow is not None  # a comparison keeps it
        return residual(self.ego.flow, self.depth, self.ego.pose, self.camera).flow


class MotionTracker:
    """
    Follow the motion of one camera and prepare the input of a motion head.

    Consecutive frames give short steps, which are chained in a :class:`.FrameRing`. The newest
    frame is then compared with an earlier one: that one's image is warped by the chained pose, the
    remaining flow refines the pose, and the flow that the refined pose does not explain gives the
    features.

    :param camera: of the images, at their size.
    :param movable: ids of the semantic classes whose objects can move.
    :param sky: id of the semantic class without depth, -1 if no class is.
    :param ring: frames to compare with, by default those of the last 0.3 s and 3 m.
    """

    def __init__(
        self, camera: Pinhole, movable: tuple[int, ...], sky: int = -1,
        ring: FrameRing | None = None,
    ) -> None:
        self.camera = camera
        self.movable = movable
        self.sky = sky
        self.ring = FrameRing() if ring is None else ring
        self.step: EgoMotion | None = None
        """The last step, None before the second frame."""
        self.scale = 1.0
        """Factor on depth that fits the odometry, 1 without one."""
        self._near = MotionEstimator(camera)
        self._full = MotionEstimator(camera, 'full')

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

        # The step from the frame before
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
        """Return (H, W) bool, pixels of classes that cannot move and have a depth."""
        # Grown by 2 pixels, as the outlines of movable objects are not exact
        movable = cv2.dilate(np.isin(semantic, self.movable).view(np.uint8), np.ones((5, 5)))
        static: NDArray[np.bool_] = (movable == 0) & (semantic != self.sky)
        return static

    def _compare(
        self, baseline: Baseline, grey: NDArray[np.uint8], depth: Floats,
        semantic: NDArray[np.uint8], static: NDArray[np.bool_], trusted: bool,
    ) -> Comparison:
        """
        Return the comparison of the newest frame with that of a baseline.

        :param trusted: whether the pose of the baseline comes from an odometry.
        """
        earlier = baseline.earlier.grey
        depth = depth * np.float32(self.scale)
        ego = self._full.estimate(grey, earlier, depth, static, baseline.pose, keep_flow=True)
        flow, pose = ego.flow, ego.pose
        assert flow is not None

        if trusted:
            # The odometry knows the pose in metres; what the flow adds is the scale of depth.
            pose = baseline.pose
            scale = depth_scale(depth, flow, static, pose, self.camera)
            if scale is not None:
                self.scale *= scale
                depth = depth * np.float32(scale)
            ego = EgoMotion(pose, ego.quality, ego.matches, flow)
        elif ego.quality < BELIEVABLE <= baseline.quality:
            # Every step was reliable, so the chained pose is better than this estimate. The low
            # quality is kept, because the flow that misled the estimate is used below.
            pose = baseline.pose
            ego = EgoMotion(pose, ego.quality, ego.matches, flow)

        features = motion_features(
            grey, earlier, flow, depth, semantic, self.movable, pose, self.camera,
            baseline.seconds)
        return Comparison(baseline, ego, features, depth, self.camera)
