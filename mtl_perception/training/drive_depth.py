# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth of a drive without labels: what makes its frames look like one another."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import MotionEstimator, Pinhole
from mtl_perception.egomotion.estimate import BELIEVABLE
from mtl_perception.egomotion.pinhole import Floats, Matrix, scaled_motion
from mtl_perception.egomotion.static import of_classes, static_pixels, textured_pixels
from mtl_perception.egomotion.sweep import (
    SENSITIVE_PX,
    Swept,
    View,
    identity_error,
    reprojection_error,
    sensitivity,
    sweep,
)

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Direction = NDArray[np.float64]
Answer = Callable[[int], tuple[Image, Floats]]
"""From the number of a frame to its (h, w) classes and (h, w) float32 metres of depth."""

CONSECUTIVE_S = 0.5
"""Longest time between two frames that follow one another, seconds."""
LONGEST_S = 3.0
"""A slow camera is compared with frames as far away, seconds."""
WANTED_PX = 0.6
"""A frame is far enough if 10 % of depth moves the median point by this much, pixels."""
MOST_IMAGES = 100
"""Images of a drive whose depth is found; more would take too long."""
AGREES = 0.6
"""Share of the visible pixels that pose and depth must explain better than standing still."""
FEWEST_KNOWN = 0.05
"""Share of an image whose depth must show, or the frame is not learned from."""
FEWEST_IMAGES = 5
"""From fewer images, depth is not learned."""
KEPT_EVERY = 2
"""Of the rest of an image, every so many rows and columns keep the depth of the model."""
BELIEVED_HEIGHT = 1.6
"""A height above the road that differs by more than this factor from the given one is none."""
ROAD_M = (3.0, 20.0)
"""Depth of the road from which the height is measured, metres."""


@dataclass(frozen=True, eq=False)
class Film:
    """
    Frames of a drive in the order in which they were taken.

    :param greys: (H, W) uint8 each, at least as large as the network's input.
    :param stamps_ns: of them, nanoseconds.
    :param camera: of these images.
    :param metres: factor on the network's depth for the lens and the height of this camera.
    :param height_m: of the camera above the road; 0 if nobody says it.
    :param height_ratio: of the camera over that of the model's training; 1 if nobody says it.
    """

    greys: Sequence[Image]
    stamps_ns: Sequence[int]
    camera: Pinhole
    metres: float = 1.0
    height_m: float = 0.0
    height_ratio: float = 1.0

    @property
    def is_consecutive(self) -> bool:
        """Return whether most frames follow one another closely enough."""
        gaps = np.diff(np.array(self.stamps_ns, np.int64)) * 1e-9
        return len(gaps) > 0 and float(np.median(gaps)) <= CONSECUTIVE_S


@dataclass(frozen=True, eq=False)
class _Found:
    """
    Depth of a frame, that of the network, its classes, and where the camera drives to.

    :param swept: metres of this camera.
    :param network: (h, w) float32, the network's own metres.
    :param semantic: (h, w) uint8.
    :param along: (3,) direction of travel in the camera's frame.
    """

    swept: Swept
    network: Floats
    semantic: Image
    along: Direction


@dataclass(frozen=True)
class Classes:
    """
    What the classes of a model say about depth.

    :param movable: ids of those whose objects can move.
    :param sky: id of the one without depth, -1 if none is.
    :param road: ids of those that lie on the road; empty if the model knows none.
    """

    movable: tuple[int, ...]
    sky: int = -1
    road: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class DriveDepth:
    """
    What the frames of a drive show about depth.

    :param labels: number of a frame -> (h, w) float32 depth in the network's metres, NaN where
        nothing is learned.
    :param known: mean share of these images whose depth the other frames show.
    :param scale: factor on the depth found that made it that of the height or of the model.
    :param scaled_by: ``height`` or ``model``.
    :param factor: median factor from the network's depth to the one that is learned.
    :param why_not: why depth is not learned; empty if it is.
    """

    labels: dict[int, Floats]
    known: float = 0.0
    scale: float = 1.0
    scaled_by: str = 'model'
    factor: float = 1.0
    why_not: str = ''

    def notes(self) -> dict[str, object]:
        """Return what a manifest says about it."""
        if not self.labels:
            return {'depth': self.why_not}
        return {'depth': f'{len(self.labels)} images, scale of the {self.scaled_by}'}


