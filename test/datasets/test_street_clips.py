# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clips of the synthetic street: rendered once, resumed, split by seeds."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dataset_trees import same

from mtl_perception.datasets.gaps import with_gaps_filled
from mtl_perception.datasets.seeds import check_seeds, parse_seeds
from mtl_perception.datasets.synthetic import ClipPlan, StreetClips, code_alone, street_code
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.training.config import DataSettings, Stage, TrainingConfig
from mtl_perception.training.data_sources import open_clips

PLAN = ClipPlan(width=12, height=8, clips=3, frames=2, gaps=(1, 2, 3), drive=100)


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


def test_the_drive_of_a_clip_is_its_street(tmp_path):
    assert StreetClips(tmp_path, [3, 5], 'train', PLAN).drives == [3, 3, 3, 5, 5, 5]


def test_gaps_are_filled_where_a_recipe_asks_for_it(tmp_path):
    """The clips on disk are those of every training; only what is read differs."""
    plan = ClipPlan(96, 64, clips=2, frames=2, drive=100, look='roads')
    config = TrainingConfig('some', [Stage(64, 96, 1)], data=DataSettings(
        cache=str(tmp_path), train_seeds='3:4', validation_seeds='10000:10001', plan=plan,
        filled_gaps=9))
    exact = StreetClips(tmp_path, [3], 'train', plan)
    assert list(exact.render()) == [3]
    list(StreetClips(tmp_path, [10000], 'validation', plan).render())

    train, validation = open_clips(config, '', SimpleNamespace(received=None))
    for filled, clip in zip((train[0], train[1]), (exact[0], exact[1])):
        np.testing.assert_array_equal(filled.semantic, with_gaps_filled(clip.semantic, 9))
    assert any((train[one].semantic != exact[one].semantic).any() for one in range(2))
    assert validation[0].semantic is not None


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


def test_a_clip_holds_the_frames_of_the_plan(tmp_path):
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


def test_rendering_resumes_where_it_stopped(tmp_path):
    rendering = clips(tmp_path).render(workers=0)
    assert next(rendering) == 4

    rendering.close()
    (clips(tmp_path).folder / '.seed_000007.part').mkdir()  # what a kill leaves behind

    assert clips(tmp_path).missing() == [7]
    assert list(clips(tmp_path).render(workers=0)) == [7]
    assert list(clips(tmp_path).render(workers=0)) == []


def test_rendering_removes_what_was_left_a_day_ago_and_nothing_that_may_be_written_now(tmp_path):
    data = clips(tmp_path)
    hour = 3600
    for name, folder_age, file_age in (
            ('.seed_000004.77.part', 25 * hour, 25 * hour),
            ('.seed_000007.78.part', 25 * hour, 1 * hour),
            ('.seed_000007.79-0a1b2c3d.part', 1 * hour, 1 * hour)):
        part = data.folder / name
        part.mkdir(parents=True)
        for path, age in ((part / 'image.npy', file_age), (part, folder_age)):
            if path != part:
                path.write_bytes(b'half')
            os.utime(path, (time.time() - age,) * 2)

    assert list(data.render(workers=0)) == [4, 7]
    assert sorted(path.name for path in data.folder.glob('.*.part')) == [
        '.seed_000007.78.part', '.seed_000007.79-0a1b2c3d.part']


def test_two_trainings_may_render_the_same_seed_at_the_same_time(tmp_path, monkeypatch):
    """The other process begins while this one renders, and is ready first."""
    real = FakeStreet.render
    others = []

    def render(self, index):
        if not others:
            others.append(True)
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


def test_rendering_processes_end_with_their_parent(tmp_path):
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


def test_comments_and_docstrings_do_not_make_another_street():
    plain = b'def f(x):\n    if x:\n        return 1\n    return f"{x} m"\n'
    explained = (
        b'# A comment.\n"A docstring."\n\ndef f(x):\n    "Another one."\n    if x:  # why\n'
        b'        return 1\n\n    return f"{x} m"\n')
    moved = plain.replace(b'    return f"', b'        return f"')
    assert code_alone(explained) == code_alone(plain)
    assert code_alone(moved) != code_alone(plain)
    assert code_alone(plain.replace(b'return 1', b'return 2')) != code_alone(plain)


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


def test_a_share_of_the_streets_is_classic_and_the_rest_keeps_the_look(tmp_path):
    plan = replace(PLAN, look='roads', classic_share=0.25)
    looks = [plan.look_of(seed) for seed in range(400)]
    assert 0.2 < looks.count('classic') / 400 < 0.3
    assert set(looks) == {'classic', 'roads'}

    seen = []

    class Looking(TallStreet):
        def __init__(self, seed, look='classic', camera_height=1.5, **options):
            super().__init__(seed, camera_height=camera_height, **options)
            seen.append((seed, look))

    list(clips(tmp_path, range(8), plan, Looking).render(workers=0))
    assert seen == list(enumerate(looks[:8]))
    assert {look for _, look in seen} == {'classic', 'roads'}


def test_a_share_of_none_keeps_the_cache_that_the_look_had(tmp_path):
    plan = replace(PLAN, look='roads')
    assert plan.look_of(4) == 'roads'
    assert clips(tmp_path, plan=replace(plan, classic_share=0.0)).folder == clips(
        tmp_path, plan=plan).folder
    assert clips(tmp_path, plan=replace(plan, classic_share=0.5)).folder != clips(
        tmp_path, plan=plan).folder
