# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points of pixels: worked out by hand, and against what the street knows of itself."""

import numpy as np
import pytest
from test_rectification import fisheye, known, pinhole, through

from mtl_perception.frames import Frame
from mtl_perception.inference.points import PixelRays, points_of
from mtl_perception.inference.stream import CameraStream
from mtl_perception.media.intrinsics import (
    NO_CALIBRATION,
    Intrinsics,
    IntrinsicsState,
    given_focal_length,
)
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_SEMANTIC

CALIBRATED = Intrinsics(IntrinsicsState.CALIBRATED, 2.0, 4.0, centre=(1.0, 0.5))
FLAT = [STREET_SEMANTIC.classes.index(name) for name in ('road', 'road_marking', 'sidewalk')]


def rays_of(camera, size, intrinsics=CALIBRATED, focal_px=0.0):
    rays = PixelRays()
    rays.use(intrinsics, focal_px)
    return rays.at(camera, size)


def test_a_point_is_depth_times_the_ray_of_its_pixel():
    depth = np.float32([[2, 4, np.nan], [8, np.inf, 10]])
    image = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    semantic = np.uint8([[1, 2, 3], [4, 5, 255]])
    confidence = np.float32([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    rays = rays_of((2, 3), (2, 3))
    found = points_of(depth, rays, image, semantic, confidence)

    # column 0 is 1 pixel left of the axis at f = 2, row 0 half a pixel above it at f = 4
    assert [found[name][0, 0] for name in 'xyz'] == [-1, -0.25, 2]
    assert [found[name][1, 2] for name in 'xyz'] == [5, 1.25, 10]
    np.testing.assert_array_equal(np.isnan(found['z']), ~np.isfinite(depth))
    np.testing.assert_array_equal(np.isnan(found['x']), np.isnan(found['y']))
    assert found['rgb'][1, 0] == 0x090A0B
    np.testing.assert_array_equal(found['label'], semantic)

    few = points_of(depth, rays, image, semantic, confidence, organised=False)
    np.testing.assert_array_equal(few, found[np.isfinite(depth)])
    bare = points_of(depth, rays, image)
    assert (bare['label'] == 255).all()
    assert (bare['confidence'] == 0).all()


def test_a_resized_image_has_the_rays_of_the_same_places():
    x, y = rays_of((4, 4), (2, 2), Intrinsics(IntrinsicsState.CALIBRATED, 2.0, 2.0,
                                              centre=(1.5, 1.5)))
    # the middles of blocks of 2 x 2 pixels lie 1 pixel from the middle of the image
    np.testing.assert_array_equal(x, [[-0.5, 0.5]] * 2)
    np.testing.assert_array_equal(y, [[-0.5] * 2, [0.5] * 2])


def test_the_axis_of_a_camera_that_nobody_calibrated_is_in_the_middle():
    for intrinsics, focal in ((NO_CALIBRATION, 2.0), (given_focal_length(2.0), 0.0)):
        x, y = rays_of((3, 3), (3, 3), intrinsics, focal)
        np.testing.assert_array_equal(x[0], [-0.5, 0, 0.5])
        np.testing.assert_array_equal(y[:, 0], [-0.5, 0, 0.5])


def test_rays_are_made_once_for_a_camera_and_a_size():
    rays = PixelRays()
    rays.use(CALIBRATED, 0.0)
    first = rays.at((2, 3), (2, 3))[0]
    rays.use(Intrinsics(IntrinsicsState.CALIBRATED, 2.0, 4.0, centre=(1.0, 0.5)), 0.0)
    assert rays.at((2, 3), (2, 3))[0] is first
    rays.use(CALIBRATED, 1.0)
    assert rays.at((2, 3), (2, 3))[0] is not first


def heights_of_ground(street, number, depth, semantic, rays):
    """Return y of the points on the flat ground in the world, and their distances."""
    points = points_of(depth, rays, np.zeros((*depth.shape, 3), np.uint8), semantic, None, False)
    flat = points[np.isin(points['label'], FLAT)]
    camera = np.stack([flat[name] for name in 'xyz']).astype(np.float64)
    pose = street.pose(number)
    return pose[1, :3] @ camera + pose[1, 3], np.linalg.norm(camera, axis=0)


@pytest.mark.parametrize('seed', [20000, 20001])
def test_with_true_depth_the_road_is_where_it_is(seed):
    street = Street(seed, 320, 240)
    frame = street.render(30)
    rays = rays_of((240, 320), (240, 320), given_focal_length(street.focal_px))
    height, distance = heights_of_ground(street, 30, frame.depth, frame.semantic, rays)

    assert len(height) > 5000
    assert np.max(np.abs(height) / distance) < 1e-4
    # a focal length that is 10 % off is seen
    wrong = rays_of((240, 320), (240, 320), given_focal_length(1.1 * street.focal_px))
    height, distance = heights_of_ground(street, 30, frame.depth, frame.semantic, wrong)
    assert np.median(np.abs(height) / distance) > 1e-3


def test_through_a_fisheye_the_road_is_there_too():
    street = Street(20000, 640, 480)
    frame = street.render(30)
    lens = fisheye(70)
    camera = pinhole(street.focal_px, 640, 480)
    depth = through(lens, (camera, frame.depth))
    semantic = through(lens, (camera, frame.semantic))
    rays = rays_of((240, 320), (240, 320), known(lens))
    height, distance = heights_of_ground(street, 30, depth, semantic, rays)

    assert len(height) > 5000
    assert np.median(np.abs(height) / distance) < 2e-3  # the nearest pixel of the picture


@pytest.mark.slow
def test_points_of_the_shipped_model_are_within_a_tenth_of_their_distance():
    pytest.importorskip('torch')
    from mtl_perception.inference.engines import load_engine

    engine = load_engine('street', 'torch', 'cpu', 'fp32', 1)
    errors = []
    for seed in range(20000, 20010):
        street = Street(seed)
        frame = street.render(50)
        known_camera = given_focal_length(street.focal_px)
        found = CameraStream(engine).process(
            Frame('', 1, frame.image), {'depth', 'semantic'}, intrinsics=known_camera)
        rays = rays_of(frame.depth.shape, frame.depth.shape, known_camera)
        predicted, true = (points_of(depth, rays, frame.image)
                           for depth in (found.depth, frame.depth))
        apart = np.linalg.norm([predicted[name] - true[name] for name in 'xyz'], axis=0)
        distance = np.linalg.norm([true[name] for name in 'xyz'], axis=0)
        errors.append((apart / distance)[np.isfinite(apart)])

    assert np.median(np.concatenate(errors)) <= 0.10
