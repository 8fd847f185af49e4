# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth by photometric consistency: which depth makes frames around this one look like it?"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion.pinhole import Floats, Matrix, Pinhole, rigid_flow

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

WINDOW = 5
"""Side of the window of the structural similarity, pixels."""
STRUCTURE = 0.85
"""Weight of the structural similarity in the error; the rest is that of the grey values."""
FACTORS = np.exp(np.linspace(-0.72, 0.6, 23)).astype(np.float32)
"""Factors on the expected depth that are tried, 6 % apart."""
STEP_COST, JUMP_COST = 0.03, 0.3
"""Cost of neighbouring pixels whose factors are one step, or more, apart."""
SENSITIVE_PX = 0.15
"""Pixels of the image that 10 % of depth must move a point, or its depth cannot be seen."""
UNSEEN = 0.5
"""Error of a point that is in no other frame."""


@dataclass(frozen=True, eq=False)
class View:
    """
    Another frame of a static scene.

    :param image: (H, W) uint8 grey.
    :param pose: (4, 4) float64 from the frame that is looked at to this one, metres.
    """

    image: Image
    pose: Matrix


@dataclass(frozen=True, eq=False)
class Swept:
    """
    Depth that was found.

    :param depth: (h, w) float32 metres; where nothing can be seen, it follows its neighbours.
    :param known: (h, w) bool, where the images show it.
    """

    depth: Floats
    known: Mask


def photometric_error(first: Floats, second: Floats) -> Floats:
    """
    Return how different two images are: 0.85 (1 - SSIM) / 2 + 0.15 times their difference, 0 to 1.

    As in monodepth2 (Godard et al., ICCV 2019, eq. 2).

    :param first: (H, W) float32 grey, 0 to 1.
    :param second: (H, W) float32 grey, 0 to 1.
    """
    return _Reference(first).error(second)


def reprojection_error(
        image: Image, views: Sequence[View], depth: Floats, camera: Pinhole) -> Floats:
    """
    Return the photometric error of the views, brought here by depth and pose.

    The least over the views counts, because a point may be hidden in one of them.

    :param image: (H, W) uint8 grey.
    :param views: of the same size.
    :param depth: (h, w) float32 metres, of any size.
    :param camera: of the images.
    :return: (H, W) float32, NaN for points that no view shows.
    """
    reference = _Reference(_floats(image))
    return _least([_error(reference, view, depth, camera) for view in views])


def identity_error(image: Image, views: Sequence[View]) -> Floats:
    """
    Return the photometric error of the views as they are, (H, W) float32.

    A pixel that this explains best does not move: it shows something that drives along, or
    has no texture (the automask of monodepth2).
    """
    reference = _Reference(_floats(image))
    return _least([reference.error(_floats(view.image)) for view in views])


def sweep(
        image: Image, views: Sequence[View], depth: Floats, camera: Pinhole,
        static: Mask) -> Swept:
    """
    Return the depth near an expected one that makes the views look like the image.

    Each of :data:`FACTORS` on the depth is tried for all pixels; the factor of a pixel is the
    one of least error, smooth by semi-global matching (Hirschmueller, PAMI 2008).

    :param image: (H, W) uint8 grey; larger than the depth, it shows smaller motions.
    :param views: of the same size, at least one.
    :param depth: (h, w) float32 metres, expected.
    :param camera: of the images.
    :param static: (h, w) bool, what has a depth and does not move.
    """
    finite = np.where(np.isfinite(depth), depth, np.float32(1000)).astype(np.float32)
    size = depth.shape[::-1]
    reference = _Reference(_floats(image))

    costs = []
    for factor in FACTORS:
        errors = [_error(reference, view, finite * factor, camera) for view in views]
        cost = np.nan_to_num(_least(errors), nan=UNSEEN)
        costs.append(cv2.resize(cost, size, interpolation=cv2.INTER_AREA))
    volume = np.stack(costs).astype(np.float32)

    # Where a view without any motion fits as well, depth did not show.
    unmoved = cv2.resize(identity_error(image, views), size, interpolation=cv2.INTER_AREA)
    visible = static & (sensitivity(finite, views, camera, image.shape) > SENSITIVE_PX)
    visible &= volume.min(0) < unmoved

    volume[:, ~visible] = volume[:, visible].mean() if visible.any() else 0
    total = _smooth(volume)
    best = total.argmin(0)
    inside = (best > 0) & (best < len(FACTORS) - 1)
    return Swept(finite * _between(total, best), visible & inside)


