# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A street of a road and two walls whose depth is known, as a camera that drives sees it."""

import numpy as np

from mtl_perception.egomotion import Pinhole

HEIGHT_M, WALL_M, END_M = 1.5, 5.0, 45.0
CAMERA = Pinhole(120.0, 120.0, 95.5, 55.5)
SHAPE = (112, 192)
ROAD, WALL = 0, 1


def draw(along_m):
    """
    Return the image, the depth and the classes at a place along the street.

    :return: (H, W) uint8 grey, (H, W) float32 metres, (H, W) uint8.
    """
    rows, columns = np.indices(SHAPE)
    x = (columns - CAMERA.cx) / CAMERA.fx
    y = (rows - CAMERA.cy) / CAMERA.fy
    with np.errstate(divide='ignore'):
        depths = np.stack([
            np.where(y > 0, HEIGHT_M / y, np.inf), WALL_M / np.abs(x),
            np.full(SHAPE, END_M - along_m)])
    depth = depths.min(0)

    # A texture in space, coarser where it is far away
    places = np.stack([x * depth, y * depth, depth + along_m])
    generator = np.random.default_rng(1)
    grey = np.zeros(SHAPE)
    for _ in range(40):
        waves = generator.normal(0, 2.5, 3)
        grey += np.sin(np.tensordot(waves, places, 1) + generator.uniform(0, 6))
    image = np.clip(128 + 12 * grey, 0, 255).astype(np.uint8)
    return image, depth.astype(np.float32), (depths.argmin(0) > 0).astype(np.uint8)


def pose(forward_m):
    """Return the pose from a frame to one this far behind it."""
    matrix = np.eye(4)
    matrix[2, 3] = forward_m
    return matrix
