# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects in time: ids that hold from frame to frame, and velocities over the world."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import Pinhole
from mtl_perception.egomotion.pinhole import inverse
from mtl_perception.frames import Objects
from mtl_perception.inference.moving_objects import Moving
from mtl_perception.inference.objects import Floats, Ids
from mtl_perception.tasks import MOVING, UNKNOWN_MOTION

Vector = NDArray[np.float64]

OVERLAP = 0.2
"""Least intersection over union of an object with where the flow takes a known one."""
KEPT_S = 0.6
"""A track that is not seen for longer ends, seconds."""
CONFIRMED = 2
"""A track is told once it was seen in so many frames."""
OLD = 16
"""From so many frames on, all tracks weigh the same where several claim an object."""
BELIEVED_ENOUGH_TO_TELL = 0.45
"""
A track is told while its belief is at least this.

It is no probability: the scatter of the votes is taken off, see :func:`.vector_objects`.
On ten streets IDF1 is best at 0.4 and MOTA at 0.54.
"""
SAME_DEPTH = 0.3
"""Largest difference of the logarithms of depth of one object that was hidden in between."""
FLOW_SIGMA_PX = 0.5
"""Expected error of the flow of an object as a whole, pixels."""
REPEATED = 3.0
"""Factor on the variance of a measurement: the baselines of frames in a row share their ends."""
ACCELERATION = 3.0
"""Expected change of velocity, m/s per second."""
SLOW_PRIOR = 6.0
"""Standard deviation of the velocity of an object of which nothing is known, m/s."""
BLEND = 0.5
"""Weight of the newest frame in the belief in an object and the probability that it moves."""


@dataclass
class Track:
    """
    One object over time; vectors are in the axes of the newest camera.

    :param number: its id, never used twice.
    :param position: (3,) metres.
    :param seen_ns: stamp of the last frame in which it was seen.
    :param votes: class id -> in how many pixels it was seen.
    :param size_px: square root of its pixels in that frame.
    :param hits: in how many frames it was seen.
    :param belief: how far it can be believed, filtered; NaN = it was not told.
    :param moving: probability that it moves; NaN before it is known.
    :param velocity: (3,) m/s over the world.
    :param variance: (3, 3) of the velocity.
    :param measured: whether the velocity was ever measured.
    """

    number: int
    position: Vector
    seen_ns: int
    votes: dict[int, int] = field(default_factory=dict)
    size_px: float = 0.0
    hits: int = 0
    belief: float = np.nan
    moving: float = np.nan
    velocity: Vector = field(default_factory=lambda: np.zeros(3))
    variance: Vector = field(default_factory=lambda: np.eye(3) * SLOW_PRIOR ** 2)
    measured: bool = False

    @property
    def weight(self) -> float:
        """How much its overlap counts against that of others: from 1, with age up to 5."""
        return 1 + math.log2(min(self.hits, OLD))

    @property
    def told(self) -> bool:
        """Whether it was seen often enough and is believed."""
        return self.hits >= CONFIRMED and not self.belief < BELIEVED_ENOUGH_TO_TELL

    @property
    def kind(self) -> int:
        """Class of most of the pixels in which it was seen."""
        return max(self.votes, key=self.votes.__getitem__)

    def carry(self, seconds: float, step: Vector | None) -> None:
        """
        Go on at the same velocity and into the axes of the next camera.

        :param seconds: since the frame before.
        :param step: (4, 4) from the next camera's frame to this one's, None if unknown.
        """
        self.position = self.position + self.velocity * seconds
        self.variance = self.variance + np.eye(3) * (ACCELERATION * seconds) ** 2
        if step is not None:
            back = inverse(step)
            self.position = back[:3, :3] @ self.position + back[:3, 3]
            self.velocity = back[:3, :3] @ self.velocity
            self.variance = back[:3, :3] @ self.variance @ back[:3, :3].T

    def measure(self, velocity: Vector, noise: Vector) -> None:
        """Take a measurement of the velocity with its (3, 3) variance into account."""
        # Kalman: K = P (P + R)^-1, v <- v + K (z - v), P <- (I - K) P
        gain = self.variance @ np.linalg.inv(self.variance + noise)
        self.velocity = self.velocity + gain @ (velocity - self.velocity)
        self.variance = (np.eye(3) - gain) @ self.variance
        self.measured = True


