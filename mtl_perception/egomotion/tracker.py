# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Follow one camera frame by frame: chained short steps, and a comparison over a longer one."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.estimate import (
    BELIEVABLE,
    EgoMotion,
    MotionEstimator,
    shifted_depth,
)
from mtl_perception.egomotion.pinhole import Floats, Matrix, Pinhole
from mtl_perception.egomotion.residual import motion_features, residual
from mtl_perception.egomotion.ring import Baseline, FrameRing, RingFrame
from mtl_perception.egomotion.scale import depth_scale
from mtl_perception.egomotion.static import Places, static_pixels, textured_pixels

SPEEDS = (3.0, 9.0, 18.0, 36.0)
"""
Forward speeds to try in turn while the motion is lost, m/s. Near standstill a wrong pose explains
the far scene and the lines along a road as well as the right one: the flow of a fast camera is
not found from there.
"""
REACH_GROWS = 1.25
"""Factor on the duration of the baseline after a comparison that is believed."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """
    The newest frame compared with an earlier one.

    :param baseline: the earlier frame; its pose is the chained one.
    :param ego: the pose between the two, with the flow.
    :param residual: (H, W, 2) float32, the flow that the camera's motion does not explain, pixels.
    :param features: (C, H // 2, W // 2) float32 for a motion head.
    :param depth: (H, W) float32 metres that were used, scaled if there is an odometry.
    :param camera: of both frames.
    """

    baseline: Baseline
    ego: EgoMotion
    residual: Floats
    features: Floats
    depth: Floats
    camera: Pinhole


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
        self.offset = 0.0
        """
        Added to inverse depth, 1/m; not estimated until a comparison fails, and from then on.
        """

        self._reach = self.ring.seconds  # duration over which the flow is found at this speed
        self._lost = 0  # comparisons in a row that were not believed
        self._near = MotionEstimator(camera)
        self._full = MotionEstimator(camera, 'full')

    def reset(self) -> None:
        """Forget all frames."""
        self.ring.reset()
        self.step = None
        self._lost = 0

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
        pixels = textured_pixels(grey, static)

        # The step from the frame before
        trusted = odometry is not None
        if odometry is not None:
            self.step = EgoMotion(odometry, 1.0, 0)
        else:
            self.step = self._near.estimate(
                grey, newest.grey, depth, pixels, self.ring.guess(stamp_ns), offset=self._offset)
            if self._lost:
                self._try_speed(stamp_ns, newest, grey, depth, pixels)
            if self.step.quality >= BELIEVABLE:
                self.offset = self.step.offset
        self.ring.add(stamp_ns, grey, image, self.step.pose, self.step.quality)

        found = self._compare(grey, depth, semantic, static, pixels, trusted)
        believed = found.ego.quality >= BELIEVABLE
        self._lost = 0 if believed or trusted else self._lost + 1
        return found

    @property
    def _offset(self) -> float | None:
        """Return what to start the estimate of the offset from, None to leave depth as it is."""
        return self.offset if self.offset or self._lost else None

    def _try_speed(
        self, stamp_ns: int, newest: RingFrame, grey: NDArray[np.uint8], depth: Floats,
        pixels: Places,
    ) -> None:
        """Take the step at another speed if it explains the flow better than that of the guess."""
        assert self.step is not None  # it has just been estimated
        guess = np.eye(4)
        guess[2, 3] = SPEEDS[self._lost % len(SPEEDS)] * (stamp_ns - newest.stamp_ns) * 1e-9
        rival = self._near.estimate(
            grey, newest.grey, depth, pixels, guess, offset=0.0, search=False)

        # The steps before were wrong then, so the chain starts anew.
        if rival.quality >= BELIEVABLE and rival.quality > self.step.quality:
            self.step = rival
            self.ring.reset()
            self.ring.add(newest.stamp_ns, newest.grey, newest.image)

    def static(self, semantic: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return (H, W) bool, pixels of classes that cannot move and have a depth."""
        return static_pixels(semantic, self.movable, self.sky)

    def _compare(
        self, grey: NDArray[np.uint8], depth: Floats, semantic: NDArray[np.uint8],
        static: NDArray[np.bool_], pixels: Places, trusted: bool,
    ) -> Comparison:
        """
        Return the comparison of the newest frame with that of a baseline.

        :param trusted: whether the pose of the baseline comes from an odometry.
        """
        baseline = self.ring.baseline(seconds=None if trusted else self._reach)
        assert baseline is not None  # there are two frames
        shorter = self.ring.baseline(seconds=baseline.seconds / 2, slack=0.0)
        assert shorter is not None
        if trusted:
            shorter = baseline

        # The flow over a long baseline may be too large to be found: half of it may do.
        depth = depth * np.float32(self.scale)
        ego = self._full.estimate(
            grey, baseline.earlier.grey, depth, pixels, baseline.pose, True, self._offset,
            search=shorter.seconds == baseline.seconds)
        if ego.quality < BELIEVABLE and shorter.seconds < baseline.seconds:
            baseline = shorter
            ego = self._full.estimate(
                grey, baseline.earlier.grey, depth, pixels, baseline.pose, True, self._offset)
            self._reach = baseline.seconds
        elif ego.quality >= BELIEVABLE:
            self._reach = min(self._reach * REACH_GROWS, self.ring.seconds)

        earlier = baseline.earlier.grey
        depth = shifted_depth(depth, ego.offset) if ego.offset else depth
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

        rest = residual(flow, depth, pose, self.camera)
        features = motion_features(
            grey, earlier, flow, rest, depth, semantic, self.movable, self.camera,
            baseline.seconds)
        return Comparison(baseline, ego, rest.flow, features, depth, self.camera)
