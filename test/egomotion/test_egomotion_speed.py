# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the tracker does where a comparison fails: a shorter baseline, another speed, a pitch."""

import numpy as np
import pytest
from test_egomotion_solve import CAMERA, make_matches

from mtl_perception.egomotion import EgoMotion, MotionTracker
from mtl_perception.egomotion.estimate import quality, shifted_depth
from mtl_perception.egomotion.solve import Matches, refine

SHAPE = (24, 32)


def forward(metres):
    pose = np.eye(4)
    pose[2, 3] = metres
    return pose


def follow(near, full, count):
    """Return the tracker and the comparisons of a camera whose estimates are given."""
    tracker = MotionTracker(CAMERA, (8,), 11)
    tracker._near.estimate = near
    tracker._full.estimate = full
    image = np.zeros((*SHAPE, 3), np.uint8)
    found = [tracker.add((number + 1) * 40_000_000, image, np.full(SHAPE, 9.0, np.float32),
                         np.zeros(SHAPE, np.uint8)) for number in range(count)]
    return tracker, found


def estimate_of(pose, believed):
    return EgoMotion(pose, believed, 100, np.zeros((*SHAPE, 2), np.float32))


def test_a_camera_pitched_otherwise_shifts_all_inverse_depths():
    exact = make_matches(forward(1.0), count=600)
    seen = 1 / (1 / exact.points[:, 2:] + 0.03)  # what a network says of the depth
    matches = Matches(exact.points / exact.points[:, 2:] * seen, exact.pixels, exact.earlier)

    plain = refine(forward(0.9), matches, CAMERA, iterations=12)
    free = refine(forward(0.9), matches, CAMERA, iterations=12, offset_sigma=0.1)

    assert free.offset == pytest.approx(-0.03, abs=0.002)
    assert free.pose[2, 3] == pytest.approx(1.0, abs=0.05)
    assert quality(free) > 0.95
    assert np.median(plain.chi) > 5 * np.median(free.chi)
    assert plain.offset == 0


def test_an_offset_is_added_to_inverse_depth_and_nothing_lies_beyond_the_farthest():
    depth = np.array([[4.0, 10.0, 60.0]], np.float32)
    assert shifted_depth(depth, 0.05)[0] == pytest.approx([1 / 0.3, 1 / 0.15, 15.0], rel=1e-3)
    assert shifted_depth(depth, -0.05)[0] == pytest.approx([5.0, 20.0, 80.0])
    assert shifted_depth(depth, 0.0)[0] == pytest.approx(depth[0])


def test_a_comparison_that_fails_over_a_long_baseline_is_made_over_a_shorter_one():
    def near(*_, **__):
        return estimate_of(forward(0.5), 0.9)

    def full(grey, earlier, depth, static, guess, *_, **__):
        return estimate_of(guess, 0.9 if guess[2, 3] < 1.2 else 0.2)

    tracker, found = follow(near, full, 12)
    assert all(one.ego.quality > 0.5 for one in found[1:])
    assert max(one.baseline.travel for one in found[1:]) < 1.2
    assert tracker.offset == 0


def test_a_camera_that_is_faster_than_its_chain_says_is_found_at_another_speed():
    def near(grey, earlier, depth, static, guess=None, **_):
        fast = guess is not None and guess[2, 3] > 0.6
        return estimate_of(forward(0.7 if fast else 0.1), 0.8 if fast else 0.6)

    def full(grey, earlier, depth, static, guess, *_, **__):
        return estimate_of(guess, 0.7 if guess[2, 3] > 0.6 else 0.3)

    tracker, found = follow(near, full, 6)
    assert [one.ego.quality > 0.5 for one in found[1:]] == [False, False, True, True, True]
    assert tracker.step.pose[2, 3] == pytest.approx(0.7)
    assert found[3].baseline.travel == pytest.approx(0.7)  # the chain began anew
    assert found[5].baseline.travel == pytest.approx(1.4)
