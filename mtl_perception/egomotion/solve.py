# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pose that explains matched points: PnP with RANSAC, then weighted least squares."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.pinhole import Matrix, Pinhole, rotation_of

Points = NDArray[np.float64]

FLOW_SIGMA_PX = 0.3
"""Expected error of the optical flow in each direction, pixels."""
DEPTH_SIGMA = 0.13
"""Expected relative error of depth; it moves a point along its epipolar line only."""
FARTHEST_M = 80.0
"""Depth is clipped here, metres: points farther away constrain the rotation only."""
FREEDOM = 4.0
"""Degrees of freedom of the Student's t distribution that the errors are assumed to have."""


@dataclass(frozen=True, eq=False)
class Matches:
    """
    Points of this frame and their pixels in the earlier one.

    :param points: (N, 3) float64 in this camera's frame, metres.
    :param pixels: (N, 2) float64 in this image.
    :param earlier: (N, 2) float64 in the earlier image.
    """

    points: Points
    pixels: Points
    earlier: Points

    def take(self, rows: NDArray[np.bool_]) -> 'Matches':
        """Return the matches that a mask selects."""
        return Matches(self.points[rows], self.pixels[rows], self.earlier[rows])


@dataclass(frozen=True, eq=False)
class Fit:
    """
    A pose and how well it explains the matches.

    :param pose: (4, 4) float64 from this camera's frame to the earlier one's.
    :param chi: (N,) float64 error of each match in units of its expected error.
    :param information: (6, 6) float64 inverse covariance of (rotation, translation) in radians
        and metres.
    :param offset: to add to the inverse depth of the points, 1/m; 0 if it was not asked for.
    """

    pose: Matrix
    chi: Points
    information: Matrix
    offset: float = 0.0


