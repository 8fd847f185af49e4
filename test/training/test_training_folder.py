# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl train`` with nothing but the folder of a data set."""

import os
from pathlib import Path

import cv2
import killed_runs
import numpy as np
import pytest
import yaml

from mtl_perception import cli
from mtl_perception.datasets.build import build_dataset

DATA = Path(__file__).parents[3] / 'shared' / 'data'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    killed_runs.write_data(tmp_path)
    os.chdir(tmp_path)
    return tmp_path / 'data'


def test_a_folder_is_trained_on_and_the_pictures_are_named(folder, tmp_path, capsys):
    assert cli.main([
        'train', 'data', '--stages', '[{height: 32, width: 64, steps: 2, batch: 2}]']) == 0

    said = capsys.readouterr().out
    assert 'README.md has the progress, pictures the predictions' in said
    assert list((tmp_path / 'runs' / 'data' / 'pictures').glob('*.png'))
    assert (tmp_path / 'runs' / 'data' / 'data.safetensors').exists()


def test_the_recipe_that_was_chosen_can_be_seen(folder, capsys):
    assert cli.main(['train', '--print-config', str(folder)]) == 0

    recipe = yaml.safe_load(capsys.readouterr().out)
    assert recipe['name'] == 'data'
    assert recipe['tasks'] == ['semantic']
    assert recipe['data']['train'] == {
        'dataset': 'camvid', 'root': str(folder), 'split': 'train'}
    # images of 32x64: twice as wide as high
    assert [(stage['height'], stage['width']) for stage in recipe['stages']] == [
        (96, 192), (192, 416)]


def test_what_is_no_data_set_is_refused_with_what_it_holds(tmp_path, capsys):
    (tmp_path / 'holiday').mkdir()
    assert cli.main(['train', str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "holds ['holiday']" in said
    assert 'trainannot' in said


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason='the recorded data are not there')
@pytest.mark.parametrize(('name', 'tasks'), [
    ('camvid/CamVid', ['semantic']), ('kitti_object', ['depth', 'detection'])])
def test_recorded_data_are_recognised(name, tasks, capsys):
    assert cli.main(['train', '--print-config', str(DATA / name)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)['tasks'] == tasks


def write_pairs(root, images, masks, values, count=10, suffix='.png', dtype=np.uint8):
    random = np.random.default_rng(0)
    for name in (images, masks):
        (root / name).mkdir(parents=True)
    for number in range(count):
        image = random.integers(0, 256, (64, 96, 3), np.uint8)
        cv2.imwrite(str(root / images / f'{number}{suffix}'), image)
        mask = random.choice(np.array(values, dtype), (64, 96))
        cv2.imwrite(str(root / masks / f'{number}.png'), mask)


@pytest.mark.parametrize(('suffix', 'values', 'ids'), [
    ('.jpg', [0, 1, 7, 255], {0: 'class 0', 1: 'class 1', 7: 'class 7', 255: 'unlabelled'}),
    ('.png', [0, 255], {0: 'class 0', 255: 'class 255'}),
    ('.png', [1, 2], {1: 'class 1', 2: 'class 2', 255: 'unlabelled'})])
def test_a_folder_of_images_and_masks_is_trained_with_the_last_fifth_held_out(
        tmp_path, monkeypatch, capsys, suffix, values, ids):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / 'mine', 'photos', 'ground truth', values, suffix=suffix)
    assert cli.main(['train', '--print-config', 'mine']) == 0

    recipe = yaml.safe_load(capsys.readouterr().out)
    described = recipe['data']['train']['description']
    assert described['images'] == 'photos'
    assert described['semantic'] == 'ground truth/{name}.png'
    assert described['ids'] == ids

    names = {split: [clip[-1].stem for clip in build_dataset(recipe['data'][split]).clips]
             for split in ('train', 'validation')}
    assert names == {'train': [str(number) for number in range(8)], 'validation': ['8', '9']}
    assert cli.main([
        'train', 'mine', '--stages', '[{height: 64, width: 96, steps: 2, batch: 2}]']) == 0
    assert (tmp_path / 'runs/mine/mine.safetensors').exists()


def test_a_folder_with_a_description_is_trained_with_its_own_splits(tmp_path, capsys):
    write_pairs(tmp_path, 'images', 'masks', [0, 1])
    about = {'images': 'images', 'semantic': 'masks/{name}.png',
             'classes': {'dark': [0, 0, 0], 'bright': [255, 255, 255]}}
    path = tmp_path / 'dataset.yaml'
    path.write_text(yaml.safe_dump(about))

    assert cli.main(['train', '--print-config', str(tmp_path)]) == 0

    recipe = yaml.safe_load(capsys.readouterr().out)
    assert recipe['data']['validation'] == {
        'dataset': 'folder', 'root': str(tmp_path), 'split': 'validation'}

    path.write_text(yaml.safe_dump({**about, 'images': 'images/{split}'}))
    assert cli.main(['train', '--print-config', str(tmp_path)]) == 3
    assert 'no folder val or validation exists' in capsys.readouterr().err


def test_masks_that_are_none_are_not_taken_for_masks(tmp_path, capsys):
    write_pairs(tmp_path / 'alike', 'a', 'b', [3])
    assert cli.main(['train', str(tmp_path / 'alike')]) == 3
    assert 'hold the numbers [3]; wanted at least two classes' in capsys.readouterr().err

    write_pairs(tmp_path / 'colour', 'a', 'b', [0, 1])
    for path in (tmp_path / 'colour' / 'b').iterdir():
        path.write_bytes((path.parent.parent / 'a' / path.name).read_bytes())
    assert cli.main(['train', str(tmp_path / 'colour')]) == 3
    assert 'a folder of images and one of masks' in capsys.readouterr().err
