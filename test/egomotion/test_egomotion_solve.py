# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.egomotion import Pinhole
from mtl_perception.egomotion.estimate import quality
from mtl_perception.egomotion.pinhole import rotation_of
from mtl_perception.egomotion.solve import Matches, ransac, refine

CAMERA = Pinhole(230.0, 230.0, 191.5, 111.5)


def make_matches(pose, count=400, wrong=0.0, noise=0.0, seed=0):
    """Return exact matches of points in view, a part of them wrong."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform((0, 0), (383, 223), (count, 2))
    depth = rng.uniform(4, 40, count)
    points = np.column_stack([(pixels - (191.5, 111.5)) / 230 * depth[:, None], depth])

    there = points @ pose[:3, :3].T + pose[:3, 3]
    earlier = there[:, :2] / there[:, 2:] * 230 + (191.5, 111.5)
    earlier += rng.normal(0, noise, earlier.shape) if noise else 0

    bad = rng.random(count) < wrong
    earlier[bad] += rng.uniform(-20, 20, (bad.sum(), 2))
    return Matches(points, pixels, earlier)


@pytest.fixture
def pose():
    truth = np.eye(4)
    truth[:3, :3] = rotation_of(np.array([0.002, 0.02, -0.001]))
    truth[:3, 3] = 0.03, -0.01, 1.2
    return truth


def test_exact_matches_give_the_exact_pose_from_no_motion(pose):
    fit = refine(np.eye(4), make_matches(pose), CAMERA, iterations=12)
    assert fit.pose == pytest.approx(pose, abs=1e-4)
    assert quality(fit) == pytest.approx(1.0, abs=0.01)


def test_a_third_of_wrong_matches_moves_the_pose_by_little(pose):
    matches = make_matches(pose, wrong=0.33, noise=0.2)
    start = ransac(matches, CAMERA)
    assert start is not None

    fit = refine(start, matches, CAMERA)
    assert np.linalg.norm(fit.pose[:3, 3] - pose[:3, 3]) < 0.05
    assert 0.55 < quality(fit) < 0.8


def test_a_common_error_of_depth_becomes_the_scale_of_the_translation(pose):
    exact = make_matches(pose)
    scaled = Matches(exact.points * 1.2, exact.pixels, exact.earlier)

    fit = refine(np.eye(4), scaled, CAMERA, iterations=12)
    assert fit.pose[:3, 3] == pytest.approx(pose[:3, 3] * 1.2, abs=1e-3)
    assert fit.pose[:3, :3] == pytest.approx(pose[:3, :3], abs=1e-5)


def test_random_matches_give_a_low_quality(pose):
    matches = make_matches(pose, wrong=1.0)
    fit = refine(np.eye(4), matches, CAMERA)
    assert quality(fit) < 0.2


@pytest.mark.parametrize('count', [6, 50])
def test_points_in_nearly_one_direction_give_no_pose(pose, count):
    rng = np.random.default_rng(0)
    pixels = (191.5, 111.5) + rng.normal(0, 0.1, (count, 2))
    depth = rng.uniform(4, 40, count)
    points = np.column_stack([(pixels - (191.5, 111.5)) / 230 * depth[:, None], depth])
    there = points @ pose[:3, :3].T + pose[:3, 3]
    matches = Matches(points, pixels, there[:, :2] / there[:, 2:] * 230 + (191.5, 111.5))
    assert ransac(matches, CAMERA) is None


def test_too_few_matches_give_no_pose_and_no_quality(pose):
    assert ransac(make_matches(pose, count=5), CAMERA) is None
    assert quality(refine(np.eye(4), make_matches(pose, count=10), CAMERA)) == 0
