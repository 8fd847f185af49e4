# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl data check``: counts, problems and the preview."""

import re
import shutil

import cv2
import numpy as np
import pytest
import yaml
from dataset_trees import HEIGHT, WIDTH, constant, picture, write_image, write_map, write_text

from mtl_perception import cli
from mtl_perception.datasets.build import read_descriptions
from mtl_perception.datasets.check import examine, rows_of
from mtl_perception.datasets.preview import draw_clips

DESCRIPTION = """
images: '{split}/image'
semantic: '{split}/class/{name}.png'
classes: {floor: [128, 64, 128], person: [220, 20, 60]}
depth: '{split}/depth/{name}.png'
depth_m: 0.01
motion: '{split}/motion/{name}.png'
"""


@pytest.fixture
def config(tmp_path):
    """Write a data set of 4 + 2 images with all labels and a configuration with two parts."""
    write_text(tmp_path / 'data/dataset.yaml', DESCRIPTION)
    for split, count in (('day', 4), ('night', 2)):
        for number in range(count):
            name = f'{number:03d}.png'
            write_image(tmp_path / f'data/{split}/image/{name}', 10 * number + count)
            ids = constant(0)
            ids[0, :2], ids[0, 2] = 1, 255
            write_map(tmp_path / f'data/{split}/class/{name}', ids)
            depth = constant(0, np.uint16)
            depth[0, 0], depth[0, 1], depth[0, 2] = 150, 2000, 9000  # 1.5, 20 and 90 m
            write_map(tmp_path / f'data/{split}/depth/{name}', depth)
            write_map(tmp_path / f'data/{split}/motion/{name}', ids)
    parts = {name: {'dataset': 'folder', 'root': 'data', 'split': split, 'frames': frames}
             for name, split, frames in (('train', 'day', 2), ('validation', 'night', 1))}
    return write_text(tmp_path / 'mine.yaml', yaml.safe_dump(parts))


def check(config, *words):
    mosaic = config.parent / 'mosaic.png'
    return cli.main(['data', 'check', str(config), '--mosaic', str(mosaic), *words])


def test_the_check_counts_images_and_labels(config):
    every = examine(read_descriptions(config))
    assert [it.problems for it in every] == [[], []]

    table = {what.strip(): values for what, *values in rows_of(every)}
    pixels = HEIGHT * WIDTH

    assert table['clips'] == ['3', '2']
    assert table['images per clip'] == ['2', '1']
    assert table['left out, no earlier image'] == ['1', '0']
    assert table['height x width'] == ['6 x 8'] * 2
    assert table['person'] == [f'{200 / pixels:.2f} %'] * 2
    assert table['floor'] == [f'{100 - 300 / pixels:.2f} %'] * 2
    assert table['unlabelled'] == table['unknown'] == [f'{100 / pixels:.2f} %'] * 2
    assert table['moving'] == table['person']
    assert table['pixels with depth'] == [f'{300 / pixels:.2f} %'] * 2
    assert table['nearest, farthest'] == ['1.50 m, 90.00 m'] * 2
    assert table['beyond the maximum'] == ['33.33 % > 80 m'] * 2
    assert table['semantic: clips with labels'] == ['3', '2']


def test_class_shares_ignore_images_without_labels(config):
    write_map(config.parent / 'data/night/class/000.png', constant(255))
    validation = examine(read_descriptions(config))[1]
    table = dict(rows_of([validation]))
    assert table['semantic: clips with labels'] == '1'
    assert table['  person'] == f'{200 / HEIGHT / WIDTH:.2f} %'
    assert validation.best() == [1]  # is drawn in the mosaic


def test_the_command_reports_no_problem_and_draws_samples(config, capsys):
    assert check(config, '--samples', '2') == 0

    shown = capsys.readouterr().out
    assert 'no problem found' in shown
    assert 'validation' in shown

    mosaic = cv2.imread(str(config.parent / 'mosaic.png'))
    assert mosaic.shape[1] == 5 * 384  # before, image, semantic, depth, motion
    assert mosaic.shape[0] >= 4 * 288


