# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the camera's own motion does not explain: the residual flow, as a motion head sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.estimate import FARTHEST_M
from mtl_perception.egomotion.pinhole import Floats, Matrix, Pinhole, rigid_flow, warp
from mtl_perception.egomotion.solve import DEPTH_SIGMA, FLOW_SIGMA_PX

RESIDUAL_CHANNELS = (
    'along_sigma', 'across_sigma', 'chi', 'along_px', 'across_px', 'parallax', 'inverse_depth',
    'speed', 'static_error', 'flow_error', 'inside', 'seconds', 'background_chi')
"""Names of the channels of :func:`motion_features` before those of the movable classes."""


@dataclass(frozen=True, eq=False)
class Residual:
    """
    Flow that is left after the camera's own motion, at the images' size (H, W).

    :param left: (H, W, 2) float32 pixels of flow that are left.
    :param along: float32 pixels along the epipolar line.
    :param across: float32 pixels across it.
    :param parallax: float32 length of the flow that the camera's translation causes, pixels.
    :param chi: float32 length of the residual in units of what wrong flow and wrong depth cause.
    :param expected: (H, W, 2) float32 flow of a world at rest, pixels.
    """

    left: Floats
    along: Floats
    across: Floats
    parallax: Floats
    chi: Floats
    expected: Floats


def residual(flow: Floats, depth: Floats, pose: Matrix, camera: Pinhole) -> Residual:
    """
    Return what a motion of the camera leaves of a flow.

    The error along the epipolar line is expected to be that of the flow and, in quadrature, a
    share of the parallax (depth); across it, that of the flow alone. Where there is no parallax,
    both are those of the flow.

    :param flow: (H, W, 2) float32 optical flow to the earlier frame, pixels.
    :param depth: (H, W) float32 metres along Z of the current frame.
    :param pose: (4, 4) float64 from this camera's frame to the earlier one's.
    :param camera: of both frames.
    """
    depth = np.clip(depth, 0.5, FARTHEST_M)
    turn = pose.copy()
    turn[:3, 3] = 0
    expected = np.nan_to_num(rigid_flow(depth, pose, camera))
    shift = expected - rigid_flow(depth, turn, camera)
    size = np.maximum(cv2.magnitude(shift[..., 0], shift[..., 1]), np.float32(1e-6))
    x, y = shift[..., 0] / size, shift[..., 1] / size
    left = flow - expected
    along = x * left[..., 0] + y * left[..., 1]
    across = x * left[..., 1] - y * left[..., 0]
    chi = cv2.magnitude(along / _along_sigma(size), across / np.float32(FLOW_SIGMA_PX))
    return Residual(left, along, across, size, np.asarray(chi, np.float32), expected)


def _along_sigma(parallax: Floats) -> Floats:
    """Return the expected error along the epipolar line, pixels."""
    sigma: Floats = np.sqrt(
        np.float32(FLOW_SIGMA_PX ** 2) + np.float32(DEPTH_SIGMA ** 2) * parallax ** 2)
    return sigma


def motion_features(
    current: NDArray[np.uint8], earlier: NDArray[np.uint8], flow: Floats, depth: Floats,
    semantic: NDArray[np.uint8], movable: Sequence[int], pose: Matrix, camera: Pinhole,
    seconds: float,
) -> Floats:
    """
    Return what a motion head looks at, at half the images' resolution.

    :param current: (H, W) uint8 grey.
    :param earlier: (H, W) uint8 grey.
    :param flow: (H, W, 2) float32 optical flow to the earlier frame, pixels.
    :param depth: (H, W) float32 metres along Z of the current frame.
    :param semantic: (H, W) uint8 class ids of the current frame.
    :param movable: ids of the classes whose objects can move.
    :param pose: (4, 4) float64 from this camera's frame to the earlier one's.
    :param camera: of both frames.
    :param seconds: between the frames.
    :return: (C, H // 2, W // 2) float32 of the order of 1: :data:`RESIDUAL_CHANNELS` and one mask
        for each movable class.
    """
    height, width = depth.shape
    left = residual(flow, depth, pose, camera)
    depth = np.clip(depth, 0.5, FARTHEST_M)
    static = ~np.isin(semantic, movable) & (depth < FARTHEST_M * 0.75)
    background = float(np.median(left.chi[static])) if static.any() else 10.0
    x = left.expected[..., 0] + np.arange(width, dtype=np.float32)
    y = left.expected[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    metres = cv2.magnitude(left.along / np.float32(camera.fx), left.across / np.float32(camera.fy))
    planes = [
        _bounded(left.along / _along_sigma(left.parallax), 12.0, 3.0),
        _bounded(left.across / np.float32(FLOW_SIGMA_PX), 12.0, 3.0),
        np.log1p(np.minimum(left.chi, np.float32(50))),
        _bounded(left.along, 8.0, 2.0), _bounded(left.across, 8.0, 2.0),
        np.log1p(left.parallax) / np.float32(3), np.float32(5) / depth,
        _bounded(metres * depth / np.float32(seconds), 20.0, 5.0),
        _difference(current, warp(earlier, left.expected)),
        _difference(current, warp(earlier, flow)),
        inside.astype(np.float32),
        np.full((height, width), seconds / 0.3, np.float32),
        np.full((height, width), np.log1p(min(background, 50.0)), np.float32),
        *((semantic == number).astype(np.float32) for number in movable)]
    return np.stack([
        cv2.resize(np.asarray(plane, np.float32), (width // 2, height // 2),
                   interpolation=cv2.INTER_AREA) for plane in planes]).astype(np.float32)


def _bounded(values: Floats, largest: float, unit: float) -> Floats:
    """Return values cut at plus and minus the largest, in a unit."""
    return np.asarray(np.clip(values, -largest, largest) / np.float32(unit), np.float32)


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    """Return the smoothed absolute difference of two grey images, 0 to 8."""
    return np.asarray(
        cv2.blur(cv2.absdiff(first, second), (3, 3)), np.float32) / np.float32(32)
