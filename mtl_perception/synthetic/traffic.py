# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
All that drives, rides and walks on a street, as closed formulas of time.

Everything that can move belongs to a flow: a row of objects along the street, endless in both
directions. A flow stands still or goes and stops in turns. Flows that stand and flows that
move draw shapes, colours, gaps and places from the same distributions, so that a single image
does not tell which is which.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic.layout import CHUNK, Layout
from mtl_perception.synthetic.vehicles import length_of, model_random, shape_of

PER_FLOW = 2000
"""Instance ids of one flow; after this many objects, they repeat."""

STRIDES = {'person': 1.45, 'cyclist': 4.5}
"""Metres per full turn of the legs."""

USUAL = 4.5
"""Length of a common car, metres."""

MEASURED_S = 0.1
"""Velocities are means over so many seconds."""
FASTEST_M_S = 30.0

Member = tuple[int, int, float, float, float, float]
"""Place in the group, model, metres along, d, phase of the legs (turns), turn (radians)."""


class Pace:
    """
    Going and stopping in turns: distance and speed as functions of time.

    :param rng: decides when.
    :param speed: range of cruising speeds, m/s.
    :param still: range of the stops, seconds; None stands still all the time.
    :param going: range of the drives between them, seconds.
    """

    STEP = 0.02
    """Seconds between tabulated speeds."""

    def __init__(self, rng: np.random.Generator, speed: tuple[float, float],
                 still: tuple[float, float] | None, going: tuple[float, float]) -> None:
        # Six drives, each with a ramp up and down and followed by a stop
        parts = []
        for _ in range(6 if still is not None else 0):
            assert still is not None
            cruise = rng.uniform(*speed)
            lowest = speed[0]
            drive = int(rng.uniform(*going) / self.STEP)
            ramp = np.minimum(np.arange(drive), np.arange(drive)[::-1]) * self.STEP
            parts.append(np.minimum(lowest + ramp * max(1.8, lowest), cruise))
            parts.append(np.zeros(int(rng.uniform(*still) / self.STEP)))

        # The distance is the sum of the speeds; ``spread`` is how far it strays from the mean's.
        speeds = np.concatenate(parts) if parts else np.zeros(1)
        way = np.concatenate([[0.0], np.cumsum(speeds) * self.STEP])
        self.period = len(speeds) * self.STEP
        self.mean = float(way[-1]) / self.period
        off = way - np.arange(len(way)) * self.STEP * self.mean
        self.spread = float(off.max() - off.min())
        self._speed: list[float] = speeds.tolist()
        self._way: list[float] = way.tolist()

    def way(self, time: float) -> float:
        """Return the distance since time 0, metres."""
        turns, rest = divmod(time, self.period)
        step = rest / self.STEP
        low = min(int(step), len(self._speed) - 1)
        return (turns * self._way[-1] + self._way[low]
                + (step - low) * (self._way[low + 1] - self._way[low]))

    def speed(self, time: float) -> float:
        """Return the speed in m/s: exactly 0 at a stop."""
        return self._speed[min(int(time % self.period / self.STEP), len(self._speed) - 1)]


@dataclass(frozen=True)
class Actor:
    """
    One object at one time.

    :param instance: its id, the same in all frames.
    :param kind: ``car``, ``person`` or ``cyclist``.
    :param model: number of its model in the catalogue, any non-negative integer.
    :param x: metres.
    :param z: metres.
    :param yaw: radians from +z towards +x.
    :param phase: pose of the legs, in turns.
    :param moving: whether it moves in the world.
    """

    instance: int
    kind: str
    model: int
    x: float
    z: float
    yaw: float
    phase: float
    moving: bool