def find_depth(film: Film, numbers: Sequence[int], answer: Answer, classes: Classes) -> DriveDepth:
    """
    Return the depth of some frames of a film, by photometric consistency with other frames.

    The pose between frames is our own estimate, from flow and the network's depth. So the scale
    is that of the network until it is tied: by the height of the camera above the road if that is
    given, else to the network's own median.

    :param film: all frames; those that are not in ``numbers`` are looked at too.
    :param numbers: of the frames whose depth is wanted; of more than :data:`MOST_IMAGES` a part.
    :param answer: what the network says about a frame.
    :param classes: of the network.
    """
    if not film.is_consecutive:
        return DriveDepth({}, why_not=(
            f'the images are more than {CONSECUTIVE_S:g} s apart or nobody says when they were '
            'taken; depth needs a video, a recording, or --rate for a folder of consecutive '
            'frames'))

    chosen = np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_IMAGES)).astype(int)
    found: dict[int, _Found] = {}
    for number in dict.fromkeys(numbers[place] for place in chosen):
        one = _depth_of(film, number, *answer(number), classes)
        if one is not None:
            found[number] = one
    if len(found) < FEWEST_IMAGES:
        return DriveDepth({}, why_not=(
            f'only {len(found)} of {len(chosen)} images show their depth, wanted '
            f'{FEWEST_IMAGES}: the camera stands still, or its motion cannot be estimated'))

    scale, scaled_by = _scale(film, found, classes)
    labels = {
        number: _label(one, np.float32(scale / film.metres), classes)
        for number, one in found.items()}
    known = float(np.mean([one.swept.known.mean() for one in found.values()]))
    factor = float(np.median([
        np.median((labels[number] / one.network)[one.swept.known])
        for number, one in found.items()]))
    return DriveDepth(labels, known, scale, scaled_by, factor)


def photometric_errors(
        film: Film, numbers: Sequence[int], answer: Answer, classes: Classes) -> list[Floats]:
    """
    Return how badly a network's depth, with the motion found by it, explains frames of a film.

    :return: for each frame (h, w) float32 errors from 0 to 1, NaN where depth does not show.
    """
    errors = []
    for number in numbers:
        semantic, depth = answer(number)
        depth = depth * np.float32(film.metres)
        static = static_pixels(semantic, classes.movable, classes.sky) & np.isfinite(depth)
        views = find_views(film, number, depth, static) if static.any() else []
        found = np.full(depth.shape, np.nan, np.float32)
        if views:
            error = reprojection_error(film.greys[number], views, _finite(depth), film.camera)
            shown = _shown(film, depth, views, static)
            found[shown] = _at(error, depth.shape)[shown]
        errors.append(found)
    return errors


def mean_errors(first: Sequence[Floats], second: Sequence[Floats]) -> tuple[float, float]:
    """
    Return the means of two models' :func:`photometric_errors` over the pixels that both know.

    Where depth shows depends on the depth itself, so each model's own pixels cannot be compared:
    nearer surfaces show more.

    :return: NaN twice if there is no such pixel.
    """
    pairs = np.concatenate([np.zeros((0, 2)), *(
        np.stack([one, other], -1)[np.isfinite(one) & np.isfinite(other)]
        for one, other in zip(first, second, strict=True))])
    if not len(pairs):
        return float('nan'), float('nan')
    before, after = pairs.mean(0)
    return float(before), float(after)


