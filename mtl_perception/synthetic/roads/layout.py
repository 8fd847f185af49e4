# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layouts of the look ``roads``: towns, suburbs, country roads and highways."""

import numpy as np

from mtl_perception.synthetic.layout import CHUNK, Lane, Layout

SCENES = ('town', 'suburb', 'country', 'highway')
SHARES = (0.46, 0.30, 0.12, 0.12)
WOODED = {'town': (0.0, 0.0, 0.25), 'suburb': (0.0, 0.3, 0.7), 'country': (0.0, 0.4, 0.9),
          'highway': (0.0, 0.3, 0.8)}
"""Share of the road's sides that a wood begins at, one of three by scene."""
MEDIAN = 1.3
"""Half the width of the strip between the two carriageways of a highway, metres."""


class RoadLayout(Layout):
    """
    A layout with a scene; see :class:`~mtl_perception.synthetic.layout.Layout`.

    ``edge`` is the width of the shoulder beyond the outermost line, ``gap`` the distance between
    dashes as a share of their length, ``yellow`` the lines that are yellow. ``wooded`` and
    ``far_wood`` are the shares of its sides with a wood beside the road and far away,
    ``junctions`` that of the side streets that are wide roads. ``between`` is half the width of
    what is painted between the directions, metres.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        rng = np.random.default_rng([seed, 50])
        self.scene = str(rng.choice(SCENES, p=SHARES))
        self.dash = float(rng.choice([1.5, 2.0, 3.0, 4.0]))
        self.gap = float(rng.choice([1.0, 1.5, 2.0]))
        self.thick = float(rng.choice([0.10, 0.12, 0.15]))

        american = self.drive_side > 0 and rng.random() < 0.35
        self.yellow = ('centre',) if american else ()
        self.kerb_lines = str(rng.choice(['none', 'double', 'single', 'white'],
                                         p=[0.42, 0.30, 0.13, 0.15]))

        self.bays = bool(rng.random() < 0.35)
        self.zigzag = bool(rng.random() < 0.3)
        self.box = bool(rng.random() < 0.25)
        self.arrows = float(rng.uniform(0, 0.6))

        self.railings = float(rng.choice([0.0, 0.15, 0.5]))
        self.bare = float(rng.choice([0.0, 0.15, 0.6, 1.0], p=[0.35, 0.2, 0.25, 0.2]))

        if self.scene == 'town':
            self.gardens = bool(rng.random() < 0.15)
            self.setback = float(rng.uniform(0, 0.6) if not self.gardens else rng.uniform(2, 5))
            self.trees = float(rng.choice([0.0, 0.1, 0.3, 0.6]))
            self.green = float(rng.uniform(0, 0.25))

        elif self.scene == 'suburb':
            self.gardens = True
            self.setback = float(rng.uniform(3, 8))
            self.low = True
        elif self.scene == 'country':
            self._country(rng)
        else:
            self._highway(rng)
        self._landscape()
        self._america()

    def _america(self) -> None:
        """Set yellow lines between the directions, far dashes, lanes to turn from."""
        rng = np.random.default_rng([self.seed, 70])
        self.between = float(rng.uniform(0.5, 0.9))
        if self.drive_side > 0 and rng.random() < 0.3:
            self.yellow = ('centre',)
        if not self.yellow:
            return
        if rng.random() < 0.5:
            self.dash, self.gap = 3.0, 3.0
        kind = str(rng.choice(['double', 'turning', 'hatched', ''], p=[0.4, 0.2, 0.15, 0.25]))
        if kind:
            self.lines = tuple((at, kind if at == 0 else other) for at, other in self.lines)

    def _landscape(self) -> None:
        """Set woods, wide junctions, and sharper bends outside of towns."""
        rng = np.random.default_rng([self.seed, 60])
        self.wooded = float(rng.choice(WOODED[self.scene]))
        self.far_wood = float(rng.choice([0.0, 0.5, 1.0]))
        self.junctions = float(rng.choice([0.0, 0.3, 0.8]))
        if self.scene in ('suburb', 'country'):
            self._amplitude *= float(rng.uniform(1.0, 2.5))

    def _country(self, rng: np.random.Generator) -> None:
        """Set a road of two lanes between verges, without sidewalks or parked cars."""
        lane = self.lane_width
        side = self.drive_side
        self.lanes = (Lane(-side * lane / 2, -1, False),)
        self.lane_centres = (self.camera_d, -side * lane / 2)
        self.half_road = lane + float(rng.uniform(0.2, 1.5))
        lines = [(0.0, str(rng.choice(['dashed', 'dashed', 'double', 'solid'])))]
        if rng.random() < 0.7:
            lines += [(lane, 'solid'), (-lane, 'solid')]
        self.lines = tuple(lines)
        self.kerb_lines = 'none'
        self.verge = 0.0
        self.sidewalk = 0.0
        self.gardens = True
        self.bays = self.box = self.zigzag = False

    def _highway(self, rng: np.random.Generator) -> None:
        """Set two carriageways with a median, two or three lanes each."""
        count = int(rng.integers(2, 4))
        lane = float(rng.uniform(3.4, 3.75))
        side = self.drive_side
        own = int(rng.integers(count))
        middles = [MEDIAN + lane * (number + 0.5) for number in range(count)]
        self.lane_width = lane
        self.camera_d = side * middles[own]
        self.lanes = tuple(
            [Lane(side * middle, 1, False) for number, middle in enumerate(middles)
             if number != own] + [Lane(-side * middle, -1, False) for middle in middles])
        self.lane_centres = (self.camera_d, *(one.d for one in self.lanes))

        outer = MEDIAN + lane * count
        lines = [(one * at, 'solid') for one in (-1, 1) for at in (MEDIAN - 0.1, outer)]

        lines += [(one * (MEDIAN + lane * number), 'dashed') for one in (-1, 1)
                  for number in range(1, count)]
        self.lines = tuple(lines)

        self.kerb_lines = 'none'
        self.dash, self.gap = 3.0, float(rng.choice([2.0, 3.0]))
        self.half_road = outer + float(rng.uniform(0.5, 3.2))
        self.verge = 0.0
        self.sidewalk = 0.0
        self.gardens = True
        self.bays = self.box = self.zigzag = False
        self._amplitude = self._amplitude * 0.7

    @property
    def open_road(self) -> bool:
        """Whether there are neither sidewalks nor people."""
        return self.scene in ('country', 'highway')

    def side_street(self, chunk: int) -> tuple[float, float, tuple[int, ...]] | None:
        """Return z of a side street's middle, half its width and the sides it is on, or None."""
        if self.scene == 'highway' or (self.scene == 'country' and chunk % 3):
            return None
        street = super().side_street(chunk)
        if street is None:
            return None

        # A junction of two wide roads, in place of a side street
        rng = self.random(chunk, 65)
        if rng.random() >= self.junctions:
            return street
        half = float(rng.uniform(5, 10))
        return chunk * CHUNK + float(rng.uniform(half + 3, CHUNK - half - 1)), half, (-1, 1)

    def crossing(self, chunk: int) -> float | None:
        """Return z of a zebra crossing or None."""
        return None if self.open_road else super().crossing(chunk)
