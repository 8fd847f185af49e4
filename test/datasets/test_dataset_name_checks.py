# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the numbers of each data set mean, by the published lists."""

from dataset_trees import constant, write_image, write_map

from mtl_perception.datasets import camvid, nyu, synthia, woodscape
from mtl_perception.datasets.build import build_dataset


def test_the_classes_of_camvid_are_the_11_of_segnet():
    assert camvid.SEMANTIC.classes == (
        'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign_symbol', 'fence', 'car',
        'pedestrian', 'bicyclist')


def test_the_classes_of_nyu_are_the_13_of_couprie_et_al():
    assert nyu.SEMANTIC.classes == (
        'bed', 'books', 'ceiling', 'chair', 'floor', 'furniture', 'objects', 'picture', 'sofa',
        'table', 'tv', 'wall', 'window')


def test_the_classes_of_synthia_are_the_13_of_the_sequences():
    assert synthia.SEMANTIC.classes == (
        'misc', 'sky', 'building', 'road', 'sidewalk', 'fence', 'vegetation', 'pole', 'car',
        'traffic sign', 'pedestrian', 'bicycle', 'lane marking')


def test_the_classes_of_woodscape_are_the_10_of_its_masks_and_the_5_of_its_boxes():
    assert woodscape.SEMANTIC.classes == (
        'void', 'road', 'lane marking', 'curb', 'person', 'rider', 'vehicle', 'bicycle',
        'motorcycle', 'traffic sign')
    assert woodscape.DETECTION.classes == (
        'vehicle', 'person', 'bicycle', 'traffic light', 'traffic sign')


def test_earlier_images_are_those_with_smaller_numbers(tmp_path):
    for number in (8, 9, 10):
        write_image(tmp_path / f'training/image_2/000003_{number:02d}.png', number)
    data = build_dataset({'dataset': 'kitti2015', 'root': str(tmp_path), 'frames': 3})

    assert [int(path.stem[-2:]) for path in data.clips[0]] == [8, 9, 10]

    name = 'bochum_000000_{:06d}_leftImg8bit.png'  # not every snippet is labelled at frame 19
    write_image(tmp_path / f'leftImg8bit/train/bochum/{name.format(313)}')
    write_map(tmp_path / 'gtFine/train/bochum/bochum_000000_000313_gtFine_labelIds.png',
              constant(7))
    for number in range(305, 314):
        write_image(tmp_path / f'leftImg8bit_sequence/train/bochum/{name.format(number)}')
    data = build_dataset({
        'dataset': 'cityscapes', 'root': str(tmp_path), 'split': 'train', 'frames': 3,
        'spacing': 4})

    assert [path.name for path in data.clips[0]] == [
        name.format(number) for number in (305, 309, 313)]
