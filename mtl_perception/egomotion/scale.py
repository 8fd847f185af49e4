# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scale of depth that agrees with a known motion of the camera, such as wheel odometry."""

import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.pinhole import Floats, Matrix, Pinhole, rigid_flow

SMALLEST_PARALLAX_PX = 1.0
"""Pixels that the translation moves less than this say nothing about their depth."""
SMALLEST_RATIO = 0.05
"""Parallax below this ratio to the expected one contradicts the motion; no scale is returned."""
FEWEST_PIXELS = 100
"""From fewer pixels, no scale is estimated."""
ITERATIONS = 4
"""Parallax is not quite proportional to inverse depth when the camera moves along its axis."""


def depth_scale(
    depth: Floats, flow: Floats, static: NDArray[np.bool_], pose: Matrix, camera: Pinhole,
) -> float | None:
    """
    Return the factor on depth that explains the flow under a known motion.

    Parallax, the flow that a translation causes, is about proportional to 1 / Z. So the ratio of
    expected to found parallax is the factor on depth at each static pixel; the median is taken.

    :param depth: (H, W) float32 metres along Z of this frame.
    :param flow: (H, W, 2) float32 optical flow to the earlier frame, pixels.
    :param static: (H, W) bool, pixels that are static and have a depth.
    :param pose: (4, 4) float64 from this camera's frame to the earlier one's, metres.
    :param camera: of both frames.
    :return: the factor, None if too few pixels have parallax or they contradict the motion.
    """
    # Rotation moves all depths alike: taken from the flow, it leaves the parallax.
    turned = pose.copy()
    turned[:3, 3] = 0
    rotation = rigid_flow(depth, turned, camera)
    found = flow - rotation

    scale = 1.0
    for _ in range(ITERATIONS):
        expected = rigid_flow(depth * np.float32(scale), pose, camera) - rotation
        size = (expected ** 2).sum(2)
        usable = static & (size > SMALLEST_PARALLAX_PX ** 2) & np.isfinite(found).all(2)
        if int(usable.sum()) < FEWEST_PIXELS:
            return None

        # Found parallax projected on the expected: the part across the epipolar line is an error
        # of the flow, not of depth.
        ratio = (expected[usable] * found[usable]).sum(1) / size[usable]
        middle = float(np.median(ratio))
        if middle < SMALLEST_RATIO:
            return None
        scale /= middle
    return scale
