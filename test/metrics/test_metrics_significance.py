# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from scipy import stats

from mtl_perception.metrics.significance import holm, kendall_tau, welch_p


def test_welch_of_two_seeds_each_worked_out_by_hand():
    # means 1 and 5, variances 2 and 2: t = 4 / sqrt(2) and (1 + 1)^2 / (1 + 1) = 2 degrees of
    # freedom, whose tails are 1 - t / sqrt(2 + t^2)
    t = 4 / math.sqrt(2)
    assert welch_p([0.0, 2.0], [4.0, 6.0]) == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_welch_with_one_degree_of_freedom_is_cauchy():
    # a group without spread leaves the freedom of the other, n - 1 = 1; t = 4
    assert welch_p([0.0, 2.0], [5.0, 5.0]) == pytest.approx(1 - 2 / math.pi * math.atan(4))


@pytest.mark.parametrize(('sizes', 'shift'), [((3, 3), 1.0), ((2, 7), 4.0), ((30, 50), 0.3)])
def test_welch_agrees_with_scipy(sizes, shift):
    generator = np.random.default_rng(sizes)
    first = generator.normal(size=sizes[0])
    second = generator.normal(shift, 3.0, sizes[1])
    wanted = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert welch_p(first.tolist(), second.tolist()) == pytest.approx(wanted, rel=1e-6)


def test_without_spread_or_a_second_seed_there_is_no_test():
    assert welch_p([1.0], [2.0, 3.0]) is None
    assert welch_p([1.0, 1.0], [2.0, 2.0]) is None
    assert welch_p([1.0, 2.0], [1.0, 2.0]) == pytest.approx(1.0)


def test_holm_worked_out_by_hand():
    # sorted 0.01, 0.013, 0.03, 0.6: times 4, 3, 2, 1 = 0.04, 0.039, 0.06, 0.6, then never lower
    assert holm({'a': 0.6, 'b': 0.01, 'c': 0.03, 'd': 0.013}) == pytest.approx(
        {'a': 0.6, 'b': 0.04, 'c': 0.06, 'd': 0.04})
    assert holm({'a': 0.7, 'b': 0.8}) == {'a': 1.0, 'b': 1.0}
    assert holm({}) == {}


def test_kendall_counts_pairs():
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    # of three pairs one is tied and two agree
    assert kendall_tau([1, 1, 3], [1, 2, 3]) == pytest.approx(2 / 3)
    assert kendall_tau([1], [1]) is None
    with pytest.raises(ValueError, match='zip'):
        kendall_tau([1, 2], [1])
