# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How sure a figure is, given the frames that it was measured on."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
Figure = Callable[[NDArray[Any]], float | None]

FEWEST_GROUPS = 5
"""From fewer groups there is no interval."""


def bootstrap_interval(
        counts: Sequence[NDArray[Any]], figure: Figure,
        level: float = 0.95, groups: Sequence[Hashable] | None = None, resamples: int = 1000,
        seed: int = 0) -> Interval | None:
    """
    Return the percentile bootstrap interval of a figure (Efron, Annals of Statistics 1979).

    The figure is computed from the sum of what was counted in each frame. Frames are drawn anew
    with replacement, ``resamples`` times; the interval holds the middle ``level`` of the figures.
    Neighbouring frames of a drive resemble one another and make the interval too narrow: name
    their drive as their group, and whole drives are drawn.

    :param counts: what was counted in each frame, arrays of one shape, such as its confusion
        matrix.
    :param figure: from such a sum to the figure, None where it does not exist.
    :param level: share of the figures inside, between 0 and 1.
    :param groups: the group of each frame, None for each on its own.
    :param resamples: how often frames are drawn.
    :param seed: of the draw; the same seed gives the same interval.
    :return: (low, high), None if fewer than five groups exist, from which none can be told (from
        two groups the interval would hold the truth half of the time, from five 84 times in a
        hundred, from ten 89 times), or if the figure never exists.
    :raises ValueError: if the level is not between 0 and 1 or frames and groups differ in number.
    """
    found = bootstrap_intervals(counts, {'it': figure}, level, groups, resamples, seed)
    return found['it']


def bootstrap_intervals(
        counts: Sequence[NDArray[Any]], figures: Mapping[str, Figure], level: float = 0.95,
        groups: Sequence[Hashable] | None = None, resamples: int = 1000,
        seed: int = 0) -> dict[str, Interval | None]:
    """
    Return the intervals of several figures from the same draws, see :func:`bootstrap_interval`.

    :param figures: name -> from a sum of counts to the figure.
    :raises ValueError: as there.
    """
    _check(level, groups, len(counts))
    sums: dict[Hashable, NDArray[Any]] = {}
    for number, count in enumerate(counts):
        group = number if groups is None else groups[number]
        sums[group] = sums[group] + count if group in sums else count
    if len(sums) < FEWEST_GROUPS:
        return dict.fromkeys(figures)
    stacked = np.stack(list(sums.values()))
    values: dict[str, list[float]] = {name: [] for name in figures}
    for times in _times(len(stacked), resamples, seed):
        total = np.tensordot(times, stacked, axes=1)
        for name, figure in figures.items():
            if (value := figure(total)) is not None:
                values[name].append(value)
    return {name: interval_of(found, level) for name, found in values.items()}


def frame_draws(
        frames: int, groups: Sequence[Hashable] | None = None, resamples: int = 200,
        seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """
    Yield how often each frame is drawn, (frames,) int64, for figures that are no sums of counts.

    :param frames: how many there are.
    :param groups: the group of each frame, None for each on its own; groups are drawn whole.
    :param resamples: how often; nothing is drawn from fewer than five groups.
    :param seed: of the draw.
    """
    _check(0.5, groups, frames)
    number_of: dict[Hashable, int] = {}
    place = np.array([number_of.setdefault(group, len(number_of)) for group in (
        range(frames) if groups is None else groups)], np.int64)
    if len(number_of) >= FEWEST_GROUPS:
        for times in _times(len(number_of), resamples, seed):
            yield times[place]


def interval_of(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return what holds the middle ``level`` of some figures, None without any."""
    if not values:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _times(count: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return how often each of so many groups is drawn, (resamples, count)."""
    shares = np.full(count, 1 / count)
    return np.random.default_rng(seed).multinomial(count, shares, resamples)


def _check(level: float, groups: Sequence[Hashable] | None, frames: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f'level is {level}; it must lie between 0 and 1')
    if groups is not None and len(groups) != frames:
        raise ValueError(f'{frames} frames have {len(groups)} groups; name one per frame')
