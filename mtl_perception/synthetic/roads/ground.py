# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground of the look ``roads``: asphalt, kerbs and verges as they age."""

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic.ground import (
    CELL,
    COLUMNS,
    MARKING,
    ROAD,
    ROWS,
    SIDEWALK,
    TERRAIN,
    GroundPainter,
)
from mtl_perception.synthetic.mesh import Array
from mtl_perception.synthetic.roads.layout import MEDIAN, RoadLayout
from mtl_perception.synthetic.roads.markings import Markings, mark
from mtl_perception.synthetic.textures import noise

YELLOW = np.array([0.62, 0.40, 0.06])


class RoadPainter(GroundPainter):
    """
    Paint the ground of a street, see :class:`~mtl_perception.synthetic.ground.GroundPainter`.

    :param layout: layout of the street.
    :param rng: decides grain and colours of this street.
    """

    def __init__(self, layout: RoadLayout, rng: np.random.Generator) -> None:
        super().__init__(layout, rng)
        self.road = layout
        self.broad = noise(rng, 512, 1.9)

        # Asphalt from dark to nearly white, and how rough, worn and well painted it is
        self.asphalt = np.full(3, np.exp(rng.uniform(np.log(0.035), np.log(0.24)))) \
            * rng.normal(1, 0.03, 3)
        self.rough = float(rng.uniform(0.3, 1.0))
        self.worn = float(rng.uniform(0.0, 1.0))
        self.white = float(rng.uniform(0.45, 0.85))
        self.asphalt_path = bool(rng.random() < 0.45)
        if self.asphalt_path:  # sidewalks of asphalt, as dark as the road or a little lighter
            self.paving = self.asphalt * rng.uniform(0.9, 1.9)
        self.dry = float(rng.choice([0.0, 0.0, 0.5, 1.0]))
        self.grass = self.grass + self.dry * np.array([0.16, 0.10, 0.035])
        self._drawn = Markings.empty()

        # A strip along the kerb is often laid apart from the lanes, of concrete or other asphalt.
        other = np.random.default_rng([layout.seed, 63])
        self.strip = float(other.uniform(0.5, 2.5)) * (other.random() < 0.35)
        self.strip_tone = float(np.exp(other.uniform(np.log(0.65), np.log(1.6))))

        # How well paint covers the asphalt: traffic and sun leave a third of it.
        self.cover = float(np.random.default_rng([layout.seed, 71]).uniform(0.3, 1.0))

    def _mark(self, label: NDArray[np.uint8], chunk: int, d: Array, grid_z: Array,
              side_street: tuple[float, float, tuple[int, ...]] | None) -> None:
        """Label the road's markings of a chunk."""
        self._lay(label, d)
        self._drawn = mark(self.road, chunk, d, grid_z, side_street)

        # Paint that is worn through is road again.
        rng = self.layout.random(chunk, 12)
        rows = (np.arange(ROWS) + int(rng.integers(512))) % 512
        left = self.fine[rows[:, None], np.arange(COLUMNS) % 512] * 0.6 \
            + self.coarse[rows[:, None], np.arange(COLUMNS)[::-1] % 512]
        holding = left > 2.6 * self.worn - 3.6
        label[self._drawn.painted & holding & (label == ROAD)] = MARKING

    def _lay(self, label: NDArray[np.uint8], d: Array) -> None:
        """Lay the median of a highway."""
        if self.road.scene == 'highway':
            label[:, np.abs(d) < MEDIAN - 0.45] = TERRAIN

    def _colour(self, label: NDArray[np.uint8], rng: np.random.Generator, grid_d: Array,
                grid_z: Array) -> NDArray[np.uint8]:
        """Return the colours of a chunk as square roots, (ROWS, COLUMNS, 3) uint8."""
        # Noise from this chunk's part of the street's tiles
        layout = self.layout
        rows = (np.arange(ROWS) + int(rng.integers(512))) % 512
        columns = np.arange(COLUMNS) % 512
        fine = self.fine[rows[:, None], columns]
        coarse = self.coarse[(rows[:, None] // 2 + 77) % 512, columns]
        broad = self.broad[(rows[:, None] // 2 + 31) % 512, columns // 2]

        table = np.zeros((256, 3))
        table[[ROAD, MARKING, SIDEWALK, TERRAIN]] = [
            self.asphalt, np.full(3, self.white), self.paving, self.grass]
        colour = table.astype(np.float32).take(label, axis=0)
        marking = label == MARKING
        colour[marking & self._drawn.yellow] = YELLOW * self.white / 0.7

        # Asphalt: oil in the middle of each lane, tracks of wheels, seams, repairs and cracks
        road = label == ROAD
        shade = 1 + self.rough * (0.07 * fine + 0.07 * coarse) + 0.10 * broad
        for lane in layout.lane_centres:
            oil = 0.16 * np.exp(-((grid_d - lane) / 0.5) ** 2)
            for wheel in (-0.8, 0.8):
                oil = oil - 0.06 * np.exp(-((grid_d - lane - wheel) / 0.35) ** 2)
            shade -= oil.astype(np.float32) * road
        shade[(np.abs(grid_d) > layout.half_road - self.strip) & road] *= self.strip_tone
        self._wear(shade, road, rng)
        self._repair(shade, road, rng)

        # Grass with bare and lush spots, worn paint, joints between slabs
        grass = label == TERRAIN
        shade = np.where(grass, np.exp(0.30 * fine + 0.30 * coarse + 0.25 * broad), shade)
        wear = np.clip(0.2 + 0.25 * fine + 0.3 * coarse, 0, 0.8)
        bare = 1 - self.cover * (1 - self.worn * wear[marking])
        colour[marking] += bare[:, None] * (self.asphalt - colour[marking])
        paving = label == SIDEWALK

        if not self.asphalt_path:
            joint = ((np.mod(grid_z, self.slab) < 0.06) | (np.mod(grid_d, self.slab) < 0.06))
            shade = np.where(joint & paving, shade * 0.72, shade)
            slab = np.floor(grid_z / self.slab) * 12.9898 + np.floor(grid_d / self.slab) * 78.233
            tone = np.mod(np.sin(slab) * 43758.5453, 1.0) * 0.24 + 0.88
            shade = np.where(paving, shade * tone, shade)
        colour *= np.clip(shade, 0.1, 2.5)[..., None]
        colour[grass] *= (1 + 0.18 * coarse[grass])[:, None] * np.array([1, 0, 0]) \
            + np.array([0, 1, 1])

        # The kerb, and the gutter in front of it
        edge = (np.abs(np.abs(grid_d) - layout.half_road - 0.11) < 0.11) & paving
        colour[edge] = (self.kerb * np.clip(shade[edge], 0.5, 1.4)[:, None]).astype(np.float32)
        gutter = (np.abs(np.abs(grid_d) - layout.half_road + 0.16) < 0.16) & road
        colour[gutter] *= 0.62
        return np.asarray(np.rint(np.sqrt(np.clip(colour, 0, 1)) * 255), np.uint8)

    def _repair(self, shade: Array, road: NDArray[np.bool_], rng: np.random.Generator) -> None:
        """Add trenches, seams and large patches to the asphalt of one stretch."""
        marks = np.ones((ROWS, COLUMNS), np.float32)
        half = self.layout.half_road
        for _ in range(int(rng.integers(0, 3))):  # trenches along or across the road
            at = int((rng.uniform(-half, half) + COLUMNS * CELL / 2) / CELL)
            tone = float(rng.choice([0.62, 0.75, 0.85, 1.25]))
            if rng.random() < 0.6:
                cv2.rectangle(marks, (at, -1), (at + int(rng.integers(6, 22)), ROWS), tone, -1)
            else:
                y = int(rng.integers(ROWS))
                cv2.rectangle(marks, (0, y), (COLUMNS, y + int(rng.integers(8, 40))), tone, -1)

        # Another asphalt from here on, or on one side with a ragged edge
        if rng.random() < 0.35:
            marks[int(rng.integers(ROWS)):] *= float(rng.choice([0.6, 0.8, 1.25, 1.5]))
        if rng.random() < 0.3:
            middle = rng.uniform(-half, half) / CELL + COLUMNS / 2
            edge = middle + 6 * self.coarse[(np.arange(ROWS) // 2) % 512, int(rng.integers(512))]
            newer = np.arange(COLUMNS)[None] > edge[:, None]
            marks[newer] *= float(rng.choice([0.6, 0.75, 1.3, 1.6]))

        for lane in self.layout.lane_centres:  # the seam between two courses
            if rng.random() < 0.4:
                at = int((lane + self.layout.lane_width / 2) / CELL + COLUMNS / 2)
                cv2.line(marks, (at, 0), (at, ROWS), float(rng.uniform(0.5, 0.85)), 1)
        for _ in range(int(rng.integers(0, 8))):  # stains
            spot = (int(rng.integers(COLUMNS)), int(rng.integers(ROWS)))
            cv2.ellipse(marks, spot, (int(rng.integers(2, 14)), int(rng.integers(4, 30))), 0, 0,
                        360, float(rng.uniform(0.6, 0.9)), -1)
        shade *= np.where(road, marks, 1)
