# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals: how far a metric would move on other frames of the same kind."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
Statistic = Callable[[NDArray[Any]], float | None]
"""From a sum of counts to the value of a metric, None where it is not defined."""

FEWEST_GROUPS = 5
"""Fewer groups give no interval."""


def bootstrap_interval(
        counts: Sequence[NDArray[Any]], statistic: Statistic,
        level: float = 0.95, groups: Sequence[Hashable] | None = None, resamples: int = 1000,
        seed: int = 0) -> Interval | None:
    """
    Return the percentile bootstrap interval of a metric (Efron, Annals of Statistics 1979).

    The metric is computed from the sum of the counts of all frames. Frames are drawn with
    replacement ``resamples`` times; the interval holds the middle ``level`` of the values.
    Neighbouring frames of a drive resemble one another, which makes the interval too narrow: give
    the drive of each frame as its group, and whole drives are drawn.

    >>> counts = [np.array([1.0, 2.0])] * 6  # 1 of 2 pixels is right in each frame
    >>> bootstrap_interval(counts, lambda total: float(total[0] / total[1]))
    (0.5, 0.5)

    :param counts: counts of each frame, arrays of one shape, such as its confusion matrix.
    :param statistic: from such a sum to the metric, None where it is not defined.
    :param level: share of the values inside, between 0 and 1.
    :param groups: the group of each frame; None makes each frame its own group.
    :param resamples: number of draws.
    :param seed: of the draws; the same seed gives the same interval.
    :return: (low, high); None if there are fewer than five groups or if the metric is never
        defined. The limit is a choice of ours: an interval of two groups would cover the true
        value half of the time, of five groups 84 % of the time, of ten 89 %.
    :raises ValueError: if the level is not between 0 and 1 or frames and groups differ in number.
    """
    found = bootstrap_intervals(counts, {'it': statistic}, level, groups, resamples, seed)
    return found['it']


def bootstrap_intervals(
        counts: Sequence[NDArray[Any]], statistics: Mapping[str, Statistic], level: float = 0.95,
        groups: Sequence[Hashable] | None = None, resamples: int = 1000,
        seed: int = 0) -> dict[str, Interval | None]:
    """
    Return the intervals of several metrics from the same draws, see :func:`bootstrap_interval`.

    :param statistics: name -> from a sum of counts to the metric.
    :raises ValueError: as there.
    """
    _check(level, groups, len(counts))

    # Frames of one group are always drawn together, so their sum is all that is needed.
    sums: dict[Hashable, NDArray[Any]] = {}
    for number, count in enumerate(counts):
        group = number if groups is None else groups[number]
        sums[group] = sums[group] + count if group in sums else count
    if len(sums) < FEWEST_GROUPS:
        return dict.fromkeys(statistics)

    stacked = np.stack(list(sums.values()))
    values: dict[str, list[float]] = {name: [] for name in statistics}
    for times in _times(len(stacked), resamples, seed):
        total = np.tensordot(times, stacked, axes=1)
        for name, statistic in statistics.items():
            if (value := statistic(total)) is not None:
                values[name].append(value)
    return {name: interval_of(found, level) for name, found in values.items()}


def frame_draws(
        frames: int, groups: Sequence[Hashable] | None = None, resamples: int = 200,
        seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """
    Yield how often each frame is drawn, (frames,) int64: for metrics that no sum of counts gives.

    :param frames: number of frames.
    :param groups: the group of each frame, which is drawn as a whole; None makes each frame its
        own group.
    :param resamples: number of draws; fewer than five groups give none.
    :param seed: of the draws.
    """
    _check(0.5, groups, frames)
    number_of: dict[Hashable, int] = {}
    place = np.array([number_of.setdefault(group, len(number_of)) for group in (
        range(frames) if groups is None else groups)], np.int64)
    if len(number_of) >= FEWEST_GROUPS:
        for times in _times(len(number_of), resamples, seed):
            yield times[place]


def interval_of(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """
    Return the interval that holds the middle ``level`` of some values, None without values.

    >>> interval_of([0.0, 1.0, 2.0, 3.0, 4.0], level=0.5)
    (1.0, 3.0)
    """
    if not values:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _times(count: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return (resamples, count) int64, how often each of ``count`` groups is drawn."""
    # Drawing n groups with replacement is one multinomial draw with equal shares.
    shares = np.full(count, 1 / count)
    return np.random.default_rng(seed).multinomial(count, shares, resamples)


def _check(level: float, groups: Sequence[Hashable] | None, frames: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f'level is {level}; it must lie between 0 and 1')
    if groups is not None and len(groups) != frames:
        raise ValueError(f'{frames} frames have {len(groups)} groups; name one per frame')
