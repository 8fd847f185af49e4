# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that describe themselves, and descriptions of data sets."""

import numpy as np
import pytest
from dataset_trees import HEIGHT, WIDTH, constant, write_image, write_map, write_text

from mtl_perception.datasets.build import DATASETS, build_dataset, read_descriptions
from mtl_perception.datasets.folder import Folder
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.training.dataloading import Draws, collate

DESCRIPTION = """
images: pictures/{split}
semantic: labels/{split}/{name}_ids.png
classes: {floor: [128, 64, 128], person: [220, 20, 60]}
ids: {0: floor, 40: person, 200: unlabelled}
movable: [person]
depth: depth/{split}/{name}.png
depth_m: 0.001
motion: motion/{split}/{name}.png
motion_ids: {0: static, 255: moving}
"""


@pytest.fixture
def root(tmp_path):
    """Write two recordings of two images with all labels."""
    write_text(tmp_path / 'dataset.yaml', DESCRIPTION)
    for recording in ('a', 'b'):
        for number, stamp in enumerate(('1694.1', '1694.2')):
            name = f'{recording}/{stamp}'
            write_image(tmp_path / f'pictures/lab/{name}.png', number)
            write_map(tmp_path / f'labels/lab/{name}_ids.png', constant([40, 200][number]))
            write_map(tmp_path / f'depth/lab/{name}.png', constant(2500 * number, np.uint16))
            write_map(tmp_path / f'motion/lab/{name}.png', constant(255))
    return tmp_path


def test_a_folder_is_read_by_its_description(root):
    data = Folder(str(root), 'lab', frames=2)
    assert (len(data), len(data.incomplete)) == (2, 2)  # no pair crosses two recordings

    sample = data[1]
    assert sample.image[:, 0, 0, 0].tolist() == [0, 1]
    assert sample.semantic[:, 0, 0].tolist() == [1, 255]
    assert np.isnan(sample.depth[0]).all()
    assert sample.depth[1, 0, 0] == np.float32(2.5)
    assert sample.motion[:, 0, 0].tolist() == [1, 1]

    semantic, depth, motion = data.tasks
    assert semantic.classes == ('floor', 'person')
    assert semantic.movable == (1,)
    assert (depth.name, depth.unit, motion.classes) == ('depth', 'm', ('static', 'moving'))


def test_the_focal_length_is_that_of_the_description(root):
    assert Folder(str(root), 'lab').focal_length(root / 'pictures/lab/a/1694.1.png') is None

    write_text(root / 'dataset.yaml', DESCRIPTION + 'focal_px: 310.5\nbaseline_m: 0.2\n')
    assert Folder(str(root), 'lab').focal_length(root / 'pictures/lab/a/1694.1.png') == 310.5


def test_the_image_before_10_is_9(root):
    write_text(root / 'dataset.yaml', 'images: numbered')
    for number in (1, 2, 9, 10, 11):
        write_image(root / f'numbered/v2_{number}.png')
    data = Folder(str(root), frames=2)
    assert [[path.stem[3:] for path in clip] for clip in data.clips] == [
        ['1', '2'], ['2', '9'], ['9', '10'], ['10', '11']]


def test_a_folder_may_store_disparity(root):
    text = DESCRIPTION.replace('depth: depth', 'disparity: depth').replace(
        'depth_m: 0.001', 'disparity_px: 0.01\nfocal_px: 500\nbaseline_m: 0.2')
    write_text(root / 'dataset.yaml', text)
    assert Folder(str(root), 'lab')[1].depth[0, 0, 0] == 500 * 0.2 / 25


def test_images_may_have_no_labels_and_ids_are_class_positions_by_default(root):
    write_text(root / 'dataset.yaml', 'images: pictures')
    data = Folder(str(root))

    assert len(data) == 4
    assert data.tasks == ()
    assert data[0].labels() == {}

    write_text(root / 'dataset.yaml', 'images: pictures\nsemantic: one.png\n'
                                      'classes: {a: [0, 0, 0], b: [9, 9, 9]}\n')
    write_map(root / 'one.png', np.where(np.arange(WIDTH) < 4, constant(1), constant(255)))

    assert Folder(str(root))[0].semantic[0, 0].tolist() == [1] * 4 + [255] * 4


