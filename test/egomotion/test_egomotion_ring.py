# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.egomotion import FrameRing

GREY = np.zeros((2, 2), np.uint8)
IMAGE = np.zeros((2, 2, 3), np.uint8)


def ahead(metres):
    """Return the step of a camera that moved along its axis, (4, 4)."""
    step = np.eye(4)
    step[2, 3] = metres
    return step


def fill(ring, steps, spacing_ms=100, qualities=None):
    """Drive, one frame after each step."""
    ring.add(0, GREY, IMAGE)
    for number, metres in enumerate(steps):
        ring.add((number + 1) * spacing_ms * 1_000_000, GREY, IMAGE, ahead(metres),
                 1.0 if qualities is None else qualities[number])


def test_at_low_speed_the_duration_limits_the_baseline():
    ring = FrameRing(seconds=0.3, travel=3.0)
    fill(ring, [0.5] * 6)

    found = ring.baseline()
    assert found.seconds == pytest.approx(0.3)
    assert found.travel == pytest.approx(1.5)
    assert found.pose == pytest.approx(ahead(1.5))


def test_at_high_speed_the_distance_limits_the_baseline():
    ring = FrameRing(seconds=0.3, travel=3.0)
    fill(ring, [1.4] * 6)
    assert ring.baseline().seconds == pytest.approx(0.2)


def test_the_frame_before_is_always_allowed_as_baseline():
    ring = FrameRing(seconds=0.3, travel=3.0)
    fill(ring, [9.0, 9.0])
    assert ring.baseline().seconds == pytest.approx(0.1)


def test_a_baseline_is_as_good_as_its_worst_step():
    ring = FrameRing(seconds=0.3)
    fill(ring, [0.5] * 4, qualities=[0.1, 0.9, 0.6, 0.8])
    assert ring.baseline().quality == 0.6


def test_the_guess_assumes_constant_speed():
    ring = FrameRing()
    fill(ring, [0.5])
    assert ring.guess(300_000_000) == pytest.approx(ahead(1.0))

    ring.reset()
    assert ring.guess(400_000_000) is None
    assert ring.baseline() is None


def test_one_frame_has_no_baseline():
    ring = FrameRing()
    fill(ring, [])
    assert ring.baseline() is None


def test_a_frame_that_is_not_newer_or_has_no_step_is_refused():
    ring = FrameRing()
    fill(ring, [0.5])
    with pytest.raises(ValueError, match='newer than the ring'):
        ring.add(100_000_000, GREY, IMAGE, ahead(1.0))
    with pytest.raises(ValueError, match='newer than the ring'):
        ring.add(200_000_000, GREY, IMAGE)
    with pytest.raises(ValueError, match='must be positive'):
        FrameRing(seconds=0)
