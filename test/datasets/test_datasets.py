# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mtl_perception.datasets.augmentation import Augmentation
from mtl_perception.datasets.sample import Sample
from mtl_perception.datasets.seeds import check_seeds, parse_seeds
from mtl_perception.datasets.synthetic import ClipPlan, StreetClips, street_code
from mtl_perception.errors import ConfigurationError, DataError

PLAN = ClipPlan(width=12, height=8, clips=3, frames=2, gaps=(1, 2, 3), drive=100)
NOTHING = Augmentation('none', *[0.0] * 10)


class FakeStreet:
    """A street whose frames say which seed and index they are."""

    def __init__(self, seed, width, height, rate, antialias):
        self.seed, self.shape = seed, (height, width)

    def render(self, index):
        depth = np.full(self.shape, index + 0.5, np.float32)
        depth[0] = np.inf
        return SimpleNamespace(
            image=np.full((*self.shape, 3), self.seed % 256, np.uint8), depth=depth,
            semantic=np.full(self.shape, index % 12, np.uint8),
            motion=np.full(self.shape, index % 2, np.uint8),
            instance=np.full(self.shape, 7, np.uint16),
            boxes=[SimpleNamespace(
                instance=7, class_id=8, x_min=0, y_min=0, x_max=self.shape[1] - 1,
                y_max=self.shape[0] - 1)])


class BrokenStreet(FakeStreet):
    def render(self, index):
        raise RuntimeError('no such street')


def clips(tmp_path, seeds=(4, 7), plan=PLAN, street=FakeStreet, **arguments):
    return StreetClips(tmp_path, seeds, 'train', plan, street=street, **arguments)


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


def same(one, other):
    return (
        np.array_equal(one.image, other.image)
        and np.array_equal(one.detection, other.detection)
        and all(np.array_equal(label, other.labels()[task])
                for task, label in one.labels().items()))


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


def test_a_street_clip_has_the_boxes_of_objects_that_can_be_seen(tmp_path):
    sample = StreetClips(tmp_path, [3], 'train', ClipPlan(96, 64, clips=2, frames=2, drive=100))
    assert list(sample.render()) == [3]
    for clip in (sample[0], sample[1]):
        for instance, semantic, boxes in zip(clip.instance, clip.semantic, clip.detection):
            ids, counts = np.unique(instance, return_counts=True)
            large = [one for one, count in zip(ids, counts) if one and count >= 20]
            found = boxes[boxes[:, 4] >= 0]
            assert len(found) == len(large)
            for one, (left, top, right, bottom, kind) in zip(large, found.astype(int)):
                rows, columns = np.nonzero(instance == one)
                assert (left, top) == (columns.min(), rows.min())
                assert (right, bottom) == (columns.max() + 1, rows.max() + 1)
                assert (semantic[rows, columns] == 8 + kind).all()


def test_a_clip_holds_the_frames_that_the_plan_says(tmp_path):
    data = clips(tmp_path)
    assert data.missing() == [4, 7]
    assert sorted(data.render(workers=0)) == [4, 7]
    assert data.missing() == []
    assert len(data) == 6
    indices = PLAN.indices(7)
    sample = data[4]  # the second clip of the second seed
    assert np.all(sample.image == 7)
    np.testing.assert_array_equal(sample.depth[:, 5, 5], indices[1] + 0.5)
    np.testing.assert_array_equal(sample.semantic[:, 0, 0], indices[1] % 12)
    assert np.all(np.isinf(sample.depth[:, 0]))


def test_gaps_are_those_of_the_plan_and_every_index_lies_in_the_drive():
    indices = np.concatenate([PLAN.indices(seed) for seed in range(200)])
    assert set(np.diff(indices).ravel()) == {1, 2, 3}
    assert indices.min() >= 0
    assert indices.max() < PLAN.drive


def test_rendering_goes_on_where_it_was_stopped(tmp_path):
    rendering = clips(tmp_path).render(workers=0)
    assert next(rendering) == 4
    rendering.close()
    (clips(tmp_path).folder / '.seed_000007.part').mkdir()  # what a kill leaves behind
    assert clips(tmp_path).missing() == [7]
    assert list(clips(tmp_path).render(workers=0)) == [7]
    assert list(clips(tmp_path).render(workers=0)) == []


def test_two_trainings_may_render_the_same_seed_at_the_same_time(tmp_path, monkeypatch):
    """The other process begins while this one renders, and is ready first."""
    from mtl_perception.datasets import synthetic
    real, mine = FakeStreet.render, os.getpid()
    others = []

    def render(self, index):
        if not others:
            others.append(True)
            with monkeypatch.context() as patched:
                patched.setattr(synthetic.os, 'getpid', lambda: mine + 1)
                assert list(clips(tmp_path, (4,)).render(workers=0)) == [4]
        return real(self, index)

    monkeypatch.setattr(FakeStreet, 'render', render)
    data = clips(tmp_path, (4,))
    assert list(data.render(workers=0)) == [4]
    assert len(data) == 3
    assert np.all(data[2].image == 4)
    assert not list(data.folder.glob('.*.part'))


def test_processes_render_the_same(tmp_path):
    alone, pool = clips(tmp_path / 'a', (4,)), clips(tmp_path / 'b', (4,))
    assert list(alone.render(workers=0)) == list(pool.render(workers=1)) == [4]
    assert same(alone[2], pool[2])


