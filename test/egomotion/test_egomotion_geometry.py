# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.egomotion import Pinhole, depth_scale, solve
from mtl_perception.egomotion.pinhole import inverse, rigid_flow, rotation_of, scaled_motion, warp
from mtl_perception.egomotion.residual import RESIDUAL_CHANNELS, motion_features, residual

CAMERA = Pinhole(100.0, 100.0, 31.5, 23.5)
SHAPE = (48, 64)


def motion(turn=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0)):
    """Return a rigid motion, (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3] = rotation_of(np.array(turn))
    pose[:3, 3] = shift
    return pose


def test_a_wall_seen_from_one_metre_farther_shrinks_towards_the_centre():
    flow = rigid_flow(np.full(SHAPE, 9.0, np.float32), motion(shift=(0, 0, 1)), CAMERA)
    assert flow[0, 0] == pytest.approx([31.5 * 0.1, 23.5 * 0.1], abs=1e-4)


def test_a_rotation_moves_all_depths_alike():
    pose = motion(turn=(0, 0.01, 0))
    near, far = (rigid_flow(np.full(SHAPE, z, np.float32), pose, CAMERA) for z in (2.0, np.inf))
    assert near == pytest.approx(far, abs=1e-4)
    assert far[24, 32, 0] == pytest.approx(1.0, abs=0.01)


def test_a_point_behind_the_earlier_camera_has_no_flow():
    flow = rigid_flow(np.full(SHAPE, 1.0, np.float32), motion(shift=(0, 0, -2)), CAMERA)
    assert np.isnan(flow).all()


def test_a_resized_camera_sees_the_same_rays():
    half = CAMERA.resized(SHAPE, (24, 64))
    assert (half.fx, half.fy, half.cx) == (100, 50, 31.5)
    assert half.cy == pytest.approx((23.5 + 0.5) / 2 - 0.5)


def test_a_motion_and_its_inverse_cancel_and_two_half_turns_make_the_whole():
    pose = motion((0.0, 0.1, 0.0), (0.0, 0.0, 2.0))
    assert inverse(pose) @ pose == pytest.approx(np.eye(4), abs=1e-12)

    half = scaled_motion(motion((0.0, 0.1, 0.0)), 0.5)
    assert half @ half == pytest.approx(motion((0.0, 0.1, 0.0)), abs=1e-12)


def test_warping_by_a_flow_of_one_column_shows_the_next_column_to_the_right():
    image = np.arange(64, dtype=np.uint8)[None].repeat(48, 0)
    flow = np.zeros((*SHAPE, 2), np.float32)
    flow[..., 0] = 1
    assert warp(image, flow)[:, :-1].tolist() == image[:, 1:].tolist()


@pytest.mark.parametrize('focal', [0.0, -1.0, np.inf, np.nan])
def test_a_focal_length_must_be_positive_and_finite(focal):
    with pytest.raises(ValueError, match='fx of a pinhole camera'):
        Pinhole(focal, 100, 0, 0)


def test_the_flow_of_a_static_world_has_no_residual():
    depth = np.random.default_rng(0).uniform(3, 40, SHAPE).astype(np.float32)
    pose = motion((0.0, 0.01, 0.0), (0.1, 0.0, 1.0))

    found = residual(rigid_flow(depth, pose, CAMERA), depth, pose, CAMERA)
    assert found.chi.max() < 1e-3


def test_wrong_depth_leaves_a_residual_along_the_epipolar_line_only():
    depth = np.full(SHAPE, 10.0, np.float32)
    pose = motion(shift=(0, 0, 1))
    found = residual(rigid_flow(depth * 1.3, pose, CAMERA), depth, pose, CAMERA)
    assert np.abs(found.across).max() < 1e-4
    assert found.along[0, 0] < -0.5


def test_motion_across_the_epipolar_line_is_measured_in_sigmas_of_the_flow():
    depth = np.full(SHAPE, 10.0, np.float32)
    pose = motion(shift=(1, 0, 0))  # epipolar lines are rows
    flow = rigid_flow(depth, pose, CAMERA)
    flow[10, 10, 1] += 3.0

    found = residual(flow, depth, pose, CAMERA)
    assert found.chi[10, 10] == pytest.approx(10, rel=1e-3)
    assert found.chi[20, 20] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize('factor', [0.7, 1.0, 1.4])
def test_the_depth_scale_is_found_from_a_known_motion(factor):
    depth = np.random.default_rng(0).uniform(3, 20, SHAPE).astype(np.float32)
    pose = motion((0.0, 0.005, 0.0), (0.0, 0.0, 1.5))
    flow = rigid_flow(depth * np.float32(factor), pose, CAMERA)

    found = depth_scale(depth, flow, np.ones(SHAPE, bool), pose, CAMERA)
    assert found == pytest.approx(factor, rel=0.05)


def test_a_camera_at_rest_gives_no_depth_scale():
    depth = np.full(SHAPE, 5.0, np.float32)
    flow = np.zeros((*SHAPE, 2), np.float32)
    assert depth_scale(depth, flow, np.ones(SHAPE, bool), np.eye(4), CAMERA) is None


def test_features_have_half_the_size_and_one_channel_per_movable_class():
    grey = np.zeros(SHAPE, np.uint8)
    semantic = np.full(SHAPE, 8, np.uint8)

    flow, depth = np.zeros((*SHAPE, 2), np.float32), np.full(SHAPE, 5.0, np.float32)
    features = motion_features(
        grey, grey, flow, residual(flow, depth, np.eye(4), CAMERA), depth, semantic, (8, 9),
        CAMERA, 0.3)

    assert features.shape == (len(RESIDUAL_CHANNELS) + 2, 24, 32)
    assert features[-2].min() == 1
    assert features[-1].max() == 0
    assert np.isfinite(features).all()


@pytest.mark.parametrize('moved', range(7))
def test_the_jacobian_is_that_of_small_steps(moved):
    camera = Pinhole(100.0, 80.0, 31.5, 23.5)
    rng = np.random.default_rng(moved)
    pixels = rng.uniform((0, 0), SHAPE[::-1], (40, 2))
    depth = rng.uniform(3, 30, 40)
    points = np.stack([(pixels[:, 0] - camera.cx) / camera.fx * depth,
                       (pixels[:, 1] - camera.cy) / camera.fy * depth, depth], 1)
    pose = motion((0.01, -0.02, 0.005), (0.1, 0.05, 1.2))
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    earlier = np.stack([camera.fx * seen[:, 0] / seen[:, 2] + camera.cx,
                        camera.fy * seen[:, 1] / seen[:, 2] + camera.cy], 1)
    matches = solve.Matches(points, pixels, earlier)

    # without an error, the directions in which it is measured do not count
    error, jacobian = solve._linearised(pose, matches, camera)
    np.testing.assert_allclose(error, 0, atol=1e-9)
    step = np.zeros(7)
    step[moved] = 1e-6
    after, _ = solve._linearised(solve._moved(pose, step), matches, camera, step[6])
    np.testing.assert_allclose(-after / 1e-6, jacobian[moved], rtol=1e-3, atol=1e-2)


def test_a_point_behind_the_earlier_camera_does_not_pull_the_pose():
    matches = solve.Matches(
        np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 9.0]]), np.full((2, 2), 16.0), np.full((2, 2), 16.0))
    error, jacobian = solve._linearised(motion((0.0, 0.0, 0.0), (0.0, 0.0, -3.0)), matches, CAMERA)
    assert (error[:, 0] == 10).all()
    assert not jacobian[..., 0].any()
    assert jacobian[..., 1].any()
