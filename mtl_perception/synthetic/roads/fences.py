# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fences, railings, garden walls and crash barriers: the class ``fence``."""

import itertools

import numpy as np

from mtl_perception.synthetic.mesh import Array, Mesh, box, join, panel
from mtl_perception.synthetic.roads import textures as tiles
from mtl_perception.synthetic.textures import WALL
from mtl_perception.tasks import ROADS_SEMANTIC

FENCE = ROADS_SEMANTIC.classes.index('fence')
KINDS = ('brick', 'stone', 'plaster', 'boards', 'bars', 'mesh', 'pales', 'rails', 'hoarding',
         'steel', 'concrete')
PIECE = 2.5
"""Length of a piece of railing, metres: one tile of its texture."""

_SOLID = {
    'brick': (tiles.BRICK, (0.30, 0.14, 0.10), 0.28),
    'stone': (tiles.STONE, (0.34, 0.32, 0.28), 0.4),
    'plaster': (WALL, (0.6, 0.58, 0.54), 0.25), 'boards': (tiles.BOARDS, (0.28, 0.19, 0.12), 0.06),
    'hoarding': (tiles.HOARDING, (0.3, 0.34, 0.4), 0.06)}
_OPEN = {'bars': (0, (0.04, 0.045, 0.05)), 'mesh': (1, (0.25, 0.27, 0.27)),
         'pales': (2, (0.55, 0.52, 0.48)), 'rails': (3, (0.30, 0.25, 0.2))}


def fence(kind: str, length: float, tall: float, rng: np.random.Generator) -> Mesh:
    """
    Return a fence along z, from -length / 2 to length / 2, that stands on the ground at x = 0.

    :param kind: one of ``KINDS``.
    :param length: metres.
    :param tall: metres; crash barriers have heights of their own.
    :param rng: decides its colour.
    """
    if kind == 'steel':
        return _steel(length, rng)
    if kind == 'concrete':
        return _concrete(length, rng)
    if kind in _OPEN:
        return _open(kind, length, tall, rng)

    # A solid wall: two sides, the top and the end towards the camera
    texture, colour, thick = _SOLID[kind]
    tint = np.array(colour) * rng.uniform(0.5, 1.6) * rng.uniform(0.85, 1.15, 3)

    up = (0, -tall, 0)
    parts = [panel((side * thick / 2, 0, -length / 2), (0, 0, length), up, tint, FENCE,
                   outward=(side, 0, 0), texture=texture, tiles=(length / 5, tall / 5))
             for side in (-1, 1)]
    parts.append(box((0, -tall - 0.03, 0), (thick + 0.06, 0.06, length), tint * 1.2, FENCE,
                     bottom=True))

    for end in (-1, 1):
        parts.append(panel((-thick / 2, 0, end * length / 2), (thick, 0, 0), up, tint, FENCE,
                           outward=(0, 0, end), texture=texture, tiles=(thick / 5, tall / 5)))
    if kind in ('brick', 'stone', 'plaster') and rng.random() < 0.4:  # pillars
        for z in np.arange(-length / 2 + 0.3, length / 2, 4.0):
            parts.append(box((0, -tall / 2 - 0.12, z), (thick + 0.2, tall + 0.24, 0.45),
                             tint * 0.9, FENCE))
    return join(parts)


def _open(kind: str, length: float, tall: float, rng: np.random.Generator) -> Mesh:
    """Return a fence that one can look through."""
    tile, colour = _OPEN[kind]
    tint: Array = np.array(colour) * rng.uniform(0.5, 1.8)
    if kind in ('bars', 'pales') and rng.random() < 0.35:  # white or galvanised
        tint = np.full(3, rng.uniform(0.35, 0.8))

    count = max(round(length / PIECE), 1)
    piece = length / count
    base = 0.0
    parts = []
    if kind == 'bars' and rng.random() < 0.3:  # on a low wall
        base = min(0.5, tall * 0.4)
        parts.append(box((0, -base / 2, 0), (0.25, base, length), (0.3, 0.2, 0.15), FENCE))

    for number in range(count):
        start = -length / 2 + number * piece
        parts.append(panel((0, -base, start), (0, 0, piece), (0, base - tall, 0), tint, FENCE,
                           texture=tiles.RAILING + tile))
    return join(parts)


def _steel(length: float, rng: np.random.Generator) -> Mesh:
    """Return a crash barrier: two bent rails on posts."""
    tint = np.full(3, rng.uniform(0.25, 0.55))
    parts = [box((0, -0.35, z), (0.10, 0.70, 0.12), tint * 0.6, FENCE)
             for z in np.arange(-length / 2 + 0.5, length / 2, 4.0)]
    for middle, shade in ((0.69, 1.1), (0.60, 0.55), (0.51, 0.9)):
        for side in (-1, 1):
            parts.append(panel((side * 0.09, -middle + 0.05, -length / 2), (0, 0, length),
                               (0, -0.10, 0), tint * shade, FENCE, outward=(side, 0, 0),
                               gloss=0.05))
    parts.append(panel((-0.09, -0.74, -length / 2), (0, 0, length), (0.18, 0, 0), tint * 1.2,
                       FENCE, outward=(0, -1, 0)))
    return join(parts)


def _concrete(length: float, rng: np.random.Generator) -> Mesh:
    """Return a concrete barrier: a wide foot, steep sides."""
    tint = np.full(3, rng.uniform(0.25, 0.6)) * np.array([1.0, 0.98, 0.93])
    outline = [(0.30, 0.0), (0.30, 0.08), (0.13, 0.35), (0.08, 0.85)]
    parts = []
    for side in (-1, 1):
        for (xa, ya), (xb, yb) in itertools.pairwise(outline):
            parts.append(panel((side * xa, -ya, -length / 2), (0, 0, length),
                               (side * (xb - xa), ya - yb, 0), tint, FENCE,
                               outward=(side, -0.5, 0), texture=tiles.CONCRETE,
                               tiles=(length / 6, 0.3)))
    parts.append(panel((-0.08, -0.85, -length / 2), (0, 0, length), (0.16, 0, 0), tint * 1.1,
                       FENCE, outward=(0, -1, 0)))
    return join(parts)