def test_processes_that_render_end_with_the_one_that_started_them(tmp_path):
    program = tmp_path / 'render.py'
    program.write_text(
        'import pathlib, sys\n'
        'from mtl_perception.datasets.synthetic import ClipPlan, StreetClips\n'
        'if __name__ == "__main__":\n'
        '    plan = ClipPlan(width=64, height=32)\n'
        '    data = StreetClips(pathlib.Path(sys.argv[1]), range(5000), "train", plan)\n'
        '    for seed in data.render(workers=2):\n'
        '        print(seed, flush=True)\n')
    parent = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline()
    workers = [
        path.parent for path in Path('/proc').glob('[0-9]*/cmdline')
        if 'spawn_main' in contents(path) and parent_of(path.parent) == parent.pid]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(contents(worker / 'cmdline') for worker in workers):  # empty once it has ended
        assert time.monotonic() < deadline, 'the processes go on without their parent'
        time.sleep(0.05)


def contents(path):
    try:
        return path.read_text()
    except OSError:
        return ''


def parent_of(process):
    fields = contents(process / 'stat').rpartition(')')[2].split()
    return int(fields[1]) if fields else 0


def test_another_plan_or_another_street_has_another_cache(tmp_path):
    list(clips(tmp_path).render(workers=0))
    wider = ClipPlan(width=16, height=8, clips=3, drive=100)
    assert clips(tmp_path, plan=wider).missing() == [4, 7]
    assert clips(tmp_path, code='0123456789').missing() == [4, 7]
    assert clips(tmp_path, code=street_code()).missing() == []


def test_an_old_street_can_be_read_but_not_extended(tmp_path):
    with pytest.raises(DataError, match='not the present one'):
        list(clips(tmp_path, code='0123456789').render(workers=0))


def test_a_clip_that_is_missing_or_cut_names_its_folder(tmp_path):
    data = clips(tmp_path)
    with pytest.raises(DataError, match='seed_000004'):
        data[0]
    list(data.render(workers=0))
    file = data.folder / 'seed_000004' / 'depth.npy'
    file.write_bytes(file.read_bytes()[:150])
    with pytest.raises(DataError, match=r'seed_000004.*render it again'):
        data[0]


def test_a_seed_that_cannot_be_rendered_is_named(tmp_path):
    with pytest.raises(DataError, match=r'street seed 4.*no such street'):
        list(clips(tmp_path, street=BrokenStreet).render(workers=0))


@pytest.mark.parametrize(('seeds', 'split'), [
    ([9999, 10000], 'train'), ([20000], 'train'), ([0], 'validation'), ([10999, 11000],
    'validation'), ([10500], 'test'), ([19999], 'test'), ([-1], 'train')])
def test_a_seed_of_another_split_is_refused(seeds, split):
    with pytest.raises(ConfigurationError, match=f'is not for {split}'):
        check_seeds(seeds, split)


def test_seeds_of_the_right_split_pass_and_an_empty_or_doubled_list_does_not():
    check_seeds([0, 9999], 'train')
    check_seeds([10000, 10999], 'validation')
    check_seeds([20000, 123456], 'test')
    with pytest.raises(ConfigurationError, match='no street seed'):
        check_seeds([], 'train')
    with pytest.raises(ConfigurationError, match='twice'):
        check_seeds([1, 1], 'train')


def test_seeds_are_read_from_text():
    assert parse_seeds('3:6') == [3, 4, 5]
    assert parse_seeds('3,8') == [3, 8]
    with pytest.raises(ConfigurationError, match='FIRST:END'):
        parse_seeds('3-6')


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


def test_augmentation_changes_the_look_only_and_not_the_labels():
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


def test_a_nearer_scene_is_what_a_pinhole_sees_of_it():
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


def test_no_zoom_draws_nothing_and_a_negative_one_is_refused():
    sample = some_sample()
    assert same(Augmentation()(sample, np.random.default_rng(4)),
                Augmentation(nearer=False)(sample, np.random.default_rng(4)))
    with pytest.raises(ConfigurationError, match=r'Augmentation: zoom is -0\.5'):
        Augmentation(zoom=-0.5)


class TallStreet(FakeStreet):
    """A street that knows how high its camera is."""

    def __init__(self, seed, width, height, rate, antialias, camera_height):
        super().__init__(seed, width, height, rate, antialias)
        self.camera_height = camera_height

    def render(self, index):
        frame = super().render(index)
        frame.depth = np.full(self.shape, self.camera_height * 4, np.float32)
        return frame


def test_from_cameras_of_many_heights_depth_is_that_of_the_mean_height(tmp_path):
    """The road four heights ahead is 6 m away from 1.5 m, whatever the seed's camera."""
    plan = replace(PLAN, heights=(0.5, 2.5))
    heights = [plan.height_of(seed) for seed in range(50)]
    assert len(set(heights)) == 50
    assert 0.5 <= min(heights) < 0.7 < 2.3 < max(heights) <= 2.5

    data = clips(tmp_path, plan=plan, street=TallStreet)
    assert list(data.render(workers=0)) == [4, 7]
    for index in range(len(data)):
        np.testing.assert_allclose(data[index].depth, 6.0, rtol=1e-3)


@pytest.mark.parametrize('heights', [(1.0,), (2.0, 1.0), (0.1, 1.0), (1.0, 4.0)])
def test_impossible_heights_are_refused(heights):
    with pytest.raises(ConfigurationError, match='heights'):
        ClipPlan(heights=heights)


def test_a_plan_without_heights_keeps_the_cache_that_it_had(tmp_path):
    assert clips(tmp_path, plan=ClipPlan()).folder.name.endswith('-0b688c30')
    assert PLAN.height_of(4) is None
    assert clips(tmp_path).folder != clips(tmp_path, plan=replace(PLAN, heights=(1, 2))).folder
