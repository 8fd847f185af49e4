# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Ego-motion of a camera from optical flow and depth, with numpy and OpenCV only.

A camera's frame has x to the right, y down and z along the optical axis, metres. A pose is a
(4, 4) float64 matrix [R t; 0 1] from the current camera's frame to the earlier one's: a point X of
the current frame is R X + t in the earlier one. Flow goes back in time as well: added to a pixel
of the current image, it gives the place of the same point in the earlier image.
"""

from mtl_perception.egomotion.estimate import EgoMotion, MotionEstimator
from mtl_perception.egomotion.pinhole import Pinhole
from mtl_perception.egomotion.residual import RESIDUAL_CHANNELS, motion_features, residual
from mtl_perception.egomotion.ring import Baseline, FrameRing
from mtl_perception.egomotion.scale import depth_scale
from mtl_perception.egomotion.tracker import Comparison, MotionTracker

__all__ = [
    'RESIDUAL_CHANNELS', 'Baseline', 'Comparison', 'EgoMotion', 'FrameRing', 'MotionEstimator',
    'MotionTracker', 'Pinhole', 'depth_scale', 'motion_features', 'residual']
