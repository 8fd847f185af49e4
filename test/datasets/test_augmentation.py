# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Samples, and random changes of their colours and view."""

from dataclasses import replace

import numpy as np
import pytest
from dataset_trees import same

from mtl_perception.datasets.augmentation import Augmentation
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError

NOTHING = Augmentation('none', *[0.0] * 10)


def some_sample():
    generator = np.random.default_rng(0)
    shape = (2, 8, 12)
    return Sample(
        generator.integers(0, 256, (*shape, 3), np.uint8),
        generator.integers(0, 12, shape, np.uint8),
        generator.uniform(1, 80, shape).astype(np.float16),
        generator.integers(0, 2, shape, np.uint8),
        generator.integers(0, 4, shape, np.int32),
        np.float32([[[1, 2, 5, 7, 0], [0, 0, 12, 8, 2]], [[3, 1, 4, 2, 1], [0, 0, 0, 0, -1]]]))


def test_boxes_follow_a_flip_a_crop_and_another_size():
    sample = some_sample()
    assert sample.flipped().detection[0, 0].tolist() == [7, 2, 11, 7, 0]
    assert sample.resized(16, 6).detection[0, 0].tolist() == [0.5, 4, 2.5, 14, 0]

    part = sample.cropped(1, 2, 6, 8)
    assert part.instance.shape == (2, 6, 8)
    assert part.detection[0].tolist() == [[0, 1, 3, 6, 0], [0, 0, 8, 6, 2]]

    corner = sample.cropped(0, 4, 3, 8).detection[0]  # 1 of 20 and 24 of 96 square pixels are left
    assert corner[:, 4].tolist() == [-1, 2]
    assert sample.window(1, 1).detection.shape == (1, 2, 5)


def test_flipping_twice_changes_nothing_and_once_moves_every_label():
    sample = some_sample()
    once = sample.flipped()
    assert same(sample, once.flipped())
    np.testing.assert_array_equal(once.image[:, :, 0], sample.image[:, :, -1])
    for task, label in sample.labels().items():
        np.testing.assert_array_equal(once.labels()[task][:, :, 0], label[:, :, -1])


def test_resizing_averages_colours_and_picks_labels():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 0] = 200
    depth = np.array([[[1, 2], [3, np.inf]]], np.float32)
    half = Sample(image, depth=depth).resized(1, 1)
    assert half.image.ravel().tolist() == [50, 50, 50]
    assert float(half.depth[0, 0, 0]) in depth


def test_a_missing_label_stays_missing():
    sample = Sample(np.zeros((2, 4, 4, 3), np.uint8))
    assert sample.flipped().resized(2, 2).labels() == {}


def test_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match='depth has shape'):
        Sample(np.zeros((2, 4, 4, 3), np.uint8), depth=np.zeros((2, 4, 5), np.float32))
    with pytest.raises(ValueError, match='uint8'):
        Sample(np.zeros((2, 4, 4, 3), np.float32))


def test_augmentation_of_no_strength_changes_nothing():
    sample = some_sample()
    changed = NOTHING(sample, np.random.default_rng(0))
    assert np.abs(changed.image.astype(int) - sample.image).max() <= 1  # rounding of colours
    assert all(np.array_equal(label, changed.labels()[task])
               for task, label in sample.labels().items())


