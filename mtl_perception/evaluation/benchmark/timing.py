# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Times of things that take turns: medians, their spread, and ratios with an interval."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

CONFIDENCE = 0.99
"""Of the interval of a ratio."""
YARDSTICK_BYTES = 1 << 23
"""What the yardstick digests: some milliseconds of one core."""
WIDEST = 0.05
"""Spread of the yardstick's wall time, as a share of its median, on a quiet machine at most."""
SLOWEST = 1.05
"""Wall time of the yardstick over its CPU time on a quiet machine at most."""


@dataclass(frozen=True)
class Timing:
    """
    One call.

    :param wall_ms: time that passed, milliseconds.
    :param cpu_ms: CPU time of all threads of the process, milliseconds.
    """

    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Spread:
    """
    Several values of one quantity.

    :param median: of them.
    :param q25: a quarter is not above it.
    :param q75: three quarters are not above it.
    :param least: the smallest.
    :param count: how many there are.
    """

    median: float
    q25: float
    q75: float
    least: float
    count: int

    @property
    def relative(self) -> float:
        """The distance of the quartiles as a share of the median."""
        return (self.q75 - self.q25) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Ratio:
    """
    How many times as long one thing takes as another.

    :param median: of the ratios of the rounds.
    :param low: lower end of the interval of the median.
    :param high: its upper end.
    """

    median: float
    low: float
    high: float

    @property
    def is_slower(self) -> bool:
        """Whether the whole interval lies above 1."""
        return self.low > 1

    @property
    def is_faster(self) -> bool:
        """Whether the whole interval lies below 1."""
        return self.high < 1

    def __str__(self) -> str:
        return f'{self.median:.3f} ({self.low:.3f} to {self.high:.3f})'


def time_call(call: Callable[[], object]) -> Timing:
    """Return the time of one call; the CPU time is that of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    cpu = time.process_time() - cpu
    return Timing(1e3 * (time.perf_counter() - wall), 1e3 * cpu)


def spread_of(values: Sequence[float]) -> Spread:
    """
    Return median and quartiles.

    :param values: at least one.
    """
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return Spread(middle, low, high, min(values), len(values))


def ratio_of(values: Sequence[float], beside: Sequence[float]) -> Ratio:
    """
    Return how many times as long one thing takes as another that was timed in turn with it.

    The interval holds the median ratio with :data:`CONFIDENCE`. It needs no assumption on how the
    times scatter: with n rounds, the number of ratios below the true median is binomial (n, 1/2),
    so the k-th smallest and the k-th largest ratio enclose it with a known probability. With fewer
    than 8 rounds no such pair exists, and the interval is endless.

    :param values: of each round.
    :param beside: of the other thing in the same rounds.
    :raises ValueError: if the numbers of rounds differ.
    """
    if len(values) != len(beside) or not values:
        raise ValueError(f'{len(values)} rounds beside {len(beside)}; there must be as many')
    ratios = sorted(value / other for value, other in zip(values, beside))
    rank = interval_rank(len(ratios))
    low, high = (ratios[rank - 1], ratios[-rank]) if rank else (0.0, math.inf)
    return Ratio(float(np.median(ratios)), low, high)


def interval_rank(count: int) -> int:
    """
    Return which smallest and largest of some values enclose their true median.

    :param count: of the values.
    :return: the largest k with P(Binomial(count, 1/2) < k) <= (1 - CONFIDENCE) / 2; 0 for none.
    """
    below, rank = 0.0, 0
    for number in range(count + 1):
        below += math.comb(count, number) / 2 ** count
        if below > (1 - CONFIDENCE) / 2:
            break
        rank = number + 1
    return rank


def medians(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU time of each way, milliseconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(time_call(way).cpu_ms)
    return {name: float(np.median(values)) for name, values in times.items()}


class Yardstick:
    """
    A fixed piece of work that is timed between all others: its spread is that of the machine.

    :param work: what is timed; by default a digest of some megabytes on one core.
    """

    def __init__(self, work: Callable[[], object] | None = None) -> None:
        content = bytes(YARDSTICK_BYTES)
        self._work = work or (lambda: hashlib.sha256(content).digest())
        self.timings: list[Timing] = []

    def measure(self) -> None:
        """Time the work once more."""
        self.timings.append(time_call(self._work))

    def facts(self) -> dict[str, object]:
        """Return what was found, and in ``warnings`` why this machine is too noisy, if it is."""
        wall = spread_of([one.wall_ms for one in self.timings])
        share = float(np.median([one.wall_ms / max(one.cpu_ms, 1e-3) for one in self.timings]))
        warnings = []
        if wall.relative > WIDEST:
            warnings.append(
                f'the quartiles of a fixed piece of work are {wall.relative:.0%} of its median '
                f'apart, on a quiet machine at most {WIDEST:.0%}')
        if share > SLOWEST:
            warnings.append(
                f'a fixed piece of work waits: it takes {share:.2f} times its CPU time, on a '
                f'quiet machine at most {SLOWEST:.2f} times')
        return {'yardstick_wall_ms': asdict(wall), 'wall_over_cpu': share, 'warnings': warnings}