class Flow:
    """
    One endless row of objects.

    :param layout: the street.
    :param number: number of the flow; decides its instance ids and its random numbers.
    :param kind: ``car``, ``person`` or ``cyclist``.
    :param d: distance from the middle of the road, metres, and how far it varies.
    :param direction: +1 along z, -1 against it.
    :param pace: when it moves.
    :param pitch: metres from group to group, apart from the length of a group.
    :param group: largest number of objects in one group.
    :param filled: share of the places in a group that are taken.
    :param spacing: metres from place to place in a group.
    """

    def __init__(
            self, layout: Layout, number: int, kind: str, d: tuple[float, float], direction: int,
            pace: Pace, pitch: float, group: int, filled: float, spacing: float) -> None:
        self.layout = layout
        self.number = number
        self.kind = kind
        self.d = d
        self.direction = direction
        self.pace = pace
        self.group = group
        self.filled = filled
        self.spacing = spacing
        self.pitch = pitch + (group - 1) * spacing

        rng = np.random.default_rng([layout.seed, 5, number])
        self._shift = rng.uniform(0, self.pitch)
        self._time = rng.uniform(0, 1000)
        self._groups: dict[int, tuple[float, list[Member]]] = {}

    def between(self, low: float, high: float, time: float) -> Iterator[Actor]:
        """Yield the objects between two z at a time."""
        # Groups that may be between them, wherever their pace has brought them
        gone = self.direction * self.pace.way(time + self._time) + self._shift
        slack = self.pace.spread + self.pitch
        first = math.floor((low - gone - slack) / self.pitch)
        last = math.ceil((high - gone + slack) / self.pitch)
        for number in range(first, last + 1):
            # A group is ``late``: it moves at other times than its neighbours, but on average at
            # the same speed, so that they keep apart.
            late, places = self._members(number)
            now = time + self._time + late
            way = self.pace.way(now)
            base = (number * self.pitch + self._shift + self.direction
                    * (way - self.pace.mean * late))
            moving = self.pace.speed(now) > 0
            for place, model, along, d, phase, turn in places:
                z = base + along
                if not low <= z <= high:
                    continue

                # Legs turn with the distance.
                yaw = self.layout.heading(z) + turn + (np.pi if self.direction < 0 else 0)
                if self.kind != 'car':
                    phase = (phase + way / STRIDES[self.kind]) % 1.0

                count = (number * self.group + place) % PER_FLOW
                yield Actor(1 + self.number * PER_FLOW + count, self.kind, model,
                            self.layout.middle(z) + d, z, yaw, phase, moving)

    def _members(self, number: int) -> tuple[float, list[Member]]:
        """Return by how many seconds a group is late, and its members."""
        if number not in self._groups:
            rng = np.random.default_rng([self.layout.seed, 6, self.number, number % (1 << 32)])
            late = float(rng.uniform(0, self.pace.period))
            places = []
            end = -USUAL / 2
            for place in range(self.group):
                # Every place draws the same numbers, whether it is taken or not.
                here = rng.random() < self.filled
                model = int(rng.integers(1 << 30))
                jitter = rng.uniform(-0.15, 0.15)
                d = self.d[0] + rng.uniform(-1, 1) * self.d[1]
                phase = rng.random()
                turn = rng.normal(0, 0.02)
                if self.kind == 'person':
                    jitter = jitter * 4
                    turn = rng.normal(0, 0.25)

                along = place * self.spacing
                if self.kind == 'car':  # bumper to bumper: a bus takes the room of two cars
                    length = length_of(shape_of(model_random(self.layout.seed, model)))
                    along = end + length / 2
                    end += length + self.spacing - USUAL
                    here = here and (place == 0 or end < self.group * self.spacing)
                if here:
                    places.append((place, model, along + jitter, d, phase, turn))

            if len(self._groups) > 500:
                self._groups.clear()
            self._groups[number] = late, places
        return self._groups[number]


