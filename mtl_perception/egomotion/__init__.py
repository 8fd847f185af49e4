# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How the camera itself moved, from optical flow and depth; numpy and OpenCV alone."""

from mtl_perception.egomotion.estimate import EgoMotion, MotionEstimator
from mtl_perception.egomotion.pinhole import Pinhole
from mtl_perception.egomotion.residual import RESIDUAL_CHANNELS, motion_features
from mtl_perception.egomotion.ring import Baseline, FrameRing
from mtl_perception.egomotion.scale import depth_scale
from mtl_perception.egomotion.tracker import Comparison, MotionTracker

__all__ = [
    'RESIDUAL_CHANNELS', 'Baseline', 'Comparison', 'EgoMotion', 'FrameRing', 'MotionEstimator',
    'MotionTracker', 'Pinhole', 'depth_scale', 'motion_features']
