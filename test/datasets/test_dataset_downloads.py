# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Folders as they are after half of the archives, a copy over a network, another program."""

import json
import shutil

import numpy as np
import pytest
import yaml
from dataset_trees import HEIGHT, WIDTH, constant, write_image, write_map, write_text

from mtl_perception import cli
from mtl_perception.datasets.build import build_dataset, read_descriptions
from mtl_perception.datasets.check import examine
from mtl_perception.datasets.detect_layout import detect_layout
from mtl_perception.errors import ConfigurationError, DataError

CAMERA = {'focal_px': 100.0, 'baseline_m': 0.5}


def kitti2015(root, *kinds, scenes=5, **more):
    """Write scenes with the labels of some archives, and return the description."""
    for scene in range(scenes):
        name = f'{scene:06d}_10.png'
        write_image(root / f'training/image_2/{name}', scene)
        cars_and_road = constant(26)
        cars_and_road[0] = 7
        values = {
            'semantic': cars_and_road, 'obj_map': constant(1),
            'instance': constant(6657, np.uint16), 'disp_occ_0': constant(2560, np.uint16)}
        for kind in kinds:
            write_map(root / f'training/{kind}/{name}', values[kind])
    return {'dataset': 'kitti2015', 'root': str(root), **CAMERA, **more}


def recipe(root, described, tasks, **more):
    return write_text(root / 'recipe.yaml', yaml.safe_dump({
        'name': 'tiny', 'output': str(root / 'runs'), 'tasks': tasks, 'weighting': 'equal',
        'network': {'encoder': 'resnet10', 'frames': 1, 'finest_stride': 8},
        'loss': {'class_balance': 0.0},
        'data': {'train': {**described, 'split': 'train'},
                 'validation': {**described, 'split': 'validation'}},
        'stages': [{'height': 32, 'width': 32, 'steps': 1, 'batch': 2, 'lr': 1e-3}], **more}))


def check(path, *words):
    return cli.main(['data', 'check', str(path), '--mosaic', str(path.parent / 'm.png'), *words])


def test_a_task_without_a_single_label_is_found_by_check_and_training(tmp_path, capsys):
    path = recipe(tmp_path, kitti2015(tmp_path, 'obj_map'), ['semantic', 'motion'])
    assert check(path) == 3
    assert f'train: {tmp_path}: no clip has a label of the task semantic' in (
        capsys.readouterr().out)
    assert cli.main(['train', str(path)]) == 3
    assert "none of 4 clips has a label of ['semantic']" in capsys.readouterr().err
    assert not (tmp_path / 'runs/tiny/checkpoints').exists()

    with_labels = recipe(
        tmp_path, kitti2015(tmp_path, 'obj_map', 'semantic'), ['semantic', 'motion'])

    assert check(with_labels) == 0  # the control
    assert cli.main(['train', str(with_labels)]) == 0


def test_a_recipe_is_checked_with_its_frames_and_below_its_root(tmp_path, capsys):
    described = kitti2015(tmp_path / 'there', 'semantic')
    path = recipe(tmp_path, {**described, 'root': 'nowhere'}, ['semantic'])

    assert check(path) == 3
    assert check(path, '--root', str(tmp_path / 'there')) == 0

    two = recipe(tmp_path, described, ['semantic'], network={'frames': 2})
    assert check(two) == 3
    assert 'has the 1 earlier ones that frames: 2' in capsys.readouterr().out

    found = read_descriptions(two)
    assert (found['train']['frames'], found['train']['tasks']) == (2, ['semantic'])


def test_an_earlier_image_is_one_of_the_same_split(tmp_path):
    for number in range(10):
        write_image(tmp_path / f'plain/image/{number}.png', number)
        write_map(tmp_path / f'plain/class/{number}.png', constant(number % 2))
        write_image(tmp_path / f'SYNTHIA-SEQS-01/RGB/Stereo_Left/Omni_F/{number:06d}.png', number)
    about = {'images': 'image', 'semantic': 'class/{name}.png',
             'classes': {'a': [0, 0, 0], 'b': [255, 255, 255]}}
    write_text(tmp_path / 'plain/dataset.yaml', yaml.safe_dump(about))
    for kind, root in (('folder', tmp_path / 'plain'), ('synthia', tmp_path)):
        every = examine({split: {'dataset': kind, 'root': str(root), 'split': split, 'frames': 2}
                         for split in ('train', 'validation')})
        assert [it.problems for it in every] == [[], []]
        assert [len(it.data) for it in every] == [7, 1]
        assert [len(it.data.incomplete) for it in every] == [1, 1]


