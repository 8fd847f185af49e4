# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a recording: what the camera saw, what the node said, what is true."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.bags.reader import Moment
from mtl_perception.postprocessing import (
    NEAREST_COLOURED_M,
    colourise_depth,
    colourise_semantic,
    overlay,
    overlay_instance,
    overlay_motion,
)
from mtl_perception.preprocessing import resize
from mtl_perception.tasks import MOVING, Task

Image = NDArray[np.uint8]

COLUMNS = ('semantic', 'instance', 'detection', 'depth', 'motion')
"""The tasks, in the order in which they are shown."""

OPACITY = 0.65
DARK, LIGHT = (24, 24, 24), (235, 235, 235)
LINE = 20
"""Height of a line of text, pixels."""


class Painter:
    """
    Draw moments of a recording.

    :param tasks: with their colours.
    :param tile_width: width of each column, pixels; made even, as videos want it.
    :ivar columns: the tasks that are shown beside the camera's image.
    """

    def __init__(self, tasks: Sequence[Task], tile_width: int = 384) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._width = tile_width // 2 * 2
        self.columns = [name for name in COLUMNS if name in self._tasks]

    def draw(self, moment: Moment, lines: Sequence[str] = ()) -> Image:
        """
        Draw the input and every task side by side, and the truth below if there is any.

        :param moment: with an image.
        :param lines: text; below the input if there is room, else on it.
        :return: (h or 2 h, (1 + tasks) * tile_width, 3) uint8 RGB.
        """
        arrays = moment.arrays
        tiles = self._tiles(arrays, '')
        if not any(role.startswith('true_') for role in arrays):
            return np.hstack([_write(tiles[0], ['', *lines]), *tiles[1:]])
        height, width = tiles[0].shape[:2]
        text = _write(np.full((height, width, 3), DARK, np.uint8), lines)
        return np.vstack([np.hstack(tiles), np.hstack([text, *self._tiles(arrays, 'true_')[1:]])])

    def mosaic(self, drawn: Sequence[Image], title: str) -> Image:
        """Return drawn moments one below the other, with a title and a legend."""
        width = drawn[0].shape[1]
        head = _write(np.full((2 * LINE, width, 3), DARK, np.uint8), [title])
        gap = np.full((6, width, 3), LIGHT, np.uint8)
        rows = [part for picture in drawn for part in (picture, gap)]
        return np.vstack([head, *rows[:-1], self.legend(width)])

    def legend(self, width: int) -> Image:
        """Return what the colours mean, (H, width, 3) uint8 RGB."""
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
            x, y = place * column + 6, line * LINE + 6
            legend[y + 2:y + LINE - 4, x:x + 14] = colour
            _text(legend, name.replace('_', ' '), x + 20, y + LINE - 6, 0.42)
        if depth is not None:
            self._depth_scale(legend, (lines - 1) * LINE + 6, depth.maximum)
        return legend

    def _true_boxes(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32] | None:
        """Return the (M, 7) boxes around the true instances, in the colours of their classes."""
        instance, semantic = arrays.get('true_instance'), arrays.get('true_semantic')
        task = self._tasks['detection']
        if instance is None or semantic is None or not task.semantic_ids:
            return None
        boxes = []
        for number in np.unique(instance[instance > 0]):
            rows, columns = np.nonzero(instance == number)
            kind = int(semantic[rows[0], columns[0]])
            if kind in task.semantic_ids:
                boxes.append((
                    columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
                    *task.palette[task.semantic_ids.index(kind)]))
        return np.array(boxes, np.float32).reshape(-1, 7)

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

    def _tiles(self, arrays: Mapping[str, NDArray[Any]], prefix: str) -> list[Image]:
        """Return the tiles of the answers or of the truth, at one size."""
        image: Image = arrays['image']
        height = max(2, round(self._width * image.shape[0] / image.shape[1] / 2) * 2)
        small = resize(image, height, self._width)
        tiles = [_write(small, ['camera'])]
        for name in self.columns:
            values, task = arrays.get(prefix + name), self._tasks[name]
            if name == 'detection' and prefix:
                values = self._true_boxes(arrays)
            caption = f'{name}{", truth" if prefix else ""}'
            if values is None:
                blank = np.full_like(small, DARK)
                tiles.append(_write(blank, [f'{caption}: none']))
                continue
            if name == 'detection':
                boxes = np.array(values)
                boxes[:, :4] *= self._width / image.shape[1]
                tiles.append(_write(_outlined(small, boxes), [caption]))
                continue
            shrunk = cv2.resize(
                values, (self._width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            tiles.append(_write(_coloured(small, shrunk, task), [caption]))
        return tiles


def _outlined(image: Image, boxes: NDArray[np.float32]) -> Image:
    """Return an image with (M, 7) boxes, see :class:`mtl_perception.bags.reader.Moment`."""
    drawn = image.copy()
    for left, top, right, bottom, *colour in boxes.tolist():
        cv2.rectangle(
            drawn, (round(left), round(top)), (round(right) - 1, round(bottom) - 1), colour, 1)
    return drawn


def choose(count: int, total: int) -> list[int]:
    """Return indices of so many moments, spread evenly and away from both ends."""
    count = min(count, total)
    return [(2 * place + 1) * total // (2 * count) for place in range(count)]


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
    words, font = line.encode('ascii', 'replace').decode(), cv2.FONT_HERSHEY_SIMPLEX
    (width, height), below = cv2.getTextSize(words, font, size, 1)
    cv2.rectangle(image, (x - 3, y - height - 3), (x + width + 3, y + below), DARK, cv2.FILLED)
    cv2.putText(image, words, (x, y), font, size, LIGHT, 1, cv2.LINE_AA)