def test_the_same_generator_gives_the_same_augmentation_and_another_does_not():
    one, other, third = (
        Augmentation()(some_sample(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert same(one, other)
    assert not same(one, third)


def test_all_frames_of_a_clip_are_changed_alike():
    frame = some_sample().image[:1]
    still = Sample(np.concatenate([frame, frame]))
    calm = Augmentation(frame_brightness=0.0, noise=0.0)
    for seed in range(10):
        changed = calm(still, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed.image[0], changed.image[1])


def test_augmentation_changes_colours_and_not_labels():
    sample = some_sample()
    changed = Augmentation(flip=0.0)(sample, np.random.default_rng(1))
    assert not np.array_equal(changed.image, sample.image)
    assert all(np.array_equal(label, changed.labels()[task])
               for task, label in sample.labels().items())


def still_zoom(**settings):
    """Return an augmentation that zooms and changes nothing else."""
    return replace(NOTHING, **settings)


def ramps(height=24, width=36):
    """Return two equal frames whose labels say the column, the depth the row."""
    rows, columns = np.indices((height, width))
    image = np.stack([columns * 5, rows * 5, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    depth = np.where(columns == 0, np.nan, 4.0 + rows).astype(np.float32)
    return Sample(
        np.stack([image] * 2), np.stack([columns.astype(np.uint8)] * 2), np.stack([depth] * 2),
        np.stack([(columns % 2).astype(np.uint8)] * 2))


def test_zoom_shows_the_same_part_in_every_frame_and_label():
    parts = set()
    for seed in range(20):
        changed = still_zoom(zoom=1.0, nearer=False)(ramps(), np.random.default_rng(seed))
        assert changed.image.shape == (2, 24, 36, 3)
        np.testing.assert_array_equal(changed.image[0], changed.image[1])
        np.testing.assert_array_equal(changed.motion, changed.semantic % 2)
        column, row = changed.image[..., 0] / 5.0, changed.image[..., 1] / 5.0
        assert np.abs(column - changed.semantic).max() <= 0.81  # half a pixel and a rounded colour
        known = np.isfinite(changed.depth)
        assert np.abs(row + 4 - changed.depth)[known].max() <= 0.81
        assert (known == (changed.semantic > 0)).all()
        parts.add((int(changed.semantic[0, 0, 0]), int(changed.semantic[0, 0, -1])))
        assert changed.semantic[0, 0, -1] - changed.semantic[0, 0, 0] + 1 >= 18  # at most twice

    assert len(parts) > 10


def test_zoom_leaves_metric_depth_or_makes_it_nearer_by_the_zoom():
    kept, nearer = (
        still_zoom(zoom=1.0, nearer=flag)(ramps(), np.random.default_rng(3))
        for flag in (False, True))

    np.testing.assert_array_equal(kept.image, nearer.image)

    first, last = int(kept.semantic[0, 0, 0]), int(kept.semantic[0, 0, -1])
    zoom = 36 / (last - first + 1)

    assert zoom > 1.2
    np.testing.assert_allclose(nearer.depth, kept.depth / zoom, rtol=1e-6)
    assert np.isin(kept.depth[np.isfinite(kept.depth)], ramps().depth).all()


def test_a_nearer_scene_equals_what_a_pinhole_camera_sees():
    """A fronto-parallel board of stripes at a third of the distance is the same as zoom 3."""
    focal, width = 36.0, 36

    def seen(distance):
        columns = np.arange(width) + 0.5 - width / 2
        stripe = np.floor(columns * distance / focal + 100).astype(np.uint8)  # 1 m each
        return Sample(
            np.zeros((1, 24, width, 3), np.uint8), np.tile(stripe, (1, 24, 1)),
            np.full((1, 24, width), distance, np.float32))

    class Middle:
        def uniform(self, low, high):
            return high

        def integers(self, end):
            return [(value - 1) // 2 for value in end]

    zoomed = Augmentation(zoom=2.0)._zoomed(
        seen(9.0), Middle(), seen(9.0).image.shape[1:3])

    np.testing.assert_array_equal(zoomed.depth, seen(3.0).depth)
    np.testing.assert_array_equal(zoomed.semantic, seen(3.0).semantic)


def test_without_zoom_no_number_is_drawn_and_a_negative_zoom_is_refused():
    sample = some_sample()
    assert same(Augmentation()(sample, np.random.default_rng(4)),
                Augmentation(nearer=False)(sample, np.random.default_rng(4)))
    with pytest.raises(ConfigurationError, match=r'Augmentation: zoom is -0\.5'):
        Augmentation(zoom=-0.5)


def rows_sample(rows=224, columns=384):
    """Return a clip of one frame whose semantic label is the number of the row."""
    number = np.repeat(np.arange(rows, dtype=np.uint8)[:, None], columns, 1)
    return Sample(np.full((1, rows, columns, 3), 200, np.uint8), number[None])


@pytest.mark.parametrize(('off_level', 'reached'), [(0.0, 0), (0.15, 12), (1.0, 50)])
def test_the_middle_of_a_view_stays_near_that_of_the_image(off_level, reached):
    augment = replace(NOTHING, zoom=1.0, squeeze=1.0, off_level=off_level)
    generator = np.random.default_rng(3)
    farthest = 0.0
    for _ in range(60):
        seen = augment(rows_sample(), generator).semantic[0, :, 0].astype(float)
        away = abs((seen[0] + seen[-1]) / 2 - 111.5)
        assert away <= off_level * (seen[-1] - seen[0] + 1) + 1
        farthest = max(farthest, away)
    assert farthest >= reached


def test_views_from_anywhere_are_those_of_earlier_versions():
    generator = np.random.default_rng(5)
    seen = replace(NOTHING, zoom=1.0)(rows_sample(), generator).semantic[0, :, 0]

    # the draws by hand: mirrored or not, zoom, top and left
    again = np.random.default_rng(5)
    again.random()
    across = round(384 / again.uniform(1, 2))
    down = round(224 * across / 384)
    top, _ = again.integers([224 - down + 1, 384 - across + 1])
    assert abs(int(seen[0]) - top) <= 1
    assert abs(int(seen[-1]) - (top + down - 1)) <= 1


def test_shadows_fall_on_the_ground_and_change_no_label():
    augment = replace(NOTHING, shadow=1.0)
    generator = np.random.default_rng(0)
    shaded = [augment(rows_sample(), generator) for _ in range(20)]

    darkest = np.min([one.image for one in shaded], axis=(0, 1, 4))
    shares = [np.mean(one.image[0, 160:] < 199) for one in shaded]
    assert (darkest[:85] == 200).all()  # the highest horizon is at 0.4 of the height
    assert darkest[160:].min() < 0.5 * 200
    assert darkest.min() >= 0.3 * 200 - 1
    assert 0.1 < np.median(shares) < 0.9
    assert all(np.array_equal(one.semantic, rows_sample().semantic) for one in shaded)


def test_shadows_are_the_same_in_all_frames_of_a_clip():
    clip = Sample(np.full((3, 64, 96, 3), 180, np.uint8))
    shaded = replace(NOTHING, shadow=1.0)(clip, np.random.default_rng(1)).image
    assert shaded.min() < 150
    assert all(np.array_equal(frame, shaded[0]) for frame in shaded)
