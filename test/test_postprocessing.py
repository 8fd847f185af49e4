# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facts about resizing on the way in and about what is published on the way out."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_perception import postprocessing as post
from mtl_perception.frames import Detections, Outputs
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.postprocessing import to_perception
from mtl_perception.preprocessing import focal_length_at, resize, resize_nearest
from mtl_perception.tasks import STREET_DETECTION, STREET_MOTION, STREET_SEMANTIC, STREET_TASKS

SKY = STREET_SEMANTIC.sky
MANIFEST = Manifest(
    name='test', network=NetworkSpec(), tasks=STREET_TASKS, height=32, width=64,
    mean=(0, 0, 0), std=(1, 1, 1), focal_px=40.0)
sizes = st.tuples(st.integers(1, 80), st.integers(1, 80))


def outputs(height, width, seed=0):
    random = np.random.default_rng(seed)
    score = random.random((height, width), np.float32)
    return Outputs(
        semantic=random.integers(0, 12, (height, width), np.uint8),
        depth=random.uniform(1, 100, (height, width)).astype(np.float32),
        motion=(score > 0.5).astype(np.uint8), motion_score=score)


def nearest(values, height, width):
    """Return the value under each pixel's centre, from the definition."""
    rows = (2 * np.arange(height) + 1) * values.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * values.shape[1] // (2 * width)
    return values[rows[:, None], columns]


def test_an_image_of_the_right_size_is_not_copied():
    image = np.zeros((8, 9, 3), np.uint8)
    assert resize(image, 8, 9) is image


@given(sizes, sizes)
@settings(deadline=None)
def test_a_constant_image_stays_constant_at_any_size(found, wanted):
    image = np.full((*found, 3), (10, 100, 200), np.uint8)
    resized = resize(image, *wanted)
    assert resized.shape == (*wanted, 3)
    assert resized.dtype == np.uint8
    assert (resized == (10, 100, 200)).all()


def test_strong_shrinking_averages_instead_of_picking_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert abs(int(resize(stripes, 8, 8).mean()) - 100) <= 2
    checker = np.indices((64, 64)).sum(axis=0) % 4 // 2 * 200
    shrunk = resize(checker.astype(np.uint8), 8, 8)
    assert shrunk.std() < 15  # picking gives 0 and 200


def test_up_to_twofold_it_is_plain_linear_interpolation():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(
        resize(image, 10, 20), cv2.resize(image, (20, 10), interpolation=cv2.INTER_LINEAR))


@given(sizes, sizes)
@settings(deadline=None)
def test_the_nearest_pixel_is_taken_in_the_last_two_dimensions(found, wanted):
    values = np.random.default_rng(0).integers(0, 9, (2, *found))

    resized = resize_nearest(values, *wanted)

    assert resized.dtype == values.dtype
    for image, result in zip(values, resized):
        np.testing.assert_array_equal(result, nearest(image, *wanted))


def test_the_focal_length_scales_with_the_width():
    assert focal_length_at(800.0, 1600, 400) == 200.0


@given(sizes, sizes, st.integers(0, 9))
@settings(deadline=None)
def test_ids_are_those_of_the_nearest_pixel(found, wanted, seed):
    network = outputs(*found, seed)
    result = to_perception(network, MANIFEST, *wanted)
    np.testing.assert_array_equal(result.semantic, nearest(network.semantic, *wanted))
    np.testing.assert_array_equal(result.motion, nearest(network.motion, *wanted))
    assert result.semantic.dtype == result.motion.dtype == np.uint8
    assert result.depth.dtype == result.motion_score.dtype == np.float32


@given(sizes, sizes, st.integers(0, 9))
@settings(deadline=None)
def test_depth_is_infinite_exactly_under_sky_and_beyond_range(found, wanted, seed):
    network = outputs(*found, seed)
    result = to_perception(network, MANIFEST, *wanted)
    beyond = nearest((network.semantic == SKY) | (network.depth > 80), *wanted)

    np.testing.assert_array_equal(np.isposinf(result.depth), beyond)

    finite = result.depth[~beyond]
    assert (finite > 0).all()
    assert (finite <= 80.0001).all()


def test_depth_is_not_blended_across_the_edge_of_the_sky():
    semantic = np.zeros((32, 64), np.uint8)
    semantic[:, 32:] = SKY
    depth = np.where(semantic == SKY, 3.0, 20.0).astype(np.float32)  # heads paint sky near
    result = to_perception(Outputs(semantic=semantic, depth=depth), MANIFEST, 97, 203)
    ground = result.semantic != SKY

    assert ground.any()
    np.testing.assert_allclose(result.depth[ground], 20.0, rtol=1e-6)
    assert np.isposinf(result.depth[~ground]).all()


