# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Choose boxes among those of all anchors, as ``models.boxes.find_boxes`` does, without torch."""

import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Detections


def select_boxes(
    corners: NDArray[np.float32], scores: NDArray[np.float32], height: int, width: int, *,
    minimum_score: float, overlap: float = 0.5, limit: int = 100,
) -> Detections:
    """
    Return the boxes above a score, after non-maximum suppression, by falling score.

    :param corners: (B, 4) float32 pixels: x_min, y_min, x_max, y_max.
    :param scores: (B, C) float32 of each class.
    :param height: of the image, to which boxes are clipped.
    :param width: of the image.
    :param minimum_score: lowest score of a box.
    :param overlap: intersection over union above which two boxes of a class are one object.
    :param limit: largest number of boxes.
    """
    classes = scores.argmax(1)
    best = scores.max(1)
    likely = best >= minimum_score
    found = np.clip(corners[likely], 0, np.array([width, height, width, height], np.float32))
    best, classes = best[likely], classes[likely]

    # Of boxes of a class that overlap, the one with the highest score stays.
    order = np.argsort(-best, kind='stable')
    areas = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    kept: list[int] = []
    while order.size and len(kept) < limit:
        first, rest = int(order[0]), order[1:]
        kept.append(first)
        low = np.maximum(found[first, :2], found[rest, :2])
        high = np.minimum(found[first, 2:], found[rest, 2:])
        common = np.prod(np.clip(high - low, 0, None), axis=1)

        # |A and B| / |A or B|; without an area it is 0 / 0, which suppresses nothing
        with np.errstate(invalid='ignore'):
            ratio = common / (areas[first] + areas[rest] - common)
        order = rest[~((ratio > overlap) & (classes[rest] == classes[first]))]

    chosen = np.array(kept, np.intp)
    return Detections(
        found[chosen].astype(np.float32), best[chosen].astype(np.float32),
        classes[chosen].astype(np.uint8))
