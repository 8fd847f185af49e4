# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Which numbers of a camera's 16-bit images are black and white.

A 12-bit camera fills a sixteenth of its 16 bits, a thermal one a narrow band somewhere in the
middle, and no message says so. The numbers themselves tell it, in two ways:

- They fill a good part of 8, 10, 12, 14 or 16 bits: black is 0 and white the largest number of so
  many bits, as in an 8-bit camera with the same exposure.
- They lie in a narrow band: it becomes the range from black to white.

A stream keeps its range: see :class:`ImageRange`.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.reason_codes import ReasonCode

WHITES = (255, 1023, 4095, 16383, 65535)
"""
The largest numbers of 8, 10, 12, 14 and 16 bits, the depths that sensors have.

Shifted to the upper of 16 bits, an image is one, two or three of them higher up.
"""

PERCENTILES = (0.2, 99.8)
"""Pixels beyond these may be hot, dead or reflections."""
NARROW = 0.3
"""A band that is a smaller share of its bits becomes the range itself."""
BAND_STEPS = 8
"""The limits of a band are multiples of a power of two, at least so many from one to the other."""

LEVELS, LEVEL_SHARE = 32, 1 / 256
"""An image with fewer levels, or a smaller share of its bits, has almost no contrast."""

LEAVING = 0.25
"""An image leaves the range if it exceeds it by this share of it."""
SHRINKING, PATIENCE = 1 / 3, 50
"""The range shrinks after so many images in a row that need less than this share of it."""

SAMPLE_ROWS, SAMPLE_COLUMNS = 128, 160
"""About so many rows and columns of an image are measured."""
LARGEST = 65535

Limits = tuple[int, int]
"""The numbers that become 0 and 255."""


class Levels(NamedTuple):
    """
    The numbers that an image uses.

    :param low: nearly the smallest one that is not 0; rectified images have a border of 0.
    :param high: nearly the largest one.
    :param step: the smallest difference that the format allows, a power of two.
    """

    low: int
    high: int
    step: int = 1

    @property
    def white(self) -> int:
        """The largest number of the bits that the image fills."""
        return next(white for white in WHITES if self.high <= white)

    @property
    def faint(self) -> bool:
        """Whether there is almost no contrast: what is visible may be noise."""
        return self.high - self.low < max(LEVELS * self.step, self.white * LEVEL_SHARE)

    def joined(self, other: 'Levels | None') -> 'Levels':
        """Return the levels of two images together."""
        if other is None:
            return self
        return Levels(
            min(self.low, other.low), max(self.high, other.high), min(self.step, other.step))


