# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether trainings differ by more than their seeds do: Welch's test, Holm, Kendall's tau."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

FEWEST_SEEDS = 2
"""Fewer values give no spread, so no test."""


def welch_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """
    Return the two-sided p-value of Welch's test that two means are the same.

    Welch, *The generalization of "Student's" problem when several different population variances
    are involved*, Biometrika 1947; the variances of the two groups need not be the same.

    >>> round(welch_p([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), 4)
    0.0213

    :param first: independent values, such as a metric of each seed.
    :param second: those of the other group; the groups may differ in size.
    :return: between 0 and 1; None if a group has fewer than :data:`FEWEST_SEEDS` values, or no
        group has any spread.
    """
    if min(len(first), len(second)) < FEWEST_SEEDS:
        return None
    parts = [float(np.var(group, ddof=1)) / len(group) for group in (first, second)]
    if sum(parts) == 0:
        return None

    # the degrees of freedom of Welch and Satterthwaite
    t = (float(np.mean(first)) - float(np.mean(second))) / math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(
        part ** 2 / (len(group) - 1) for part, group in zip(parts, (first, second)))
    return _two_tails(abs(t), freedom)


def _two_tails(t: float, freedom: float) -> float:
    """Return the probability that Student's t is beyond -t or t, by numerical integration."""
    # with x = sqrt(freedom) tan(angle) the density is cos(angle) ** (freedom - 1), up to a factor
    start = math.atan(t / math.sqrt(freedom))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    half = (math.pi / 2 - start) / 2
    angles = start + half * (nodes + 1)
    factor = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    tail = factor / math.sqrt(math.pi) * half * float(
        np.sum(weights * np.cos(angles) ** (freedom - 1)))
    return min(1.0, 2 * tail)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """
    Return p-values corrected for the number of tests.

    Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of
    Statistics 1979: the k-th smallest of n values times n - k + 1, and never below the one before.

    >>> holm({'a': 0.03, 'b': 0.01, 'c': 0.02})
    {'a': 0.04, 'b': 0.03, 'c': 0.04}

    :param p_values: name of a test -> its p-value.
    :return: name -> corrected value, at most 1, in the order of the argument.
    """
    found = dict[str, float]()
    largest = 0.0
    for number, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - number) * p_values[name]))
        found[name] = largest
    return {name: found[name] for name in p_values}


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """
    Return how far two lists agree in the order of their items: Kendall's tau-a.

    The pairs in one order less those in opposite orders, over all pairs; a tie counts as neither.

    >>> kendall_tau([1, 2, 3, 4], [1, 2, 4, 3])
    0.6666666666666666

    :param first: value of each item, such as Delta_m of each row after some steps.
    :param second: values of the same items after more steps.
    :return: 1 = the same order, -1 = reversed; None for fewer than two items.
    :raises ValueError: if the lists differ in length.
    """
    pairs = list(combinations(zip(first, second, strict=True), 2))
    if not pairs:
        return None
    return sum(float(np.sign((a - c) * (b - d))) for (a, b), (c, d) in pairs) / len(pairs)