@pytest.mark.parametrize(('old', 'new', 'message'), [
    ('movable: [person]', 'movable: [persons]', r"class 'persons'.*mean 'person'"),
    ('images:', 'image:', "lacks 'images'"),
    ('depth_m:', 'depth_mm:', r"setting 'depth_mm'.*mean 'depth_m'"),
    ('40: person', '40: human', "class 'human' does not exist"),
    ('255: moving', '255: move', r"motion 'move'.*mean 'moving'"),
    ('40: person', '400: person', 'label number 400 is out of range'),
    ('depth_m: 0.001', 'depth_m: -1', 'must be positive'),
    ('depth_m: 0.001', 'disparity: x', 'depth and disparity are both given'),
    ('depth: depth', 'disparity: depth', 'disparity needs focal_px'),
    ('[220, 20, 60]', '[220, 20]', "class 'person' has the colour"),
    ('semantic: labels/{split}/{name}_ids.png', '', 'belong together'),
    ('{0: static, 255: moving}', '[static]', 'wanted KEY: VALUE'),
    ('images: pictures/{split}', 'images: {a: [', 'is not YAML'),
])
def test_a_wrong_description_is_refused_with_its_path(root, old, new, message):
    assert old in DESCRIPTION
    write_text(root / 'dataset.yaml', DESCRIPTION.replace(old, new))
    with pytest.raises(ConfigurationError, match=rf'dataset\.yaml: (?s:.*){message}'):
        Folder(str(root), 'lab')


def test_a_missing_description_or_split_and_an_unknown_label_are_refused(root):
    write_map(root / 'labels/lab/a/1694.1_ids.png', constant(41))
    with pytest.raises(DataError, match=r'a/1694\.1_ids\.png: label 41 .* wanted 0, 40, 200'):
        Folder(str(root), 'lab')[0]
    with pytest.raises(DataError, match='pictures/street: no such folder'):
        Folder(str(root), 'street')

    (root / 'dataset.yaml').unlink()
    with pytest.raises(DataError, match=r'dataset\.yaml: does not exist'):
        Folder(str(root), 'lab')


def test_every_data_set_can_be_built_by_name():
    for name in DATASETS:
        split = {} if name == 'pandaset' else {'split': 'train'}
        with pytest.raises(DataError, match='nowhere: no such folder'):
            build_dataset({'dataset': name, 'root': 'nowhere', **split})


@pytest.mark.parametrize(('change', 'message'), [
    ({'dataset': 'foldr'}, r"data set 'foldr'.*mean 'folder'"),
    ({'frame': 2}, "train: frame does not exist; did you mean 'frames'"),
    ({'frames': '2'}, "frames is '2'; it must be a valid integer"),
    ({'frames': True}, 'frames is True; it must be a valid integer'),
    ({'root': 3}, 'root is 3; it must be a valid string'),
])
def test_a_wrong_setting_is_refused(root, change, message):
    description = {'dataset': 'folder', 'root': str(root), 'split': 'lab'}
    assert len(build_dataset(description)) == 4
    with pytest.raises(ConfigurationError, match=message):
        build_dataset({**description, **change}, 'train')


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigurationError, match='data set: split is missing'):
        build_dataset({'dataset': 'camvid', 'root': 'x'})
    with pytest.raises(ConfigurationError, match='no dataset is named'):
        build_dataset({'root': 'x'})


def test_numbers_and_lists_of_text_fit_where_they_are_wanted(tmp_path):
    for setting, value in (('focal_px', 721), ('focal_px', 0.5)):
        with pytest.raises(ConfigurationError, match='give both'):
            build_dataset({'dataset': 'kitti2015', 'root': str(tmp_path), setting: value})
    with pytest.raises(ConfigurationError, match='sequences is'):
        build_dataset({'dataset': 'davis', 'root': str(tmp_path), 'sequences': 'bear'})
    with pytest.raises(DataError, match='Annotations'):
        build_dataset({'dataset': 'davis', 'root': str(tmp_path), 'sequences': ['bear']})


def test_a_file_describes_one_data_set_or_several(tmp_path):
    path = write_text(tmp_path / 'one.yaml', 'dataset: camvid\nroot: CamVid\nsplit: val\n')
    assert read_descriptions(path) == {'data': {
        'dataset': 'camvid', 'root': str(tmp_path / 'CamVid'), 'split': 'val'}}

    several = ('train: {dataset: camvid, root: /a}\n'
               'validation: {dataset: kitti_raw, root: ~/b, calibration: c}\n')
    found = read_descriptions(write_text(tmp_path / 'two.yaml', several))

    assert list(found) == ['train', 'validation']
    assert found['train']['root'] == '/a'
    assert found['validation']['calibration'] == str(tmp_path / 'c')
    assert not found['validation']['root'].startswith(('~', str(tmp_path)))
    for text in ('', 'train: camvid', '[', 'camvid'):
        with pytest.raises(ConfigurationError, match=r'wrong\.yaml'):
            read_descriptions(write_text(tmp_path / 'wrong.yaml', text))
    with pytest.raises(ConfigurationError, match=r'none\.yaml'):
        read_descriptions(tmp_path / 'none.yaml')


def test_training_takes_its_batches_from_a_recorded_data_set(root):
    draws = Draws(Folder(str(root), 'lab', frames=2), 1, HEIGHT * 2, WIDTH * 2, None)
    batch = collate([draws[0], draws[1]])
    assert batch['image'].shape == (2, 2, HEIGHT * 2, WIDTH * 2, 3)
    assert set(batch) == {'image', 'semantic', 'depth', 'motion'}
    assert batch['depth'].isnan()[:, 0].all()
