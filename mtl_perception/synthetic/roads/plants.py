# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trees and bushes of the look ``roads``: in leaf, bare, conifers."""

import numpy as np

from mtl_perception.synthetic import textures
from mtl_perception.synthetic.mesh import Array, Mesh, join, panel, tube
from mtl_perception.synthetic.roads import textures as tiles
from mtl_perception.tasks import STREET_SEMANTIC

VEGETATION = STREET_SEMANTIC.classes.index('vegetation')
TINTS = ((0.17, 0.26, 0.06), (0.12, 0.20, 0.05), (0.24, 0.30, 0.09), (0.10, 0.14, 0.06),
         (0.34, 0.27, 0.07), (0.32, 0.17, 0.06))
"""Greens of summer and, at the end, of autumn."""


def tree(rng: np.random.Generator, bare: bool) -> Mesh:
    """
    Return a tree at the origin.

    :param rng: decides size, shape and colour.
    :param bare: without leaves.
    """
    bark = np.array([0.12, 0.10, 0.08]) * rng.uniform(0.3, 1.6)
    tall = float(rng.uniform(5, 12))
    if bare:
        return _bare(rng, tall, bark)
    kind = str(rng.choice(['round', 'tall', 'wide', 'conifer'], p=[0.45, 0.2, 0.2, 0.15]))
    crown = tall * float({'round': rng.uniform(0.26, 0.36), 'tall': rng.uniform(0.12, 0.2),
                          'wide': rng.uniform(0.38, 0.5),
                          'conifer': rng.uniform(0.18, 0.28)}[kind])
    tint = np.array(TINTS[int(rng.choice(6, p=[0.28, 0.25, 0.17, 0.15, 0.1, 0.05]))])
    low = 0.10 if kind in ('tall', 'conifer') else float(rng.uniform(0.2, 0.4))

    thick = tall * float(rng.uniform(0.016, 0.03))
    parts = [tube([(0, 0, 0), (0, -tall * 0.4, 0), (0, -tall * 0.85, 0)],
                  [thick * 1.2, thick, thick * 0.3], bark, VEGETATION, sides=6)]
    cards = 13 if kind != 'wide' else 16
    for number in range(cards):
        # Cards fill the crown from below; a conifer narrows upwards.
        share = (number + rng.random()) / cards
        width = crown * (1.15 - share if kind == 'conifer' else np.sin(np.pi * (
            0.15 + 0.75 * share)))
        away = width * 0.6 * np.sqrt(rng.random())
        turn = rng.uniform(0, 2 * np.pi)
        middle = np.array([np.cos(turn) * away, -tall * (low + 0.06 + (0.9 - low) * share),
                           np.sin(turn) * away])
        size = crown * float(rng.uniform(0.4, 0.75)) * (0.8 if kind == 'conifer' else 1.0)
        shade = tint * (0.55 + 0.65 * share) * rng.uniform(0.7, 1.3)
        parts.append(_card(middle, size, shade, rng))
    return join(parts)


def _card(middle: Array, size: float, colour: Array, rng: np.random.Generator) -> Mesh:
    """Return one clump of leaves of some size (half its width, metres)."""
    turn = rng.uniform(0, np.pi)
    lean = rng.normal(0, 0.35)
    along = np.array([np.cos(turn), 0, np.sin(turn)]) * size
    rise = np.array([-np.sin(turn) * np.sin(lean), -np.cos(lean),
                     np.cos(turn) * np.sin(lean)]) * size * rng.uniform(0.8, 1.1)
    return panel(middle - along - rise, 2 * along, 2 * rise, colour, VEGETATION,
                 texture=int(rng.choice(tiles.LEAVES)))


def _bare(rng: np.random.Generator, tall: float, bark: Array) -> Mesh:
    """Return a tree without leaves: a trunk and three cards of branches."""
    thick = tall * float(rng.uniform(0.014, 0.026))
    fork = tall * float(rng.uniform(0.12, 0.3))
    parts = [tube([(0, 0, 0), (0, -fork - 0.3, 0)], [thick * 1.3, thick], bark, VEGETATION,
                  sides=6)]
    wide = tall * float(rng.uniform(0.35, 0.55))
    start = rng.uniform(0, np.pi)
    for number in range(3):
        turn = start + number * np.pi / 3
        along = np.array([np.cos(turn), 0, np.sin(turn)]) * wide
        parts.append(panel(np.array([0, -fork, 0]) - along, 2 * along, (0, fork - tall, 0),
                           bark * 1.5, VEGETATION,
                           texture=textures.BARE + int(rng.integers(tiles.BRANCHES))))
    return join(parts)


def bush(rng: np.random.Generator, size: float) -> Mesh:
    """Return a bush at the origin, about as high as wide (metres)."""
    tint = np.array(TINTS[int(rng.integers(5))])
    parts = []
    for number in range(5):
        turn = rng.uniform(0, 2 * np.pi)
        middle = np.array([np.cos(turn) * size * 0.35, -size * (0.3 + 0.12 * number),
                           np.sin(turn) * size * 0.35])
        parts.append(_card(middle, size * float(rng.uniform(0.4, 0.6)),
                           tint * (0.5 + 0.12 * number) * rng.uniform(0.7, 1.2), rng))
    return join(parts)
