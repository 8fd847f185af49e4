# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of a process, from /proc; elsewhere they are unknown."""

import os
import threading
import time
from pathlib import Path

import numpy as np

CLOCK_TICKS = 100
"""Of a second, where the system does not tell."""
SAMPLE_S = 0.5


def private_mb(pid: int | str) -> float | None:
    """
    Return the memory that only this process uses, MB; None where that is unknown.

    :param pid: number of the process, or ``self``.
    """
    try:
        lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith('Private_')
                 and not line.startswith('Private_Hugetlb')]
        return sum(found) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        return None


def anonymous_mb(pid: int | str) -> float | None:
    """Return the memory of a process that no file backs, MB: it costs the process nothing."""
    try:
        for line in Path(f'/proc/{pid}/status').read_text().splitlines():
            if line.startswith('RssAnon:'):
                return int(line.split()[1]) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        pass
    return None


def cpu_seconds(pid: int | str) -> float | None:
    """Return the CPU time of a process so far, seconds; None where that is unknown."""
    try:
        # the name, in parentheses, may hold spaces
        words = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        ticks = int(words[11]) + int(words[12])
        per_second = os.sysconf('SC_CLK_TCK') if hasattr(os, 'sysconf') else CLOCK_TICKS
        return ticks / per_second
    except (OSError, ValueError, IndexError):
        return None


class Watch:
    """
    Note CPU time and memory of a process twice a second until closed.

    :param pid: number of the process.
    """

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[int, float | None, float | None]] = []
        """Time (ns, as :func:`time.time_ns`), CPU time (s) and memory (MB)."""
        self._pid = pid
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='watch', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def memory(self, began_ns: int, ended_ns: int) -> tuple[float, float] | None:
        """
        Return the median memory, MB, and its slope, MB per minute; None if unknown.

        The slope is the median of those between all pairs of samples (Theil and Sen), so that a
        single jump does not make one.
        """
        found = [(at / 6e10, size) for at, _, size in self.samples
                 if began_ns <= at <= ended_ns and size is not None]
        if len(found) < 3:
            return None
        times, sizes = np.array(found).T
        later, earlier = np.triu_indices(len(found), 1)[::-1]
        slopes = (sizes[later] - sizes[earlier]) / (times[later] - times[earlier])
        return float(np.median(sizes)), float(np.median(slopes))

    def _run(self) -> None:
        """Note until asked to stop."""
        while not self._stopping.wait(SAMPLE_S):
            self.samples.append(
                (time.time_ns(), cpu_seconds(self._pid), anonymous_mb(self._pid)))
