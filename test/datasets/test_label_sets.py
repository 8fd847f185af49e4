# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label sets that cannot be learned are problems before a training, not metrics after it."""

import numpy as np
import pytest
import yaml
from dataset_trees import constant, write_image, write_map, write_text

from mtl_perception import cli
from mtl_perception.datasets.check import examine
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.folder import description_of
from mtl_perception.errors import ConfigurationError

CLASSES = {'floor': [128, 64, 128], 'road': [220, 20, 60]}


def halves(one, other, dtype=np.uint8):
    """Return a map whose upper rows have one value and whose lower rows have another."""
    values = constant(other, dtype)
    values[:3] = one
    return values


def folder_of(root, masks, about, kind='semantic'):
    """Write ten images, eight of them for training, each with the mask of its number."""
    for number in range(10):
        write_image(root / f'images/{number}.png', 10 * number)
        write_map(root / f'masks/{number}.png', masks(number))
    return write_text(root / 'dataset.yaml', yaml.safe_dump(
        {'images': 'images', kind: 'masks/{name}.png', **about},
        sort_keys=False))


def problems(root, **more):
    every = examine({name: {'dataset': 'folder', 'root': str(root), 'split': name, **more}
                     for name in ('train', 'validation')})
    return [f'{it.name}: {text}' for it in every for text in it.problems]


def test_two_classes_that_both_occur_are_no_problem(tmp_path):
    folder_of(tmp_path, lambda number: halves(0, 1), {'classes': CLASSES})
    assert problems(tmp_path) == []


def test_masks_of_0_and_255_for_two_classes_are_a_problem_with_the_line_to_write(tmp_path):
    description = folder_of(tmp_path, lambda number: halves(0, 255), {'classes': CLASSES})
    train, validation = problems(tmp_path)

    assert train.startswith('train: ')
    assert validation.startswith('validation: ')
    assert "every labelled pixel of semantic is 'floor'" in train
    line = 'ids: {0: floor, 255: road}'
    assert f'write {line} into dataset.yaml' in train

    # The advice can be followed.
    description.write_text(description.read_text() + line)
    assert problems(tmp_path) == []


def test_a_third_class_that_is_255_by_accident_is_a_problem(tmp_path):
    def masks(number):
        values = halves(0, 1)
        values[5] = 255
        return values
    folder_of(tmp_path, masks, {'classes': {**CLASSES, 'kerb': [0, 0, 0]}})
    found, = problems(tmp_path)
    assert "no pixel of semantic is 'kerb'" in found
    assert 'ids: {0: floor, 1: road, 255: kerb}' in found


def test_motion_masks_of_0_and_255_are_a_problem_with_the_line_to_write(tmp_path):
    folder_of(tmp_path, lambda number: halves(0, 255), {}, 'motion')
    assert 'motion_ids: {0: static, 255: moving}' in problems(tmp_path)[0]


def test_masks_without_a_label_at_all_are_a_problem(tmp_path):
    folder_of(tmp_path, lambda number: constant(255), {'classes': CLASSES})
    assert 'no pixel of semantic has a label' in problems(tmp_path)[0]


def test_a_class_that_only_validation_lacks_is_no_problem(tmp_path):
    folder_of(tmp_path, lambda number: halves(0, 1 if number > 7 else 2),
              {'classes': {**CLASSES, 'kerb': [0, 0, 0]}, 'ids': {
                  0: 'floor', 1: 'road', 2: 'kerb'}})
    found, = problems(tmp_path)
    assert found.startswith('train: ')
    assert "no pixel of semantic is 'road'" in found  # training cannot learn it


def test_training_and_validation_without_a_common_class_are_a_problem(tmp_path):
    names = {f'class {number}': [number, 0, 0] for number in range(4)}
    folder_of(tmp_path, lambda number: halves(2, 3) if number > 7 else halves(0, 1),
              {'classes': names})
    found = problems(tmp_path)
    assert len(found) == 2
    assert 'none is common' in found[1]


def test_depth_that_is_the_same_everywhere_is_a_problem(tmp_path):
    folder_of(tmp_path, lambda number: constant(2000, np.uint16), {}, 'depth')
    assert 'every known depth is 2 m' in problems(tmp_path)[0]