@pytest.mark.parametrize(('count', 'held_out'), [(1, 0), (2, 1), (3, 1), (4, 1), (6, 1), (10, 2)])
def test_the_last_fifth_of_a_folder_without_splits_is_held_out(
        tmp_path, count, held_out):
    for number in range(count):
        write_image(tmp_path / f'image/{number}.png', number)
    write_text(tmp_path / 'dataset.yaml', 'images: image\nmotion: "{name}.png"')

    def names(split):
        data = build_dataset({'dataset': 'folder', 'root': str(tmp_path), 'split': split})
        return [int(clip[-1].stem) for clip in data.clips]

    assert names('train') == [*range(count - held_out)]
    assert names('') == names('all') == [*range(count)]

    if held_out:
        assert names('validation') == names('val') == [*range(count - held_out, count)]

    for wrong in ('valid', 'test'):
        with pytest.raises(ConfigurationError, match=f'split {wrong!r} does not exist'):
            names(wrong)


def boxes(root, *corners):
    write_image(root / 'training/image_2/000000.png')
    write_text(root / 'training/label_2/000000.txt', '\n'.join(
        f'Car 0 0 0 {" ".join(map(str, box))} 0 0 0 0 0 0 0' for box in corners))
    return build_dataset({
        'dataset': 'kitti_object', 'root': str(root), 'tasks': ['detection']})[0].detection[0]


@pytest.mark.parametrize('corners', [
    (3, 3, 3, 5), (5, 5, 2, 2), ('nan', 1, 2, 3), ('inf', 1, 'inf', 3), (100, 200, 300, 400),
    (-9, 0, 0, 5)])
def test_degenerate_boxes_and_boxes_outside_the_image_are_refused(tmp_path, corners):
    with pytest.raises(DataError, match=r'000000\.txt: line 2: the box .*correct the line'):
        boxes(tmp_path, (0, 0, 1, 1), corners)


def test_a_box_is_clipped_to_its_image(tmp_path):
    found = boxes(tmp_path, (-50, -3, 900, 700), (1, 2, 3, 4))
    assert found.tolist() == [[0, 0, WIDTH, HEIGHT, 0], [1, 2, 3, 4, 0]]


def test_a_box_outside_the_crop_is_dropped(tmp_path):
    sample = boxes(tmp_path, (0, 0, 2, 2))
    data = build_dataset({'dataset': 'kitti_object', 'root': str(tmp_path)})[0]
    assert data.cropped(3, 3, 2, 2).detection[..., 4].tolist() == [[-1]]
    assert sample.shape == (1, 5)


def test_hidden_files_of_systems_are_skipped(tmp_path):
    for number in range(5):
        write_image(tmp_path / f'images/{number}.png', number)
        write_map(tmp_path / f'masks/{number}.png', constant(number % 3))
    for stray in ('images/._0.png', 'masks/._0.png', 'images/.ipynb_checkpoints/0.png',
                  '__MACOSX/images/._0.png', 'images/__MACOSX/0.png', '.DS_Store'):
        write_text(tmp_path / stray, 'no image')
    train, validation = detect_layout(tmp_path)

    assert len(build_dataset(train)) == 4
    assert len(build_dataset(validation)) == 1


def test_images_with_suffixes_in_capitals_and_behind_links_are_found(tmp_path):
    for number in range(3):
        image = write_image(tmp_path / f'far/drive/{number}.png', number)
        image.rename(image.with_suffix('.PNG'))
    (tmp_path / 'image').mkdir()
    (tmp_path / 'image/drive').symlink_to(tmp_path / 'far/drive')
    (tmp_path / 'far/drive/loop').symlink_to(tmp_path / 'far')
    write_text(tmp_path / 'dataset.yaml', 'images: image\nmotion: "{name}.png"')
    data = build_dataset({'dataset': 'folder', 'root': str(tmp_path), 'frames': 2})

    assert [path.name for path in data.clips[0]] == ['0.PNG', '1.PNG']

    shutil.copytree(tmp_path / 'far/drive', tmp_path / 'JPEGImages/480p/car', symlinks=True)
    (tmp_path / 'Annotations/480p').mkdir(parents=True)
    davis = build_dataset({'dataset': 'davis', 'root': str(tmp_path), 'frames': 2})

    assert [[path.name for path in clip] for clip in davis.clips] == [
        ['0.PNG', '1.PNG'], ['1.PNG', '2.PNG']]


