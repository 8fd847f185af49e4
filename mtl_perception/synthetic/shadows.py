# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shadows on the ground: of houses and trees in the map, of moving objects in the image."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic import ground
from mtl_perception.synthetic.appearance import Appearance
from mtl_perception.synthetic.layout import CHUNK, Layout
from mtl_perception.synthetic.mesh import Array
from mtl_perception.synthetic.raster import View
from mtl_perception.synthetic.town import Site

NEAR = 0.5
"""Parts of objects nearer to the camera than this cast no shadow in the image, metres."""


def sun_share(appearance: Appearance) -> float:
    """Return how much of the light on the ground comes from the sun, 0 to 1."""
    direct = float(appearance.sunlight.mean()) * max(-float(appearance.sun[1]), 0.0)
    return direct / (direct + float(appearance.ambient.mean()))


def _slide(appearance: Appearance) -> Array:
    """Return x and z by which the shadow of a point moves per metre of its height."""
    steep = max(-float(appearance.sun[1]), 0.22)
    return np.array([-appearance.sun[0], -appearance.sun[2]]) / steep


def map_shade(layout: Layout, appearance: Appearance, chunk: int,
              sites: Sequence[Site]) -> NDArray[np.float32]:
    """Return (ROWS, COLUMNS) float32, the share of light that reaches a chunk's ground."""
    dark = np.zeros((ground.ROWS, ground.COLUMNS), np.float32)
    contact = np.zeros_like(dark)
    slide = _slide(appearance)
    steps = np.linspace(0, 1, 5)

    def cells(points: Array) -> NDArray[np.int32]:
        """Return the columns and rows of points (N, 2) of x and z."""
        d = points[:, 0] - layout.bend(points[:, 1])
        column = (d + ground.REACH) / ground.CELL
        row = (points[:, 1] - chunk * CHUNK) / ground.CELL
        return np.clip(np.rint(np.stack([column, row], 1)), -30000, 30000).astype(np.int32)

    for site in sites:
        # A house: the hull of its outline and of the shadow of its top
        for block, height in zip(site.blocks, site.heights, strict=True):
            points = np.concatenate([block, block + slide * min(height, 16.0)])
            cv2.fillConvexPoly(dark, cv2.convexHull(cells(points)), 1.0)
            cv2.fillPoly(contact, [cells(block)], 1.0)

        # A tree: five discs for the crown, a line for the trunk
        for x, z, radius, height in site.shades:
            centre = np.array([x, z]) + slide * height
            for step in steps:
                turn = step * 2 * np.pi
                spot = centre + 0.55 * radius * np.array([np.cos(turn), np.sin(turn)])
                column, row = cells(spot[None])[0]
                cv2.circle(
                    dark, (int(column), int(row)), int(radius * 0.62 / ground.CELL), 1.0, -1)

            trunk = cells(np.array([[x, z], centre]))
            cv2.line(dark, trunk[0].tolist(), trunk[1].tolist(), 1.0, 4)
            cv2.circle(contact, trunk[0].tolist(), int(0.4 / ground.CELL), 0.8, -1)

    # Shadows of the sun have nearly sharp edges; those of the sky, at the foot of things, do not.
    shade = cv2.GaussianBlur(dark, (0, 0), 3.0)
    touch = cv2.GaussianBlur(contact, (0, 0), 8.0)
    left = (1 - 0.88 * sun_share(appearance) * shade) * (1 - 0.4 * touch)
    return np.asarray(left, np.float32)


def image_shade(
        view: View, appearance: Appearance,
        bodies: Sequence[tuple[float, float, float, Array]]) -> NDArray[np.uint8]:
    """
    Return the shadows of objects on the ground as (H, W) uint8, 255 = darkest.

    :param bodies: x, z, yaw (metres, radians) and size (width, height, length, metres) each.
    """
    sun = np.zeros((view.height, view.width), np.uint8)
    under = np.zeros_like(sun)
    slide = _slide(appearance)
    strength = int(255 * 0.85 * sun_share(appearance))

    # On the ground, an object of size s at distance z covers focal * height * s / z^2 rows: less
    # than 0.6 of a row is left out.
    kept = [body for body in bodies if -view.focal * view.position[1] * body[3].max()
            >= 0.6 * ((body[0] - view.position[0]) ** 2 + (body[1] - view.position[2]) ** 2)]
    if kept:
        # Corners of each outline in the world, (N, 4, 2) x and z
        x, z, yaw = (np.array([body[i] for body in kept])[:, None] for i in range(3))
        size = np.stack([body[3] for body in kept])
        right = np.array([-0.5, 0.5, 0.5, -0.5]) * size[:, :1]
        ahead = np.array([-0.5, -0.5, 0.5, 0.5]) * size[:, 2:]
        cosine, sine = np.cos(yaw), np.sin(yaw)
        arm = np.stack([cosine * right + sine * ahead, cosine * ahead - sine * right], -1)
        middle = np.stack([x, z], -1)

        # Below the object, and the hull of its outline and of the shadow of its top
        top = middle + 0.8 * arm + slide * size[:, 1, None, None]
        low = _seen(view, middle + arm * 1.06)
        hull = _seen(view, np.concatenate([middle + arm, top], 1))
        for number in range(len(kept)):
            _fill(under, view, low[number], 165)
            if strength > 20:
                _fill(sun, view, hull[number], strength)

    soft = max(view.width / 384 * 1.1, 0.5)
    blurred = cv2.GaussianBlur(under, (0, 0), soft)
    return np.asarray(cv2.max(cv2.GaussianBlur(sun, (0, 0), soft * 0.6), blurred), np.uint8)


def _seen(view: View, points: Array) -> Array:
    """Return points on the ground (..., 2), x and z, in the camera's frame, (..., 3)."""
    rotation, position = view.rotation, view.position
    x = points[..., 0] - position[0]
    z = points[..., 1] - position[2]
    return np.stack([rotation[0, i] * x - rotation[1, i] * position[1] + rotation[2, i] * z
                     for i in range(3)], -1)


def _fill(mask: NDArray[np.uint8], view: View, corners: Array, value: int) -> None:
    """Fill the hull of points in the camera's frame, (N, 3), clipped in front of the camera."""
    ahead = corners[:, 2] >= NEAR
    if not ahead.all():
        if not ahead.any():
            return

        # Every line from a point behind to one in front is cut at z = NEAR.
        behind = corners[~ahead]
        front = corners[ahead]
        share = (NEAR - behind[:, None, 2]) / (front[None, :, 2] - behind[:, None, 2])
        cuts = behind[:, None] + (front[None] - behind[:, None]) * share[..., None]
        corners = np.concatenate([front, cuts.reshape(-1, 3)])

    # Pinhole projection in units of 1/16 px, which is OpenCV's sub-pixel format with shift 4
    pixels = corners[:, :2] / corners[:, 2:] * (16 * view.focal)
    pixels += [8 * (view.width - 1), 8 * (view.height - 1)]
    outline = cv2.convexHull(np.rint(np.clip(pixels, -64000, 64000)).astype(np.int32))
    cv2.fillConvexPoly(mask, outline, value, cv2.LINE_AA, 4)