def test_published_sets_may_lack_a_class_but_not_all_but_one(tmp_path):
    for split in ('train', 'val'):
        write_image(tmp_path / f'{split}/0016E5_01.png', 3 if split == 'val' else 5)
        write_map(tmp_path / f'{split}annot/0016E5_01.png', halves(3, 4))
    parts = {split: {'dataset': 'camvid', 'root': str(tmp_path), 'split': split}
             for split in ('train', 'val')}
    assert [it.problems for it in examine(parts)] == [[], []]

    write_map(tmp_path / 'valannot/0016E5_01.png', constant(3))
    train, val = examine(parts)
    assert train.problems == []
    assert "every labelled pixel of semantic is 'road'" in val.problems[0]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Return what trains on ``mine`` for two steps."""
    pytest.importorskip('torch')
    monkeypatch.chdir(tmp_path)
    return lambda *words: cli.main([
        'train', *words, 'mine', '--stages', '[{height: 32, width: 32, steps: 2, batch: 2}]'])


def test_a_training_on_masks_of_0_and_255_is_refused_and_forced_it_has_no_score(
        tmp_path, trained, capsys):
    folder_of(tmp_path / 'mine', lambda number: halves(0, 255), {'classes': CLASSES})
    assert trained() == 3

    said = capsys.readouterr().err
    assert 'data.train: ' in said
    assert 'ids: {0: floor, 255: road}' in said
    assert '--force' in said

    assert trained('--force') == 0
    assert 'mIoU 1.000' not in capsys.readouterr().out
    manifest = yaml.safe_load((tmp_path / 'runs/mine/mine.json').read_text())
    assert manifest['metrics']['validation']['semantic']['miou'] is None


def test_only_as_many_clips_are_read_as_it_takes(tmp_path, trained, monkeypatch):
    folder_of(tmp_path / 'mine', lambda number: halves(0, 1), {'classes': CLASSES})
    from mtl_perception.datasets.label_sets import check_labels
    data = {name: build(tmp_path / 'mine', name) for name in ('train', 'validation')}
    reads = []
    monkeypatch.setattr(RecordedClips, '__getitem__', counted(RecordedClips.__getitem__, reads))
    check_labels(data, skip_bad=False)
    assert len(reads) == 2


def build(root, split):
    from mtl_perception.datasets.build import build_dataset
    return build_dataset({'dataset': 'folder', 'root': str(root), 'split': split})


def counted(read, reads):
    """Return a reader that counts its calls."""
    def reader(data, index):
        reads.append(index)
        return read(data, index)
    return reader


def test_the_check_takes_the_folder_that_training_takes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        write_image(tmp_path / f'mine/photos/{number}.png', 10 * number)
        write_map(tmp_path / f'mine/truth/{number}.png', halves(0, 255))
    assert cli.main(['data', 'check', 'mine']) == 0

    shown = capsys.readouterr().out
    assert 'class 255' in shown
    assert (tmp_path / 'mine.png').exists()
    assert cli.main(['data', 'check', 'mine', '--root', 'mine']) == 2


def described(**settings):
    return description_of({'images': 'images', **settings}, 'dataset.yaml')


def test_whole_numbers_are_names_of_classes():
    found = described(semantic='m/{name}.png', classes={0: [0, 0, 0], 7: [1, 1, 1]},
                      ids={0: 0, 9: 7}, movable=[7], sky=0)
    assert list(found.classes) == ['0', '7']
    assert (found.ids, found.movable, found.sky) == ({0: '0', 9: '7'}, ['7'], '0')


@pytest.mark.parametrize('name', [False, True, None, 1.5])
def test_a_class_whose_name_yaml_reads_as_something_else_is_refused(name):
    with pytest.raises(ConfigurationError, match=r'dataset\.yaml: classes has .*quotes'):
        described(semantic='m/{name}.png', classes={name: [0, 0, 0]})


def test_metres_may_be_a_fraction():
    assert described(depth='d/{name}.png', depth_m='1/256').depth_m == 1 / 256
    assert described(depth='d/{name}.png', depth_m='1 / 200').depth_m == 0.005


@pytest.mark.parametrize(('key', 'value'), [
    ('depth_m', '1/0'), ('depth_m', 'mm'), ('depth_m', True), ('disparity_px', [1]),
    ('maximum_m', float('nan')), ('focal_px', 'inf'), ('depth_m', None)])
def test_a_number_that_is_none_is_refused_by_its_name(key, value):
    with pytest.raises(ConfigurationError, match=rf'{key} is .*wanted a number.*1/256'):
        described(**{key: value})


@pytest.mark.parametrize(('settings', 'message'), [
    ({'images': 5}, 'images is 5, wanted a text'), ({'movable': 'car'}, r'movable is .*\[car\]'),
    ({'semantic': 1, 'classes': CLASSES}, 'semantic is 1, wanted a text'),
    ({'classes': [1]}, 'classes is .*KEY: VALUE'), ({'motion_ids': 'x'}, 'motion_ids is')])
def test_a_setting_of_another_type_is_refused_by_its_name(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        described(**settings)
