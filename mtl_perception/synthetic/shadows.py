# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shadows on the ground: those of houses and trees on the map, those of objects in the image."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic import ground
from mtl_perception.synthetic.look import Look
from mtl_perception.synthetic.mesh import Array
from mtl_perception.synthetic.plan import CHUNK, Plan
from mtl_perception.synthetic.raster import View
from mtl_perception.synthetic.town import Site


def sun_share(look: Look) -> float:
    """Return how much of the light on the ground comes from the sun, 0 to 1."""
    direct = float(look.sunlight.mean()) * max(-float(look.sun[1]), 0.0)
    return direct / (direct + float(look.ambient.mean()))


def _slide(look: Look) -> Array:
    """Return x and z by which the shadow of a point moves per metre of its height."""
    steep = max(-float(look.sun[1]), 0.22)
    return np.array([-look.sun[0], -look.sun[2]]) / steep


def map_shade(plan: Plan, look: Look, chunk: int,
              sites: Sequence[Site]) -> NDArray[np.float32]:
    """Return (ROWS, COLUMNS) float32: the share of light that is left on a chunk's ground."""
    dark = np.zeros((ground.ROWS, ground.COLUMNS), np.float32)
    contact = np.zeros_like(dark)
    slide = _slide(look)
    steps = np.linspace(0, 1, 5)

    def cells(points: Array) -> NDArray[np.int32]:
        d = points[:, 0] - plan.bend(points[:, 1])
        column = (d + ground.REACH) / ground.CELL
        row = (points[:, 1] - chunk * CHUNK) / ground.CELL
        return np.clip(np.rint(np.stack([column, row], 1)), -30000, 30000).astype(np.int32)

    for site in sites:
        for block, height in zip(site.blocks, site.heights, strict=True):
            points = np.concatenate([block, block + slide * min(height, 16.0)])
            cv2.fillConvexPoly(dark, cv2.convexHull(cells(points)), 1.0)
            cv2.fillPoly(contact, [cells(block)], 1.0)
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
    shade, touch = cv2.GaussianBlur(dark, (0, 0), 3.0), cv2.GaussianBlur(contact, (0, 0), 8.0)
    left = (1 - 0.88 * sun_share(look) * shade) * (1 - 0.4 * touch)
    return np.asarray(left, np.float32)


def image_shade(view: View, look: Look, bodies: Sequence[tuple[float, float, float, Array]],
                ) -> NDArray[np.uint8]:
    """
    Return the shadows of objects on the ground as (H, W) uint8, 255 = darkest.

    :param bodies: x, z, yaw (metres, radians) and size (width, height, length, metres) each.
    """
    sun = np.zeros((view.height, view.width), np.uint8)
    under = np.zeros_like(sun)
    slide = _slide(look)
    strength = int(255 * 0.85 * sun_share(look))
    ring = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.5
    for x, z, yaw, size in bodies:
        away = np.hypot(x - view.position[0], z - view.position[2])
        if -view.focal * view.position[1] * size.max() < 0.6 * away * away:
            continue  # less than a row of pixels
        cosine, sine = np.cos(yaw), np.sin(yaw)
        local = ring * [size[0], size[2]]
        arm = np.stack([cosine * local[:, 0] + sine * local[:, 1],
                        cosine * local[:, 1] - sine * local[:, 0]], 1)
        middle = np.array([x, z])
        _fill(under, view, middle + arm * 1.06, 165)
        if strength > 20:
            ends = np.concatenate([middle + arm, middle + 0.8 * arm + slide * size[1]])
            hull = cv2.convexHull(ends.astype(np.float32))[:, 0]
            _fill(sun, view, hull.astype(np.float64), strength)
    soft = max(view.width / 384 * 1.1, 0.5)
    blurred = cv2.GaussianBlur(under, (0, 0), soft)
    return np.asarray(cv2.max(cv2.GaussianBlur(sun, (0, 0), soft * 0.6), blurred), np.uint8)


def _fill(mask: NDArray[np.uint8], view: View, points: Array, value: int) -> None:
    rotation, position = view.rotation, view.position
    x, z = points[:, 0] - position[0], points[:, 1] - position[2]
    flat = np.stack([rotation[0, i] * x - rotation[1, i] * position[1] + rotation[2, i] * z
                     for i in range(3)], 1)
    if flat[:, 2].min() >= 0.5:
        kept = list(flat)
    else:
        kept = []
        for a, b in zip(flat, np.roll(flat, -1, axis=0), strict=True):
            if a[2] >= 0.5:
                kept.append(a)
            if (a[2] >= 0.5) != (b[2] >= 0.5):
                kept.append(a + (b - a) * ((0.5 - a[2]) / (b[2] - a[2])))
    if len(kept) < 3:
        return
    corners = np.stack(kept)
    centre = np.array([(view.width - 1) / 2, (view.height - 1) / 2])
    pixels = corners[:, :2] / corners[:, 2:] * view.focal + centre
    cv2.fillConvexPoly(mask, np.rint(np.clip(pixels, -4000, 4000) * 16).astype(np.int32), value,
                       cv2.LINE_AA, 4)
