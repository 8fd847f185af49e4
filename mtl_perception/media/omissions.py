# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What was left out of a sequence of frames, counted and with the first reasons."""

from mtl_perception.media.listing import NAMED, counted


class Omissions:
    """
    Frames that are left out because they cannot be read.

    :ivar count: how many.
    :ivar reasons: the first of them, in order; each names its file.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.count = 0
        self.reasons: list[str] = []
        self._more = 0

    def add(self, reason: str, count: int = 1) -> None:
        """
        Note a reason.

        :param reason: names the file and says what is wrong with it.
        :param count: how many frames it concerns; 0 = unknown, such as behind a cut.
        """
        self.count += count
        if len(self.reasons) < NAMED:
            self.reasons.append(reason)
        else:
            self._more += 1

    def __bool__(self) -> bool:
        """Return whether there is something to say."""
        return bool(self.reasons)

    def __str__(self) -> str:
        """Return one sentence."""
        head = f'{counted(self.count, "frame")} left out: ' if self.count else ''
        tail = f'; and {self._more} more' if self._more else ''
        return head + '; '.join(self.reasons) + tail
