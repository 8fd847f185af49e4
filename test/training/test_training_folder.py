# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl train`` with nothing but the folder of a data set."""

import os
from pathlib import Path

import campaign
import pytest
import yaml

from mtl_perception import cli

DATA = Path(__file__).parents[3] / 'shared' / 'data'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    campaign.write_data(tmp_path)
    os.chdir(tmp_path)
    return tmp_path / 'data'


def test_a_folder_is_trained_on_and_the_pictures_are_named(folder, tmp_path, capsys):
    assert cli.main([
        'train', 'data', '--stages', '[{height: 32, width: 64, steps: 2, batch: 2}]']) == 0
    said = capsys.readouterr().out
    assert 'pictures shows what the network sees' in said
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
