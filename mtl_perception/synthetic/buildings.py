# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Buildings with shops, storeys, roofs and chimneys."""

import numpy as np

from mtl_perception.synthetic import textures
from mtl_perception.synthetic.mesh import Array, Mesh, box, faces, join, panel
from mtl_perception.tasks import STREET_SEMANTIC

BUILDING = STREET_SEMANTIC.classes.index('building')
ROOFS = np.array([[0.26, 0.10, 0.06], [0.10, 0.10, 0.11], [0.17, 0.13, 0.10]])
DEEP = 10.0
"""Depth of every building, metres."""
STOREY = 3.0
"""Height of an upper storey, metres."""


def building(wide: float, tall: float, walls: Array, rng: np.random.Generator,
             ) -> tuple[Mesh, float]:
    """
    Return a building and the height of its top in metres.

    Its front looks along +x at x = 0, the building is behind it, and z = 0 is its middle.

    :param wide: metres along z.
    :param tall: wanted height, metres; it is rounded to whole storeys.
    :param walls: (7, 3) colours of which one is drawn.
    :param rng: decides colours, textures, roof and balconies.
    """
    colour = walls[int(rng.integers(7))] * rng.uniform(0.8, 1.2)
    facade = textures.FACADE + int(rng.integers(textures.FACADES))
    base = min(3.3, tall)
    floors = max(1, round((tall - base) / STOREY)) if tall > base + 1.5 else 0
    tall = base + floors * STOREY

    parts = _walls(wide, base, floors, colour, facade, rng)
    peak = _roof(wide, tall, colour, parts, rng)
    if floors and rng.random() < 0.3:  # balconies or bays
        for place in np.arange(-wide / 2 + 2, wide / 2 - 2, 4.0):
            parts.append(box((0.4, -base - 0.5, place), (0.8, 1.0, 1.9), colour * 0.9,
                             BUILDING, bottom=True))
    return join(parts), peak


def _walls(wide: float, base: float, floors: int, colour: Array, facade: int,
           rng: np.random.Generator) -> list[Mesh]:
    """Return the front and the two sides; the ground floor of the front has shops."""
    start = float(rng.uniform(0, 1))
    across = wide / 12
    shop = textures.SHOP + int(rng.integers(textures.SHOPS))
    shade = colour * rng.uniform(0.7, 1.2)

    # Lower left corner, edge to the right, outward normal, tiles of 12 m, ground floor's texture
    spans = [((0.0, 0.0, -wide / 2), (0.0, 0.0, wide), (1.0, 0, 0), across, shop),
             ((-DEEP, 0.0, -wide / 2), (DEEP, 0.0, 0.0), (0, 0, -1.0), DEEP / 12, textures.WALL),
             ((0.0, 0.0, wide / 2), (-DEEP, 0.0, 0.0), (0, 0, 1.0), DEEP / 12, textures.WALL)]

    walls = []
    for number, (corner, right, outward, repeat, low) in enumerate(spans):
        blind = number > 0 and rng.random() < 0.5
        walls.append(panel(corner, right, (0, -base, 0), shade if number == 0 else colour,
                           BUILDING, outward=outward, texture=low,
                           tiles=(repeat * 12 / 9, 1), offset=(start, 0)))
        if floors:
            upper = np.array(corner) + [0, -base, 0]
            walls.append(panel(upper, right, (0, -floors * STOREY, 0), colour, BUILDING,
                               outward=outward, texture=textures.WALL if blind else facade,
                               tiles=(repeat, floors / 3), offset=(start, 0)))
    return walls


def _roof(wide: float, tall: float, colour: Array, parts: list[Mesh],
          rng: np.random.Generator) -> float:
    """Add a pitched roof with gables and perhaps a chimney, or a flat one; return its height."""
    roof = ROOFS[int(rng.integers(3))] * rng.uniform(0.7, 1.3)
    if tall >= 11 or rng.random() >= 0.75:  # flat, with a cornice
        parts.append(box((0.05, -tall - 0.15, 0), (0.5, 0.35, wide), colour * 1.15, BUILDING,
                         bottom=True))
        return tall

    # Only the slope above the front can be seen; it laps over the wall.
    peak = tall + float(rng.uniform(1.8, 3.6))
    ridge = -DEEP / 2
    lap = 0.35
    parts.append(panel((lap, -tall + 0.15, -wide / 2), (0, 0, wide),
                       (ridge - lap, tall - peak - 0.15, 0), roof, BUILDING,
                       outward=(1, -1, 0), texture=textures.ROOF, tiles=(wide / 5, 1.0)))

    # The gables on both sides are triangles.
    parts.append(faces([[(0, -tall, z0), (-DEEP, -tall, z0), (ridge, -peak, z0),
                         (ridge, -peak, z0)] for z0 in (-wide / 2, wide / 2)], colour,
                       BUILDING, centre=(-DEEP / 2, -tall, 0)))
    if rng.random() < 0.6:  # a chimney
        parts.append(box((ridge + 1.0, -peak - 0.2, float(rng.uniform(-0.4, 0.4)) * wide),
                         (0.7, 2.0, 0.9), colour * 0.8, BUILDING))
    return peak
