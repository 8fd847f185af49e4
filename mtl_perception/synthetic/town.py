# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything beside the street: buildings, trees, hedges, lamp posts, signs, traffic lights."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic import textures
from mtl_perception.synthetic.buildings import DEEP, building
from mtl_perception.synthetic.layout import CHUNK, Layout
from mtl_perception.synthetic.mesh import Array, Mesh, box, join, panel, placed, tube
from mtl_perception.tasks import STREET_SEMANTIC

VEGETATION, POLE, SIGN = (
    STREET_SEMANTIC.classes.index(name) for name in ('vegetation', 'pole', 'traffic_sign'))


@dataclass(frozen=True, eq=False)
class Site:
    """
    The objects beside one chunk.

    :param mesh: in the world.
    :param shades: trees that cast a shadow on the ground: (x, z, radius, height) rows in metres.
    :param blocks: (B, 4, 2) x and z of the corners of buildings.
    :param heights: (B,) metres.
    """

    mesh: Mesh
    shades: Array
    blocks: Array
    heights: Array


class Town:
    """
    Build everything beside one street.

    :param layout: layout of the street.
    :param lights: brightness of lamps, 0 = off.
    """

    def __init__(self, layout: Layout, lights: float) -> None:
        self.layout = layout
        self.lights = lights

        # Colours of the street: walls (one of brick), leaves, posts
        rng = np.random.default_rng([layout.seed, 10])
        self.walls = rng.uniform(0.16, 0.62, (7, 1)) * rng.uniform(0.80, 1.16, (7, 3)) * np.array(
            [1.06, 1.0, 0.88])
        self.walls[0] = np.array([0.34, 0.15, 0.10]) * rng.uniform(0.7, 1.3)
        self.leaves = np.array([0.10, 0.17, 0.035]) * rng.uniform(0.6, 1.5) * rng.uniform(
            0.75, 1.3, 3)
        self.grey = float(rng.uniform(0.03, 0.35))

        self.trunks = [self._tree(np.random.default_rng([layout.seed, 11, number]))
                       for number in range(6)]
        self.lamp_every = float(rng.uniform(18, 32))
        self.lamp_tall = float(rng.uniform(5, 8.5))
        self.arm = float(rng.uniform(0.4, 2.2))

    def site(self, chunk: int) -> Site:
        """Return the objects beside one chunk."""
        rng = self.layout.random(chunk, 2)
        parts: list[Mesh] = []
        shades: list[tuple[float, float, float, float]] = []
        blocks: list[Array] = []
        heights: list[float] = []

        for side in (-1, 1):
            if rng.random() < self.layout.green * 0.7:
                self._park(chunk, side, rng, parts, shades)
            else:
                self._houses(chunk, side, rng, parts, shades, blocks, heights)
            self._furniture(chunk, side, rng, parts, shades)
        return Site(join(parts), np.array(shades, np.float64).reshape(-1, 4),
                    np.array(blocks, np.float64).reshape(-1, 4, 2), np.array(heights, np.float64))

    @staticmethod
    def _room_for(wide: float, z: float, stop: float, gap: tuple[float, float]) -> float:
        """Return how wide a house at z becomes: it ends before a gap or fills the chunk; or 0."""
        if stop - z - wide < 5:
            wide = stop - z
        if z < gap[1] and z + wide > gap[0]:
            wide = gap[0] - z if gap[0] - z > 4.5 else 0.0
        return wide

    def _gap(self, chunk: int, side: int, margin: float) -> tuple[float, float]:
        """Return the two z between which a side street leaves no room, (inf, -inf) without one."""
        street = self.layout.side_street(chunk)
        if street is None or side not in street[2]:
            return np.inf, -np.inf
        return street[0] - street[1] - margin, street[0] + street[1] + margin

    def _point(self, d: float, z: float) -> Array:
        """Return the point of the ground at d from the middle of the road."""
        return np.array([self.layout.middle(z) + d, 0.0, z])

    def _houses(self, chunk: int, side: int, rng: np.random.Generator, parts: list[Mesh],
                shades: list[tuple[float, float, float, float]], blocks: list[Array],
                heights: list[float]) -> None:
        """Add a row of houses, with hedges and trees in their gardens."""
        layout = self.layout
        gap = self._gap(chunk, side, 2.4)
        z = chunk * CHUNK
        stop = z + CHUNK
        edge = layout.half_road + layout.sidewalk
        terraced = not layout.gardens or rng.random() < 0.3

        # From house to house; the last one fills the chunk, and none stands in a side street.
        while z < stop - 4:
            wide = float(rng.uniform(7, 18))
            wide = self._room_for(wide, z, stop, gap)
            if not wide:
                z = gap[1]
                continue

            room = 0.0 if terraced else float(rng.uniform(0.5, 3.5))
            set_back = layout.setback + float(rng.uniform(0, 0.7 if terraced else 2.0))
            tall = float(rng.uniform(3.4, 8.5) if layout.low else rng.uniform(7, 19))
            self._house(side * (edge + set_back), z + room / 2, wide - room, tall, side, rng,
                        parts, blocks, heights)

            if layout.gardens and rng.random() < 0.6:
                high = float(rng.uniform(0.7, 1.9))
                self._hedge(side * (edge + 0.5), z + 0.4, wide - 0.8, high, rng, parts)
            if layout.gardens and set_back > 2.5 and rng.random() < 0.35:
                self._plant(side * (edge + 1.6), z + wide / 2, rng, parts, shades, 0.5)
            z += wide

    def _house(self, d: float, z: float, wide: float, tall: float, side: int,
               rng: np.random.Generator, parts: list[Mesh], blocks: list[Array],
               heights: list[float]) -> None:
        """Add a house whose front is at d and which begins at z, with its outline and height."""
        house, peak = self._build(wide, tall, rng)
        middle = self._point(d, z + wide / 2)
        yaw = self.layout.heading(z + wide / 2) + (0 if side < 0 else np.pi)
        parts.append(placed(house, middle, yaw))

        # Its outline on the ground, turned and moved like the house
        corners = np.array([[0, -wide / 2], [0, wide / 2], [-DEEP, wide / 2], [-DEEP, -wide / 2]])
        cosine, sine = np.cos(yaw), np.sin(yaw)
        blocks.append(np.stack([cosine * corners[:, 0] + sine * corners[:, 1] + middle[0],
                                cosine * corners[:, 1] - sine * corners[:, 0] + middle[2]], 1))
        heights.append(peak)

    def _build(self, wide: float, tall: float, rng: np.random.Generator) -> tuple[Mesh, float]:
        """Return a building in front of the origin, and the height of its top in metres."""
        return building(wide, tall, self.walls, rng)

    def _hedge(self, d: float, z: float, length: float, tall: float, rng: np.random.Generator,
               parts: list[Mesh]) -> None:
        """Add a hedge along the road."""
        if length < 1.5:
            return
        tint = self.leaves * rng.uniform(0.5, 1.0)
        yaw = self.layout.heading(z + length / 2)
        thick = float(rng.uniform(0.5, 0.9))

        # Front, back, top and the end towards the camera
        low = (-thick / 2, 0.0, -length / 2)
        up = (0, -tall, 0)
        repeat = (length / 2.2, tall / 2.2)
        hedge = [
            panel(low, (0, 0, length), up, tint, VEGETATION, outward=(-1, 0, 0),
                  texture=textures.HEDGE, tiles=repeat),
            panel((thick / 2, 0, -length / 2), (0, 0, length), up, tint, VEGETATION,
                  outward=(1, 0, 0), texture=textures.HEDGE, tiles=repeat),
            panel((-thick / 2, -tall, -length / 2), (0, 0, length), (thick, 0, 0), tint,
                  VEGETATION, outward=(0, -1, 0), texture=textures.HEDGE, tiles=(repeat[0], 0.3)),
            panel(low, (thick, 0, 0), up, tint, VEGETATION, outward=(0, 0, -1),
                  texture=textures.HEDGE, tiles=(0.3, repeat[1]))]

        parts.append(placed(join(hedge), self._point(d, z + length / 2), yaw))

    def _tree(self, rng: np.random.Generator) -> Mesh:
        """Return a tree of crossing leaf cards on a trunk, at the origin."""
        tall = float(rng.uniform(4.5, 9.0))
        crown = float(rng.uniform(1.3, 2.6))
        bark = np.array([0.10, 0.075, 0.05]) * rng.uniform(0.5, 1.5)
        thick = float(rng.uniform(0.10, 0.22))
        parts = [tube([(0, 0, 0), (0, -tall * 0.45, 0), (0, -tall * 0.8, 0)],
                      [thick * 1.25, thick, thick * 0.5], bark, VEGETATION, sides=5)]

        # Three branches
        for _ in range(3):
            turn = rng.uniform(0, 2 * np.pi)
            tip = np.array([np.cos(turn) * crown * 0.6, -tall * 0.75, np.sin(turn) * crown * 0.6])
            parts.append(tube(
                np.array([(0, -tall * 0.42, 0), tip]), [thick * 0.6, thick * 0.25], bark,
                VEGETATION, sides=3))

        # Leaf cards at random in the crown, lighter above
        for card in range(11):
            size = crown * float(rng.uniform(0.85, 1.35))
            turn = rng.uniform(0, np.pi)
            lean = rng.normal(0, 0.35)
            along = np.array([np.cos(turn), 0, np.sin(turn)]) * size
            rise = np.array([-np.sin(turn) * np.sin(lean), -np.cos(lean),
                             np.cos(turn) * np.sin(lean)]) * size

            around = rng.uniform(0, 2 * np.pi)
            away = crown * 0.55 * np.sqrt(rng.random())
            middle = np.array([np.cos(around) * away,
                               -tall * float(rng.uniform(0.58, 0.92)), np.sin(around) * away])
            height = (-middle[1] - tall * 0.55) / (tall * 0.45)
            tint = self.leaves * (0.65 + 0.5 * height) * rng.uniform(0.8, 1.2)
            parts.append(panel(middle - along - rise, 2 * along, 2 * rise, tint, VEGETATION,
                               texture=textures.LEAF + card % textures.LEAVES))
        return join(parts)

    def _plant(self, d: float, z: float, rng: np.random.Generator, parts: list[Mesh],
               shades: list[tuple[float, float, float, float]], scale: float = 1.0) -> None:
        """Add one of the street's trees and its shadow."""
        tree = self.trunks[int(rng.integers(len(self.trunks)))]
        size = scale * float(rng.uniform(0.8, 1.2))
        where = self._point(d, z)

        # At twice the size, u and v change half as fast along x, y and z.
        grown = Mesh(tree.corners * size, tree.normal, tree.colour, tree.label, tree.texture,
                     tree.mapping * np.array([1 / size, 1 / size, 1 / size, 1]), tree.glow,
                     tree.gloss)
        parts.append(placed(grown, where, float(rng.uniform(0, 2 * np.pi))))
        shades.append((where[0], where[2], 2.0 * size, 5.0 * size))

    def _park(self, chunk: int, side: int, rng: np.random.Generator, parts: list[Mesh],
              shades: list[tuple[float, float, float, float]]) -> None:
        """Add a park: trees at random behind a hedge."""
        edge = self.layout.half_road + self.layout.sidewalk
        gap = self._gap(chunk, side, 1.0)
        if rng.random() < 0.5 and gap[1] < gap[0]:
            self._hedge(side * (edge + 0.5), chunk * CHUNK + 0.3, CHUNK - 0.6,
                        float(rng.uniform(0.8, 1.6)), rng, parts)

        for _ in range(7):
            z = chunk * CHUNK + float(rng.uniform(1, CHUNK - 1))
            if not gap[0] < z < gap[1]:
                self._plant(side * (edge + float(rng.uniform(2.5, 13))), z, rng, parts, shades,
                            float(rng.uniform(0.9, 1.5)))

    def _furniture(self, chunk: int, side: int, rng: np.random.Generator, parts: list[Mesh],
                   shades: list[tuple[float, float, float, float]]) -> None:
        """Add street trees, lamps, signs, posts and traffic lights along the kerb."""
        layout = self.layout
        kerb = layout.half_road + (layout.verge * 0.5 + 0.3 if layout.verge else 0.55)
        gap = self._gap(chunk, side, 0.3)
        start = chunk * CHUNK

        def free(z: float) -> bool:
            return not gap[0] < z < gap[1]

        for z in np.arange(start + float(rng.uniform(0, 6)), start + CHUNK - 1, 8.5):
            if rng.random() < layout.trees and free(z):
                self._plant(side * (kerb + 0.35), float(z), rng, parts, shades, 0.9)
        for z in np.arange(start + (self.lamp_every / 2 if side > 0 else 2), start + CHUNK,
                           self.lamp_every):
            if free(z + 1.3):
                self._lamp(side * kerb, float(z) + 1.3, side, parts)

        for _ in range(int(rng.integers(1, 4))):
            z = start + float(rng.uniform(1, CHUNK - 1))
            if free(z):
                self._sign(side * (kerb + float(rng.uniform(0, 0.3))), z, rng, parts)

        for _ in range(int(rng.integers(0, 3))):  # posts, bollards and masts
            z = start + float(rng.uniform(1, CHUNK - 1))
            if free(z):
                tall = float(rng.choice([1.0, 1.1, 3.5, 7.5, 9.0]))
                thick = float(rng.uniform(0.07, 0.14))
                parts.append(placed(tube([(0, 0, 0), (0, -tall, 0)], [thick, thick * 0.85],
                                         np.full(3, rng.uniform(0.03, 0.4)), POLE, sides=6,
                                         cap=True), self._point(side * (kerb + 0.1), z), 0.0))

        crossing = layout.crossing(chunk)
        if crossing is not None:
            self._signal(side * (layout.half_road + 0.6), crossing - 2.6, side, rng, parts)

    def _lamp(self, d: float, z: float, side: int, parts: list[Mesh]) -> None:
        """Add a street lamp; the light itself glows when lamps are on."""
        tall = self.lamp_tall
        grey = np.full(3, self.grey)
        arm = np.array([-side * self.arm, -tall - 0.25, 0.0])
        lamp = [tube([(0, 0, 0), (0, -1.0, 0), (0, -1.05, 0), (0, -tall, 0)],
                     [0.12, 0.12, 0.085, 0.065], grey, POLE, sides=6),
                tube(np.array([(0, -tall, 0), arm]), [0.06, 0.05], grey, POLE, sides=4),
                box(arm + [0, 0.02, 0], (0.75, 0.14, 0.28), grey * 0.8, POLE),
                panel(arm + [-0.3, 0.1, -0.1], (0.6, 0, 0), (0, 0, 0.2), (0.9, 0.8, 0.6), POLE,
                      outward=(0, 1, 0), glow=3 * self.lights)]
        parts.append(placed(join(lamp), self._point(d, z), self.layout.heading(z)))

    def _sign(self, d: float, z: float, rng: np.random.Generator, parts: list[Mesh]) -> None:
        """Add one or two signs on a pole; most face the camera."""
        size = float(rng.uniform(0.6, 1.1))
        tall = float(rng.uniform(2.0, 2.8))
        kind = int(rng.integers(textures.SIGNS))
        facing = -1 if rng.random() < 0.8 else 1
        sign = [tube([(0, 0, 0), (0, -tall - size * 0.6, 0)], [0.06, 0.06], np.full(3, 0.30), POLE,
                     sides=5)]

        boards = 2 if rng.random() < 0.25 else 1
        for board in range(boards):
            shape = kind if board == 0 else textures.SIGNS - 1
            part = size if board == 0 else size * 0.6
            middle = tall + size / 2 if board == 0 else tall - part / 2 - 0.05
            z0 = facing * 0.07
            sign.append(panel((part / 2 * facing, -middle + part / 2, z0), (-part * facing, 0, 0),
                              (0, -part, 0), np.ones(3), SIGN,
                              outward=(0, 0, facing), texture=textures.SIGN + shape,
                              glow=0.1 * self.lights))
        parts.append(placed(join(sign), self._point(d, z),
                            self.layout.heading(z) + float(rng.normal(0, 0.12))))

    def _signal(self, d: float, z: float, side: int, rng: np.random.Generator,
                parts: list[Mesh]) -> None:
        """Add a traffic light, sometimes with a second one on an arm over the road."""
        tall = 3.1
        shown = int(rng.integers(3))
        colours = ((0.8, 0.03, 0.02), (0.8, 0.4, 0.02), (0.05, 0.7, 0.25))
        light = [tube([(0, 0, 0), (0, -tall, 0)], [0.075, 0.065], np.full(3, 0.12), POLE, sides=6),
                 box((0, -tall - 0.1, -0.02), (0.36, 1.0, 0.30), (0.015, 0.015, 0.015), SIGN,
                     bottom=True)]

        for number, colour in enumerate(colours):
            lit = number == shown
            light.append(panel((0.1, -tall + 0.31 - 0.31 * (2 - number) + 0.0, -0.18),
                               (-0.2, 0, 0), (0, -0.2, 0),
                               np.array(colour) * (1.0 if lit else 0.08), SIGN,
                               outward=(0, 0, -1), glow=1.6 if lit else 0.0))

        if rng.random() < 0.35:
            light.append(tube([(0, -tall - 2, 0), (-side * 3.5, -tall - 2.3, 0)], [0.07, 0.05],
                              np.full(3, 0.12), POLE, sides=5))
            light.append(tube([(0, -tall, 0), (0, -tall - 2.1, 0)], [0.07, 0.06],
                              np.full(3, 0.12), POLE, sides=6))
            light.append(box((-side * 3.4, -tall - 2.1, 0), (0.36, 1.0, 0.3),
                             (0.015, 0.015, 0.015), SIGN, bottom=True))
        parts.append(placed(join(light), self._point(d, z), self.layout.heading(z)))
