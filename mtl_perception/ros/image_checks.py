# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detect a camera that works and yet shows nothing: a covered lens, a frozen image."""

import zlib

import numpy as np
from numpy.typing import NDArray

from mtl_perception.reason_codes import ReasonCode

FLAT_AFTER = 10
FROZEN_AFTER = 30
GRID = 16
NOISE = 6
"""The pixels of a flat picture differ by at most so much: the noise behind a covered lens."""


class PictureWatch:
    """
    Notice a covered lens and a camera that repeats one picture.

    Only every 16th pixel of every 16th row is compared.
    """

    def __init__(self) -> None:
        self._flat = 0
        self._equal = 0
        self._digest = -1

    def check(self, image: NDArray[np.uint8]) -> str:
        """
        Check the next picture.

        :param image: (H, W, 3) uint8.
        :return: ``I13_flat`` from the 10th flat picture in a row, ``I14_frozen`` from the 30th
            picture that equals the one before it, else an empty text.
        """
        sample = np.ascontiguousarray(image[::GRID, ::GRID])
        digest = zlib.crc32(sample.tobytes())

        self._equal = self._equal + 1 if digest == self._digest else 0
        self._digest = digest
        spread = sample.max((0, 1)).astype(int) - sample.min((0, 1))
        self._flat = self._flat + 1 if spread.max() <= NOISE else 0

        if self._flat >= FLAT_AFTER:
            return ReasonCode.IMAGE_FLAT
        return ReasonCode.IMAGE_FROZEN if self._equal >= FROZEN_AFTER else ''
