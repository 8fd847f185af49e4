# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Static pixels, and the most textured of them."""

import numpy as np
import pytest

from mtl_perception.egomotion.static import (
    CELL,
    near_classes,
    of_classes,
    static_pixels,
    textured_pixels,
)


@pytest.mark.parametrize('classes', [(), (0,), (3, 255), range(256)])
def test_pixels_of_classes_are_those_that_numpy_finds(classes):
    semantic = np.random.default_rng(0).integers(0, 256, (37, 51)).astype(np.uint8)
    assert np.array_equal(of_classes(semantic, classes), np.isin(semantic, list(classes)))


def test_what_is_near_a_movable_object_or_sky_is_not_static():
    """One movable pixel takes a square of 5x5 with it, sky only itself."""
    semantic = np.zeros((9, 12), np.uint8)
    semantic[4, 4] = 8
    semantic[0, 11] = 11

    near = near_classes(semantic, (8, 9))
    assert near[2:7, 2:7].all()
    assert near.sum() == 25
    static = static_pixels(semantic, (8, 9), 11)
    assert static.sum() == 9 * 12 - 25 - 1
    assert not static[0, 11]


def test_each_cell_gives_its_most_textured_static_pixel():
    """Two corners in the first cell, of which one is masked, and no texture elsewhere."""
    image = np.full((2 * CELL, 3 * CELL), 100, np.uint8)
    image[6:9, 6:9] = 250
    static = np.zeros(image.shape, bool)
    static[:CELL, :CELL] = True

    (row, column), = textured_pixels(image, static)
    assert row < CELL
    assert column < CELL
    static[row, column] = False
    (other_row, other_column), = textured_pixels(image, static)
    assert (other_row, other_column) != (row, column)
    assert len(textured_pixels(image, np.zeros_like(static))) == 0
    assert len(textured_pixels(np.full_like(image, 7), np.ones_like(static))) == 0


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match='static has shape'):
        textured_pixels(np.zeros((8, 8), np.uint8), np.ones((4, 4), bool))
