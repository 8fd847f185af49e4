# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lenses against OpenCV, and back again."""

import cv2
import numpy as np
import pytest

from mtl_perception.media.lens import EQUIDISTANT, POLYNOMIAL, Lens

MATRIX = np.array([[400.0, 0, 330], [0, 410.0, 235], [0, 0, 1]])
GRID = np.meshgrid(np.linspace(-0.8, 0.8, 9), np.linspace(-0.6, 0.6, 7))
RAYS = np.stack(GRID, -1).reshape(-1, 2)


def lens(kind, *numbers):
    return Lens(kind, 400.0, 410.0, 330.0, 235.0, numbers)


@pytest.mark.parametrize('numbers', [
    (-0.2, 0.05), (-0.2, 0.05, 0.002, -0.003, 0.01), (0.1, -0.05, 0.001, 0.002, 0.0, 0.3, 0.02, 0),
    (-0.2, 0.05, 0.001, 0.002, 0.01, 0.1, 0, 0, 0.002, 0.001, -0.001, 0.002)])
def test_the_polynomial_lens_is_that_of_opencv(numbers):
    filled = np.zeros(12)
    filled[:len(numbers)] = numbers
    points = np.concatenate([RAYS, np.ones((len(RAYS), 1))], 1)
    wanted, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), MATRIX, filled)
    found = lens(POLYNOMIAL, *numbers).project(RAYS[:, 0], RAYS[:, 1])
    np.testing.assert_allclose(np.stack(found, 1), wanted[:, 0], atol=1e-9)


def test_the_equidistant_lens_is_that_of_opencv():
    numbers = (0.02, -0.01, 0.003, -0.001)
    wanted = cv2.fisheye.distortPoints(RAYS[None], MATRIX, np.array(numbers))
    found = lens(EQUIDISTANT, *numbers).project(RAYS[:, 0], RAYS[:, 1])
    np.testing.assert_allclose(np.stack(found, 1), wanted[0], atol=1e-6)


@pytest.mark.parametrize(('kind', 'numbers'), [
    (POLYNOMIAL, (-0.2, 0.05, 0.002, -0.003, 0.01)), (POLYNOMIAL, ()), (EQUIDISTANT, ()),
    (EQUIDISTANT, (0.02, -0.01, 0.003, -0.001))])
def test_pixels_lead_back_to_their_rays(kind, numbers):
    one = lens(kind, *numbers)
    x, y = one.unproject(*one.project(RAYS[:, 0], RAYS[:, 1]))
    np.testing.assert_allclose(np.stack([x, y], 1), RAYS, atol=2e-4)


def test_where_a_lens_folds_back_there_is_nothing():
    one = lens(POLYNOMIAL, -0.3)  # r - 0.3 r^3 rises up to r = 1.054
    assert np.isnan(one.project(np.array([1.2]), np.array([0.0]))[0]).all()
    assert np.isnan(one.unproject(np.array([330 + 400 * 0.8]), np.array([235.0]))[0]).all()
    assert one.reach == pytest.approx(400 * 1.054 * (2 / 3), rel=0.01)


def test_how_far_a_lens_is_from_a_pinhole():
    assert lens(POLYNOMIAL).bend(480, 640) == pytest.approx(0, abs=1e-6)
    middle = Lens(EQUIDISTANT, 366.69, 366.69, 319.5, 239.5)
    edge = 319.5 / 366.69
    assert middle.bend(480, 640) == pytest.approx(366.69 * (np.tan(edge) - edge) / 640, rel=1e-3)
