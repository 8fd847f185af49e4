# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small things on the sidewalks of the look ``roads``: bollards and advertising boards."""

import numpy as np

from mtl_perception.synthetic.mesh import Mesh, box, join, panel, tube
from mtl_perception.synthetic.roads import textures as tiles
from mtl_perception.tasks import ROADS_SEMANTIC

POLE = ROADS_SEMANTIC.classes.index('pole')
SIGN = ROADS_SEMANTIC.classes.index('traffic_sign')
BOLLARDS = ((0.03, 0.03, 0.035), (0.35, 0.35, 0.36), (0.22, 0.15, 0.09), (0.5, 0.48, 0.44))
"""Iron, steel, wood, stone."""


def bollard(rng: np.random.Generator) -> Mesh:
    """Return a bollard at the origin, 0.8 to 1.15 m high, some with a bright ring."""
    tall, thick = float(rng.uniform(0.8, 1.15)), float(rng.uniform(0.05, 0.13))
    colour = np.array(BOLLARDS[int(rng.integers(len(BOLLARDS)))]) * rng.uniform(0.7, 1.4)
    post = tube([(0, 0, 0), (0, -tall, 0)], [thick, thick * 0.85], colour, POLE, sides=6, cap=True)
    if rng.random() < 0.5:
        return post
    ring = tube([(0, -0.72 * tall, 0), (0, -0.82 * tall, 0)], [thick * 1.06] * 2,
                np.full(3, rng.uniform(0.5, 0.9)), POLE, sides=6)
    return join([post, ring])


def board(rng: np.random.Generator) -> Mesh:
    """Return an advertising board at the origin that faces along the road, 1.5 to 3 m high."""
    wide, tall = float(rng.uniform(0.6, 1.5)), float(rng.uniform(1.2, 2.4))
    foot = float(rng.choice([0.05, 0.4, 0.6]))
    tint = rng.uniform(0.03, 0.9, 3)
    parts = [box((0, -foot - tall / 2, 0), (wide + 0.1, tall + 0.1, 0.16),
                 np.full(3, rng.uniform(0.03, 0.5)), SIGN, bottom=True)]
    for facing in (-1, 1):
        parts.append(panel(
            (wide / 2 * facing, -foot, 0.09 * facing), (-wide * facing, 0, 0), (0, -tall, 0),
            tint, SIGN, outward=(0, 0, facing), texture=tiles.HOARDING,
            tiles=(float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.3, 1.0)))))

    for at in (-wide / 3, wide / 3):
        parts.append(box((at, -foot / 2, 0), (0.1, foot, 0.1), np.full(3, 0.1), SIGN))
    return join(parts)
