# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Markings of the look ``roads``, white and yellow."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic.ground import CELL, COLUMNS, REACH, ROWS
from mtl_perception.synthetic.layout import CHUNK
from mtl_perception.synthetic.mesh import Array
from mtl_perception.synthetic.roads.layout import MEDIAN, RoadLayout

Mask = NDArray[np.bool_]
SideStreet = tuple[float, float, tuple[int, ...]] | None


@dataclass(frozen=True, eq=False)
class Markings:
    """
    Paint on one chunk.

    :param painted: (ROWS, COLUMNS) bool, all paint.
    :param yellow: (ROWS, COLUMNS) bool, that which is yellow.
    """

    painted: Mask
    yellow: Mask

    @staticmethod
    def empty() -> 'Markings':
        """Return a chunk without paint."""
        return Markings(np.zeros((ROWS, COLUMNS), bool), np.zeros((ROWS, COLUMNS), bool))


def mark(layout: RoadLayout, chunk: int, d: Array, grid_z: Array,
         side_street: SideStreet) -> Markings:
    """Return the markings of a chunk, whose columns are at ``d`` and rows at ``grid_z``."""
    rng = layout.random(chunk, 13)
    white = np.zeros((ROWS, COLUMNS), np.uint8)
    yellow = np.zeros((ROWS, COLUMNS), np.uint8)

    # No lines along the road where a side street or a crossing interrupts them
    crossing = layout.crossing(chunk)
    clear = np.ones((ROWS, 1), bool)
    if side_street is not None:
        clear &= np.abs(grid_z - side_street[0]) > side_street[1]
    if crossing is not None:
        clear &= np.abs(grid_z - crossing) > 3.2
    _lines(layout, d, grid_z, clear, white, yellow)
    _kerbs(layout, d, grid_z, clear, white, yellow)

    if crossing is not None:
        _crossing(layout, crossing, d, grid_z, white, rng)
    if side_street is not None:
        _mouth(layout, side_street, d, grid_z, white, yellow)
    _symbols(layout, chunk, crossing, white, rng)
    return Markings((white | yellow) > 0, yellow > 0)


def _lines(layout: RoadLayout, d: Array, grid_z: Array, clear: Mask, white: NDArray[np.uint8],
           yellow: NDArray[np.uint8]) -> None:
    """Draw the lines along the road."""
    half = layout.thick / 2
    dash = np.mod(grid_z, layout.dash * (1 + layout.gap)) < layout.dash
    for line, kind in layout.lines:
        if kind in ('turning', 'hatched'):
            _between(layout, kind, d, grid_z, clear, yellow)
            continue

        strip = (np.abs(d - line) < half)[None]
        if kind == 'double':
            strip = (np.abs(np.abs(d - line) - 0.13) < half)[None]
        inside = abs(line) < (MEDIAN if layout.scene == 'highway' else 0.01)
        target = yellow if inside and 'centre' in layout.yellow else white
        target[strip & clear & (dash if kind == 'dashed' else np.ones_like(dash))] = 1


def _between(layout: RoadLayout, kind: str, d: Array, grid_z: Array, clear: Mask,
             yellow: NDArray[np.uint8]) -> None:
    """Draw what lies between the directions: a lane to turn from, or a hatched strip."""
    half = layout.thick / 2
    away = np.abs(d)[None]
    inner = np.abs(away - layout.between + 0.25) < half
    if kind == 'turning':
        inner = inner & (np.mod(grid_z, 6.0) < 3.0)
    yellow[(inner | (np.abs(away - layout.between) < half)) & clear] = 1

    if kind == 'hatched':
        bars = np.mod(grid_z + d[None], 3.0) < 0.3
        yellow[bars & (away < layout.between - 0.25) & clear] = 1


def _kerbs(layout: RoadLayout, d: Array, grid_z: Array, clear: Mask, white: NDArray[np.uint8],
           yellow: NDArray[np.uint8]) -> None:
    """Draw lines at the kerbs, and bays where cars may be parked."""
    inner = layout.half_road - np.abs(d)
    if layout.kerb_lines == 'double':
        yellow[((np.abs(inner - 0.32) < 0.05) | (np.abs(inner - 0.52) < 0.05))[None] & clear] = 1
    elif layout.kerb_lines == 'single':
        yellow[(np.abs(inner - 0.34) < 0.06)[None] & clear] = 1
    elif layout.kerb_lines == 'white':
        white[(np.abs(inner - 0.34) < 0.06)[None] & clear] = 1

    kerb = [one.d for one in layout.lanes if one.kerb]
    if layout.bays and kerb and layout.kerb_lines == 'none':
        for side in {np.sign(one) for one in kerb}:
            across = (d * side > layout.half_road - 2.1) & (d * side < layout.half_road)
            rim = np.abs(d * side - layout.half_road + 2.1) < 0.06
            white[(across[None] & (np.mod(grid_z, 6.0) < 0.12)) & clear] = 1
            white[rim[None] & clear & (np.mod(grid_z, 2.0) < 1.0)] = 1


