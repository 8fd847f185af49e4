# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Woods of the look ``roads``: belts of trees beside the road and far behind everything."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic.layout import CHUNK
from mtl_perception.synthetic.roads.layout import RoadLayout

STRETCH = 3
"""Chunks in a row that are wooded alike."""


@dataclass(frozen=True)
class Trunk:
    """
    Where a tree of a wood stands.

    :param d: distance from the middle of the road, metres, + is right.
    :param z: along the road, metres.
    :param scale: its size as a share of that of the trees beside streets.
    """

    d: float
    z: float
    scale: float


@dataclass(frozen=True)
class Belt:
    """
    A belt of trees along one side of one chunk.

    :param trunks: its trees.
    :param undergrowth: height of the scrub at its edge, metres; 0 for none.
    :param edge: distance of that edge from the middle of the road, metres, + is right.
    """

    trunks: tuple[Trunk, ...]
    undergrowth: float
    edge: float


def near_belt(layout: RoadLayout, chunk: int, side: int) -> Belt | None:
    """
    Return the wood that begins beside the road, None where there is none.

    :param layout: of the street.
    :param chunk: number of the chunk.
    :param side: -1 left, 1 right.
    """
    stretch = np.random.default_rng(
        [layout.seed, 61, (chunk // STRETCH) % (1 << 20), side + 1])
    if stretch.random() >= layout.wooded:
        return None
    start = layout.half_road + layout.sidewalk + float(stretch.uniform(1.0, 12.0))
    undergrowth = float(stretch.uniform(1.0, 4.0)) * (stretch.random() < 0.7)
    scale = float(stretch.uniform(0.8, 1.8))
    trunks = _row(layout.random(chunk, 62 + side), chunk, start + 1.5, 9.0, 2, scale)
    return Belt(tuple(_on(side, trunk) for trunk in trunks), undergrowth, side * start)


def far_belt(layout: RoadLayout, chunk: int, side: int) -> Belt | None:
    """Return the wood behind everything, None where there is none; see :func:`near_belt`."""
    stretch = np.random.default_rng(
        [layout.seed, 64, (chunk // STRETCH) % (1 << 20), side + 1])
    if stretch.random() >= layout.far_wood:
        return None
    start = layout.half_road + layout.sidewalk + float(stretch.uniform(22, 70))
    scale = float(stretch.uniform(1.2, 2.2))
    trunks = _row(layout.random(chunk, 66 + side), chunk, start + 1.5, 12.0, 2, scale)
    return Belt(tuple(_on(side, trunk) for trunk in trunks),
                float(stretch.uniform(2.0, 6.0)), side * start)


def _row(rng: np.random.Generator, chunk: int, d: float, deep: float, rows: int,
         scale: float) -> list[Trunk]:
    """Return trees in rows, nearly as far apart as their crowns are wide."""
    apart = 4.2 * scale
    return [
        Trunk(d + deep * (row + float(rng.random())) / rows, z + float(rng.uniform(0, apart)),
              scale * float(rng.uniform(0.75, 1.25)))
        for row in range(rows) for z in np.arange(chunk * CHUNK, (chunk + 1) * CHUNK, apart)]


def _on(side: int, trunk: Trunk) -> Trunk:
    """Return a tree on a side of the road."""
    return Trunk(side * trunk.d, trunk.z, trunk.scale)
