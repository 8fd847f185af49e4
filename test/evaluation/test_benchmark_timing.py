# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Times that take turns: a planted difference is found, noise is told."""

import hashlib

import numpy as np
import pytest

from mtl_perception.evaluation.benchmark.engine_worker import control_times
from mtl_perception.evaluation.benchmark.timing import (
    Timing,
    Yardstick,
    interval_rank,
    ratio_of,
    spread_of,
)


def test_the_interval_of_a_median_is_that_of_the_binomial_distribution():
    # P(no ratio is below the median) is 1/128 of 7 and 1/256 of 8; 0.005 is allowed
    assert interval_rank(7) == 0
    assert interval_rank(8) == 1
    # of 11: 1/2048 for none, 12/2048 = 0.0059 for at most one; of 12: 13/4096 = 0.0032
    assert interval_rank(11) == 1
    assert interval_rank(12) == 2


def test_quartiles_of_five_values():
    found = spread_of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.median, found.q25, found.q75, found.least, found.count) == (3, 2, 4, 1, 5)
    assert found.relative == pytest.approx(2 / 3)


@pytest.fixture
def noisy():
    """Return 40 rounds on a machine whose speed drifts by half, which neighbours share."""
    random = np.random.default_rng(0)
    drift = 1 + 0.5 * np.sin(np.arange(40) / 6)
    return [list(20 * drift * (1 + 0.01 * random.standard_normal(40))) for _ in range(2)]


def test_a_slow_down_of_a_tenth_is_found_on_a_machine_that_drifts(noisy):
    base, other = noisy
    found = ratio_of([1.1 * value for value in other], base)
    assert found.is_slower
    assert found.median == pytest.approx(1.1, abs=0.02)
    assert ratio_of(base, [1.1 * value for value in other]).is_faster


def test_the_same_thing_beside_itself_is_neither_slower_nor_faster(noisy):
    found = ratio_of(*noisy)
    assert not found.is_slower
    assert not found.is_faster
    assert found.low < 1 < found.high


def test_few_rounds_give_no_interval():
    found = ratio_of([2.0] * 7, [1.0] * 7)
    assert found.median == 2
    assert (found.low, found.high) == (0, float('inf'))
    assert not found.is_slower


def test_rounds_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match='2 rounds beside 1'):
        ratio_of([1.0, 2.0], [1.0])


def test_the_control_finds_the_delay_that_it_plants():
    content = bytes(1 << 23)
    base, same, slow = control_times(lambda: hashlib.sha256(content).digest(), 30, on_cpu=True)
    assert ratio_of(slow, base).is_slower
    assert 1.05 < ratio_of(slow, base).median < 1.2
    assert ratio_of(same, base).median == pytest.approx(1, abs=0.05)


def yardstick_of(*timings):
    yardstick = Yardstick()
    yardstick.timings = [Timing(*one) for one in timings]
    return yardstick.facts()['warnings']


def test_a_quiet_machine_gives_no_warning():
    assert yardstick_of(*[(10 + number / 100, 10.0) for number in range(9)]) == []


def test_a_machine_whose_times_scatter_is_told():
    warning, = yardstick_of(*[(wall, wall) for wall in (10, 12, 10, 12, 10, 12, 10, 12)])
    assert '18% of its median apart' in warning


def test_a_machine_on_which_work_waits_is_told():
    warning, = yardstick_of(*[(15.0, 10.0)] * 9)
    assert 'takes 1.50 times its CPU time' in warning


def test_the_yardstick_really_works():
    yardstick = Yardstick()
    yardstick.measure()
    assert yardstick.timings[0].cpu_ms > 0.5