class ObjectTracker:
    """
    Give the objects of one camera ids that hold, and velocities.

    An object is the known one that it overlaps most along the optical flow, which the motion head
    computes anyway; an overlap counts more with an older track. An object that was hidden is found
    again where its velocity took it. Without flow, objects are compared at the same place.

    Not safe to use from several threads; each camera has its own.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._next = 1
        self._last: tuple[int, Ids] | None = None

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the last frame, nanoseconds; None if there is none."""
        return None if self._last is None else self._last[0]

    def forget(self) -> None:
        """End all tracks; their ids are not used again."""
        self.tracks = []
        self._last = None

    def update(
        self, stamp_ns: int, ids: Ids, semantic: NDArray[np.uint8], depth: Floats,
        camera: Pinhole, moving: Moving | None = None, confidence: Floats | None = None,
        belief: Floats | None = None,
    ) -> Objects:
        """
        Take the objects of the next frame and return what is known of them.

        :param stamp_ns: of the frame, nanoseconds; after that of the last one.
        :param ids: (h, w) int32 of the objects in this frame, 0 = none, else from 1 without gaps.
        :param semantic: (h, w) uint8 class ids.
        :param depth: (h, w) float32 metres.
        :param camera: of the maps.
        :param moving: what the motion head knows of the frame; None if there is none.
        :param confidence: (h, w) float32, probability of the class.
        :param belief: (N,) float32, how far each object is to be believed; None = all are. One
            that is not is followed all the same, and its track told while it is on average.
        """
        seconds = 0.0 if self._last is None else (stamp_ns - self._last[0]) * 1e-9
        step = None if moving is None or moving.step is None else moving.step.pose
        for track in self.tracks:
            track.carry(seconds, step)
        self.tracks = [one for one in self.tracks if stamp_ns - one.seen_ns <= KEPT_S * 1e9]

        # Which known object each new one is
        before = self._moved(ids.shape, seconds, moving)
        seen = _Seen(ids, depth, camera)
        owners = self._owners(ids, before, seen)

        known = moving is not None and not moving.reason
        tracks: list[Track] = []
        for place in range(1, seen.count + 1):
            track = owners.get(place) or self._start(seen.position(place), stamp_ns)
            tracks.append(track)
            if belief is not None:
                track.belief = _blended(float(belief[place - 1]), track.belief)
            self._note(track, place, seen, stamp_ns, semantic, moving if known else None)

        numbers = np.array([0, *(one.number for one in tracks)], np.int32)
        self._last = stamp_ns, numbers[ids]
        return _told(
            tracks, numbers[ids], ids, confidence, None if moving is None or not known
            else moving.minimum_score)

    def _start(self, position: Vector, stamp_ns: int) -> Track:
        """Return a new track."""
        track = Track(self._next, position, stamp_ns)
        self._next += 1
        self.tracks.append(track)
        return track

    def _moved(
        self, shape: tuple[int, ...], seconds: float, moving: Moving | None,
    ) -> Ids | None:
        """Return the ids of the frame before at the pixels of this one, None without any."""
        if self._last is None or self._last[1].shape != shape:
            return None
        before = self._last[1]
        comparison = None if moving is None else moving.comparison
        if comparison is None or comparison.ego.flow is None:
            return before

        # The flow leads to an earlier frame; to the one before it is a share of that.
        share = np.float32(seconds / comparison.baseline.seconds)
        x = comparison.ego.flow[..., 0] * share + np.arange(shape[1], dtype=np.float32)
        y = comparison.ego.flow[..., 1] * share + np.arange(shape[0], dtype=np.float32)[:, None]
        return np.asarray(cv2.remap(
            before.astype(np.float32), x, y, cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT, borderValue=0), np.int32)

    def _owners(self, ids: Ids, before: Ids | None, seen: '_Seen') -> dict[int, Track]:
        """Return place of a new object -> its track, for those that are known."""
        tracks = {one.number: one for one in self.tracks}
        owners: dict[int, Track] = {}

        # By overlap, the largest first. Where parts become one again, its older id wins.
        pairs = [] if before is None else _overlaps(ids, before)
        claims = sorted(
            ((overlap * tracks[number].weight, place, number) for overlap, place, number in pairs
             if overlap >= OVERLAP and number in tracks), reverse=True)
        for _, place, number in claims:
            if place not in owners and number in tracks:
                owners[place] = tracks.pop(number)

        # By place and distance
        distances = sorted(
            (seen.distance(place, track), place, number)
            for number, track in tracks.items()
            for place in range(1, seen.count + 1) if place not in owners)
        for distance, place, number in distances:
            if distance < 1 and place not in owners and number in tracks:
                owners[place] = tracks.pop(number)
        return owners

    @staticmethod
    def _note(
        track: Track, place: int, seen: '_Seen', stamp_ns: int, semantic: NDArray[np.uint8],
        moving: Moving | None,
    ) -> None:
        """Write down what is seen of a track in a frame."""
        rows, columns = seen.pixels(place)
        kinds, counts = np.unique(semantic[rows, columns], return_counts=True)
        for kind, count in zip(kinds.tolist(), counts.tolist()):
            track.votes[kind] = track.votes.get(kind, 0) + count
        track.position = seen.position(place)
        track.size_px = float(np.sqrt(len(rows)))
        track.seen_ns = stamp_ns
        track.hits += 1

        if moving is None or moving.outputs.motion_score is None:
            return
        score = float(moving.outputs.motion_score[rows, columns].mean())
        track.moving = _blended(score, track.moving)
        if moving.comparison is not None:
            track.measure(*velocity_of(
                rows, columns, track.position, seen.camera, moving))


