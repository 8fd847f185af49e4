# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A picture of some clips with all of their labels, to be checked by eye."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.errors import DataError
from mtl_perception.frames import Detections
from mtl_perception.instances import boxes_around
from mtl_perception.postprocessing import (
    colourise_depth,
    colourise_semantic,
    draw_boxes,
    overlay,
    overlay_motion,
)
from mtl_perception.preprocessing import resize, resize_nearest
from mtl_perception.tasks import UNKNOWN_MOTION, Task

Image = NDArray[np.uint8]

COLUMNS = ('before', 'image', 'semantic', 'depth', 'motion')
DARK, LIGHT, BOX = (24, 24, 24), (235, 235, 235), (255, 220, 0)
LINE = 18
"""Height of a line of text, pixels."""

SPARSE = 0.3
"""Depth of a smaller share of the pixels is drawn with larger dots."""


def draw_clips(
        sets: Sequence[tuple[str, RecordedClips, Sequence[int]]], count: int,
        width: int = 384) -> Image | None:
    """
    Return one row per clip: the previous image, the image with its objects, and every label.

    :param sets: name, data set and the numbers of the clips to choose from.
    :param count: clips of each data set, spread evenly; clips that cannot be read are left out.
    :param width: of a tile, pixels.
    :return: (H, W, 3) uint8 RGB, None if no clip can be read.
    """
    shown = {'image', *(task.name for _, data, _ in sets for task in data.tasks)}
    if any(len(data.clips[0]) > 1 for _, data, _ in sets):
        shown.add('before')
    columns = [name for name in COLUMNS if name in shown]

    rows = []
    for name, data, numbers in sets:
        places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
        drawn = [_row(name, data, numbers[place], columns, width) for place in places]
        rows += [row for row in drawn if row is not None]
        rows += [_legend(task, width * len(columns))
                 for task in data.tasks if task.name in ('semantic', 'detection')]
    return np.vstack(rows) if rows else None


def _row(
        name: str, data: RecordedClips, number: int, columns: list[str],
        width: int) -> Image | None:
    """Return the tiles of one clip side by side, None if it cannot be read."""
    clip = data.clips[number]
    try:
        sample = data[number]
        instances = data.read_instances(clip[-1], sample.image.shape[1:3])
    except DataError:
        return None

    height = round(width * sample.image.shape[1] / sample.image.shape[2])
    small = resize(np.ascontiguousarray(sample.image[-1]), height, width)
    blank = np.full_like(small, DARK)
    labels = {task: label[-1] for task, label in sample.labels().items()}
    tasks = {task.name: task for task in data.tasks}

    tiles = []
    for column in columns:
        if column == 'before' and len(clip) == 1:
            tile, text = blank.copy(), 'none before'
        elif column == 'before':
            tile = resize(np.ascontiguousarray(sample.image[-2]), height, width)
            text = _short(clip[-2])

        elif column == 'image':
            tile = small.copy() if instances is None else _boxes(small, instances)
            text = f'{name} {number}: {_short(clip[-1])}'
            if sample.detection is not None:
                scale = width / sample.image.shape[2]
                tile = _labelled_boxes(tile, sample.detection[-1], scale, tasks['detection'])

        elif column in labels:
            tile, text = _coloured(small, labels[column], tasks[column]), column
        else:
            tile, text = blank.copy(), f'{column}: none'
        tiles.append(_write(tile, text))
    return np.hstack(tiles)


def _coloured(image: Image, values: NDArray[Any], task: Task) -> Image:
    """Return one label as colours, at the size of the image."""
    height, width = image.shape[:2]
    if task.name == 'depth':
        depth = _thickened(values.astype(np.float32), values.shape[1] / width)
        return colourise_depth(resize_nearest(depth, height, width), task.maximum)

    ids = resize_nearest(values, height, width)
    if task.name == 'motion':
        grey = np.where((ids == UNKNOWN_MOTION)[:, :, None], np.uint8(128), image)
        return overlay_motion(grey, ids, task)
    return overlay(image, colourise_semantic(ids, task), 0.65)


def _thickened(depth: NDArray[np.float32], shrinkage: float) -> NDArray[np.float32]:
    """Return sparse depth in dots large enough to survive shrinking, the nearest on top."""
    if np.isfinite(depth).mean() > SPARSE:
        return depth

    # Erosion takes the minimum of each neighbourhood, so unknown pixels stand for "very far".
    far = np.where(np.isfinite(depth), depth, np.float32(np.finfo(np.float32).max))
    size = 2 * int(shrinkage / 2 + 0.5) + 1
    spread = cv2.erode(far, np.ones((size, size), np.uint8))
    return np.where(spread < np.finfo(np.float32).max, spread, np.nan).astype(np.float32)


def _boxes(image: Image, instances: NDArray[np.int32]) -> Image:
    """Return a copy with a box around each object."""
    drawn = image.copy()
    scale = image.shape[1] / instances.shape[1]
    corners = np.rint(boxes_around(instances).corners * scale).astype(int)
    for left, top, right, bottom in corners.tolist():
        cv2.rectangle(drawn, (left, top), (right, bottom), BOX, 1)
    return drawn


def _labelled_boxes(
        image: Image, rows: NDArray[np.float32], scale: float, task: Task) -> Image:
    """Return a copy with the labelled boxes in the colours of their classes."""
    rows = rows[rows[:, 4] >= 0]
    found = Detections(
        rows[:, :4] * np.float32(scale), np.ones(len(rows), np.float32),
        rows[:, 4].astype(np.uint8))
    return draw_boxes(image, found, task, text=False)


def _legend(task: Task, width: int) -> Image:
    """Return the names of the classes in their colours."""
    per_row = max(1, width // 110)
    lines = -(-len(task.classes) // per_row)
    legend = np.full((lines * LINE + 8, width, 3), DARK, np.uint8)
    for index, (name, colour) in enumerate(zip(task.classes, task.palette)):
        y = index // per_row * LINE + 4
        x = index % per_row * 110 + 6
        legend[y + 2:y + LINE - 2, x:x + 12] = colour
        _text(legend, name, x + 17, y + LINE - 5)
    return legend


def _short(path: Path) -> str:
    """Return the end of a file's name."""
    return path.stem[-28:]


def _write(image: Image, line: str) -> Image:
    """Return the image itself with a line of text at its top left."""
    (width, height), below = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    cv2.rectangle(image, (0, 0), (width + 6, height + below + 4), DARK, cv2.FILLED)
    _text(image, line, 3, height + 3)
    return image


def _text(image: Image, line: str, x: int, y: int) -> None:
    """Write into the image; OpenCV's fonts have ASCII only."""
    words = line.encode('ascii', 'replace').decode()
    cv2.putText(image, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, LIGHT, 1, cv2.LINE_AA)
