# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several data sets in one training."""

import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
import yaml
from dataset_trees import constant, write_image, write_map, write_text

from mtl_perception.datasets.build import build_dataset, read_descriptions
from mtl_perception.datasets.check import examine, rows_of
from mtl_perception.datasets.kitti2015 import Kitti2015
from mtl_perception.datasets.mixed import MixedClips
from mtl_perception.datasets.preview import draw_clips
from mtl_perception.errors import ConfigurationError
from mtl_perception.signals import StopRequest
from mtl_perception.training.config import DataSettings, NetworkSettings, Stage, TrainingConfig
from mtl_perception.training.data_sources import camera_of, open_clips, tasks_of


@pytest.fixture
def root(tmp_path):
    """Write two images with boxes, and five with semantics, numbered by the red of the image."""
    for number in (0, 1):
        write_image(tmp_path / f'boxes/training/image_2/{number:06d}.png', number)
        write_text(tmp_path / f'boxes/training/label_2/{number:06d}.txt',
                   'Car 0 0 0 1 2 3 4 0 0 0 0 0 0 0')
    for number in range(5):
        write_image(tmp_path / f'road/training/image_2/{number:06d}_10.png', 10 + number)
        write_map(tmp_path / f'road/training/semantic/{number:06d}_10.png', constant(7))
    return tmp_path


def parts(root):
    return {
        'boxes': build_dataset({
            'dataset': 'kitti_object', 'root': str(root / 'boxes'), 'tasks': ['detection']}),
        'road': build_dataset({
            'dataset': 'kitti2015', 'root': str(root / 'road'), 'tasks': ['semantic']})}


def test_every_clip_occurs_and_the_shares_hold(root):
    clips = MixedClips(parts(root), {'boxes': 1, 'road': 1}, ['semantic', 'detection'])
    assert len(clips) == 10

    seen = Counter(int(clips[number].image[0, 0, 0, 0]) for number in range(len(clips)))
    assert sorted(seen) == [0, 1, 10, 11, 12, 13, 14]
    assert sum(seen[number] for number in (0, 1)) == 5
    assert [seen[number] for number in range(10, 15)] == [1] * 5

    clips = MixedClips(parts(root), {'boxes': 3, 'road': 1}, ['semantic', 'detection'])
    assert len(clips) == 20
    with pytest.raises(IndexError):
        clips[20]


def test_drives_of_different_parts_are_different(root):
    shutil.copytree(root / 'boxes', root / 'more')
    two = {name: build_dataset({'dataset': 'kitti_object', 'root': str(root / name),
                                'tasks': ['detection']}) for name in ('boxes', 'more')}
    assert two['boxes'].drives == two['more'].drives == [0, 1]  # nothing tells of drives

    clips = MixedClips({**two, 'road': parts(root)['road']}, {'more': 2}, ['detection'])
    seen = {(drive, int(clips[one].image[0, 0, 0, 0])) for one, drive in enumerate(clips.drives)}
    assert len(seen) == len(set(clips.drives)) == 2 + 2 + 5


def test_each_part_has_labels_of_its_own_tasks_only(root):
    clips = MixedClips(parts(root), {}, ['semantic', 'detection'])
    with_boxes, with_classes = clips[0], clips[len(clips) - 1]

    assert with_boxes.detection.tolist() == [[[1, 2, 3, 4, 0]]]
    assert with_boxes.semantic is None
    assert with_classes.detection is None
    assert (with_classes.semantic == 0).all()
    assert [task.name for task in clips.tasks] == ['detection', 'semantic']


def test_a_narrowed_data_set_leaves_the_first_one_as_it_was(root):
    whole = Kitti2015(str(root / 'road'))

    narrowed = whole.narrowed_to(['motion', 'detection', 'unheard of'])

    assert [task.name for task in narrowed.tasks] == ['motion', 'detection']
    assert narrowed[0].semantic is None
    assert narrowed.narrowed_to(['semantic']).tasks == ()
    assert whole[0].semantic is not None


def test_different_classes_for_one_task_are_refused(root):
    other = {'one': Kitti2015(str(root / 'road')), 'two': Kitti2015(str(root / 'road'), classes=3)}
    with pytest.raises(ConfigurationError, match=r"one labels semantic as \['road', 'sidewalk', "
                       r"'building'.*two as \['road', 'sidewalk', 'void'\]"):
        MixedClips(other, {}, ['semantic'])

    MixedClips(other, {}, ['depth'])
    with pytest.raises(ConfigurationError, match='the share of road is 0'):
        MixedClips(parts(root), {'road': 0}, ['semantic'])
    with pytest.raises(ConfigurationError, match='at least one data set'):
        MixedClips({}, {}, ['semantic'])


def mixture(root, **boxes):
    mix = {'mix': {
        'boxes': {'dataset': 'kitti_object', 'tasks': ['detection'], 'share': 0.5, **boxes},
        'road': {'dataset': 'kitti2015', 'classes': 3, 'tasks': ['semantic'], 'share': 0.5}}}
    return DataSettings(train=mix, validation=mix, root=str(root))


def test_a_recipe_mixes_data_sets_below_one_folder(root):
    config = TrainingConfig(
        name='mixed', tasks=['semantic', 'detection'], data=mixture(root),
        stages=[Stage(32, 32, 1)], network=NetworkSettings(frames=1))

    assert {task.name: len(task.classes) for task in tasks_of(config)} == {
        'semantic': 3, 'detection': 3}

    train, validation = open_clips(config, '', StopRequest())
    assert len(train) == 10  # two images of roads occur five times
    assert len(validation) == 7  # each is evaluated once


