# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Buildings of the look ``roads``: terraces, houses with bays and dormers, blocks, halls."""

import numpy as np

from mtl_perception.synthetic.buildings import BUILDING, DEEP, ROOFS, STOREY
from mtl_perception.synthetic.mesh import Array, Mesh, box, faces, join, panel
from mtl_perception.synthetic.roads import textures as tiles
from mtl_perception.synthetic.textures import ROOF, WALL

SLATE = ((0.10, 0.10, 0.11), (0.05, 0.05, 0.06), (0.16, 0.15, 0.14))


def road_building(wide: float, tall: float, walls: Array, rng: np.random.Generator,
                  shops: bool) -> tuple[Mesh, float]:
    """
    Return a building and the height of its top in metres.

    Its front looks along +x at x = 0, the building is behind it, and z = 0 is its middle.

    :param wide: metres along z.
    :param tall: wanted height, metres; it is rounded to whole storeys.
    :param walls: (7, 3) colours of which one is drawn.
    :param rng: decides colours, textures, roof and what is built onto it.
    :param shops: whether the ground floor has shops.
    """
    colour = walls[int(rng.integers(7))] * rng.uniform(0.7, 1.3)
    front = int(rng.choice(tiles.FACADES))
    base = 3.3 if shops else 0.0
    floors = max(1, round((tall - base) / STOREY))
    height = base + floors * STOREY

    parts: list[Mesh] = []
    if shops:
        shade = np.full(3, rng.uniform(0.4, 0.95))
        parts.append(panel((0, 0, -wide / 2), (0, 0, wide), (0, -base, 0), shade, BUILDING,
                           outward=(1, 0, 0), texture=int(rng.choice(tiles.SHOPS)),
                           tiles=(wide / 9, 1), offset=(float(rng.random()), 0)))
        parts.append(box((0.08, -base, 0), (0.3, 0.25, wide), colour * 0.8, BUILDING,
                         bottom=True))
    parts.append(panel((0, -base, -wide / 2), (0, 0, wide), (0, -floors * STOREY, 0), colour,
                       BUILDING, outward=(1, 0, 0), texture=front,
                       tiles=(max(round(wide / 3), 1) / 4, floors / 3)))

    # The sides: mostly blind, of brick or plaster
    for side in (-1, 1):
        blind = rng.random() < 0.7
        what = int(rng.choice([WALL, tiles.BRICK, tiles.CONCRETE])) if blind else front
        parts.append(panel((-DEEP, 0, side * wide / 2), (DEEP, 0, 0), (0, -height, 0),
                           colour * rng.uniform(0.8, 1.1), BUILDING, outward=(0, 0, side),
                           texture=what, tiles=(DEEP / 12, height / 9)))

    if rng.random() < (0.15 if shops else 0.4):
        _bays(wide, base, min(floors, 2) * STOREY, colour, front, parts, rng)
    roof, peak = _top(wide, height, colour, rng)
    return join(parts + roof), peak


def _bays(wide: float, base: float, rise: float, colour: Array, front: int, parts: list[Mesh],
          rng: np.random.Generator) -> None:
    """Add bay windows to a front."""
    deep = float(rng.uniform(0.5, 1.0))
    for place in np.arange(-wide / 2 + 2.2, wide / 2 - 1.5, 5.5):
        low = (deep, -base, place - 1.1)
        parts.append(panel(low, (0, 0, 2.2), (0, -rise, 0), colour * 1.1, BUILDING,
                           outward=(1, 0, 0), texture=front, tiles=(0.25, rise / 9)))
        for side in (-1, 1):
            parts.append(panel((0, -base, place + side * 1.1), (deep, 0, 0), (0, -rise, 0),
                               colour, BUILDING, outward=(0, 0, side), texture=WALL,
                               tiles=(0.1, 0.3)))
        parts.append(box((deep / 2, -base - rise - 0.1, place), (deep + 0.2, 0.2, 2.4),
                         np.array(SLATE[0]), BUILDING, bottom=True))


def _top(wide: float, tall: float, colour: Array,
         rng: np.random.Generator) -> tuple[list[Mesh], float]:
    """Return a pitched roof with gables, dormers and chimneys, or a flat one; and its height."""
    if tall >= 12 or rng.random() < 0.25:  # flat, with a cornice or a parapet
        high = float(rng.uniform(0.2, 0.9))
        return [box((0.05, -tall - high / 2, 0), (0.4, high, wide),
                    colour * rng.uniform(0.7, 1.2), BUILDING, bottom=True)], tall + high

    shades = (*ROOFS, *SLATE)
    roof = np.array(shades[int(rng.integers(len(shades)))]) * rng.uniform(0.7, 1.3)
    peak = tall + float(rng.uniform(1.5, 4.2))
    ridge, lap = -DEEP / 2, 0.35
    parts = [panel((lap, -tall + 0.15, -wide / 2), (0, 0, wide),
                   (ridge - lap, tall - peak - 0.15, 0), roof * 1.4, BUILDING,
                   outward=(1, -1, 0), texture=ROOF, tiles=(wide / 5, 1.0))]

    parts.append(faces([[(0, -tall, z0), (-DEEP, -tall, z0), (ridge, -peak, z0),
                         (ridge, -peak, z0)] for z0 in (-wide / 2, wide / 2)], colour,
                       BUILDING, centre=(-DEEP / 2, -tall, 0)))
    parts.append(box((lap, -tall + 0.1, 0), (0.15, 0.18, wide), np.full(3, 0.5), BUILDING,
                     bottom=True))

    if rng.random() < 0.35:  # dormers
        for place in np.arange(-wide / 2 + 2, wide / 2 - 1, 4.5):
            parts.append(box((ridge * 0.4, -tall - 1.3, place), (1.8, 1.5, 1.5), roof, BUILDING))
            parts.append(faces([[(ridge * 0.4 + 0.92, -tall - 0.8, place - 0.5),
                                 (ridge * 0.4 + 0.92, -tall - 0.8, place + 0.5),
                                 (ridge * 0.4 + 0.92, -tall - 1.8, place + 0.5),
                                 (ridge * 0.4 + 0.92, -tall - 1.8, place - 0.5)]],
                               (0.05, 0.055, 0.06), BUILDING, centre=(ridge, -tall - 1, place)))

    for place in (-0.5, 0.5):
        if rng.random() < 0.6:
            parts.append(box((ridge + 0.5, -peak - 0.4, place * (wide - 1.2)), (0.7, 2.0, 1.2),
                             colour * 0.7, BUILDING))
    return parts, peak