def sensitivity(
        depth: Floats, views: Sequence[View], camera: Pinhole, shape: tuple[int, ...]) -> Floats:
    """
    Return how far 10 % of depth moves a point in the view that shows it best, (h, w) pixels.

    :param depth: (h, w) float32 metres.
    :param views: of the scene.
    :param camera: of images of a shape.
    :param shape: (rows, columns) of the images.
    """
    small = camera.resized((shape[0], shape[1]), (depth.shape[0], depth.shape[1]))
    scale = np.array([shape[1] / depth.shape[1], shape[0] / depth.shape[0]], np.float32)
    moved = [
        np.linalg.norm(scale * (
            rigid_flow(depth, view.pose, small)
            - rigid_flow(depth * np.float32(1.1), view.pose, small)), axis=2) for view in views]
    return np.asarray(np.nan_to_num(np.stack(moved)).max(0), np.float32)


class _Reference:
    """An image that others are compared with; its own statistics are computed once."""

    def __init__(self, image: Floats) -> None:
        self.image = image
        self.mean = _box(image)
        self.variance = _box(image * image) - self.mean ** 2

    def error(self, other: Floats) -> Floats:
        """Return the photometric error of another image."""
        mean = _box(other)
        variance = _box(other * other) - mean ** 2
        covariance = _box(self.image * other) - self.mean * mean
        similarity = (2 * self.mean * mean + 1e-4) * (2 * covariance + 9e-4) / (
            (self.mean ** 2 + mean ** 2 + 1e-4) * (self.variance + variance + 9e-4))
        return np.asarray(
            STRUCTURE * np.clip((1 - similarity) / 2, 0, 1)
            + (1 - STRUCTURE) * np.abs(self.image - other), np.float32)


def _error(reference: _Reference, view: View, depth: Floats, camera: Pinhole) -> Floats:
    """Return the photometric error of a view brought here, NaN where it shows nothing."""
    height, width = view.image.shape

    # The flow is smooth where depth is: it is computed at the size of the depth.
    small = camera.resized((height, width), (depth.shape[0], depth.shape[1]))
    flow = rigid_flow(depth, view.pose, small)
    if flow.shape[:2] != (height, width):
        scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
        flow = np.asarray(cv2.resize(
            flow * scale, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    warped = cv2.remap(
        _floats(view.image), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = reference.error(np.asarray(warped, np.float32))
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return np.where(inside, error, np.float32(np.nan))


def _least(errors: Sequence[Floats]) -> Floats:
    """Return the least of several errors at each pixel, NaN where none is known."""
    result = errors[0]
    for error in errors[1:]:
        result = np.fmin(result, error)
    return result


def _smooth(volume: Floats) -> Floats:
    """
    Return (K, h, w) costs of semi-global matching along rows and columns, both ways.

    L(p, k) = C(p, k) + min(L(q, k), L(q, k +- 1) + P1, min L(q) + P2) - min L(q), q before p.
    """
    total = np.zeros_like(volume)
    for axis, step in ((1, 1), (1, -1), (2, 1), (2, -1)):
        lines = np.moveaxis(volume, axis, 0)[::step]
        sums = np.empty_like(lines)
        sums[0] = before = lines[0]

        for place in range(1, len(lines)):
            least = before.min(0)
            best = np.minimum(before, least + JUMP_COST)
            best[1:] = np.minimum(best[1:], before[:-1] + STEP_COST)
            best[:-1] = np.minimum(best[:-1], before[1:] + STEP_COST)
            before = lines[place] + best - least
            sums[place] = before
        total += np.moveaxis(sums[::step], 0, axis)
    return total


def _between(total: Floats, best: NDArray[np.intp]) -> Floats:
    """Return the factors at the bottoms of parabolas through the least costs."""
    middle = best.clip(1, len(FACTORS) - 2)
    left, here, right = (
        np.take_along_axis(total, (middle + step)[None], 0)[0] for step in (-1, 0, 1))
    bend = left - 2 * here + right
    offset = np.where(bend > 1e-9, (left - right) / (2 * np.maximum(bend, 1e-9)), 0)
    spacing = np.log(FACTORS[1] / FACTORS[0])
    refined = FACTORS[middle] * np.exp(spacing * offset.clip(-0.5, 0.5))
    return np.where(best == middle, refined, FACTORS[best]).astype(np.float32)


def _box(image: Floats) -> Floats:
    """Return the means of windows."""
    return np.asarray(
        cv2.blur(image, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT), np.float32)


def _floats(image: Image) -> Floats:
    """Return grey values from 0 to 1."""
    return image.astype(np.float32) / np.float32(255)
