# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Write small files in the layouts of data sets."""

from pathlib import Path

import cv2
import numpy as np

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
    """Write numbers as they are, making the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)
    return path


def constant(value: int, dtype: type = np.uint8) -> np.ndarray:
    """Return a label map of one value."""
    return np.full((HEIGHT, WIDTH), value, dtype)


def write_text(path: Path, text: str) -> Path:
    """Write text, making the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def boxes_by_id(instances):
    """Return id -> (left, top, right, bottom) of the objects of an (H, W) map."""
    ids, corners, _ = boxes_around(instances)
    return dict(zip(ids.tolist(), map(tuple, corners.tolist())))