class ImageRange:
    """
    The range of the 16-bit images of one stream, found and held steady.

    The range grows at once when an image clearly leaves it, and shrinks only after
    :data:`PATIENCE` images in a row that need a small part of it: a dark tunnel does not change
    it at once, and it never flickers. An image of almost no contrast leaves it as it is.

    :param limits: the range itself, which never changes; None finds it.
    :param sample: for a set of pictures, whose range is found once: passes some of them to
        the range that it is given. It is called if there is a 16-bit picture at all.
    :ivar images: 16-bit images so far.
    :ivar faint: how many of them had almost no contrast.
    :ivar changes: how often the range changed.
    :raises ValueError: if the limits are not two rising numbers of 16 bits.
    """

    def __init__(
            self, limits: Limits | None = None,
            sample: Callable[['ImageRange'], None] | None = None) -> None:
        if limits is not None and not 0 <= limits[0] < limits[1] <= LARGEST:
            raise ValueError(
                f'the range is {limits[0]} to {limits[1]}, wanted two rising numbers from 0 to '
                f'{LARGEST}')
        self.limits = limits
        """The range, None before the first image."""
        self.images = self.faint = self.changes = 0
        self._fixed = limits is not None
        self._sample = sample
        self._seen: Levels | None = None
        self._small: Levels | None = None
        self._small_count = 0

    def use(self, limits: Limits | None) -> bool:
        """
        Take another range, as for the constructor, from the next image on.

        :return: whether the images so far had another one, so that brightness changes.
        """
        before = self.limits if self.images else None
        self._fixed = False
        self.forget()
        self._fixed = limits is not None
        self.limits = limits
        return before not in (None, limits)

    def forget(self) -> None:
        """Begin again: what comes next is another stream."""
        if not self._fixed:
            self.limits = self._seen = self._small = None
            self._small_count = 0

    def text(self) -> str:
        """Return how it is set, as :func:`limits_of` reads it: found, or two numbers."""
        return range_text(self.limits if self._fixed else None)

    def remark(self) -> str:
        """Return what is odd about the images so far, empty if nothing is."""
        if not self.faint:
            return ''
        return (f'[{ReasonCode.IMAGE_CONTRAST}] {self.faint} of {self.images} images of more than '
                '8 bits have almost no contrast: is the lens covered?')

    def eight_bits(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """
        Return the next image of the stream with 8 bits.

        :param pixels: (H, W) or (H, W, C), uint16 in the machine's byte order.
        :return: of the same shape, 0 at the lower limit and below, 255 at the upper and above.
        """
        levels = levels_of(pixels)
        self.images += 1
        self.faint += levels.faint
        if self._sample is not None:
            probe = ImageRange()
            self._sample(probe)
            self.limits = probe.limits
            self._fixed = True
            self._sample = None
        if not self._fixed:
            self._follow(levels)

        low, high = self.limits or _limits_for(levels)
        # One channel beside the other: OpenCV is slow where it subtracts from each of three.
        flat: NDArray[Any] = pixels.reshape(pixels.shape[0], -1)
        if low:
            # A scalar to OpenCV, or, beside a column of four pixels, one number for each.
            black: Any = (low, low, low, low)
            flat = cv2.subtract(flat, black, dtype=cv2.CV_16U)
        scaled: NDArray[Any] = cv2.convertScaleAbs(flat, alpha=255 / (high - low))
        return scaled.reshape(pixels.shape).astype(np.uint8, copy=False)

    def _follow(self, levels: Levels) -> None:
        """Find the range by the first image, and change it where another one asks for that."""
        if levels.faint:
            return
        if self.limits is None:
            self._seen = levels
            self.limits = _limits_for(levels)
            return

        # It grows over all that the stream has shown, so that it never goes back and forth.
        self._seen = levels.joined(self._seen)
        low, high = self.limits
        beyond = LEAVING * (high - low)
        if levels.low < low - beyond or levels.high > high + beyond:
            return self._change(self._seen)

        # It shrinks after many images that need little of it.
        small_low, small_high = _limits_for(levels)
        if small_high - small_low > SHRINKING * (high - low):
            self._small = None
            self._small_count = 0
            return
        self._small = levels.joined(self._small)
        self._small_count += 1
        if self._small_count >= PATIENCE:
            self._change(self._small)

    def _change(self, levels: Levels) -> None:
        """Take the range for some levels."""
        limits = _limits_for(levels)
        self.changes += limits != self.limits
        self.limits = limits
        self._seen = levels
        self._small = None
        self._small_count = 0


def levels_of(pixels: NDArray[Any]) -> Levels:
    """Return the levels of a uint16 image, from some of its rows and columns."""
    height, width = pixels.shape[:2]
    sample = pixels[::max(1, height // SAMPLE_ROWS), ::max(1, width // SAMPLE_COLUMNS)]
    values = sample[sample > 0]
    if not values.size:
        return Levels(0, 0)

    # The lowest bit that is set anywhere: images in the upper bits of a word have a large step.
    used = int(np.bitwise_or.reduce(values))
    low, high = np.percentile(values, PERCENTILES, method='nearest').tolist()
    return Levels(int(low), int(high), used & -used)


def limits_of(given: Any) -> Limits | None:
    """
    Return the limits that a parameter, an option or a YAML file gives, None for ``auto``.

    :param given: ``auto``, a text such as ``7000,8600``, or two numbers.
    :raises ValueError: if it is none of these.
    """
    words = re.split(r'[,\s]+', given.strip('[] ')) if isinstance(given, str) else given
    if words == ['auto']:
        return None
    try:
        low, high = (int(str(word)) for word in words)
        if not 0 <= low < high <= LARGEST:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f'{str(given)[:40]!r}, wanted auto, or the numbers of black and white such as '
            f'7000,8600, rising and from 0 to {LARGEST}') from None
    return low, high


def range_text(limits: Limits | None) -> str:
    """Return what :func:`limits_of` reads."""
    return 'auto' if limits is None else f'{limits[0]},{limits[1]}'


def _limits_for(levels: Levels) -> Limits:
    """Return the range for images that use some levels."""
    white = levels.white
    span = levels.high - levels.low
    if levels.faint or span >= NARROW * white:
        return 0, white

    # Powers of two outward, so that nearly the same levels give the same range.
    step = 1
    while 2 * step * BAND_STEPS <= 2 * span:
        step *= 2
    low = levels.low // step * step
    high = -(-levels.high // step) * step
    return low, min(high, LARGEST)
