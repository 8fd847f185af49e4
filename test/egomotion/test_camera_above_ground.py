# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The height of the camera above the road, by the depth of the road's pixels."""

import numpy as np
import pytest

from mtl_perception.egomotion import Pinhole
from mtl_perception.egomotion.ground import camera_above_ground

CAMERA = Pinhole(230.0, 230.0, 191.5, 111.5)
SHAPE = (224, 384)


def road_depth(height=1.5, pitch=0.0, roll=0.0):
    """Return the depth of a plane below the camera, +Inf above the horizon."""
    rows, columns = np.mgrid[:SHAPE[0], :SHAPE[1]]
    x = (columns - CAMERA.cx) / CAMERA.fx
    y = (rows - CAMERA.cy) / CAMERA.fy
    normal = np.array([np.sin(roll), np.cos(roll) * np.cos(pitch), np.cos(roll) * np.sin(pitch)])
    along = normal[0] * x + normal[1] * y + normal[2]
    return np.where(along > 0.02, height / np.maximum(along, 0.02), np.inf).astype(np.float32)


@pytest.mark.parametrize('pitch', [-10, 0, 25])
@pytest.mark.parametrize('height', [0.5, 1.5, 2.5])
def test_the_height_of_a_plane_is_exact_however_the_camera_nods(height, pitch):
    depth = road_depth(height, np.radians(pitch))
    found = camera_above_ground(depth, np.isfinite(depth), CAMERA)
    assert found == pytest.approx(height, rel=1e-3)


def test_a_factor_on_the_depth_is_one_on_the_height():
    depth = road_depth(1.5) * np.float32(0.6)
    assert camera_above_ground(depth, np.isfinite(depth), CAMERA) == pytest.approx(0.9, rel=1e-3)


def test_noise_and_a_car_that_is_called_road_do_not_move_the_plane():
    depth = road_depth(1.5)
    depth *= np.exp(0.04 * np.random.default_rng(0).standard_normal(SHAPE)).astype(np.float32)
    depth[130:190, 150:200] = 4.0
    assert camera_above_ground(depth, np.isfinite(depth), CAMERA) == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize('case', ['nothing', 'few', 'narrow', 'wall', 'ceiling', 'noise', 'side'])
def test_what_is_no_road_below_the_camera_has_no_height(case):
    depth = road_depth(1.5)
    road = np.isfinite(depth)
    if case == 'nothing':
        road[:] = False
    elif case == 'few':
        road[:, 5:] = False
    elif case == 'narrow':
        road[:200] = False
        road[210:] = False
    elif case == 'wall':
        depth[:] = 6.0
    elif case == 'ceiling':
        depth = road_depth(1.5)[::-1]
        road = np.isfinite(depth)
    elif case == 'noise':
        depth = np.random.default_rng(0).uniform(2, 60, SHAPE).astype(np.float32)
    else:
        depth = road_depth(1.5, roll=np.radians(40))
        road = np.isfinite(depth)
    assert camera_above_ground(depth, road, CAMERA) is None