class Traffic:
    """
    Everything that can move on one street, and the drive of the camera itself.

    :param layout: the street.
    """

    def __init__(self, layout: Layout) -> None:
        # The camera's own drive, and cars that drive ahead of it
        self.layout = layout
        rng = np.random.default_rng([layout.seed, 7])
        self._leaders = int(rng.integers(1, 3)) if rng.random() < 0.4 else 0
        top = float(rng.uniform(5, 9) if self._leaders else rng.uniform(6, 13))
        self.drive = Pace(rng, (2.0, top), (1.5, 5.0), (9.0, 22.0))
        self._gap = float(rng.uniform(7, 12))
        self._hop = float(rng.uniform(24, 44))

        # Cars on every other lane
        self.flows: list[Flow] = []
        stands = rng.random(6) < 0.4
        for number, lane in enumerate(layout.lanes):
            pace = self._pace(rng, bool(stands[number]), (1.5, float(rng.uniform(4, 14))))
            self._add('car', (lane.d, 0.15), lane.direction, pace[0],
                      float(rng.uniform(7, 13)) + pace[1], int(rng.integers(2, 7)),
                      float(rng.uniform(0.5, 0.95)), float(rng.uniform(6.3, 8.5)))

        # Four flows of people on each sidewalk
        inner = layout.half_road + layout.verge + 0.5
        outer = layout.half_road + layout.sidewalk - 0.3
        for side in (-1, 1):
            for stand in rng.random(4) < 0.4:
                pace = self._pace(rng, bool(stand), (0.8, 2.0))
                self._add('person', (side * (inner + outer) / 2, (outer - inner) / 2),
                          int(rng.choice([-1, 1])), pace[0],
                          float(rng.uniform(9, 26)) + pace[1] * 0.5, int(rng.integers(1, 4)),
                          0.75, float(rng.uniform(0.7, 1.6)))

        # Cyclists at the edge of the outer lane and on the sidewalks
        beside = layout.lane_width + (0.15 if layout.half_road > layout.lane_width + 1 else -0.35)
        for side in (-1, 1):
            pace = self._pace(rng, rng.random() < 0.4, (3.0, 6.0))
            self._add('cyclist', (side * beside, 0.2), side * layout.drive_side, pace[0],
                      float(rng.uniform(14, 34)) + pace[1], int(rng.integers(1, 3)), 0.75,
                      float(rng.uniform(2.5, 5)))
            pace = self._pace(rng, rng.random() < 0.4, (3.0, 6.0))
            self._add('cyclist', (side * (inner + outer) / 2, (outer - inner) / 2.5),
                      int(rng.choice([-1, 1])), pace[0], float(rng.uniform(20, 50)) + pace[1],
                      1, 0.8, 3.0)

    @staticmethod
    def _pace(rng: np.random.Generator, stand: bool,
              speed: tuple[float, float]) -> tuple[Pace, float]:
        """Return a pace, and the room in metres between groups that it needs when it moves."""
        going = Pace(rng, speed, (1.0, 3.0), (6.0, 12.0))
        return (Pace(rng, speed, None, (1, 1)) if stand else going), going.spread

    def _add(self, kind: str, d: tuple[float, float], direction: int, pace: Pace, pitch: float,
             group: int, filled: float, spacing: float) -> None:
        number = len(self.flows)
        self.flows.append(Flow(
            self.layout, number, kind, d, direction, pace, pitch, group, filled, spacing))

    def at(self, time: float, behind: float, ahead: float) -> list[Actor]:
        """Return all objects from ``behind`` to ``ahead`` metres in front of the camera."""
        z = self.drive.way(time)
        actors = [actor for flow in self.flows
                  for actor in flow.between(z - behind, z + ahead, time)]

        # The camera's leaders and the people on crossings share the ids after the last flow.
        number = len(self.flows)
        actors.extend(self._ahead(time, z, number))
        first = math.floor((z - behind) / CHUNK)
        for chunk in range(first, int((z + ahead) // CHUNK) + 1):
            actors.extend(self._crossers(chunk, time, number))
        return actors

    def velocities(
        self, time: float, behind: float, ahead: float,
    ) -> dict[int, tuple[float, float]]:
        """
        Return instance id -> velocity along x and z in the world, m/s.

        That is the mean over :data:`MEASURED_S`; who is not there all the time is left out.
        """
        before, after = (
            {one.instance: one for one in self.at(
                time + shift, behind + FASTEST_M_S, ahead + FASTEST_M_S)}
            for shift in (-MEASURED_S / 2, MEASURED_S / 2))
        return {instance: ((after[instance].x - one.x) / MEASURED_S,
                           (after[instance].z - one.z) / MEASURED_S)
                for instance, one in before.items() if instance in after}

    def _ahead(self, time: float, z: float, number: int) -> Iterator[Actor]:
        """Yield the cars in the camera's lane: they wait until it is near, then drive ahead."""
        # The camera's place within a hop. For 40 % of it they stand, over the rest they gain a
        # whole hop.
        wait = 0.4 * self._hop
        phase = z % self._hop
        gone = max(0.0, phase - wait) / (1 - 0.4)
        moving = self.drive.speed(time) > 0 and phase > wait

        for place in range(self._leaders):
            rng = np.random.default_rng([self.layout.seed, 8, place])
            here = z - phase + gone + wait + self._gap + 8.0 * place
            yield Actor(
                1 + number * PER_FLOW + place, 'car', int(rng.integers(1 << 30)),
                self.layout.middle(here) + self.layout.camera_d + rng.uniform(-0.15, 0.15),
                here, self.layout.heading(here), 0.0, moving)

    def _crossers(self, chunk: int, time: float, number: int) -> Iterator[Actor]:
        """Yield people on a zebra crossing; they keep to the side across from the camera."""
        place = self.layout.crossing(chunk)
        if place is None:
            return
        rng = self.layout.random(chunk, 9)
        side = -self.layout.drive_side
        length = self.layout.half_road + 0.8

        # They walk to and fro along the half of the road, a triangle wave of time.
        for person in range(int(rng.integers(0, 4))):
            speed = rng.uniform(0.8, 1.7)
            start = rng.uniform(0, 2 * length)
            model = int(rng.integers(1 << 30))
            phase = rng.random()
            jitter = rng.uniform(-1.2, 1.2)
            moving = rng.random() < 0.5
            way = (start + (speed * time if moving else 0)) % (2 * length)
            back = way > length
            d = 0.6 + (2 * length - way if back else way)

            yaw = (np.pi / 2 if (side > 0) != back else -np.pi / 2) + self.layout.heading(place)
            phase = (phase + (speed * time / 1.45 if moving else 0)) % 1.0
            count = 100 + (chunk * 4 + person) % 1800
            yield Actor(1 + number * PER_FLOW + count, 'person', model,
                        self.layout.middle(place) + side * d, place + jitter, yaw, phase,
                        moving)