def test_a_part_without_a_label_of_the_tasks_is_left_out(root, capsys):
    config = TrainingConfig(
        name='mixed', tasks=['semantic'], data=mixture(root), stages=[Stage(32, 32, 1)],
        network=NetworkSettings(frames=1))
    train, validation = open_clips(config, '', StopRequest())

    assert (len(train), len(validation)) == (5, 5)
    assert all(train[number].semantic is not None for number in range(5))
    assert "data.train.boxes: labels none of the tasks ['semantic']" in capsys.readouterr().out


@pytest.mark.parametrize(('change', 'message'), [
    ({'share': 'half'}, "data.train.boxes.share is 'half'"),
    ({'tasks': ['semantics']}, "task 'semantics' does not exist"),
    ({'tasks': 'detection'}, "tasks is 'detection', wanted a list"),
    ({'roof': 1}, "boxes: roof does not exist; did you mean 'root'"),
])
def test_a_wrong_mixture_is_refused(root, change, message):
    config = TrainingConfig(
        name='mixed', tasks=['semantic', 'detection'], data=mixture(root, **change),
        stages=[Stage(32, 32, 1)], network=NetworkSettings(frames=1))
    with pytest.raises(ConfigurationError, match=message):
        open_clips(config, '', StopRequest())


def test_a_recipe_with_a_mixture_can_be_checked_before_it_is_trained(root, monkeypatch):
    monkeypatch.chdir(root)  # what its paths are relative to, as in training
    described = {split: {'mix': {
        'boxes': {'dataset': 'kitti_object', 'root': 'boxes', 'tasks': ['detection'], 'share': 1},
        'road': {'dataset': 'kitti2015', 'root': 'road', 'tasks': ['semantic'], 'share': 1}}}
        for split in ('train', 'validation')}
    recipe = write_text(root / 'mixed.yaml', yaml.safe_dump({'data': described, 'stages': []}))
    every = examine(read_descriptions(recipe))

    assert [it.name for it in every] == [
        'train.boxes', 'train.road', 'validation.boxes', 'validation.road']

    table = {what.strip(): values for what, *values in rows_of(every)}
    assert table['boxes: car'][:2] == ['2', '']  # road is not read for boxes
    assert table['detection: clips with labels'][:2] == ['2', 'none']
    assert every[3].problems[0].endswith('of train.road; keep it in one of the two')

    picture = draw_clips([(it.name, it.data, it.best()) for it in every[:2]], 1, width=80)
    car = np.array(every[0].task('detection').palette[0])

    assert (picture[:60] == car).all(-1).any()  # the box is drawn


def test_the_focal_length_of_a_mixture_is_that_of_the_part_with_depth(root):
    for number in range(5):
        write_map(root / f'road/training/disp_occ_0/00000{number}_10.png',
                  constant(256, np.uint16))

    described = {
        'boxes': {'dataset': 'kitti_object', 'tasks': ['detection']},
        'road': {'dataset': 'kitti2015', 'focal_px': 100.0, 'baseline_m': 0.5,
                 'tasks': ['depth']}}

    config = TrainingConfig(
        'mixed', [Stage(64, 128, 1)], tasks=['detection', 'depth'],
        network=NetworkSettings(frames=1),
        data=DataSettings(train={'mix': described}, validation={'mix': described},
                          root=str(root)))

    with StopRequest() as stop:
        clips, _ = open_clips(config, '', stop)
    rows, columns = clips.parts['road'][0].image.shape[1:3]

    assert camera_of(config, clips) == pytest.approx((100 * 128 / columns, 0, 100 * 64 / rows))


def test_a_part_without_depth_does_not_set_the_focal_length(root):
    """Nothing limits its tasks, so it is asked for depth too, which it does not have."""
    for number in range(5):
        write_map(root / f'road/training/disp_occ_0/00000{number}_10.png',
                  constant(256, np.uint16))

    for kind in ('images', 'masks'):
        (root / 'plain' / kind).mkdir(parents=True)
    shape = cv2.imread(str(next((root / 'road/training/image_2').glob('*.png')))).shape
    cv2.imwrite(str(root / 'plain/images/0.png'), np.zeros(shape, np.uint8))
    cv2.imwrite(str(root / 'plain/masks/0.png'), np.zeros(shape[:2], np.uint8))

    described = {
        'plain': {'dataset': 'folder', 'description': {
            'images': 'images', 'semantic': 'masks/{name}.png',
            'classes': {'one': [0, 0, 0], 'two': [9, 9, 9]}}},
        'road': {'dataset': 'kitti2015', 'focal_px': 100.0, 'baseline_m': 0.5,
                 'tasks': ['depth']}}

    config = TrainingConfig(
        'mixed', [Stage(64, 128, 1)], tasks=['semantic', 'depth'],
        network=NetworkSettings(frames=1),
        data=DataSettings(train={'mix': described}, validation={'mix': described},
                          root=str(root)))

    with StopRequest() as stop:
        clips, _ = open_clips(config, '', stop)
    rows, columns = clips.parts['road'][0].image.shape[1:3]

    assert camera_of(config, clips) == pytest.approx((100 * 128 / columns, 0, 100 * 64 / rows))
