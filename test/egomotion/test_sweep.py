# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth by photometric consistency, on a drawn street whose depth and poses are known."""

import drawn_street as street
import numpy as np
import pytest

from mtl_perception.egomotion.sweep import (
    View,
    identity_error,
    photometric_error,
    reprojection_error,
    sweep,
)


@pytest.fixture
def scene():
    """Return the image, its depth and an earlier and a later view."""
    image, depth, _ = street.draw(10.0)
    views = [View(street.draw(10.0 - step)[0], street.pose(step)) for step in (0.6, -0.6)]
    return image, depth, views


def test_equal_images_have_no_error_and_others_have():
    image = (street.draw(0.0)[0] / 255).astype(np.float32)
    other = (street.draw(7.3)[0] / 255).astype(np.float32)
    assert photometric_error(image, image).max() == pytest.approx(0, abs=1e-5)
    assert 0.1 < photometric_error(image, other).mean() < 1


def test_the_error_is_least_at_the_true_depth(scene):
    image, depth, views = scene
    errors = {
        factor: np.nanmean(reprojection_error(
            image, views, (depth * factor).astype(np.float32), street.CAMERA))
        for factor in (0.7, 0.85, 1.0, 1.15, 1.4)}
    assert min(errors, key=errors.get) == 1.0
    assert errors[1.0] < 0.6 * errors[1.15]
    assert errors[1.0] < 0.5 * identity_error(image, views).mean()


def test_depth_that_is_wrong_in_shape_is_found(scene):
    image, depth, views = scene
    wall = depth < 44
    expected = np.where(street.draw(10.0)[2] == street.WALL, depth * np.float32(1.25), depth)
    static = np.ones_like(wall)
    found = sweep(image, views, expected.astype(np.float32), street.CAMERA, static)

    assert found.known.mean() > 0.3
    error = np.abs(found.depth / depth - 1)[found.known]
    assert np.median(error) < 0.04
    assert error.mean() < 0.5 * np.abs(expected / depth - 1)[found.known].mean()


def test_what_drives_along_is_masked(scene):
    """A patch that is at the same pixels in all images: standing still explains it best."""
    image, depth, views = scene
    box = (slice(60, 100), slice(20, 70))
    patch = street.draw(3.0)[0][box]
    for one in (image, *(view.image for view in views)):
        one[box] = patch
    found = sweep(image, views, depth, street.CAMERA, np.ones(image.shape, bool))
    inner = found.known[64:96, 26:64]
    assert inner.mean() < 0.05
    assert found.known[60:100, 120:170].mean() > 0.5


def test_what_moves_by_its_class_is_not_looked_at(scene):
    image, depth, views = scene
    static = np.zeros(image.shape, bool)
    static[:, :96] = True
    found = sweep(image, views, depth, street.CAMERA, static)
    assert not found.known[:, 96:].any()


def test_a_camera_that_stands_shows_no_depth(scene):
    image, depth, _ = scene
    found = sweep(image, [View(image, np.eye(4))], depth, street.CAMERA, np.ones_like(depth, bool))
    assert not found.known.any()
