# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The residual flow, which the camera's own motion does not explain, and a motion head's input."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.pinhole import Floats, Matrix, Pinhole, rigid_flow, warp
from mtl_perception.egomotion.solve import DEPTH_SIGMA, FARTHEST_M, FLOW_SIGMA_PX
from mtl_perception.egomotion.static import of_classes

RESIDUAL_CHANNELS = (
    'along_sigma', 'across_sigma', 'chi', 'along_px', 'across_px', 'parallax', 'inverse_depth',
    'speed', 'static_error', 'flow_error', 'inside', 'seconds', 'background_chi')
"""Names of the channels of :func:`motion_features` before those of the movable classes."""


@dataclass(frozen=True, eq=False)
class Residual:
    """
    Optical flow minus that of a static world, at the images' size (H, W).

    :param flow: (H, W, 2) float32 residual flow, pixels.
    :param along: float32, its component along the epipolar line, pixels.
    :param across: float32, its component across that line, pixels.
    :param parallax: float32 length of the flow that the camera's translation causes, pixels.
    :param chi: float32 length of the residual in units of the error expected of flow and depth.
    :param expected: (H, W, 2) float32 flow of a static world, pixels.
    """

    flow: Floats
    along: Floats
    across: Floats
    parallax: Floats
    chi: Floats
    expected: Floats


def residual(flow: Floats, depth: Floats, pose: Matrix, camera: Pinhole) -> Residual:
    """
    Return the part of a flow that a motion of the camera does not explain.

    The error along the epipolar line is expected to be that of the flow and, in quadrature, a
    share of the parallax (depth); across it, that of the flow alone. Where there is no parallax,
    both are those of the flow.

    :param flow: (H, W, 2) float32 optical flow to the earlier frame, pixels.
    :param depth: (H, W) float32 metres along Z of the current frame.
    :param pose: (4, 4) float64 from this camera's frame to the earlier one's.
    :param camera: of both frames.
    """
    depth = np.clip(depth, 0.5, FARTHEST_M)

    # Parallax: the flow of the whole motion minus that of its rotation. It points along the
    # epipolar line and shrinks with depth.
    turn = pose.copy()
    turn[:3, 3] = 0
    expected = np.nan_to_num(rigid_flow(depth, pose, camera))
    shift = expected - rigid_flow(depth, turn, camera)
    size = np.maximum(cv2.magnitude(shift[..., 0], shift[..., 1]), np.float32(1e-6))
    x, y = shift[..., 0] / size, shift[..., 1] / size

    # With (x, y) the unit vector of the epipolar line and r the residual flow:
    # along = (x, y) r, across = (-y, x) r, chi^2 = (along / sigma)^2 + (across / sigma_flow)^2
    rest = flow - expected
    along = x * rest[..., 0] + y * rest[..., 1]
    across = x * rest[..., 1] - y * rest[..., 0]
    chi = cv2.magnitude(along / _along_sigma(size), across / np.float32(FLOW_SIGMA_PX))
    return Residual(rest, along, across, size, np.asarray(chi, np.float32), expected)


def _along_sigma(parallax: Floats) -> Floats:
    """Return the expected error along the epipolar line, pixels."""
    # sigma^2 = sigma_flow^2 + (sigma_depth * parallax)^2
    sigma: Floats = np.sqrt(
        np.float32(FLOW_SIGMA_PX ** 2) + np.float32(DEPTH_SIGMA ** 2) * parallax ** 2)
    return sigma


def motion_features(
    current: NDArray[np.uint8], earlier: NDArray[np.uint8], flow: Floats, rest: Residual,
    depth: Floats, semantic: NDArray[np.uint8], movable: Sequence[int], camera: Pinhole,
    seconds: float,
) -> Floats:
    """
    Return the input of a motion head, at half the images' resolution.

    :param current: (H, W) uint8 grey.
    :param earlier: (H, W) uint8 grey.
    :param flow: (H, W, 2) float32 optical flow to the earlier frame, pixels.
    :param rest: what of it the camera's motion does not explain, of :func:`residual`.
    :param depth: (H, W) float32 metres along Z of the current frame.
    :param semantic: (H, W) uint8 class ids of the current frame.
    :param movable: ids of the classes whose objects can move.
    :param camera: of both frames.
    :param seconds: between the frames.
    :return: (C, H // 2, W // 2) float32 of the order of 1: :data:`RESIDUAL_CHANNELS` and one mask
        for each movable class.
    """
    height, width = depth.shape
    depth = np.clip(depth, 0.5, FARTHEST_M)

    # A wrong pose raises chi everywhere; its median over the background tells the head so.
    static = ~of_classes(semantic, movable) & (depth < FARTHEST_M * 0.75)
    beside = rest.chi[static]
    middle = len(beside) // 2
    background = float(np.partition(beside, middle)[middle]) if len(beside) else 10.0

    # Pixels whose place in the earlier frame lies outside of its image
    x = rest.expected[..., 0] + np.arange(width, dtype=np.float32)
    y = rest.expected[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)

    # Residual over focal length is an angle; times depth, metres across the line of sight.
    angle = cv2.magnitude(rest.along / np.float32(camera.fx), rest.across / np.float32(camera.fy))

    planes = [
        _bounded(rest.along / _along_sigma(rest.parallax), 12.0, 3.0),
        _bounded(rest.across / np.float32(FLOW_SIGMA_PX), 12.0, 3.0),
        _log1p(np.minimum(rest.chi, np.float32(50))),
        _bounded(rest.along, 8.0, 2.0),
        _bounded(rest.across, 8.0, 2.0),
        _log1p(rest.parallax) / np.float32(3),
        np.float32(5) / depth,
        _bounded(angle * depth / np.float32(seconds), 20.0, 5.0),

        # How well the earlier image fits when warped as if static, and by the flow
        _difference(current, warp(earlier, rest.expected)),
        _difference(current, warp(earlier, flow)),
        inside,
        seconds / 0.3,
        np.log1p(min(background, 50.0)),
        *(semantic == number for number in movable)]

    # to half of the resolution: the mean of four pixels, or a number for all of them
    features = np.empty((len(planes), height // 2, width // 2), np.float32)
    for feature, plane in zip(features, planes):
        if isinstance(plane, float):
            feature.fill(plane)
        else:
            feature[...] = cv2.resize(
                np.asarray(plane, np.float32), (width // 2, height // 2),
                interpolation=cv2.INTER_AREA)
    return features


def _log1p(values: Floats) -> Floats:
    """Return log(1 + x); ``np.log1p`` takes 20 times as long."""
    return np.asarray(cv2.log(values + np.float32(1)), np.float32)


def _bounded(values: Floats, largest: float, unit: float) -> Floats:
    """Return values clipped at plus and minus ``largest`` and divided by ``unit``."""
    return np.asarray(np.clip(values, -largest, largest) / np.float32(unit), np.float32)


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    """Return the smoothed absolute difference of two grey images, 0 to 8."""
    return np.asarray(
        cv2.blur(cv2.absdiff(first, second), (3, 3)), np.float32) / np.float32(32)
