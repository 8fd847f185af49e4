# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small files in the layouts of data sets, and comparisons of what is read."""

from pathlib import Path

import cv2
import numpy as np

from mtl_perception import cli
from mtl_perception.instances import boxes_around

HEIGHT, WIDTH = 6, 8


def picture(value: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return an RGB image, red = value, green = column, blue = row."""
    rows, columns = np.indices((height, width))
    return np.stack([np.full_like(rows, value), columns, rows], axis=-1).astype(np.uint8)


def write_image(path: Path, value: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write :func:`picture`."""
    return write_map(path, picture(value, height, width)[:, :, ::-1])


def write_map(path: Path, values: np.ndarray) -> Path:
    """Write numbers unchanged, and make the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)
    return path


def constant(value: int, dtype: type = np.uint8) -> np.ndarray:
    """Return a label map of one value."""
    return np.full((HEIGHT, WIDTH), value, dtype)


def write_text(path: Path, text: str) -> Path:
    """Write text, and make the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def check(root, capsys):
    """Return exit code and output of ``mtl data check`` for a folder with a dataset.yaml."""
    config = write_text(
        root.parent / 'mine.yaml', f'dataset: folder\nroot: {root.name}\nframes: 1\n')
    code = cli.main(['data', 'check', str(config), '--mosaic', str(root.parent / 'm.png')])
    return code, capsys.readouterr().out


def boxes_by_id(instances):
    """Return id -> (left, top, right, bottom) of the objects of an (H, W) map."""
    ids, corners, _ = boxes_around(instances)
    return dict(zip(ids.tolist(), map(tuple, corners.tolist())))


def same(one, other):
    """Return whether two samples have equal images and labels."""
    return (
        np.array_equal(one.image, other.image)
        and np.array_equal(one.detection, other.detection)
        and all(np.array_equal(label, other.labels()[task])
                for task, label in one.labels().items()))
