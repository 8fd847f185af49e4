# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How high the camera stands above the road, as the depth of the road's pixels says."""

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.pinhole import Floats, Pinhole

FARTHEST_HEIGHTS = 20.0
"""Road beyond this many heights of the camera is left out: its depth is the least certain."""
FEWEST_SHARE = 0.01
"""Where less of the image is road, no plane is fitted."""
FEWEST_POINTS = 100
MOST_POINTS = 4000
LOWEST_SPREAD = 0.1
"""The road must cover this share of the image's rows: a narrow band lies on many planes."""
NEAR_PLANE = 0.15
"""A pixel agrees if its height differs from the plane's by at most this share of it."""
FEWEST_AGREE = 0.7
"""A smaller share of agreeing pixels is no plane."""
LARGEST_ROLL, LARGEST_PITCH = np.radians(15), np.radians(40)
"""A road that seems to lie more oblique is none, or its depth is wrong."""
SMALLEST_NOISE = 0.02
ITERATIONS = 8


def camera_above_ground(
    depth: Floats, road: NDArray[np.bool_], camera: Pinhole,
) -> float | None:
    """
    Return the distance of the camera from the plane that the road lies in.

    The plane m is fitted to the points P of the road by ``m P = 1``, whose residual is the
    relative error of the height, with Cauchy weights. The height is ``1 / |m|``, in the units of
    the depth: if all depths are wrong by a factor, so is the height.

    :param depth: (H, W) float32 metres along Z.
    :param road: (H, W) bool, pixels of the road.
    :param camera: of the image.
    :return: metres; None if too little road is seen, or what is called road is no plane below the
        camera.
    """
    points = _road_points(depth, road, camera)
    if points is None:
        return None

    # Far road has the least certain depth; what is far is known once there is a height.
    plane, _ = _fitted(points)
    points = points[points[:, 2] * np.linalg.norm(plane) < FARTHEST_HEIGHTS]
    if len(points) < FEWEST_POINTS:
        return None
    plane, error = _fitted(points)

    # The plane must lie below the camera, and be one.
    length = float(np.linalg.norm(plane))
    if not length > 0 or (np.abs(error) < NEAR_PLANE).mean() < FEWEST_AGREE:
        return None
    right, down, ahead = plane / length
    level = down > 0 and abs(right) < np.sin(LARGEST_ROLL) and abs(ahead) < np.sin(LARGEST_PITCH)
    return 1 / length if level else None


def _fitted(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the plane m of points P by ``m P = 1``, and the error of each point."""
    plane: NDArray[np.float64] = np.zeros(3)
    error: NDArray[np.float64] = np.zeros(len(points))
    weight = np.ones(len(points))
    for _ in range(ITERATIONS):
        plane = np.asarray(np.linalg.lstsq(points * weight[:, None], weight, rcond=None)[0])
        error = points @ plane - 1
        noise = max(1.4826 * float(np.median(np.abs(error))), SMALLEST_NOISE)
        weight = 1 / np.sqrt(1 + (error / (1.5 * noise)) ** 2)
    return plane, error


def _road_points(
    depth: Floats, road: NDArray[np.bool_], camera: Pinhole,
) -> NDArray[np.float64] | None:
    """Return (N, 3) points of the road in metres, None if it covers too little of the image."""
    # The outline belongs to the kerb as often as to the road.
    inside = cv2.erode(road.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    rows, columns = np.nonzero(inside & np.isfinite(depth) & (depth > 0))
    height, width = depth.shape
    if len(rows) < FEWEST_SHARE * height * width or np.ptp(rows) < LOWEST_SPREAD * height:
        return None

    chosen = slice(None, None, 1 + len(rows) // MOST_POINTS)
    rows, columns = rows[chosen], columns[chosen]
    rays = np.stack([(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy,
                     np.ones(len(rows))], 1)
    return rays * depth[rows, columns].astype(np.float64)[:, None]
