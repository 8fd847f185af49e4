# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the network's output to masks and depth at the consumer's size, and to pictures."""

import functools
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Detections, Outputs, Perception
from mtl_perception.instances import find_instances
from mtl_perception.manifest import Manifest
from mtl_perception.preprocessing import resize_nearest
from mtl_perception.tasks import MOVING, UNKNOWN_MOTION, Task

Image = NDArray[np.uint8]
Depth = NDArray[np.float32]

OPACITY = 0.5
"""Of colours that are laid over an image by default, 0 to 1."""

NEAREST_COLOURED_M = 2.0
"""Depth that gets the warm end of the colours, metres."""

INVALID_COLOUR, BEYOND_COLOUR, UNKNOWN_COLOUR = (0, 0, 0), (225, 225, 225), (128, 128, 128)
"""RGB of depth that is NaN, of depth that is +Inf, and of a pixel without a prediction."""

ARROW = 3.0
"""Length of an arrow, as a multiple of the residual flow."""
SMALLEST_ARROW_PX = 40
"""Smaller moving parts get no arrow, pixels at the network's size."""
ARROW_COLOUR = (255, 255, 255)


def to_perception(
    outputs: Outputs, manifest: Manifest, height: int, width: int, *,
    depth_scale: float = 1.0, motion_known: bool = True,
    picture: tuple[int, int] | None = None,
) -> Perception:
    """
    Return the network's predictions at the size that the consumer wants.

    Ids are those of the nearest pixel. Depth is interpolated linearly, but never between a surface
    and the sky behind it. It is +Inf where the sky is certain (``outputs.sky``, or the class of
    sky where that is None) and beyond the largest depth of the training, NaN where the output is
    not finite.

    :param outputs: of the network, at its own resolution.
    :param manifest: of the network.
    :param height: wanted height, pixels.
    :param width: wanted width, pixels.
    :param depth_scale: factor on depth: the camera's focal length at the network's size divided
        by the manifest's, because a longer lens makes everything look nearer.
    :param motion_known: False if there was no valid previous frame: motion is then 255 and its
        score NaN everywhere.
    :param picture: (rows, columns) that the outputs have; None = the size of the network.
    """
    depth = outputs.depth
    if depth is not None:
        depth = _publishable_depth(
            depth, _sky(outputs, manifest), manifest, height, width, depth_scale)

    motion = outputs.motion
    score = outputs.motion_score
    if motion is not None:
        motion = (resize_nearest(motion, height, width) if motion_known else
                  np.full((height, width), UNKNOWN_MOTION, np.uint8))
    if score is not None:
        score = (_linear(score, height, width) if motion_known else
                 np.full((height, width), np.nan, np.float32))

    # Offsets are pixels of the network's resolution, so objects are separated before the resize.
    semantic = outputs.semantic
    instance = outputs.objects
    if outputs.instance is not None and semantic is not None:
        instance = separate(outputs.instance, semantic, manifest.task('semantic'))
    if instance is not None:
        instance = resize_nearest(instance, height, width)
    if semantic is not None:
        semantic = resize_nearest(semantic, height, width)

    detection = outputs.detection
    if detection is not None:
        rows, columns = picture or (manifest.height, manifest.width)
        factors = np.array([width / columns, height / rows], np.float32)
        detection = Detections(
            detection.corners * np.tile(factors, 2), detection.scores, detection.classes)
    sure, accurate = outputs.semantic_confidence, outputs.depth_confidence
    return Perception(
        semantic, depth, motion, score, instance, detection,
        semantic_confidence=None if sure is None else resize_nearest(sure, height, width),
        depth_confidence=None if accurate is None else _linear(accurate, height, width))


def separate(
    offset: Depth, semantic: Image, task: Task | None,
) -> NDArray[np.uint16]:
    """
    Return which object each pixel of a movable class belongs to.

    :param offset: (2, h, w) float32 pixels to the centroid of the object, x and y.
    :param semantic: (h, w) uint8 class ids.
    :param task: the semantic task, with its movable classes.
    :return: (h, w) uint16; 0 = no object. Within a class the largest object comes first.
    """
    ids = np.zeros(semantic.shape, np.uint16)
    for movable in task.movable if task is not None else ():
        thing = semantic == movable
        if thing.any():
            found = find_instances(offset, thing)
            ids = np.where(found > 0, found + ids.max(), ids).astype(np.uint16, copy=False)
    return ids


def _sky(outputs: Outputs, manifest: Manifest) -> NDArray[np.bool_] | None:
    """Return (h, w) where sky is; None without semantics or without a class for it."""
    classes = manifest.task('semantic')
    if outputs.sky is not None or outputs.semantic is None or classes is None or classes.sky < 0:
        return outputs.sky
    return np.equal(outputs.semantic, classes.sky)