def _crossing(layout: RoadLayout, crossing: float, d: Array, grid_z: Array,
              white: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Draw a crossing: a zebra, a ladder or two rows of studs, with a stop line before it."""
    inside = (np.abs(d) < layout.half_road - 0.25)[None]
    kind = rng.choice(['zebra', 'zebra', 'ladder', 'lines', 'studs'])
    near = np.abs(grid_z - crossing)
    bars = (np.mod(d + layout.half_road, 1.0) < 0.5)[None]
    if kind in ('zebra', 'ladder'):
        white[inside & bars & (near < 1.5)] = 1
    if kind in ('lines', 'ladder'):
        white[inside & (np.abs(near - 1.6) < 0.12)] = 1
    if kind == 'studs':
        studs = (np.mod(d, 0.6) < 0.15)[None]
        white[inside & studs & (np.abs(near - 1.5) < 0.08)] = 1

    stop = np.abs(grid_z - crossing + 2.9) < rng.uniform(0.1, 0.2)
    own = ((d * layout.drive_side > 0.2) & (np.abs(d) < layout.half_road - 0.2))[None]
    white[stop & own] = 1
    if layout.zigzag and kind == 'zebra':
        for at in (-layout.half_road + 0.6, layout.half_road - 0.6, 0.0):
            wave = at + 0.35 * (np.abs(np.mod(near, 4.0) - 2.0) - 1.0)
            white[(np.abs(d[None] - wave) < 0.07) & (near > 3.2) & (near < 13)] = 1


def _mouth(layout: RoadLayout, side_street: tuple[float, float, tuple[int, ...]], d: Array,
           grid_z: Array, white: NDArray[np.uint8], yellow: NDArray[np.uint8]) -> None:
    """Draw the give-way line of a side street, and a box of crossed lines before it."""
    middle, half, sides = side_street
    within = np.abs(grid_z - middle) < half
    for side in sides:
        dashes = np.mod(grid_z, 0.9) < 0.6
        for beyond in (0.15, 0.5):
            at = np.abs(d * side - layout.half_road - beyond) < 0.09
            white[at[None] & within & dashes] = 1
        centre = (np.abs(grid_z - middle) < 0.06) & (np.mod(d, 3.0) < 1.5)[None]
        white[centre & (d * side > layout.half_road + 1)[None]] = 1

    if layout.box:
        inside = within & (np.abs(d) < layout.half_road - 0.3)[None]
        for slope in (-1, 1):
            yellow[inside & (np.mod(grid_z - middle + slope * d[None], 2.0) < 0.16)] = 1
        rim = np.abs(np.abs(grid_z - middle) - half + 0.1) < 0.08
        yellow[rim & (np.abs(d) < layout.half_road - 0.3)[None]] = 1


def _symbols(layout: RoadLayout, chunk: int, crossing: float | None, white: NDArray[np.uint8],
             rng: np.random.Generator) -> None:
    """Draw arrows, words, hatchings and bicycles on the lanes."""
    if rng.random() > layout.arrows:
        return
    lanes = [(layout.camera_d, 1)] + [(one.d, one.direction) for one in layout.lanes
                                      if not one.kerb]
    kind = str(rng.choice(['arrow', 'arrow', 'word', 'hatch', 'slow']))
    at = chunk * CHUNK + float(rng.uniform(4, CHUNK - 10))

    if kind == 'hatch':  # between the directions
        for number in range(int(rng.integers(5, 12))):
            z = at + number * 1.6
            _stroke(white, [(-0.7, z), (0.7, z + 1.2)], 0.2, chunk)
        return

    for lane, direction in lanes:
        if kind == 'arrow':
            turn = float(rng.choice([-1.0, 0.0, 0.0, 1.0]))
            for line in ([(0, 0), (0, 3.0)], [(-0.45, 2.2), (0, 3.6), (0.45, 2.2)]):
                _stroke(white, [(lane + direction * (x + turn * max(y - 1.5, 0) * 0.6),
                                 at + direction * y) for x, y in line], 0.22, chunk)

        else:  # upright strokes and bars, as letters drawn out along the road
            for letter in range(4):
                x = lane + (letter - 1.5) * 0.55
                high = float(rng.uniform(1.6, 2.4))
                _stroke(white, [(x, at), (x, at + high)], 0.12, chunk)
                for bar in rng.choice([0.0, 0.5, 1.0], 2):
                    _stroke(white, [(x, at + bar * high), (x + 0.35, at + bar * high)], 0.25,
                            chunk)


def _stroke(mask: NDArray[np.uint8], points: list[tuple[float, float]], thick: float,
            chunk: int) -> None:
    """Draw a line through points (d, z), metres."""
    cells = [(round((d + REACH) / CELL), round((z - chunk * CHUNK) / CELL)) for d, z in points]
    cv2.polylines(mask, [np.array(cells, np.int32)], False, 1, max(round(thick / CELL), 1))