def test_where_sky_is_uncertain_depth_stays_finite():
    semantic = np.full((4, 6), SKY, np.uint8)
    sky = np.zeros((4, 6), bool)
    sky[:, 3:] = True
    depth = np.full((4, 6), 7.0, np.float32)
    result = to_perception(Outputs(semantic=semantic, depth=depth, sky=sky), MANIFEST, 4, 6)

    np.testing.assert_array_equal(result.depth, np.where(sky, np.inf, 7.0))
    assert (result.semantic == SKY).all()


def test_depth_between_surfaces_is_interpolated_linearly():
    ramp = np.repeat(np.arange(1, 17, dtype=np.float32)[None], 8, axis=0)
    result = to_perception(Outputs(depth=ramp), MANIFEST, 16, 32)
    np.testing.assert_allclose(result.depth[0, 1:-1], np.arange(1.25, 16.1, 0.5))


def test_depth_scales_with_the_focal_length_and_so_does_its_range():
    depth = np.array([[10.0, 79.0, 81.0]], np.float32)
    result = to_perception(Outputs(depth=depth), MANIFEST, 1, 3, depth_scale=2.0)
    np.testing.assert_allclose(result.depth, [[20.0, 158.0, np.inf]])


@pytest.mark.parametrize('size', [(8, 8), (16, 24)])
def test_depth_that_is_not_finite_is_invalid_and_does_not_spread(size):
    depth = np.full((8, 8), 5.0, np.float32)
    depth[2, 3], depth[5, 6] = np.nan, np.inf
    result = to_perception(Outputs(depth=depth), MANIFEST, *size)

    np.testing.assert_array_equal(
        ~np.isfinite(result.depth), nearest(~np.isfinite(depth), *size))
    np.testing.assert_allclose(result.depth[np.isfinite(result.depth)], 5.0, rtol=1e-6)
    assert np.isnan(result.depth[nearest(np.isnan(depth), *size)]).all()


def test_tasks_that_were_not_computed_stay_missing():
    result = to_perception(Outputs(), MANIFEST, 8, 8)
    assert set(dataclasses.astuple(result)) == {None}


def test_motion_without_a_previous_frame_is_unknown():
    result = to_perception(outputs(4, 6), MANIFEST, 8, 12, motion_known=False)
    assert (result.motion == 255).all()
    assert np.isnan(result.motion_score).all()
    assert result.motion.shape == result.motion_score.shape == (8, 12)


def test_the_outputs_are_not_written_to():
    network = outputs(8, 8)
    network = dataclasses.replace(network, sky=network.semantic == SKY)
    values = [value for value in vars(network).values() if value is not None]
    copies = [value.copy() for value in values]
    for size in ((8, 8), (16, 16)):
        to_perception(network, MANIFEST, *size, depth_scale=3.0, motion_known=False)

    for value, copy in zip(values, copies, strict=True):
        np.testing.assert_array_equal(value, copy)


def test_a_mask_has_the_colours_of_its_classes_and_grey_elsewhere():
    ids = np.array([[0, 11, 12, 255]], np.uint8)
    assert post.colourise_semantic(ids, STREET_SEMANTIC).tolist() == [[
        [128, 64, 128], [70, 130, 180], [128, 128, 128], [128, 128, 128]]]
    motion = np.array([[0, 1, 255]], np.uint8)
    assert post.colourise_motion(motion, STREET_MOTION).tolist() == [[
        [0, 0, 0], [255, 64, 64], [128, 128, 128]]]


def test_near_is_warm_far_is_cold_and_invalid_depth_has_its_own_colour():
    depth = np.array([[0.5, 1.9, 12.6, 80.0, 500.0, np.nan, -np.inf, np.inf]], np.float32)
    colours = post.colourise_depth(depth)[0].astype(int)

    assert colours[0].tolist() == colours[1].tolist()  # nearer than the range
    assert colours[3].tolist() == colours[4].tolist()  # farther
    assert colours[1][0] > colours[1][2]
    assert colours[2][1] > 200  # the middle of the logarithm is green
    assert colours[5].tolist() == [0, 0, 0]
    assert colours[7].tolist() == [225, 225, 225]


def test_colours_of_depth_follow_its_logarithm():
    depth = np.geomspace(2.1, 79, 500, dtype=np.float32)[None]
    levels = post._depth_levels(80.0)[depth.view(np.uint16)[:, post._UPPER_HALF::2]].astype(int)
    wanted = (np.log(80) - np.log(depth)) * 253 / np.log(40) + 1
    assert np.abs(levels - wanted).max() < 1.5
    assert (np.diff(levels) <= 0).all()