def ransac(matches: Matches, camera: Pinhole, threshold_px: float = 1.5) -> Matrix | None:
    """
    Return the pose that most matches agree on, None if none is found.

    SQPNP (Terzakis and Lourakis, ECCV 2020) inside RANSAC. The random numbers are the same in
    every call.

    :param matches: at least 6, some of which may be wrong.
    :param camera: of both frames.
    :param threshold_px: largest reprojection error of a match that agrees, pixels.
    :return: (4, 4) float64 from this camera's frame to the earlier one's.
    """
    if len(matches.points) < 6:
        return None

    cv2.setRNGSeed(0)
    try:
        found, turn, shift, _ = cv2.solvePnPRansac(
            matches.points, matches.earlier, camera.matrix, None, iterationsCount=60,
            reprojectionError=threshold_px, confidence=0.999, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:  # SQPNP takes no points that are seen in nearly one direction
        return None
    if not found or not (np.isfinite(turn).all() and np.isfinite(shift).all()):
        return None

    pose = np.eye(4)
    pose[:3, :3] = rotation_of(np.asarray(turn, np.float64).ravel())
    pose[:3, 3] = np.asarray(shift, np.float64).ravel()
    return pose


def refine(
    pose: Matrix, matches: Matches, camera: Pinhole, iterations: int = 6,
    information: Matrix | None = None, offset_sigma: float = 0.0,
) -> Fit:
    """
    Return the pose of least weighted error, by iteratively reweighted Gauss-Newton steps.

    The error of a match is split along and across its epipolar line. Across it, only the flow is
    wrong (:data:`FLOW_SIGMA_PX`); along it the depth is too, by :data:`DEPTH_SIGMA` of the flow
    that the translation causes. Weights are those of a Student's t distribution.

    :param pose: (4, 4) float64 to start from.
    :param matches: N of them.
    :param camera: of both frames.
    :param iterations: largest number of steps.
    :param information: (6, 6) float64 inverse covariance of the starting pose; None = unknown.
    :param offset_sigma: expected size of an error that the inverse depths of all points share,
        1/m; 0 takes them as they are.
    """
    start = pose
    prior = np.zeros((7, 7))
    if information is not None:
        prior[:6, :6] = information
    if offset_sigma:
        prior[6, 6] = 1 / offset_sigma ** 2
    free = slice(7 if offset_sigma else 6)  # without a sigma, the offset stays 0
    prior = prior[free, free]

    moved = np.zeros(len(prior))
    offset = 0.0
    for _ in range(iterations):
        error, jacobian = _linearised(pose, matches, camera, offset)
        flat = jacobian[free].reshape(len(prior), -1)

        # (J^T W J + P) step = J^T W e - P moved, where P is the prior's information and moved the
        # sum of the steps so far. A trace of damping keeps the matrix regular.
        weighted = flat * np.tile(_student_weight(error), 2)
        normal = weighted @ flat.T + prior
        damping = 1e-9 * np.trace(normal[:6, :6]) / 6
        step = np.linalg.lstsq(
            normal + damping * np.eye(len(prior)),
            weighted @ error.ravel() - prior @ moved, rcond=None)[0]

        moved = moved + step
        pose = _moved(start, moved)
        offset = float(moved[6:].sum())
        if np.abs(step[:3]).max() < 1e-5 and np.abs(step[3:6]).max() < 1e-3:
            break

    # The information leaves the prior out: it shall say how well the matches determine the pose.
    error, jacobian = _linearised(pose, matches, camera, offset)
    flat = jacobian[:6].reshape(6, -1)
    information = (flat * np.tile(_student_weight(error), 2)) @ flat.T
    return Fit(pose, np.hypot(error[0], error[1]), information, offset)


def _student_weight(error: Points) -> Points:
    """Return the weights (N,) of whitened errors (2, N) under a Student's t distribution."""
    # w = (f + d) / (f + |e|^2) with f degrees of freedom and d = 2 dimensions
    weight: Points = (FREEDOM + 2) / (FREEDOM + (error ** 2).sum(0))
    return weight


def _moved(pose: Matrix, step: Points) -> Matrix:
    """Return a pose after a small turn about the earlier camera and a shift in its frame."""
    # X' = exp(w) (R X + t) + v for a step (w, v)
    result = np.eye(4)
    turn = rotation_of(step[:3])
    result[:3, :3] = turn @ pose[:3, :3]
    result[:3, 3] = turn @ pose[:3, 3] + step[3:6]
    return result


def _linearised(
    pose: Matrix, matches: Matches, camera: Pinhole, offset: float = 0.0,
) -> tuple[Points, Points]:
    """
    Return whitened errors (2, N) and their Jacobian (7, 2, N).

    The two errors of a match are along and across its epipolar line. The Jacobian is that of the
    projection by the (rotation, translation) of :func:`_moved` and by the offset of inverse depth.
    One array holds one coordinate of all matches, which is several times as fast as the other way.
    """
    # Into the earlier camera's frame, over depth: X' / Z = R X / Z + t / Z, whose inverse depth
    # 1 / Z + offset reaches no farther than that of the farthest points
    inverse = 1 / matches.points[:, 2]
    turned = pose[:3, :3] @ (matches.points.T * inverse)
    inverse = inverse + offset
    beyond = inverse < 1 / FARTHEST_M
    inverse[beyond] = 1 / FARTHEST_M
    shift = pose[:3, 3]
    there = turned + shift[:, None] * inverse
    nearest = 0.1 * inverse
    behind = there[2] < nearest
    far = np.where(behind, nearest, there[2])

    # Pinhole projection: u = fx X'/Z' + cx, v = fy Y'/Z' + cy
    x, y = there[0] / far, there[1] / far
    off = (matches.earlier[:, 0] - (camera.fx * x + camera.cx),
           matches.earlier[:, 1] - (camera.fy * y + camera.cy))

    # The parallax, which the translation alone causes, points along the epipolar line. Without
    # parallax any direction serves, as the errors along and across are then the same.
    static = np.maximum(turned[2], nearest)
    right = camera.fx * (x - turned[0] / static)
    down = camera.fy * (y - turned[1] / static)
    size = np.sqrt(right * right + down * down)
    none = size < 1e-6
    right, down = right / np.maximum(size, 1e-9), down / np.maximum(size, 1e-9)
    right[none], down[none] = 1.0, 0.0

    # Whitening: each component over the error that is expected in its direction,
    # sigma_along^2 = sigma_flow^2 + (sigma_depth * parallax)^2 and sigma_across = sigma_flow
    sigma = np.hypot(FLOW_SIGMA_PX, DEPTH_SIGMA * size)
    along = right / sigma, down / sigma
    across = -down / FLOW_SIGMA_PX, right / FLOW_SIGMA_PX
    error = np.stack([along[0] * off[0] + along[1] * off[1],
                      across[0] * off[0] + across[1] * off[1]])
    error[:, behind] = 10.0  # a gross error, which zeros below keep from pulling the pose

    # A step (w, v) moves the point by dX' = w x X' + v, an offset o by dX' / Z = t o, so with
    # x = X'/Z' and y = Y'/Z'
    #   du = fx (-x y w1 + (1 + x^2) w2 - y w3 + v1 / Z' - x v3 / Z' + (t1 - x t3) Z / Z' o)
    #   dv = fy (-(1 + y^2) w1 + x y w2 + x w3 + v2 / Z' - y v3 / Z' + (t2 - y t3) Z / Z' o)
    near = inverse / far
    zero = np.zeros_like(x)
    moved = np.where(beyond, 0.0, 1 / far)
    columns = camera.fx * np.stack([
        -x * y, 1 + x * x, -y, near, zero, -x * near, (shift[0] - x * shift[2]) * moved])
    rows = camera.fy * np.stack([
        -1 - y * y, x * y, x, zero, near, -y * near, (shift[1] - y * shift[2]) * moved])
    jacobian = np.stack([along[0] * columns + along[1] * rows,
                         across[0] * columns + across[1] * rows], 1)
    jacobian[..., behind] = 0
    return error, jacobian
