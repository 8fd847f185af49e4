# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Flips and zooms of clips of any size and content, and of a scene that geometry knows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_perception.datasets.augmentation import PRESETS, Augmentation
from mtl_perception.datasets.geometry import depth_from_disparity
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError

STILL = PRESETS['none']
FOCAL, BASELINE = 90.0, 0.5


@st.composite
def samples(draw):
    """Return a clip of any small size, with any subset of the labels."""
    frames, height, width = (draw(st.integers(*span)) for span in ((1, 3), (2, 17), (2, 23)))
    random = np.random.default_rng(draw(st.integers(0, 2 ** 32)))
    shape = (frames, height, width)

    def maybe(values):
        return values if draw(st.booleans()) else None

    depth = random.uniform(0.5, 90, shape).astype(np.float32)
    depth[random.random(shape) < 0.2] = np.nan
    depth[random.random(shape) < 0.1] = np.inf

    count = draw(st.integers(0, 4))
    low = random.integers(0, [width - 1, height - 1], (frames, count, 2))
    high = low + random.integers(1, [width, height], (frames, count, 2))
    high = np.minimum(high, [width, height])
    boxes = np.concatenate(
        [low, high, random.integers(-1, 3, (frames, count, 1))], -1).astype(np.float32)

    return Sample(
        random.integers(0, 256, (*shape, 3), np.uint8),
        maybe(random.integers(0, 12, shape, np.uint8)), maybe(depth),
        maybe(random.integers(0, 2, shape, np.uint8)),
        maybe(random.integers(-1, 9, shape, np.int32)), maybe(boxes))


def equal(one, other):
    return (np.array_equal(one.image, other.image) and one.labels().keys() == other.labels().keys()
            and all(np.array_equal(label, other.labels()[task], equal_nan=label.dtype.kind == 'f')
                    for task, label in one.labels().items())
            and (one.detection is None) == (other.detection is None)
            and (one.detection is None or np.array_equal(one.detection, other.detection)))


@settings(deadline=None, max_examples=200)
@given(samples())
def test_flipping_twice_is_the_identity_for_every_target(sample):
    once = sample.flipped()
    assert equal(once.flipped(), sample)
    np.testing.assert_array_equal(once.image, sample.image[:, :, ::-1])
    for task, label in sample.labels().items():
        np.testing.assert_array_equal(once.labels()[task], label[:, :, ::-1])


@settings(deadline=None, max_examples=200)
@given(samples(), st.integers(0, 2 ** 32), st.floats(0, 3), st.booleans())
def test_every_frame_and_label_gets_the_same_draw(sample, seed, zoom, nearer):
    """A clip of one frame repeated stays one; no frame is drawn by itself."""
    def repeated(values):
        return None if values is None else np.concatenate([values[:1]] * 2)

    still = Sample(
        repeated(sample.image), repeated(sample.semantic), repeated(sample.depth),
        repeated(sample.motion), repeated(sample.instance), repeated(sample.detection))
    changed = Augmentation(**{**STILL, 'flip': 0.5, 'zoom': zoom, 'nearer': nearer})(
        still, np.random.default_rng(seed))

    np.testing.assert_array_equal(changed.image[0], changed.image[1])
    for label in changed.labels().values():
        np.testing.assert_array_equal(label[0], label[1])

    if changed.detection is not None:
        np.testing.assert_array_equal(changed.detection[0], changed.detection[1])


class Chosen:
    """In place of a random generator: one zoom, and one place of the window."""

    def __init__(self, zoom, place):
        self.zoom, self.place = zoom, place

    def uniform(self, low, high):
        return self.zoom

    def integers(self, end):
        return [min(place, limit - 1) for place, limit in zip(self.place, end)]


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([1, 2, 3, 4, 6]), st.integers(0, 60), st.integers(0, 40),
       st.floats(1.0, 60.0))
