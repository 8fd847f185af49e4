# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into the log: one line each, of a limited length, and not too often."""

import time
from collections.abc import Callable

LONGEST_TEXT = 300


class Throttle:
    """
    At most one line per key and period; the first one at once.

    :param period_s: seconds between two lines with the same key.
    :param clock: steady time in seconds.
    """

    def __init__(
        self, period_s: float = 5.0, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._period_s = period_s
        self._clock = clock
        self._logged: dict[object, float] = {}

    def due(self, key: object) -> bool:
        """Return whether a line with this key may be logged now, and count it as logged."""
        now = self._clock()
        last = self._logged.get(key)
        if last is not None and now - last < self._period_s:
            return False
        self._logged[key] = now
        return True


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text from outside as one line without control characters, cut if it is long."""
    line = ''.join(letter if letter.isprintable() else '?' for letter in text[:longest + 1])
    return line if len(line) <= longest else line[:longest - 3] + '...'
