# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How sure a figure is, given the frames that it was measured on."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def bootstrap_interval(
        counts: Sequence[NDArray[Any]], figure: Callable[[NDArray[Any]], float | None],
        level: float = 0.95, groups: Sequence[Hashable] | None = None, resamples: int = 1000,
        seed: int = 0) -> tuple[float, float] | None:
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
    :return: (low, high), None if fewer than two groups exist or the figure never does.
    :raises ValueError: if the level is not between 0 and 1 or frames and groups differ in number.
    """
    if not 0 < level < 1:
        raise ValueError(f'level is {level}; it must lie between 0 and 1')
    if groups is not None and len(groups) != len(counts):
        raise ValueError(f'{len(counts)} frames have {len(groups)} groups; name one per frame')
    sums: dict[Hashable, NDArray[Any]] = {}
    for number, count in enumerate(counts):
        group = number if groups is None else groups[number]
        sums[group] = sums[group] + count if group in sums else count
    if len(sums) < 2:
        return None
    stacked = np.stack(list(sums.values()))
    generator = np.random.default_rng(seed)
    shares = np.full(len(stacked), 1 / len(stacked))
    figures = []
    for times in generator.multinomial(len(stacked), shares, resamples):
        value = figure(np.tensordot(times, stacked, axes=1))
        if value is not None:
            figures.append(value)
    if not figures:
        return None
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
