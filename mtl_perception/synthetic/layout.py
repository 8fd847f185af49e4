# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of one street: widths, lanes, bends, side streets and crossings."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 40.0
"""Length of a stretch of street that is generated in one go, metres."""


@dataclass(frozen=True)
class Lane:
    """
    A lane beside the camera's own.

    :param d: distance of its middle from the middle of the road, metres, + is right.
    :param direction: +1 along z, -1 against it.
    :param kerb: whether it runs along the kerb.
    """

    d: float
    direction: int
    kerb: bool


class Layout:
    """
    Draw the layout of the street of a seed.

    Across the street, d = x - bend(z) is the distance to the right of the middle of the road.

    :param seed: seed of the street.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = np.random.default_rng([seed, 1])

        # One lane in each direction; ``half`` grows from the middle of the road outwards.
        self.drive_side = 1 if rng.random() < 0.6 else -1
        lane = float(rng.uniform(3.0, 3.6))
        side = self.drive_side
        kind = rng.choice(['narrow', 'kerbs', 'wide'], p=[0.25, 0.5, 0.25])
        kerb_lane = float(rng.uniform(2.3, 2.9))
        self.camera_d = side * lane / 2
        lanes = [Lane(-side * lane / 2, -1, kind == 'narrow')]
        lines: list[tuple[float, str]] = [(0.0, str(rng.choice(['dashed', 'double', 'solid'])))]
        half = lane

        # A wide road has two lanes in each direction.
        if kind == 'wide':
            lanes += [Lane(side * lane * 1.5, 1, False), Lane(-side * lane * 1.5, -1, False)]
            lines += [(lane, 'dashed'), (-lane, 'dashed')]
            half = 2 * lane

        # Outside of the driving lanes, cars can stop at the kerb, except in narrow streets.
        if kind != 'narrow':
            kerb_at = half + kerb_lane / 2 - 0.1
            for one in (-1, 1):
                if kind == 'kerbs' or rng.random() < 0.5:
                    lanes.append(Lane(one * kerb_at, side * one, True))
            if rng.random() < 0.5:
                lines += [(half, 'solid'), (-half, 'solid')]
            half += kerb_lane
        else:
            half += 0.5
            if rng.random() < 0.5:
                lines += [(half - 0.35, 'solid'), (0.35 - half, 'solid')]

        self.lanes = tuple(lanes)
        self.lines = tuple(lines)
        self.lane_width = lane
        self.lane_centres = (self.camera_d, *(one.d for one in lanes if not one.kerb))
        self.half_road = float(half)

        # Dashes of the lines, and the ground beside the road
        self.dash = float(rng.choice([1.5, 2.0, 3.0]))
        self.verge = float(rng.choice([0.0, 0.0, 1.3, 1.8]))
        self.sidewalk = float(rng.uniform(1.9, 3.6)) + self.verge
        self.gardens = bool(rng.random() < 0.5)
        self.setback = float(rng.uniform(2.5, 6.0)) if self.gardens else float(rng.uniform(0, 0.8))
        self.green = float(rng.uniform(0.0, 0.5))
        self.trees = float(rng.uniform(0.15, 0.9))
        self.low = bool(rng.random() < 0.5)

        # x of the middle of the road is amplitude * sin(wave * z + phase).
        self._crossings = float(rng.uniform(0.15, 0.6))
        self._amplitude = float(rng.uniform(0, 9.0)) * (rng.random() < 0.75)
        self._wave = 2 * np.pi / float(rng.uniform(220, 420))
        self._phase = float(rng.uniform(0, 2 * np.pi))

    def random(self, chunk: int, purpose: int) -> np.random.Generator:
        """Return the generator that belongs to one chunk and one purpose."""
        return np.random.default_rng([self.seed, 2, purpose, chunk % (1 << 32)])

    def bend(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x of the middle of the road at many z, metres."""
        return np.asarray(self._amplitude * np.sin(self._wave * z + self._phase))

    def middle(self, z: float) -> float:
        """Return x of the middle of the road at one z, metres."""
        return self._amplitude * math.sin(self._wave * z + self._phase)

    def heading(self, z: float) -> float:
        """Return the direction of the road at z, radians from +z towards +x."""
        return math.atan(self._amplitude * self._wave * math.cos(self._wave * z + self._phase))

    def side_street(self, chunk: int) -> tuple[float, float, tuple[int, ...]] | None:
        """Return z of a side street's middle, half its width and the sides it is on, or None."""
        rng = self.random(chunk, 3)
        if rng.random() > 0.28:
            return None
        sides: tuple[int, ...] = ((-1,), (1,), (-1, 1))[int(rng.integers(3))]
        return chunk * CHUNK + float(rng.uniform(14, 30)), float(rng.uniform(2.8, 4.5)), sides

    def crossing(self, chunk: int) -> float | None:
        """Return z of a zebra crossing or None."""
        rng = self.random(chunk, 4)
        if rng.random() > self._crossings:
            return None
        side = self.side_street(chunk)
        if side is not None:
            return side[0] - side[1] - 4.5
        return chunk * CHUNK + float(rng.uniform(8, 32))