def find_views(film: Film, number: int, depth: Floats, static: Mask) -> list[View]:
    """
    Return at most one earlier and one later frame, with their poses, that show depth.

    At doubling distance a frame is looked for until the parallax is large enough, so that a slow
    camera is compared with frames that are farther away in time. A pose is refined from the one
    before; the last one that is believable counts.

    :param film: the frames.
    :param number: of the frame that is looked at.
    :param depth: (h, w) float32 metres of this camera.
    :param static: (h, w) bool, pixels of what has a depth and cannot move.
    """
    grey = film.greys[number]
    size = grey.shape[::-1]
    large = cv2.resize(_finite(depth), size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    mask = cv2.resize(static.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    pixels = textured_pixels(grey, mask)
    fast, fine = MotionEstimator(film.camera), MotionEstimator(film.camera, 'full')

    views = []
    for direction in (-1, 1):
        farthest = _farthest(film, number, direction)
        distance, best = min(1, farthest), None
        guess: Matrix | None = None
        while distance:
            other = film.greys[number + direction * distance]
            ego = fast.estimate(grey, other, large, pixels, guess)
            if ego.quality < BELIEVABLE:
                break

            # far enough?
            best = View(other, ego.pose)
            seen = sensitivity(_finite(depth), [best], film.camera, grey.shape)[static]
            if distance == farthest or float(np.median(seen)) >= WANTED_PX:
                break

            longer = min(2 * distance, farthest)
            guess = scaled_motion(ego.pose, longer / distance)
            distance = longer

        if best is not None:
            ego = fine.estimate(grey, best.image, large, pixels, best.pose)
            if ego.quality >= BELIEVABLE:
                views.append(dataclasses.replace(best, pose=ego.pose))
    return views


def _farthest(film: Film, number: int, direction: int) -> int:
    """Return how many frames away another one may be, 0 if none is near enough in time."""
    farthest = 0
    other = number + direction
    while 0 <= other < len(film.greys):
        step_s = abs(film.stamps_ns[other] - film.stamps_ns[other - direction]) * 1e-9
        apart_s = abs(film.stamps_ns[other] - film.stamps_ns[number]) * 1e-9
        if step_s > CONSECUTIVE_S or apart_s > LONGEST_S:
            break
        farthest += 1
        other += direction
    return farthest


def _depth_of(
        film: Film, number: int, semantic: Image, network: Floats, classes: Classes,
) -> _Found | None:
    """Return the depth of a frame, None if the other frames do not show it."""
    depth = network * np.float32(film.metres)
    static = static_pixels(semantic, classes.movable, classes.sky) & np.isfinite(depth)
    views = find_views(film, number, depth, static) if static.any() else []
    if not views:
        return None
    shown = _shown(film, depth, views, static)
    if shown.mean() < FEWEST_KNOWN:
        return None

    # A wrong pose explains less than a camera that stands still.
    image = film.greys[number]
    error = _at(reprojection_error(image, views, _finite(depth), film.camera), depth.shape)
    better = error < _at(identity_error(image, views), depth.shape)
    if better[shown].mean() < AGREES:
        return None

    swept = sweep(image, views, depth, film.camera, static)
    if swept.known.mean() < FEWEST_KNOWN:
        return None
    along = sum(np.sign(view.pose[2, 3]) * view.pose[:3, 3] for view in views)
    return _Found(swept, network, semantic, np.asarray(along))


def _shown(film: Film, depth: Floats, views: Sequence[View], static: Mask) -> Mask:
    """Return (h, w) bool, the static pixels whose depth some view shows."""
    seen = sensitivity(_finite(depth), views, film.camera, film.greys[0].shape)
    shown: Mask = static & (seen > SENSITIVE_PX)
    return shown


def _scale(film: Film, found: dict[int, _Found], classes: Classes) -> tuple[float, str]:
    """Return the factor on the depth that was found, and what it is tied to."""
    if film.height_m and classes.road:
        heights = [
            height_above_road(
                one.swept.depth, of_classes(one.semantic, classes.road), one.along, film)
            for one in found.values()]
        known = [height for height in heights if np.isfinite(height)]
        factor = film.height_m / float(np.median(known)) if known else 0.0
        if 1 / BELIEVED_HEIGHT < factor < BELIEVED_HEIGHT:
            return factor, 'height'

    ratios = [
        np.median((one.network * np.float32(film.metres) / one.swept.depth)[one.swept.known])
        for one in found.values()]
    return float(np.median(ratios)), 'model'


def height_above_road(depth: Floats, road: Mask, along: Direction, film: Film) -> float:
    """
    Return the distance of the camera from the plane through the road, metres; NaN if unknown.

    The camera drives along the road, so the plane holds its direction of travel: that is where
    the horizon is, which depth alone tells too coarsely.

    :param depth: (h, w) float32 metres.
    :param road: (h, w) bool.
    :param along: (3,) direction of travel in the camera's frame.
    :param film: whose camera it is.
    """
    near = road & (depth > ROAD_M[0]) & (depth < ROAD_M[1])
    if near.mean() < FEWEST_KNOWN:
        return float('nan')
    rows, columns = np.nonzero(near)
    height, width = film.greys[0].shape
    camera = film.camera.resized((height, width), (depth.shape[0], depth.shape[1]))

    # A plane n . X = 1 in rays r = X / Z: n . r = 1 / Z, with n across the direction of travel
    rays = np.stack([
        (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones(len(rows))], 1)
    across = np.linalg.svd(along[None])[2][1:]
    rays = rays @ across.T
    inverse = 1 / depth[near].astype(np.float64)

    # by least squares over what fits best
    kept = np.ones(len(rows), bool)
    normal = np.zeros(2)
    for _ in range(4):
        normal = np.linalg.lstsq(rays[kept], inverse[kept], rcond=None)[0]
        error = np.abs(rays @ normal - inverse) / inverse
        kept = error <= np.quantile(error, 0.7)
    return float(1 / np.linalg.norm(normal))


def _label(one: _Found, factor: np.float32, classes: Classes) -> Floats:
    """
    Return what is learned of a frame, in the network's metres.

    What the frames show is learned at each pixel; some of the rest keeps the model's own answer,
    so that its depth does not drift where nothing teaches it.
    """
    kept = np.zeros(one.network.shape, bool)
    kept[::KEPT_EVERY, ::KEPT_EVERY] = True
    kept &= np.isfinite(one.network) & (one.semantic != classes.sky)
    rest = np.where(kept, one.network, np.float32(np.nan))
    return np.where(one.swept.known, one.swept.depth * factor, rest).astype(np.float32)


def _finite(depth: Floats) -> Floats:
    """Return depth with far points in place of infinite ones."""
    return np.where(np.isfinite(depth), depth, np.float32(1000)).astype(np.float32)


def _at(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Return the means of values at the size of the network's depth."""
    return np.asarray(cv2.resize(
        values, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)