def test_parts_of_a_mixture_may_share_images_but_not_with_validation(tmp_path):
    kitti2015(tmp_path, 'semantic', 'disp_occ_0')
    part = {'dataset': 'kitti2015', 'root': str(tmp_path), **CAMERA}
    every = examine({
        'train.depth': {**part, 'split': 'train', 'tasks': ['depth']},
        'train.road': {**part, 'split': 'train', 'tasks': ['semantic']},
        'validation': {**part, 'split': 'all', 'tasks': ['semantic']}})

    assert [len(it.problems) for it in every] == [0, 0, 8]


def test_without_instances_parked_cars_stay_unknown_and_no_boxes_are_made(tmp_path):
    described = kitti2015(tmp_path, 'semantic', 'obj_map')
    moving = constant(0)
    moving[0, 0] = 1
    write_map(tmp_path / 'training/obj_map/000000_10.png', moving)
    sample = build_dataset(described)[0]

    assert sample.detection is None
    assert sample.instance[0, 0, 0] == 1
    assert (sample.instance == -1).sum() == HEIGHT * WIDTH - 1
    assert sample.motion[0, 0].tolist() == [1] + [0] * (WIDTH - 1)

    kitti2015(tmp_path, 'instance')  # the control
    assert build_dataset(described)[0].detection.tolist() == [[[0, 0, WIDTH, HEIGHT, 2]]]


@pytest.mark.parametrize(('kind', 'task'), [('disp_occ_0', 'depth'), ('instance', 'instance')])
def test_files_cut_to_8_bits_are_refused_where_16_are_needed(tmp_path, kind, task):
    described = kitti2015(tmp_path, 'semantic', kind, tasks=[task])
    assert build_dataset(described)[0].labels()[task] is not None
    write_map(tmp_path / f'training/{kind}/000000_10.png', constant(50))
    with pytest.raises(DataError, match=rf'{kind}/000000_10\.png: has 8 bits per pixel'):
        build_dataset(described)[0]


def test_labels_of_unused_tasks_may_be_missing(tmp_path):
    described = kitti2015(tmp_path, 'semantic', 'disp_occ_0')
    (tmp_path / 'training/disp_occ_0/000000_10.png').unlink()
    assert build_dataset({**described, 'tasks': ['semantic']})[0].depth is None
    with pytest.raises(DataError, match='disp_occ_0'):
        build_dataset(described)[0]


@pytest.mark.parametrize('camera', [
    {'intrinsic': {'fx': 2262.5}, 'extrinsic': {'baseline': -0.2}},
    {'intrinsic': {'fx': 0}, 'extrinsic': {'baseline': 0.2}}])
def test_an_impossible_camera_is_refused(tmp_path, camera):
    name = 'ulm_000003_000019'
    write_image(tmp_path / f'leftImg8bit/train/ulm/{name}_leftImg8bit.png')
    write_map(tmp_path / f'disparity/train/ulm/{name}_disparity.png', constant(257, np.uint16))
    write_text(tmp_path / f'camera/train/ulm/{name}_camera.json', json.dumps(camera))
    data = build_dataset({'dataset': 'cityscapes', 'root': str(tmp_path), 'split': 'train'})

    with pytest.raises(DataError, match='both positive'):
        data[0]


@pytest.mark.parametrize(('kind', 'values', 'words'), [
    ('image', np.full((4, 6, 3), 255.0), 'divide by 255'),
    ('image', np.full((4, 6, 3), np.nan), 'wanted 0 to 1'),
    ('label', np.full((4, 6), np.nan), 'whole numbers'),
    ('label', np.full((4, 6), 2.7), 'whole numbers'),
    ('depth', np.full((4, 6, 1), -2.5), 'metres'),
    ('depth', np.full((4, 6, 1), np.nan), 'metres')])
def test_arrays_out_of_range_are_refused(tmp_path, kind, values, words):
    good = {'image': np.ones((4, 6, 3)), 'label': np.zeros((4, 6)), 'depth': np.ones((4, 6, 1))}
    for name, array in {**good, kind: values}.items():
        (tmp_path / 'train' / name).mkdir(parents=True)
        np.save(tmp_path / f'train/{name}/0.npy', array)
    data = build_dataset({'dataset': 'nyu', 'root': str(tmp_path), 'split': 'train'})

    with pytest.raises(DataError, match=words):
        data[0]

    np.save(tmp_path / f'train/{kind}/0.npy', good[kind])  # the control
    assert data[0].image.max() == 255
