# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything beside a street of the look ``roads``."""

from dataclasses import replace

import numpy as np

from mtl_perception.synthetic.ground import REACH
from mtl_perception.synthetic.layout import CHUNK
from mtl_perception.synthetic.mesh import Array, Mesh, join, placed
from mtl_perception.synthetic.roads.buildings import road_building
from mtl_perception.synthetic.roads.clutter import board, bollard
from mtl_perception.synthetic.roads.fences import fence
from mtl_perception.synthetic.roads.layout import RoadLayout
from mtl_perception.synthetic.roads.plants import TINTS, bush, tree
from mtl_perception.synthetic.roads.woods import Belt, far_belt, near_belt
from mtl_perception.synthetic.town import Site, Town

Shades = list[tuple[float, float, float, float]]
GARDEN_FENCES = ('brick', 'brick', 'stone', 'plaster', 'boards', 'boards', 'bars', 'pales')
OPEN_FENCES = ('rails', 'mesh', 'boards', 'stone', 'steel')


class RoadTown(Town):
    """
    Build everything beside one street, see :class:`~mtl_perception.synthetic.town.Town`.

    :param layout: layout of the street.
    :param lights: brightness of lamps, 0 = off.
    """

    def __init__(self, layout: RoadLayout, lights: float) -> None:
        super().__init__(layout, lights)
        self.road = layout
        rng = np.random.default_rng([layout.seed, 54])
        self.shops = float(rng.uniform(0.3, 0.9)) if layout.scene == 'town' else 0.0
        self.usual = str(rng.choice(GARDEN_FENCES))

        # Walls from dark brick to white render
        tone = np.exp(rng.uniform(np.log(0.08), np.log(0.75), (7, 1)))
        self.walls = tone * rng.uniform(0.92, 1.08, (7, 3)) * np.array([1.05, 1.0, 0.90])
        self.walls[:3] = np.array([0.30, 0.15, 0.10]) * rng.uniform(0.5, 1.8, (3, 1))
        self.leaves = np.array(TINTS[int(rng.integers(4))]) * 0.8
        self.trunks = [tree(np.random.default_rng([layout.seed, 55, number]),
                            bool(rng.random() < layout.bare)) for number in range(8)]
        self.bushes = [bush(np.random.default_rng([layout.seed, 56, number]),
                            float(rng.uniform(0.8, 3.0))) for number in range(5)]

    def site(self, chunk: int) -> Site:
        """Return the objects beside one chunk, with the wood behind them."""
        site = super().site(chunk)
        rng = self.layout.random(chunk, 68)
        parts: list[Mesh] = []
        for side in (-1, 1):
            belt = far_belt(self.road, chunk, side)
            if belt is not None:
                self._wood(belt, chunk, (np.inf, -np.inf), rng, parts, [])
        return replace(site, mesh=join([site.mesh, *parts]))

    def _wood(self, belt: Belt, chunk: int, gap: tuple[float, float], rng: np.random.Generator,
              parts: list[Mesh], shades: Shades) -> None:
        """Add the trees and the undergrowth of a wood, but for those in a gap."""
        for trunk in belt.trunks:
            if not gap[0] < trunk.z < gap[1]:
                self._plant(trunk.d, trunk.z, rng, parts, shades, trunk.scale)
        if not belt.undergrowth:
            return
        step = CHUNK / 8
        for z in np.arange(chunk * CHUNK, (chunk + 1) * CHUNK - 1e-6, step):
            if z + step < gap[0] or z > gap[1]:
                self._hedge(belt.edge + float(rng.uniform(-1, 1)), float(z), step + 0.6,
                            belt.undergrowth * float(rng.uniform(0.6, 1.2)), rng, parts)

    def _build(self, wide: float, tall: float, rng: np.random.Generator) -> tuple[Mesh, float]:
        """Return a building in front of the origin, and the height of its top in metres."""
        return road_building(wide, tall, self.walls, rng, bool(rng.random() < self.shops))

    def _fence(self, kind: str, d: float, z: float, length: float, tall: float,
               rng: np.random.Generator, parts: list[Mesh]) -> None:
        """Add a fence along the road that begins at z, in pieces that follow its bends."""
        gap = self._gap(int(z // CHUNK), 1 if d > 0 else -1, 0.2)
        count = max(round(length / 10), 1)
        step = length / count
        state = rng.integers(1 << 30)
        for number in range(count):
            start = z + number * step
            if step < 0.8 or (start < gap[1] and start + step > gap[0]):
                continue
            piece = fence(kind, step + 0.02, tall, np.random.default_rng(state))
            middle = start + step / 2
            parts.append(placed(piece, self._point(d, middle), self.layout.heading(middle)))

    def _houses(self, chunk: int, side: int, rng: np.random.Generator, parts: list[Mesh],
                shades: Shades, blocks: list[Array], heights: list[float]) -> None:
        """Add a row of houses behind what bounds their gardens; on open roads, verges."""
        layout = self.road
        belt = near_belt(layout, chunk, side)
        if belt is not None:
            self._wood(belt, chunk, self._gap(chunk, side, 2.4), rng, parts, shades)
        if layout.open_road:
            self._verge(chunk, side, rng, parts, shades, blocks, heights)
            return
        if belt is not None:
            return

        gap = self._gap(chunk, side, 2.4)
        z, stop = chunk * CHUNK, (chunk + 1) * CHUNK
        edge = layout.half_road + layout.sidewalk
        terraced = rng.random() < (0.85 if layout.scene == 'town' else 0.2)

        while z < stop - 4:
            wide = float(rng.uniform(5.5, 16))
            wide = self._room_for(wide, z, stop, gap)
            if not wide:
                z = gap[1]
                continue

            room = 0.0 if terraced else float(rng.uniform(0.5, 6))
            set_back = layout.setback + float(rng.uniform(0, 0.3 if terraced else 2.5))
            tall = float(rng.uniform(4, 9) if layout.low else rng.uniform(7, 16))

            empty = rng.random() < 0.06
            if not empty and wide - room > 4:
                self._house(side * (edge + set_back), z + room / 2, wide - room, tall, side, rng,
                            parts, blocks, heights)
            if layout.gardens or empty:
                self._garden(side, edge, z, wide, set_back, rng, parts, shades)
            z += wide
        self._backdrop(chunk, side, edge + 14, 0.5, rng, parts, shades)

    def _garden(self, side: int, edge: float, z: float, wide: float, deep: float,
                rng: np.random.Generator, parts: list[Mesh], shades: Shades) -> None:
        """Add what bounds a garden to the street, and plants behind it."""
        what = rng.random()
        start, length = z + 0.2, wide - 0.4
        if rng.random() < 0.4:  # a drive
            start, length = start + 2.6, length - 2.6
        if what < 0.55:
            kind = self.usual if rng.random() < 0.7 else str(rng.choice(GARDEN_FENCES))
            self._fence(kind, side * (edge + 0.25), start, length, float(rng.uniform(0.6, 2.0)),
                        rng, parts)
        elif what < 0.85:
            self._hedge(side * (edge + 0.6), start, length, float(rng.uniform(0.7, 2.4)), rng,
                        parts)

        if deep > 2 and rng.random() < 0.4:
            self._plant(side * (edge + 1.6), z + wide * float(rng.random()), rng, parts, shades,
                        float(rng.uniform(0.4, 0.8)))
        for _ in range(int(rng.integers(0, 3))):
            self._bush(side * (edge + 1.0 + float(rng.uniform(0, max(deep - 1, 0.3)))),
                       z + wide * float(rng.random()), rng, parts)

    def _verge(self, chunk: int, side: int, rng: np.random.Generator, parts: list[Mesh],
               shades: Shades, blocks: list[Array], heights: list[float]) -> None:
        """Add barriers, hedges, bushes and trees beside an open road; seldom a house."""
        layout = self.road
        edge = layout.half_road
        start = chunk * CHUNK

        highway = layout.scene == 'highway'
        stretch = np.random.default_rng([layout.seed, 57, (chunk // 3) % (1 << 20), side + 1])
        kind = str(stretch.choice(['steel', 'steel', 'concrete', 'none'] if highway
                                  else [*OPEN_FENCES, 'none', 'none', 'none', 'none']))
        if kind != 'none':
            beside = 0.5 if highway or kind == 'steel' else float(stretch.uniform(1.5, 4))
            self._fence(kind, side * (edge + beside), start, CHUNK, 1.2, stretch, parts)

        if highway and stretch.random() < 0.15:  # a wall against noise
            self._fence(str(stretch.choice(['boards', 'plaster', 'hoarding'])),
                        side * (edge + 3.5), start, CHUNK, 3.5, stretch, parts)
        elif not highway and stretch.random() < 0.4:
            tall, gap = float(stretch.uniform(1.0, 2.6)), self._gap(chunk, side, 0.5)
            stop = start + CHUNK
            for a, b in [(start, gap[0]), (gap[1], stop)] if gap[0] < gap[1] else [(start, stop)]:
                self._hedge(side * (edge + 4.2), a, b - a, tall, rng, parts)

        # Scrub along the road, then trees; a lone house on a country road
        for _ in range(int(stretch.integers(0, 9))):
            self._bush(side * (edge + float(rng.uniform(3.0, 9))), start + float(
                rng.uniform(0, CHUNK)), rng, parts)
        if stretch.random() < 0.75:
            self._backdrop(chunk, side, edge + float(stretch.uniform(5, 12)),
                           float(stretch.uniform(0.3, 1.0)), rng, parts, shades)
        if not highway and rng.random() < 0.25:
            self._house(side * (edge + float(rng.uniform(8, 12))), start + 8, float(
                rng.uniform(7, 14)), float(rng.uniform(4, 8)), side, rng, parts, blocks, heights)

        if highway and side > 0:
            middle = str(np.random.default_rng([layout.seed, 58]).choice(
                ['steel', 'concrete', 'concrete']))
            self._fence(middle, 0.0, start, CHUNK, 1.0, stretch, parts)

    def _backdrop(self, chunk: int, side: int, d: float, dense: float,
                  rng: np.random.Generator, parts: list[Mesh], shades: Shades) -> None:
        """Add a line of trees at a distance from the road."""
        for z in np.arange(chunk * CHUNK, (chunk + 1) * CHUNK, 5.0):
            if rng.random() < dense * 0.8:
                self._plant(side * (d + float(rng.uniform(0, 5))), z + float(rng.uniform(0, 4)),
                            rng, parts, shades, float(rng.uniform(0.8, 1.5)))

    def _plant(self, d: float, z: float, rng: np.random.Generator, parts: list[Mesh],
               shades: Shades, scale: float = 1.0) -> None:
        """Add a tree, unless it would stand in a side street."""
        if not self._blocks(d, z, 2.0):
            super()._plant(d, z, rng, parts, shades, scale)

    def _blocks(self, d: float, z: float, margin: float) -> bool:
        """Return whether something at d, z would stand in a side street, as far as it is drawn."""
        gap = self._gap(int(z // CHUNK), 1 if d > 0 else -1, margin)
        return abs(d) < REACH and gap[0] < z < gap[1]

    def _bush(self, d: float, z: float, rng: np.random.Generator, parts: list[Mesh]) -> None:
        """Add a bush, unless it would stand in a side street."""
        if self._blocks(d, z, 1.0):
            return
        one = self.bushes[int(rng.integers(len(self.bushes)))]
        parts.append(placed(one, self._point(d, z), float(rng.uniform(0, 2 * np.pi))))

    def _park(self, chunk: int, side: int, rng: np.random.Generator, parts: list[Mesh],
              shades: Shades) -> None:
        """Add trees behind a hedge, a railing or a wall."""
        if self.road.open_road:
            self._verge(chunk, side, rng, parts, shades, [], [])
            return
        edge = self.layout.half_road + self.layout.sidewalk
        if rng.random() < 0.6:
            self._fence(str(rng.choice(['bars', 'bars', 'mesh', 'brick', 'stone', 'hoarding'])),
                        side * (edge + 0.3), chunk * CHUNK + 0.2, CHUNK - 0.4,
                        float(rng.uniform(0.9, 2.2)), rng, parts)
        super()._park(chunk, side, rng, parts, shades)

    def _furniture(self, chunk: int, side: int, rng: np.random.Generator, parts: list[Mesh],
                   shades: Shades) -> None:
        """Add trees, lamps, signs, posts, lights, and railings at the kerb."""
        layout = self.road
        if layout.open_road:
            for _ in range(int(rng.integers(0, 3))):
                self._sign(side * (layout.half_road + float(rng.uniform(0.8, 2))),
                           chunk * CHUNK + float(rng.uniform(1, CHUNK - 1)), rng, parts)
            if layout.seed % 3 == 0:
                self._lamp(side * (layout.half_road + 0.9), chunk * CHUNK + 5.0, side, parts)
            return

        super()._furniture(chunk, side, rng, parts, shades)
        if rng.random() < layout.railings:
            length = float(rng.uniform(8, 30))
            start = chunk * CHUNK + float(rng.uniform(0, CHUNK - length))
            self._fence(str(rng.choice(['bars', 'bars', 'bars', 'mesh', 'rails'])),
                        side * (layout.half_road + 0.3), start, length, 1.05, rng, parts)
        self._clutter(chunk, side, parts)

    def _clutter(self, chunk: int, side: int, parts: list[Mesh]) -> None:
        """Add a row of bollards at the kerb, and advertising boards."""
        rng = self.layout.random(chunk, 73 + side)
        edge = self.layout.half_road
        start = chunk * CHUNK

        if rng.random() < 0.25:
            state, apart = rng.integers(1 << 30), float(rng.uniform(1.2, 3.0))
            first = start + float(rng.uniform(0, 20))
            for z in np.arange(first, min(first + rng.uniform(6, 30), start + CHUNK), apart):
                d = side * (edge + 0.4)
                if not self._blocks(d, float(z), 0.3):
                    one = bollard(np.random.default_rng(state))
                    parts.append(placed(one, self._point(d, float(z)), 0.0))

        for _ in range(int(rng.choice([0, 0, 1, 2]))):
            z = start + float(rng.uniform(1, CHUNK - 1))
            d = side * (edge + float(rng.uniform(0.9, max(self.layout.sidewalk, 1.0))))
            if not self._blocks(d, z, 0.5):
                turn = self.layout.heading(z) + float(rng.normal(0, 0.3))
                parts.append(placed(board(rng), self._point(d, z), turn))
