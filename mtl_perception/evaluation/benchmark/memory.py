# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of a process, from /proc; elsewhere they are unknown."""

import os
from pathlib import Path

CLOCK_TICKS = 100
"""Of a second, where the system does not tell."""


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
