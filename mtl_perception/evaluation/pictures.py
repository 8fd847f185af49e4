# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of frames: what the camera saw, the prediction and the ground truth."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Detections, FrameRecord, Perception, TrueBoxes, Truth
from mtl_perception.postprocessing import (
    NEAREST_COLOURED_M,
    colourise_depth,
    colourise_semantic,
    overlay,
    overlay_instance,
    overlay_motion,
)
from mtl_perception.preprocessing import resize, resize_nearest
from mtl_perception.tasks import MOVING, UNKNOWN_MOTION, Task

Image = NDArray[np.uint8]

COLUMNS = ('semantic', 'instance', 'detection', 'depth', 'motion')
"""The tasks, in the order in which they are shown."""

OPACITY = 0.65
UNKNOWN_OPACITY = 0.7
"""Of the light grey over a picture in which nobody knows what moves."""
DARK, LIGHT = (24, 24, 24), (235, 235, 235)
LINE = 20
"""Height of a line of text, pixels."""


class Painter:
    """
    Draw the records of frames.

    :param tasks: with their colours.
    :param tile_width: width of each column, pixels; made even, as videos need it.
    :ivar columns: the tasks that are shown beside the camera's image.
    """

    def __init__(self, tasks: Sequence[Task], tile_width: int = 384) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._width = tile_width // 2 * 2
        self.columns = [name for name in COLUMNS if name in self._tasks]

    def draw(self, record: FrameRecord, lines: Sequence[str] = ()) -> Image:
        """
        Draw the input and every task side by side, and the truth below if there is any.

        :param record: with an image.
        :param lines: text; below the input if there is room, else on it.
        :return: (h or 2 h, (1 + tasks) * tile_width, 3) uint8 RGB.
        """
        assert record.image is not None
        height = 2 * max(1, round(self._width * record.image.shape[0] / record.image.shape[1] / 2))
        camera = resize(record.image, height, self._width)

        prediction = self._tiles(camera, record, record.prediction or Perception())
        if record.truth is None:
            return np.hstack([_write(camera, ['camera', *lines]), *prediction])

        text = _write(np.full_like(camera, DARK), lines)
        truth = self._tiles(camera, record, record.truth, ', truth')
        return np.vstack([
            np.hstack([_write(camera, ['camera']), *prediction]), np.hstack([text, *truth])])

    def mosaic(self, drawn: Sequence[Image], title: str) -> Image:
        """Return drawn frames one below the other, with a title and a legend."""
        width = drawn[0].shape[1]
        head = _write(np.full((2 * LINE, width, 3), DARK, np.uint8), [title])
        gap = np.full((6, width, 3), LIGHT, np.uint8)
        rows = [part for picture in drawn for part in (picture, gap)]
        return np.vstack([head, *rows[:-1], self.legend(width)])

    def legend(self, width: int) -> Image:
        """Return what the colours mean, (H, width, 3) uint8 RGB."""
        # Boxes have the colours of the semantics, of the static world there is nothing to say.
        entries: list[tuple[str, Sequence[int]]] = []
        for name in ('semantic', 'detection', 'motion'):
            task = self._tasks.get(name)
            if task is not None and (name != 'detection' or 'semantic' not in self._tasks):
                first = MOVING if name == 'motion' else 0
                entries += list(zip(task.classes[first:], task.palette[first:]))

        column = max(120, width // 12)
        per_row = max(1, width // column)
        depth = self._tasks.get('depth')
        lines = -(-len(entries) // per_row) + (depth is not None)
        legend = np.full((LINE * lines + 12, width, 3), DARK, np.uint8)

        for index, (name, colour) in enumerate(entries):
            line, place = divmod(index, per_row)
            x = place * column + 6
            y = line * LINE + 6
            legend[y + 2:y + LINE - 4, x:x + 14] = colour
            _text(legend, name.replace('_', ' '), x + 20, y + LINE - 6, 0.42)
        if depth is not None:
            self._depth_scale(legend, (lines - 1) * LINE + 6, depth.maximum)
        return legend

    def _depth_scale(self, legend: Image, y: int, maximum: float) -> None:
        """Draw the colours of depth, logarithmic, with a few distances."""
        width = min(512, legend.shape[1] - 300)
        if width < 100:
            return
        metres = np.geomspace(NEAREST_COLOURED_M, maximum, width).astype(np.float32)
        ramp = colourise_depth(np.tile(metres, (LINE - 8, 1)), maximum)
        legend[y + 2:y + LINE - 6, 66:66 + width] = ramp
        _text(legend, f'{NEAREST_COLOURED_M:g} m', 24, y + LINE - 6, 0.42)
        _text(legend, f'{maximum:g} m; light grey: beyond or sky', 72 + width, y + LINE - 6, 0.42)

    def _tiles(
            self, camera: Image, record: FrameRecord, shown: Perception | Truth, suffix: str = '',
    ) -> list[Image]:
        """
        Return a tile for each task.

        :param camera: the image at the size of a tile.
        :param record: of the frame.
        :param shown: its prediction or its truth.
        :param suffix: of the captions.
        """
        assert record.image is not None
        tiles = []
        for name in self.columns:
            values = getattr(shown, name)
            caption = name + suffix
            if values is None:
                tiles.append(_write(np.full_like(camera, DARK), [f'{caption}: none']))
                continue

            task = self._tasks[name]
            if name == 'motion' and (values == UNKNOWN_MOTION).all():
                # the picture of the camera would look as if nothing moved
                caption += ': unknown'
                tile = overlay(camera, np.full_like(camera, LIGHT), UNKNOWN_OPACITY)
            elif name == 'detection':
                size = shown.size or record.image.shape[:2]
                tile = _outlined(camera, values, task, self._width / size[1])
            else:
                tile = _coloured(camera, resize_nearest(values, *camera.shape[:2]), task)
            tiles.append(_write(tile, [caption]))
        return tiles


def evenly_spread(count: int, total: int) -> list[int]:
    """
    Return ``count`` of the indices below ``total``, evenly spread and away from both ends.

    >>> evenly_spread(2, 100)
    [25, 75]
    """
    count = min(count, total)
    return [(2 * place + 1) * total // (2 * count) for place in range(count)]


def headed(image: Image, captions: Sequence[str]) -> Image:
    """
    Return a picture of equally wide columns with a heading above each.

    :param image: (h, columns * w, 3) uint8 RGB.
    :param captions: of the columns; the end of one that is too long is cut off.
    :return: (h + LINE, columns * w, 3) uint8 RGB.
    """
    empty = np.full((LINE, image.shape[1] // len(captions), 3), DARK, np.uint8)
    return np.concatenate([
        np.concatenate([_write(empty, [caption]) for caption in captions], 1), image])


def _outlined(
        image: Image, boxes: Detections | TrueBoxes, task: Task, scale: float) -> Image:
    """
    Return an image with boxes in the colours of their classes.

    :param scale: from the pixels of the boxes to those of the image.
    """
    drawn = image.copy()
    for corners, kind in zip((boxes.corners * scale).tolist(), boxes.classes.tolist()):
        left, top, right, bottom = (round(value) for value in corners)
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), task.palette[kind], 1)
    return drawn


def _coloured(image: Image, values: NDArray[Any], task: Task) -> Image:
    if task.name == 'depth':
        return colourise_depth(values, task.maximum)
    if task.name == 'motion':
        return overlay_motion(image, values, task)
    if task.name == 'instance':
        return overlay_instance(image, values)
    return overlay(image, colourise_semantic(values, task), OPACITY)


def _write(image: Image, lines: Sequence[str]) -> Image:
    """Return a copy with lines of text at the top left."""
    written = image.copy()
    for number, line in enumerate(lines):
        if line:
            _text(written, line, 6, LINE * number + LINE - 4, 0.45)
    return written


def _text(image: Image, line: str, x: int, y: int, size: float) -> None:
    """Write on the image itself, on a dark ground; OpenCV's fonts know ASCII only."""
    words = line.encode('ascii', 'replace').decode()
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), below = cv2.getTextSize(words, font, size, 1)
    cv2.rectangle(image, (x - 3, y - height - 3), (x + width + 3, y + below), DARK, cv2.FILLED)
    cv2.putText(image, words, (x, y), font, size, LIGHT, 1, cv2.LINE_AA)
