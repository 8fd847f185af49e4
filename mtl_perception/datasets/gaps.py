# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trees and fences as annotators draw them: whole, with what shows through their gaps."""

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.tasks import ROADS_SEMANTIC

BEHIND = {
    'vegetation': ('sky',),
    'fence': ('road', 'sidewalk', 'building', 'vegetation', 'terrain', 'sky')}
"""Class with gaps -> the classes that may show through them, and never stand before it."""


def with_gaps_filled(semantic: NDArray[np.uint8], gap: int) -> NDArray[np.uint8]:
    """
    Return classes of the street in which sky between leaves counts as vegetation, and what shows
    through a railing as fence.

    The class is closed (dilated, then eroded) by a disc; what it gains is taken from the classes
    of :data:`BEHIND` alone, so a pole before a tree keeps its pixels.

    :param semantic: (T, H, W) uint8 classes of the street, of either look; it is not modified.
    :param gap: diameter of the disc, pixels; wider gaps stay open, and 0 leaves all of them.
    """
    if not gap:
        return semantic

    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap))
    result = semantic.copy()
    for frame in result:
        for name, others in BEHIND.items():
            kind = ROADS_SEMANTIC.classes.index(name)
            behind = [ROADS_SEMANTIC.classes.index(other) for other in others]
            closed = cv2.morphologyEx(
                (frame == kind).view(np.uint8), cv2.MORPH_CLOSE, disc).view(bool)
            frame[closed & np.isin(frame, behind)] = kind
    return result