def _publishable_depth(
    depth: Depth, sky: NDArray[np.bool_] | None, manifest: Manifest, height: int, width: int,
    scale: float,
) -> Depth:
    """
    Return depth at the wanted size with its +Inf and NaN.

    All but the interpolation happens at the network's resolution. Pixels without a depth of their
    own take the mean of their neighbours while depth is interpolated; afterwards a mask of 0, +Inf
    and NaN at the nearest pixel is added.
    """
    task = manifest.task('depth')
    maximum = task.maximum if task is not None and task.maximum > 0 else np.inf

    invalid = ~np.isfinite(depth)
    special = np.zeros_like(depth)
    special[depth > maximum] = np.inf
    special[invalid] = np.nan
    if sky is not None:
        special[sky] = np.inf
        invalid |= sky

    # A pixel without a depth must not pull at its neighbours when they are interpolated.
    depth = np.minimum(depth, maximum, dtype=np.float32)
    if invalid.any() and (height, width) != depth.shape:
        depth = _filled(depth, invalid)
    elif invalid.any():
        depth = np.where(invalid, np.float32(0), depth)

    resized = _linear(depth * np.float32(scale), height, width)
    resized += resize_nearest(special, height, width)
    return resized


def _filled(depth: Depth, invalid: NDArray[np.bool_]) -> Depth:
    """Return depth with the mean of the valid neighbours (3 x 3) in place of invalid pixels."""
    weight = np.where(invalid, np.float32(0), np.float32(1))
    known = np.where(invalid, np.float32(0), depth)
    border = cv2.BORDER_REPLICATE
    total = cv2.boxFilter(known, -1, (3, 3), normalize=False, borderType=border)
    count = cv2.boxFilter(weight, -1, (3, 3), normalize=False, borderType=border)
    return np.where(invalid, total / np.maximum(count, np.float32(1)), depth).astype(
        np.float32, copy=False)


def _linear(values: Depth, height: int, width: int) -> Depth:
    """Return linearly interpolated values."""
    if values.shape == (height, width):
        return values
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR).astype(
        np.float32, copy=False)


def as_bytes(confidence: Depth) -> Image:
    """
    Return probabilities as an image.

    :param confidence: (H, W) float32, 0 to 1.
    :return: (H, W) uint8, 0 to 255.
    """
    return np.asarray(np.rint(confidence * np.float32(255)), np.uint8)


def colourise_semantic(ids: Image, task: Task) -> Image:
    """
    Return a mask in the colours of its classes; ids without a class are grey.

    :param ids: (H, W) uint8.
    :param task: with one RGB colour per class.
    :return: (H, W, 3) uint8 RGB.
    """
    table = np.full((256, 1, 3), UNKNOWN_COLOUR, np.uint8)
    table[:len(task.palette), 0] = task.palette
    return _coloured(ids, table)


colourise_motion = colourise_semantic
"""Return a motion mask in the colours of its task; unknown motion is grey."""


def colourise_instance(ids: NDArray[np.uint16]) -> Image:
    """
    Return instances in a colour per id; pixels without an object are black.

    :param ids: (H, W) uint16.
    :return: (H, W, 3) uint8 RGB.
    """
    return _coloured(np.where(ids > 0, (ids - 1) % 255 + 1, 0).astype(np.uint8), _instance_table())


@functools.lru_cache(maxsize=1)
def _instance_table() -> Image:
    """Return the (256, 1, 3) colours of ids."""
    # Steps of the golden section around the circle of hues keep neighbouring ids far apart.
    hues = (np.arange(256) * 0.618034 % 1 * 180).astype(np.uint8)
    values = np.stack([hues, np.full(256, 220), np.where(np.arange(256) % 2, 255, 190)], axis=1)
    table = cv2.cvtColor(values.astype(np.uint8)[:, None], cv2.COLOR_HSV2RGB)
    table[0] = 0
    return table.astype(np.uint8)


def overlay_instance(image: Image, ids: NDArray[np.uint16], opacity: float = OPACITY) -> Image:
    """
    Return an image in which each object has a colour of its own.

    :param image: (H, W, 3) uint8 RGB.
    :param ids: (H, W) uint16, 0 = no object.
    :param opacity: of the colours, 0 to 1.
    :return: (H, W, 3) uint8 RGB.
    """
    tinted = overlay(image, colourise_instance(ids), opacity)
    return cv2.copyTo(tinted, (ids > 0).view(np.uint8), image.copy()).astype(np.uint8, copy=False)