def test_an_overlay_is_the_weighted_mean_of_image_and_colours():
    image, colours = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert (post.overlay(image, colours, 0.25) == 125).all()


def test_the_motion_overlay_leaves_static_pixels_unchanged():
    image = np.full((1, 3, 3), 100, np.uint8)
    motion = np.array([[0, 1, 255]], np.uint8)
    result = post.overlay_motion(image, motion, STREET_MOTION, opacity=1.0)
    assert result.tolist() == [[[100, 100, 100], [255, 64, 64], [100, 100, 100]]]
    assert (image == 100).all()


def two_cars_and_a_person():
    """Return semantics, and vectors from each pixel to the middle of its object."""
    semantic = np.zeros((32, 64), np.uint8)
    offset = np.full((2, 32, 64), 50.0, np.float32)  # pixels of no object point anywhere
    rows, columns = np.indices((32, 64))
    for kind, left, right in ((8, 2, 22), (8, 22, 42), (9, 42, 52)):
        semantic[4:24, left:right] = kind
        part = np.s_[4:24, left:right]
        offset[0][part] = (left + right - 1) / 2 - columns[part]
        offset[1][part] = 13.5 - rows[part]
    return semantic, offset


def test_touching_objects_of_a_class_are_told_apart_and_classes_never_share_an_id():
    semantic, offset = two_cars_and_a_person()
    result = to_perception(Outputs(semantic=semantic, instance=offset), MANIFEST, 32, 64)

    assert result.instance.dtype == np.uint16

    ids = [set(result.instance[4:24, left:right].ravel().tolist())
           for left, right in ((2, 22), (22, 42), (42, 52))]

    assert all(len(one) == 1 for one in ids)
    assert set.union(*ids) == {1, 2, 3}
    assert ids[2] == {3}  # the classes come in the order of their ids
    assert (result.instance[semantic == 0] == 0).all()

    large = to_perception(Outputs(semantic=semantic, instance=offset), MANIFEST, 64, 128)
    np.testing.assert_array_equal(large.instance, nearest(result.instance, 64, 128))


def test_boxes_are_in_pixels_of_the_size_that_was_asked_for():
    boxes = Detections(
        np.float32([[2, 4, 22, 24]]), np.float32([0.5]), np.array([1], np.uint8))
    result = to_perception(Outputs(detection=boxes), MANIFEST, 96, 128)
    assert result.detection.corners.tolist() == [[4, 12, 44, 72]]
    assert result.detection.classes.tolist() == [1]


def test_instances_have_colours_and_boxes_lines_in_those_of_their_classes():
    ids = np.array([[0, 1, 2, 256]], np.uint16)
    colours = [tuple(colour) for colour in post.colourise_instance(ids)[0].tolist()]

    assert colours[0] == (0, 0, 0)
    assert len({*colours[:3]}) == 3
    assert colours[3] == colours[1]  # 255 colours, then they come again; none is black

    image = np.full((40, 60, 3), 100, np.uint8)
    assert (post.overlay_instance(image, np.zeros((40, 60), np.uint16)) == 100).all()

    boxes = Detections(np.float32([[10, 15, 40, 35]]), np.float32([0.5]), np.array([0], np.uint8))
    drawn = post.draw_boxes(image, boxes, STREET_DETECTION, text=False)

    assert tuple(drawn[15, 20]) == STREET_DETECTION.palette[0]
    assert (drawn[20:30, 15:35] == 100).all()
    assert (image == 100).all()


def test_an_arrow_shows_where_a_moving_part_goes():
    image = np.zeros((80, 120, 3), np.uint8)
    motion = np.zeros((80, 120), np.uint8)
    motion[30:50, 40:60] = 1
    motion[0:2, 0:2] = 1  # too small for an arrow
    residual = np.zeros((40, 60, 2), np.float32)
    residual[..., 0] = -5  # it was 5 pixels to the left, at half the size: it goes right
    plain = post.overlay_motion(image, motion, STREET_MOTION, opacity=1.0)
    drawn = post.overlay_motion(image, motion, STREET_MOTION, opacity=1.0, residual=residual)
    changed = np.argwhere((drawn != plain).any(-1))

    assert changed[:, 1].min() >= 47
    # it starts in the middle and is 3 x 5 x 2 pixels long
    assert changed[:, 1].max() == pytest.approx(50 + 30, abs=3)
    assert changed[:, 0].mean() == pytest.approx(40, abs=1.5)
