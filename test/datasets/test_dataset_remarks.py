# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``mtl data check`` says of files that are not wrong: order, left out, turned."""

import cv2
import numpy as np
import pytest
from dataset_trees import check, write_text
from media_inputs import save, scene, turn_jpeg, upright

from mtl_perception.datasets.folder import Folder
from mtl_perception.errors import DataError

CLASSES = 'classes: {road: [128, 64, 128], sky: [70, 130, 180]}'


def write_set(root, names, label_shape=(24, 40)):
    """Write pictures with labels of two classes, and the description of the set."""
    label = np.zeros(label_shape, np.uint8)
    label[:label_shape[0] // 2] = 1
    for number, name in enumerate(names):
        save(root / 'image' / name, scene(number))
        save(root / 'label' / f'{name.rpartition(".")[0]}.png', label)
    write_text(root / 'dataset.yaml',
               f"images: image\nsemantic: 'label/{{name}}.png'\n{CLASSES}\n")
    return root


def test_numbers_without_leading_zeros_are_in_natural_order_and_it_is_said(tmp_path, capsys):
    root = write_set(tmp_path / 'set', [f'frame{number}.png' for number in range(1, 13)])
    data = Folder(str(root))

    assert [clip[-1].stem for clip in data.clips] == [f'frame{number}' for number in range(1, 13)]
    code, said = check(root, capsys)
    assert code == 0
    assert ('frame2.png comes before frame10.png, because numbers in names are compared as '
            'numbers') in ' '.join(said.split())


def test_names_with_leading_zeros_are_not_worth_a_word(tmp_path, capsys):
    root = write_set(tmp_path / 'set', [f'{number:03d}.png' for number in range(1, 13)])

    assert 'compared as numbers' not in check(root, capsys)[1]


def test_files_that_are_no_images_are_counted_and_named(tmp_path, capsys):
    root = write_set(tmp_path / 'set', ['1.png', '2.png'])
    for name in ('a.gif', 'b.heic', 'notes.txt', '.DS_Store'):
        (root / 'image' / name).write_bytes(b'no image')

    code, said = check(root, capsys)
    assert code == 0
    assert ('3 files are left out, no image by the suffix: a.gif, b.heic, notes.txt'
            in ' '.join(said.split()))


@pytest.mark.parametrize('orientation', [3, 6])
def test_an_image_that_exif_turns_fits_its_upright_label_and_it_is_said(
        tmp_path, capsys, orientation):
    shape = upright(scene(0), orientation).shape[:2]
    root = write_set(tmp_path / 'set', ['1.jpg', '2.jpg'], shape)
    for name in ('1.jpg', '2.jpg'):
        turn_jpeg(root / 'image' / name, orientation)

    sample = Folder(str(root))[0]
    assert sample.image.shape[1:3] == sample.semantic.shape[1:] == shape
    difference = np.abs(sample.image[0].astype(int) - upright(scene(0), orientation))
    assert difference.mean() < 8

    code, said = check(root, capsys)
    assert code == 0
    assert '2 images are turned or mirrored as the EXIF data say' in ' '.join(said.split())


def test_an_image_that_exif_turns_away_from_its_label_is_refused_with_the_reason(
        tmp_path, capsys):
    root = write_set(tmp_path / 'set', ['1.jpg'])
    turn_jpeg(root / 'image' / '1.jpg', 6)

    with pytest.raises(DataError, match=r'1\.png: is 24 x 40 .*, its image 40 x 24.*EXIF'):
        Folder(str(root))[0]
    assert check(root, capsys)[0] == 3


def test_opencv_itself_turns_as_the_other_doors_do(tmp_path):
    path = turn_jpeg(save(tmp_path / '1.jpg', scene(1)), 6)
    assert cv2.imread(str(path)).shape == (40, 24, 3)