def draw_boxes(image: Image, found: Detections, task: Task, text: bool = True) -> Image:
    """
    Return an image with boxes, their classes and scores.

    :param image: (H, W, 3) uint8 RGB, of the size that the boxes are given in.
    :param found: the boxes.
    :param task: whose classes and colours they have.
    :param text: whether the names and scores are written.
    :return: (H, W, 3) uint8 RGB.
    """
    drawn = image.copy()
    size = max(0.35, image.shape[1] / 1600)
    for corners, score, kind in reversed(list(zip(*vars(found).values()))):  # best on top
        left, top, right, bottom = (round(float(value)) for value in corners)
        colour = task.palette[kind]
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), colour, 2)
        if text:
            cv2.putText(
                drawn, f'{task.classes[kind]} {score:.2f}', (left, max(top - 3, 9)),
                cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
    return drawn


def colourise_depth(depth: Depth, maximum: float = 80.0) -> Image:
    """
    Return depth in colours on a logarithmic scale, near warm and far cold.

    :param depth: (H, W) float32 metres; NaN becomes black, +Inf light grey.
    :param maximum: depth of the coldest colour, metres; at least 3.
    :return: (H, W, 3) uint8 RGB.
    """
    key = np.ascontiguousarray(depth, np.float32).view(np.uint16)[:, _UPPER_HALF::2]
    return _coloured(np.take(_depth_levels(maximum), key), _depth_table())


_UPPER_HALF = 1 if sys.byteorder == 'little' else 0
"""Which of the two halves of a float32 holds its sign, its exponent and seven bits after it."""


@functools.lru_cache(maxsize=8)
def _depth_levels(maximum: float) -> NDArray[np.uint8]:
    """
    Return the index of the colour for the upper half of every float32.

    That half resolves 0.8 %, finer than the colours do, and a table of 65536 entries is faster
    than a logarithm per pixel. 1 to 254 are depths, 0 and 255 are kept for NaN and +Inf.
    """
    upper = np.arange(1 << 16, dtype=np.uint32)
    depth = ((upper << 16) | 0x8000).view(np.float32)  # the middle of what shares the upper half

    lowest = np.log(NEAREST_COLOURED_M)
    highest = np.log(max(maximum, NEAREST_COLOURED_M + 1))
    logarithm = np.log(np.clip(np.nan_to_num(depth), 1e-3, 1e6))
    level = ((highest - logarithm) * (253 / (highest - lowest)) + 1).clip(1, 254)

    # All bits of the exponent set: NaN, and with them alone +Inf.
    level[upper & 0x7f80 == 0x7f80] = 0
    level[0x7f80] = 255
    levels: NDArray[np.uint8] = level.astype(np.uint8)
    return levels


@functools.lru_cache(maxsize=1)
def _depth_table() -> Image:
    """Return the (256, 1, 3) colours of depth."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    table = cv2.cvtColor(cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    table[0, 0], table[255, 0] = INVALID_COLOUR, BEYOND_COLOUR
    return table.astype(np.uint8)


def overlay(image: Image, colours: Image, opacity: float = OPACITY) -> Image:
    """
    Return colours laid over an image.

    :param image: (H, W, 3) uint8 RGB.
    :param colours: (H, W, 3) uint8 RGB.
    :param opacity: of the colours, 0 to 1.
    :return: (H, W, 3) uint8 RGB.
    """
    return cv2.addWeighted(image, 1 - opacity, colours, opacity, 0).astype(np.uint8, copy=False)


def overlay_motion(
    image: Image, motion: Image, task: Task, opacity: float = OPACITY,
    residual: Depth | None = None,
) -> Image:
    """
    Return an image in which only moving pixels are coloured.

    :param image: (H, W, 3) uint8 RGB.
    :param motion: (H, W) uint8; 0 static, 1 moving, 255 unknown.
    :param task: the motion task; its second colour is that of moving pixels.
    :param opacity: of the colour, 0 to 1.
    :param residual: (h, w, 2) float32 pixels, at any size: flow to an earlier frame that the
        camera's own motion does not explain; each connected moving part gets an arrow against it,
        :data:`ARROW` times as long.
    :return: (H, W, 3) uint8 RGB.
    """
    moving = (motion == MOVING).view(np.uint8)
    tinted = overlay(image, colourise_motion(motion, task), opacity)
    drawn = cv2.copyTo(tinted, moving, image.copy()).astype(np.uint8, copy=False)
    if residual is not None:
        _draw_arrows(drawn, moving, residual)
    return drawn


def _draw_arrows(image: Image, moving: Image, residual: Depth) -> None:
    """Draw into the image where each moving part goes."""
    height, width = residual.shape[:2]
    size = np.array([image.shape[1] / width, image.shape[0] / height])

    count, parts, stats, centres = cv2.connectedComponentsWithStats(
        resize_nearest(moving, height, width))
    for part in range(1, count):
        if stats[part, cv2.CC_STAT_AREA] >= SMALLEST_ARROW_PX:
            left = np.median(residual[parts == part], axis=0)
            start = (centres[part] + 0.5) * size
            tip = np.rint(start - ARROW * left * size).astype(int).tolist()
            cv2.arrowedLine(
                image, np.rint(start).astype(int).tolist(), tip, ARROW_COLOUR,
                max(1, image.shape[1] // 400), cv2.LINE_AA, tipLength=0.3)


def _coloured(index: Image, table: Image) -> Image:
    """Return (H, W, 3) colours from a (256, 1, 3) table; ten times as fast as indexing."""
    return cv2.applyColorMap(index, table).astype(np.uint8, copy=False)
