# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The ground: a flat map of classes and colours along the street, one part per chunk.

The map's axes are z along the street and d across it, with d = x - bend(z).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic.layout import CHUNK, Layout
from mtl_perception.synthetic.mesh import Array
from mtl_perception.synthetic.textures import noise
from mtl_perception.tasks import STREET_SEMANTIC

CELL = 0.0625
"""Edge of a cell of the map in metres."""

REACH = 20.0
"""The map ends this far on either side of the middle of the road, in metres."""

COLUMNS, ROWS = int(2 * REACH / CELL), int(CHUNK / CELL)
LEVELS = 5
"""Mip levels of the colours."""

ROAD, MARKING, SIDEWALK, TERRAIN = (
    STREET_SEMANTIC.classes.index(name)
    for name in ('road', 'road_marking', 'sidewalk', 'terrain'))


@dataclass(frozen=True, eq=False)
class Stretch:
    """
    The ground of one chunk.

    :param label: (ROWS, COLUMNS) uint8 class ids.
    :param colour: (ROWS, COLUMNS, 3) uint8, square root of linear reflectance.
    """

    label: NDArray[np.uint8]
    colour: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Window:
    """
    The ground around the camera.

    :param start: z of the first row, metres.
    :param label: (rows, COLUMNS) uint8.
    :param atlas: (rows, ...) uint8; level k begins at column ``left[k]``, scaled by 2 ** -k.
    """

    start: float
    label: NDArray[np.uint8]
    atlas: NDArray[np.uint8]
    left: Array


def window(stretches: list[Stretch], start: float) -> Window:
    """Return neighbouring stretches as one window with its levels of detail."""
    label = np.concatenate([stretch.label for stretch in stretches])

    # Each mip level has half the size of the one before.
    levels = [np.concatenate([stretch.colour for stretch in stretches])]
    for _ in range(LEVELS - 1):
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (width // 2, height // 2),
                                 interpolation=cv2.INTER_AREA))

    # Side by side in one image, each with its last column repeated for interpolation
    left = np.zeros(LEVELS)
    column = 0
    atlas = np.zeros((len(label), 2 * COLUMNS + 4 * LEVELS, 3), np.uint8)
    for number, level in enumerate(levels):
        height, width = level.shape[:2]
        left[number] = column
        atlas[:height, column:column + width] = level
        atlas[:height, column + width:column + width + 2] = level[:, -1:]
        column += width + 4
    return Window(start, label, atlas, left)


