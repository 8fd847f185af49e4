# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tracker on a rendered street, with true depth and classes."""

import dataclasses

import numpy as np
import pytest

from mtl_perception.egomotion import MotionEstimator, MotionTracker, Pinhole
from mtl_perception.egomotion.estimate import BELIEVABLE
from mtl_perception.egomotion.pinhole import inverse
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_SEMANTIC

START, FRAMES = 200, 4


@pytest.fixture(scope='module')
def street():
    return Street(3)


@pytest.fixture(scope='module')
def drive(street):
    return [street.render(START + number) for number in range(FRAMES)]


def follow(street, frames, camera=None, odometry=None, depth_factor=1.0, milliseconds=100):
    """Return the tracker and its last comparison."""
    tracker = MotionTracker(
        camera or Pinhole.from_matrix(street.intrinsics), STREET_SEMANTIC.movable,
        STREET_SEMANTIC.sky)
    found = None

    for number, frame in enumerate(frames):
        step = None
        if odometry and number:
            step = inverse(frames[number - 1].pose) @ frame.pose
        found = tracker.add(
            (number + 1) * milliseconds * 1_000_000, frame.image,
            np.minimum(frame.depth, 1e3) * np.float32(depth_factor), frame.semantic, step)
    return tracker, found


def errors(found, frames):
    """Return the relative error of the travel and the angle of its direction, degrees."""
    true = (inverse(frames[0].pose) @ frames[-1].pose)[:3, 3]
    pose = found.ego.pose[:3, 3]
    length = np.linalg.norm(pose)
    wanted = np.linalg.norm(true)
    cosine = pose @ true / length / wanted
    return abs(length / wanted - 1), np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_the_travel_over_three_steps_is_estimated_with_good_quality(street, drive):
    _, found = follow(street, drive)
    travel, direction = errors(found, drive)

    assert found.baseline.seconds == pytest.approx(0.3)
    assert travel < 0.05
    assert direction < 1.5
    assert found.ego.quality > BELIEVABLE


def test_a_dropped_frame_does_no_harm(street, drive):
    _, found = follow(street, [drive[0], drive[1], drive[3]])
    assert found.ego.quality > BELIEVABLE
    travel, direction = errors(found, drive)
    assert travel < 0.1
    assert direction < 3.0


def test_a_camera_at_rest_has_no_motion(street, drive):
    _, found = follow(street, [drive[0]] * 3)
    assert np.abs(found.ego.pose - np.eye(4)).max() < 1e-3
    assert found.ego.quality > BELIEVABLE
    chi = np.expm1(found.features[2])
    assert np.median(chi) < 0.1


def test_a_wrong_focal_length_still_gives_the_direction_of_travel(street, drive):
    right = Pinhole.from_matrix(street.intrinsics)
    wrong = dataclasses.replace(right, fx=right.fx * 1.3, fy=right.fy * 1.3)
    _, found = follow(street, drive, wrong)
    assert found.ego.quality > BELIEVABLE
    assert errors(found, drive)[1] < 5


def test_odometry_sets_the_scale_of_depth(street, drive):
    tracker, found = follow(street, drive, odometry=True, depth_factor=1.25)
    assert tracker.scale == pytest.approx(1 / 1.25, rel=0.05)
    assert found.baseline.pose == pytest.approx(
        inverse(drive[0].pose) @ drive[-1].pose, abs=1e-9)


def test_frames_of_different_places_give_a_low_quality(street, drive):
    elsewhere = street.render(START + 150)
    _, found = follow(street, [elsewhere, drive[0]])
    assert found.ego.quality < BELIEVABLE


def test_shapes_that_differ_are_refused(street, drive):
    estimator = MotionEstimator(Pinhole.from_matrix(street.intrinsics))
    grey = drive[0].image[..., 0]

    with pytest.raises(ValueError, match='depth has shape'):
        estimator.estimate(grey, grey, np.ones((2, 2), np.float32), np.zeros((0, 2), np.intp))
