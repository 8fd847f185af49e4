# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A pinhole camera, and the flow that its own motion causes in a static world."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]

NEAREST_M = 0.1
"""Points nearer than this to the earlier camera are not projected, metres along z."""


@dataclass(frozen=True)
class Pinhole:
    """
    A camera without distortion; the centre of pixel (0, 0) is at (0, 0).

    :param fx: focal length along x, pixels.
    :param fy: focal length along y, pixels.
    :param cx: column of the principal point, pixels.
    :param cy: row of the principal point, pixels.
    :raises ValueError: if a focal length is not a positive number.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        for name in ('fx', 'fy'):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f'{name} of a pinhole camera is {getattr(self, name)}; it must be a positive '
                    'number of pixels')

    @classmethod
    def from_matrix(cls, intrinsics: NDArray[np.floating]) -> 'Pinhole':
        """Return the camera of a (3, 3) matrix of intrinsics."""
        return cls(float(intrinsics[0, 0]), float(intrinsics[1, 1]), float(intrinsics[0, 2]),
                   float(intrinsics[1, 2]))

    @property
    def matrix(self) -> Matrix:
        """Return the (3, 3) float64 matrix of intrinsics."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def resized(
        self, shape: tuple[int, int], wanted: tuple[int, int],
    ) -> 'Pinhole':
        """
        Return the camera after its image was resized.

        :param shape: (rows, columns) that the camera is for.
        :param wanted: (rows, columns) of the resized image.
        """
        down = wanted[0] / shape[0]
        right = wanted[1] / shape[1]

        # Pixel 0 covers -0.5 to 0.5: the edge at -0.5 stays in place, not the centre at 0.
        return Pinhole(self.fx * right, self.fy * down, (self.cx + 0.5) * right - 0.5,
                       (self.cy + 0.5) * down - 0.5)


def rigid_flow(depth: Floats, pose: Matrix, camera: Pinhole) -> Floats:
    """
    Return the flow to the earlier frame that the camera's motion causes in a static world.

    A pixel ``x`` of depth ``Z`` goes to ``K (R K^-1 x + t / Z)``, the plane-plus-parallax form.

    :param depth: (H, W) float32 metres along Z of this frame, positive; +Inf = at infinity.
    :param pose: (4, 4) float64 from this camera's frame to the earlier one's.
    :param camera: of both frames.
    :return: (H, W, 2) float32 pixels (x, y) to add to a pixel of this frame; NaN where the point
        is behind the earlier camera.
    """
    height, width = depth.shape

    # K R K^-1, which moves points at infinity, and K t
    intrinsics = camera.matrix
    turn = (intrinsics @ pose[:3, :3] @ np.linalg.inv(intrinsics)).astype(np.float32)
    shift = (intrinsics @ pose[:3, 3]).astype(np.float32)

    # (K R K^-1) (x, y, 1) + K t / Z, one coordinate after the other; the third is Z' / Z.
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    inverse = np.float32(1) / depth
    homogeneous = [turn[i, 0] * x + (turn[i, 1] * y + turn[i, 2]) + shift[i] * inverse
                   for i in range(3)]

    far = homogeneous[2]
    far[far < NEAREST_M * inverse] = np.nan
    return np.asarray(
        cv2.merge([homogeneous[0] / far - x, homogeneous[1] / far - y]), np.float32)


def warp(image: NDArray[np.uint8], flow: Floats) -> NDArray[np.uint8]:
    """
    Return the earlier image resampled to this frame's pixels.

    :param image: (H, W) or (H, W, 3) uint8, the earlier frame.
    :param flow: (H, W, 2) float32 from this frame to the earlier one, pixels; NaN takes the
        nearest corner.
    :return: an image of the same shape; outside of the earlier image, its border is repeated.
    """
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(
        np.uint8, copy=False)


def rotation_of(vector: NDArray[np.float64]) -> Matrix:
    """Return the (3, 3) rotation of a (3,) rotation vector, radians."""
    return np.asarray(cv2.Rodrigues(np.asarray(vector, np.float64).reshape(3, 1))[0], np.float64)


def scaled_motion(pose: Matrix, factor: float) -> Matrix:
    """
    Return the motion at the same speed over ``factor`` times the duration.

    Rotation vector and translation are scaled on their own, which is close enough over steps.

    :param pose: (4, 4) float64 rigid motion.
    :param factor: on the duration.
    """
    vector = np.asarray(cv2.Rodrigues(np.ascontiguousarray(pose[:3, :3]))[0], np.float64)
    result = np.eye(4)
    result[:3, :3] = rotation_of(vector.ravel() * factor)
    result[:3, 3] = pose[:3, 3] * factor
    return result


def inverse(pose: Matrix) -> Matrix:
    """Return the inverse [R^T, -R^T t] of a rigid motion, (4, 4) float64."""
    result = np.eye(4)
    result[:3, :3] = pose[:3, :3].T
    result[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return result