def _blended(newest: float, before: float) -> float:
    """Return the filtered value of a number; what was NaN before is the newest."""
    return newest if np.isnan(before) else BLEND * newest + (1 - BLEND) * before


class _Seen:
    """
    The objects of one frame as points.

    :param ids: (h, w) int32, 0 = none, else from 1 without gaps.
    :param depth: (h, w) float32 metres.
    :param camera: of both.
    """

    def __init__(self, ids: Ids, depth: Floats, camera: Pinhole) -> None:
        self.count = int(ids.max())
        self.camera = camera
        self._depth = depth

        # Sorted by id, the pixels of each object form one run.
        rows, columns = np.nonzero(ids)
        order = np.argsort(ids[rows, columns], kind='stable')
        self._rows, self._columns = rows[order], columns[order]
        self._ends = np.cumsum(np.bincount(ids[rows, columns], minlength=self.count + 1))
        self._positions: dict[int, Vector] = {}

    def pixels(self, place: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return rows and columns of an object."""
        run = slice(self._ends[place - 1], self._ends[place])
        return self._rows[run], self._columns[run]

    def position(self, place: int) -> Vector:
        """Return the middle of what is seen of an object, (3,) metres in the optical frame."""
        if place not in self._positions:
            rows, columns = self.pixels(place)
            far = float(np.median(self._depth[rows, columns]))
            self._positions[place] = far * _ray(
                self.camera, float(columns.mean()), float(rows.mean()))
        return self._positions[place]

    def distance(self, place: int, track: Track) -> float:
        """Return how far an object is from a track; below 1 it may be the same."""
        here, there = self.position(place), track.position
        if there[2] <= 0:
            return np.inf
        far = abs(np.log(here[2] / there[2])) / SAME_DEPTH
        apart = self.camera.fx * np.hypot(*(here[:2] / here[2] - there[:2] / there[2]))
        return float(max(far, apart / max(track.size_px, 1.0)))


def velocity_of(
    rows: NDArray[np.intp], columns: NDArray[np.intp], position: Vector, camera: Pinhole,
    moving: Moving,
) -> tuple[Vector, Vector]:
    """
    Return the velocity of an object over the world, and its variance.

    The flow of its pixels is a shift t of its middle c and a change of its size: a pixel x goes
    to ``c + t + k (x - c)``. Its depth was ``Z / k`` then, so it was at ``Z / k`` along the ray
    through ``c + t``; the motion of the camera takes that into the present axes.

    :param rows: (N,) of its pixels.
    :param columns: (N,) of its pixels.
    :param position: (3,) metres, where it is.
    :param camera: of the image.
    :param moving: of the frame, with a comparison.
    :return: (3,) m/s in the axes of the optical frame, and (3, 3).
    """
    comparison = moving.comparison
    assert comparison is not None
    assert comparison.ego.flow is not None  # a comparison keeps it
    flow = comparison.ego.flow[rows, columns].astype(np.float64)
    middle = np.array([columns.mean(), rows.mean()])
    offset = np.stack([columns, rows], 1) - middle

    # Flow at the outlines is that of the background: far from the median it does not count.
    shift = np.median(flow, 0)
    rest = flow - shift
    length = np.hypot(rest[:, 0], rest[:, 1])
    inlier = length <= 3 * np.median(length) + 1e-6
    shift = flow[inlier].mean(0)
    offset, rest = offset[inlier] - offset[inlier].mean(0), flow[inlier] - shift
    spread = max(float((offset ** 2).sum()), 1e-6)
    growth = float(np.clip(1 + (offset * rest).sum() / spread, 0.5, 2.0))

    # Where it was, in the axes of the camera of then and of now
    there = middle + shift
    then = position[2] / growth * _ray(camera, there[0], there[1])
    back = inverse(comparison.ego.pose)
    seconds = comparison.baseline.seconds
    velocity = (position - (back[:3, :3] @ then + back[:3, 3])) / seconds

    # Errors of the size lie along the ray, those of the shift across it.
    ray = position / np.linalg.norm(position)
    along = np.outer(ray, ray)
    far = position[2]
    radius = np.sqrt(spread / max(inlier.sum(), 1))
    sigma_along = far * FLOW_SIGMA_PX / (max(radius, 1.0) * seconds)
    sigma_across = far * FLOW_SIGMA_PX / (camera.fx * seconds)
    noise = REPEATED * (sigma_along ** 2 * along + sigma_across ** 2 * (np.eye(3) - along))
    return velocity, noise


def _ray(camera: Pinhole, column: float, row: float) -> Vector:
    """Return (x / z, y / z, 1) of a pixel."""
    return np.array([(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, 1.0])


def _overlaps(ids: Ids, before: Ids) -> list[tuple[float, int, int]]:
    """Return intersection over union, place and number of objects that overlap, by that."""
    both = (ids > 0) & (before > 0)
    columns = int(before.max()) + 1
    pairs, shared = np.unique(
        ids[both].astype(np.int64) * columns + before[both], return_counts=True)
    size, earlier = np.bincount(ids.ravel()), np.bincount(before.ravel())
    found = [(float(pixels / (size[pair // columns] + earlier[pair % columns] - pixels)),
              int(pair // columns), int(pair % columns)) for pair, pixels in zip(pairs, shared)]
    return sorted(found, reverse=True)


def _told(
    tracks: list[Track], numbers: Ids, ids: Ids, confidence: Floats | None,
    minimum_score: float | None,
) -> Objects:
    """
    Return what is told of the tracks of a frame: those seen often enough that are believed.

    :param minimum_score: probability above which an object moves, None if motion is unknown.
    """
    score = np.full(len(tracks), np.nan)
    if confidence is not None and tracks:
        pixels = np.bincount(ids.ravel(), minlength=len(tracks) + 1)
        score = (np.bincount(ids.ravel(), confidence.ravel(), minlength=len(tracks) + 1)
                 / np.maximum(pixels, 1))[1:]

    shown = [place for place, one in enumerate(tracks) if one.told]
    told = [tracks[place] for place in shown]
    moves = np.array([
        UNKNOWN_MOTION if minimum_score is None or np.isnan(one.moving)
        else MOVING if one.moving > minimum_score else 0 for one in told], np.uint8)

    # What stands has the velocity 0, and one that is not known has none.
    velocity = np.array([one.velocity if one.measured else np.full(3, np.nan) for one in told])
    velocity = velocity.reshape(-1, 3)
    velocity[moves == 0] = 0
    velocity[moves == UNKNOWN_MOTION] = np.nan
    numbers_told = np.array([one.number for one in told], np.uint32)
    return Objects(
        numbers_told, np.array([one.kind for one in told], np.uint8),
        score[shown].astype(np.float32), moves,
        np.array([one.position for one in told], np.float32).reshape(-1, 3),
        velocity.astype(np.float32),
        np.where(np.isin(numbers, numbers_told), numbers, 0).astype(np.uint32))