class GroundPainter:
    """
    Paint the ground of a street, chunk by chunk.

    :param layout: layout of the street.
    :param rng: decides grain and colours of this street.
    """

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self.layout = layout
        self.fine = noise(rng, 512, 0.25)
        self.coarse = noise(rng, 512, 1.3)
        self.asphalt = np.full(3, rng.uniform(0.05, 0.20)) * rng.uniform(0.95, 1.06, 3)
        self.paving = np.full(3, rng.uniform(0.16, 0.38)) * rng.uniform(0.93, 1.08, 3)
        self.kerb = np.full(3, rng.uniform(0.25, 0.5))
        self.grass = np.array([0.09, 0.14, 0.035]) * rng.uniform(0.6, 1.3) * rng.uniform(
            0.85, 1.2, 3)
        self.slab = float(rng.choice([0.5, 0.75, 1.0, 1.5]))
        self.worn = float(rng.uniform(0.25, 1.0))

    def paint(self, chunk: int) -> Stretch:
        """Return the ground of one chunk."""
        layout = self.layout
        rng = layout.random(chunk, 1)

        # The middle of each column and row of cells
        d = (np.arange(COLUMNS, dtype=np.float64) + 0.5) * CELL - REACH
        z = (np.arange(ROWS, dtype=np.float64) + 0.5) * CELL + chunk * CHUNK
        grid_d, grid_z = d[None, :], z[:, None]

        # Road, sidewalks, gardens and a verge, by the distance from the middle
        far = np.abs(d)
        label = np.empty((ROWS, COLUMNS), np.uint8)
        label[:] = np.where(far < layout.half_road, ROAD, SIDEWALK)[None]
        outside = far > layout.half_road + layout.sidewalk
        label[:, outside] = TERRAIN if layout.gardens else SIDEWALK
        if layout.verge > 0:
            strip = (far > layout.half_road + 0.3) & (far < layout.half_road + 0.3 + layout.verge)
            label[:, strip] = TERRAIN

        # Side streets cut through all of them, with sidewalks of their own.
        side_street = layout.side_street(chunk)
        if side_street is not None:
            middle, half, sides = side_street
            band = np.abs(grid_z - middle) < half
            paved = (np.abs(grid_z - middle) < half + 2.2) & (
                far > layout.half_road)[None]
            for side in sides:
                here = (d * side > 0)[None]
                label[paved & here] = SIDEWALK
                label[band & here] = ROAD

        self._mark(label, chunk, d, grid_z, side_street)
        return Stretch(label, self._colour(label, rng, grid_d, grid_z))

    def _mark(self, label: NDArray[np.uint8], chunk: int, d: Array, grid_z: Array,
              side_street: tuple[float, float, tuple[int, ...]] | None) -> None:
        """Label the road's markings of a chunk."""
        # No lines where a side street or a crossing interrupts them
        layout = self.layout
        clear = np.ones((ROWS, 1), bool)
        if side_street is not None:
            clear &= np.abs(grid_z - side_street[0]) > side_street[1]
        crossing = layout.crossing(chunk)
        if crossing is not None:
            clear &= np.abs(grid_z - crossing) > 3.2

        # Lines along the road; a dash is followed by a gap of one and a half times its length.
        dash = np.mod(grid_z, layout.dash * 2.5) < layout.dash
        marking = np.zeros((ROWS, COLUMNS), bool)
        for line, kind in layout.lines:
            strip = (np.abs(d - line) < 0.075)[None]
            if kind == 'double':
                strip = (np.abs(np.abs(d - line) - 0.13) < 0.065)[None]
            marking |= strip & clear & (dash if kind == 'dashed' else np.ones_like(dash))

        # Zebra crossing, with a stop line before it in the camera's direction
        if crossing is not None:
            bars = np.mod(d + layout.half_road, 1.0) < 0.5
            bars &= np.abs(d) < layout.half_road - 0.25
            marking |= bars[None] & (np.abs(grid_z - crossing) < 1.7)
            stop = np.abs(grid_z - crossing + 2.9) < 0.17
            marking |= stop & ((d * layout.drive_side > 0.2)
                               & (np.abs(d) < layout.half_road - 0.2))[None]

        label[marking & (label == ROAD)] = MARKING

    def _colour(self, label: NDArray[np.uint8], rng: np.random.Generator, grid_d: Array,
                grid_z: Array) -> NDArray[np.uint8]:
        """Return the colours of a chunk as square roots, (ROWS, COLUMNS, 3) uint8."""
        # Noise from this chunk's part of the street's tiles
        layout = self.layout
        rows = (np.arange(ROWS) + int(rng.integers(512))) % 512
        columns = np.arange(COLUMNS) % 512
        fine = self.fine[rows[:, None], columns]
        coarse = self.coarse[(rows[:, None] // 2 + 77) % 512, columns]

        # Reflectance by class, which ``shade`` then varies
        table = np.zeros((256, 3))
        table[[ROAD, MARKING, SIDEWALK, TERRAIN]] = [
            self.asphalt, np.full(3, 0.62), self.paving, self.grass]
        colour = table.astype(np.float32).take(label, axis=0)

        # Asphalt: wheel tracks in each lane are darker, and patches and cracks
        road = label == ROAD
        shade = 1 + 0.10 * fine + 0.09 * coarse
        for lane in layout.lane_centres:
            for wheel in (-0.8, 0.8):
                track = 0.10 * np.exp(-((grid_d - lane - wheel) / 0.3) ** 2)
                shade -= track.astype(np.float32) * road
        self._wear(shade, road, rng)

        # Grass, worn markings, joints between slabs
        grass = label == TERRAIN
        shade = np.where(grass, 1 + 0.28 * fine + 0.22 * coarse, shade)
        marking = label == MARKING
        wear = np.clip(0.25 + 0.2 * fine + 0.25 * coarse, 0, 0.75)
        shade = np.where(marking, 1 - self.worn * wear, shade)
        paving = label == SIDEWALK
        joint = ((np.mod(grid_z, self.slab) < 0.06) | (np.mod(grid_d, self.slab) < 0.06)) & paving
        shade = np.where(joint, shade * 0.72, shade)
        colour *= np.clip(shade, 0.15, 2.5)[..., None]

        # The kerb, and the gutter in front of it
        edge = (np.abs(np.abs(grid_d) - layout.half_road - 0.11) < 0.11) & paving
        colour[edge] = (self.kerb * np.clip(shade[edge], 0.5, 1.4)[:, None]).astype(np.float32)
        gutter = (np.abs(np.abs(grid_d) - layout.half_road + 0.16) < 0.16) & road
        colour[gutter] *= 0.62
        return np.asarray(np.rint(np.sqrt(np.clip(colour, 0, 1)) * 255), np.uint8)

    def _wear(self, shade: Array, road: NDArray[np.bool_], rng: np.random.Generator) -> None:
        """Add patches, cracks and covers to the asphalt of one stretch."""
        marks = np.ones((ROWS, COLUMNS), np.float32)
        middle = COLUMNS / 2
        spread = self.layout.half_road / CELL
        for _ in range(int(rng.integers(0, 4))):
            x = int(middle + rng.uniform(-1, 1) * spread)
            y = int(rng.integers(ROWS))
            w = int(rng.integers(8, 30))
            h = int(rng.integers(12, 160))
            cv2.rectangle(marks, (x, y), (x + w, y + h), float(rng.choice([0.72, 0.85, 1.2])), -1)

        # Cracks are random walks with a drift.
        for _ in range(int(rng.integers(2, 9))):
            point = np.array([middle + rng.uniform(-1, 1) * spread, rng.uniform(0, ROWS)])
            steps = rng.normal(0, 7, (14, 2)) + rng.normal(0, 8, 2)
            line = np.rint(point + np.cumsum(steps, 0)).astype(np.int32)
            cv2.polylines(marks, [line], False, float(rng.uniform(0.35, 0.7)),
                          int(rng.integers(1, 3)))

        for _ in range(int(rng.integers(0, 3))):
            x = int(middle + rng.uniform(-1, 1) * spread)
            y = int(rng.integers(ROWS))
            cv2.circle(marks, (x, y), 6, 0.5, -1)

        shade *= np.where(road, marks, 1)