@pytest.mark.parametrize(('wrong', 'message'), [
    (lambda data: (data / 'day/class/001.png').unlink(), r'day/class/001\.png: does not exist'),
    (lambda data: write_map(data / 'day/class/001.png', constant(2)),
     r'day/class/001\.png: label 2 .* wanted 0-1, 255'),
    (lambda data: write_map(data / 'day/depth/001.png', constant(3)[1:]),
     r'day/depth/001\.png: is 5 x 8 .* its image 6 x 8'),
    (lambda data: (data / 'day/image/001.png').write_bytes(b'\x89PNG\r\n\x1a\n'),
     r'day/image/001\.png: .*truncated'),
    (lambda data: shutil.copy(data / 'day/image/001.png', data / 'night/image/001.png'),
     r'night/image/001\.png: is the same image as .*day/image/001\.png of train'),
    (lambda data: shutil.rmtree(data / 'night/image'), r'night/image: no such folder'),
])
def test_each_problem_is_listed_once_with_its_path_and_the_exit_code_is_3(
        config, capsys, wrong, message):
    wrong(config.parent / 'data')
    assert check(config) == 3

    shown = capsys.readouterr()
    lines = [line for line in shown.out.splitlines() if line.startswith(('train: ', 'valid'))]

    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert 'problems: 1' in shown.err
    assert (config.parent / 'mosaic.png').exists()


def test_the_same_image_in_another_format_is_found(config):
    data = config.parent / 'data'
    (data / 'night/image/001.png').unlink()
    content = cv2.imread(str(data / 'day/image/002.png'))
    same = str(data / 'night/image/001.png')

    assert cv2.imwrite(same, content, [cv2.IMWRITE_PNG_COMPRESSION, 0])

    train, validation = examine(read_descriptions(config))
    assert train.problems == []
    assert 'day/image/002.png of train' in validation.problems[0]


def test_duplicate_images_of_a_recording_are_counted(config):
    shutil.copy(config.parent / 'data/day/image/000.png', config.parent / 'data/day/image/001.png')
    table = dict(rows_of(examine(read_descriptions(config))[:1]))
    assert table['duplicate images'] == '1'


def test_a_wrong_description_is_a_configuration_error(config, capsys):
    config.write_text(config.read_text().replace('folder', 'foldr'))
    assert check(config) == 2
    assert "mean 'folder'" in capsys.readouterr().err
    assert check(config, '--samples', '0') == 2


def test_a_preview_that_cannot_be_written_is_reported(config, capsys):
    (config.parent / 'file').write_text('')
    assert cli.main(['data', 'check', str(config), '--mosaic', str(config.parent / 'file/x.png')]
                    ) == 5
    assert 'file/x.png' in capsys.readouterr().err


def test_the_preview_shows_image_labels_and_motion(config):
    every = examine(read_descriptions(config))
    mosaic = draw_clips([('validation', every[1].data, [1])], 1, 80)
    height = 60

    assert mosaic.shape[1] == 4 * 80

    row, column = height - 5, 75
    assert np.abs(mosaic[row, column].astype(int) - picture(12)[-1, -1]).max() <= 1

    semantic, depth, motion = (mosaic[:height, 80 * place:80 * (place + 1)] for place in (1, 2, 3))
    assert np.abs(semantic[row, column] - (0.65 * np.array([128, 64, 128]) + 0.35
                                           * picture(12)[-1, -1])).max() <= 2
    assert depth[row, column].tolist() == [0, 0, 0]  # unknown
    assert (motion[row, column] == mosaic[row, column]).all()  # stands still
    assert mosaic[height:].shape[0] > 0  # names of the classes


@pytest.mark.real_data
def test_recorded_samples_of_each_data_set_pass_the_check(real_data, tmp_path, capsys):
    camera = {'focal_px': 721.5377, 'baseline_m': 0.5327}
    parts = {'validation': ('kitti2015', 'validation'), 'mini': ('kitti2015_mini', 'all')}
    config = write_text(tmp_path / 'kitti.yaml', yaml.safe_dump({
        name: {'dataset': 'kitti2015', 'root': str(real_data(root)), 'split': split, **camera}
        for name, (root, split) in parts.items()}))

    assert check(config) == 0
    assert '80 m' in capsys.readouterr().out


@pytest.mark.real_data
def test_recorded_image_in_two_splits_is_found(real_data, tmp_path):
    source = real_data('camvid') / 'CamVid'
    for split, names in (('train', ['0016E5_07959', '0016E5_07961']), ('val', ['0016E5_07961'])):
        for kind, suffix in (('', '.jpg'), ('annot', '.png')):
            folder = tmp_path / f'{split}{kind}'
            folder.mkdir()
            for name in names:
                (folder / name).with_suffix(suffix).symlink_to(
                    (source / f'val{kind}' / name).with_suffix(suffix))
    parts = {split: {'dataset': 'camvid', 'root': str(tmp_path), 'split': split}
             for split in ('train', 'val')}
    train, val = examine(parts)

    assert train.problems == []
    assert len(val.problems) == 1
    assert 'val/0016E5_07961.jpg: is the same image as' in val.problems[0]