def test_zoom_by_s_multiplies_disparity_by_s_and_leaves_depth_or_divides_it(
        zoom, left, top, distance):
    """A disparity in pixels grows by the zoom, whichever of the two ways depth is meant."""
    rows = np.arange(48, dtype=np.float32)[:, None]
    depth = np.broadcast_to(distance + rows / 10, (48, 72))[None].astype(np.float32)
    sample = Sample(np.zeros((1, 48, 72, 3), np.uint8), depth=depth)
    chosen = Chosen(zoom, (top, left))
    part = sample.cropped(
        min(top, 48 - 48 // zoom), min(left, 72 - 72 // zoom), 48 // zoom, 72 // zoom)
    longer, nearer = (Augmentation(**{**STILL, 'zoom': 9.0, 'nearer': flag})._zoomed(
        sample, chosen, (48, 72)).depth for flag in (False, True))
    kept = part.depth.repeat(zoom, 1).repeat(zoom, 2)

    np.testing.assert_array_equal(longer, kept)
    np.testing.assert_allclose(nearer, kept / zoom, rtol=1e-6)

    before = depth_from_disparity(np.array(1.0), FOCAL, BASELINE) / kept  # the disparity
    with_longer_lens = FOCAL * zoom * BASELINE / longer
    with_nearer_scene = FOCAL * BASELINE / nearer

    np.testing.assert_allclose(with_longer_lens, zoom * before, rtol=1e-5)
    np.testing.assert_allclose(with_nearer_scene, zoom * before, rtol=1e-5)


def pinhole(focal, scale=1.0, height=60, width=90):
    """
    Return (H, W) depth by tracing rays: a road 0.5 m below the camera, a wall 12 m ahead.

    :param focal: of the lens, pixels.
    :param scale: everything is so many times as far, and so many times as large.
    """
    rows = np.indices((height, width))[0] - (height - 1) / 2
    road = np.divide(0.5 * focal, rows, out=np.full((height, width), np.inf), where=rows > 0)
    return (scale * np.minimum(road, 12.0)).astype(np.float32)


def test_a_scene_through_a_longer_lens_or_a_third_as_large_is_the_zoomed_one():
    """Zoom 3 shows the middle third; the middle of each three rows is the one enlarged."""
    sample = Sample(np.zeros((1, 60, 90, 3), np.uint8), depth=pinhole(FOCAL)[None])
    longer, nearer = (Augmentation(**{**STILL, 'zoom': 9.0, 'nearer': flag})._zoomed(
        sample, Chosen(3, (20, 30)), (60, 90)).depth[0][1::3, 1::3] for flag in (False, True))

    np.testing.assert_allclose(longer, pinhole(3 * FOCAL)[1::3, 1::3], rtol=1e-6)
    np.testing.assert_allclose(nearer, pinhole(3 * FOCAL, 1 / 3)[1::3, 1::3], rtol=1e-6)
    assert len(np.unique(longer)) > 5  # road and wall

    disparity = FOCAL * BASELINE / pinhole(FOCAL)[20:40, 30:60]
    np.testing.assert_allclose(FOCAL * BASELINE / nearer, 3 * disparity, rtol=1e-6)
    np.testing.assert_allclose(3 * FOCAL * BASELINE / longer, 3 * disparity, rtol=1e-6)


def counted(height=40, width=64):
    """Return a clip whose depth says which pixel is which: 1000 * row + column."""
    rows, columns = np.indices((height, width))
    depth = (1000.0 * rows + columns)[None].astype(np.float32)
    return Sample(np.zeros((1, height, width, 3), np.uint8), depth=depth)


@pytest.mark.parametrize(('zoom', 'nearer'), [(1.0, True), (2.0, False), (0.5, True)])
def test_a_crop_is_taken_from_the_enlarged_or_reduced_view(zoom, nearer):
    """The part of 16x24 at a zoom of 2 shows 8x12 pixels, at 0.5 32x48 of them."""
    sample = counted()
    augmentation = Augmentation(**{**STILL, 'zoom': 9.0, 'nearer': nearer})
    found = augmentation._zoomed(sample, Chosen(zoom, (3, 5)), (16, 24))

    assert found.image.shape == (1, 16, 24, 3)

    rows = 3 + (np.arange(16) + 0.5) / zoom
    columns = 5 + (np.arange(24) + 0.5) / zoom
    shown = 1000 * np.floor(rows)[:, None] + np.floor(columns)

    np.testing.assert_allclose(found.depth[0], shown / zoom if nearer else shown, rtol=1e-6)


class Squeezed(Chosen):
    """The same for a view of fewer rows: half of them."""

    def __init__(self, place):
        super().__init__(1.0, place)
        self.drawn = [1.0, 2.0]  # the zoom, then the squeeze

    def uniform(self, low, high):
        return self.drawn.pop(0)

    def random(self):
        return 0.0


@pytest.mark.parametrize('nearer', [True, False])
def test_squeezed_rows_are_those_of_a_wider_camera_and_depth_follows_them(nearer):
    sample = counted()
    augmentation = Augmentation(**{**STILL, 'squeeze': 1.0, 'nearer': nearer})

    found = augmentation._zoomed(sample, Squeezed((7, 0)), (40, 64))

    assert found.image.shape == (1, 40, 64, 3)

    shown = 1000 * (7 + np.arange(40) // 2)[:, None] + np.arange(64)
    np.testing.assert_allclose(found.depth[0], shown / 2 if nearer else shown, rtol=1e-6)


def test_a_squeeze_below_zero_is_refused():
    with pytest.raises(ConfigurationError, match='squeeze is -1'):
        Augmentation(squeeze=-1.0)


@settings(deadline=None, max_examples=100)
@given(samples(), st.integers(0, 2 ** 32), st.integers(1, 17), st.integers(1, 23))
def test_parts_without_zoom_are_parts_of_the_clip(sample, seed, height, width):
    augmentation = Augmentation(**STILL)
    rows, columns = sample.image.shape[1:3]
    if height > rows or width > columns:
        with pytest.raises(ConfigurationError, match='crop_height'):
            augmentation(sample, np.random.default_rng(seed), (height, width))
        return
    part = augmentation(sample, np.random.default_rng(seed), (height, width))

    assert any(
        equal(part, sample.cropped(top, left, height, width))
        for top in range(rows - height + 1) for left in range(columns - width + 1))


def test_the_presets_of_the_papers():
    sample, sizes = counted(120, 240), {}
    for name in PRESETS:
        augmentation = Augmentation(**PRESETS[name])
        sizes[name] = set()
        for number in range(300):
            shown = augmentation(sample, np.random.default_rng(number), (48, 96)).depth[0]
            step = np.abs(np.diff(shown, axis=1)).sum() / 95 / 48  # columns per column: 1 / zoom
            sizes[name].add(round(float(step), 1))
    still = {1.0}

    assert sizes['none'] == sizes['kendall_tiny'] == sizes['multinetpp'] == sizes['leang'] == still
    # 1 / 1.2 and 1 / 1.5
    assert sizes['xtasc'] == {1.0, 0.8, 0.7}

    drawn = [1 / zoom ** 2 for zoom in (2.0, 0.7)]  # the same divides depth
    assert min(sizes['kendall']) == pytest.approx(drawn[0], abs=0.06)
    assert max(sizes['kendall']) == pytest.approx(drawn[1], abs=0.1)

    mirror = Augmentation(**PRESETS['leang'])
    corners = {float(mirror(sample, np.random.default_rng(number)).depth[0, 0, 0])
               for number in range(200)}

    assert corners == {0.0, 239.0}


def test_impossible_zooms_are_refused():
    for settings_ in ({'zoom': -0.1}, {'zoom_out': 1.0}, {'zooms': [1.0, 0.0]}):
        with pytest.raises(ConfigurationError, match='zoom'):
            Augmentation(**settings_)
    with pytest.raises(ConfigurationError, match="'mtan'; did you mean"):
        Augmentation(preset='mtan')
