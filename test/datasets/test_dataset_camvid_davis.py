# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CamVid and DAVIS."""

import numpy as np
import pytest
from dataset_trees import HEIGHT, WIDTH, constant, write_image, write_map, write_text

from mtl_perception.datasets.camvid import CamVid
from mtl_perception.datasets.davis import Davis
from mtl_perception.errors import ConfigurationError, DataError


@pytest.fixture
def camvid(tmp_path):
    """Write two neighbours of one drive and an image of another in the layout of CamVid."""
    for number, name in enumerate(('0016E5_07959', '0016E5_07961', '0001TP_006690')):
        write_image(tmp_path / 'val' / f'{name}.png', number)
        write_map(tmp_path / 'valannot' / f'{name}.png', constant(number + 9))
    return tmp_path


@pytest.fixture
def davis(tmp_path):
    """Write two sequences of two images in the layout of DAVIS."""
    for sequence in ('bear', 'swan'):
        for number in range(2):
            write_image(tmp_path / f'JPEGImages/480p/{sequence}/{number:05d}.jpg')
            mask = constant(0)
            mask[2, number] = 255
            write_map(tmp_path / f'Annotations/480p/{sequence}/{number:05d}.png', mask)
    write_text(tmp_path / 'ImageSets/480p/val.txt', ''.join(
        f'/JPEGImages/480p/swan/0000{n}.jpg /Annotations/480p/swan/0000{n}.png\n' for n in (0, 1)))
    return tmp_path


def test_camvid_keeps_its_11_classes_and_marks_the_twelfth_as_unlabelled(camvid):
    data = CamVid(str(camvid), 'val')
    assert [path.stem for path, in data.clips] == ['0001TP_006690', '0016E5_07959', '0016E5_07961']
    assert [int(data[index].semantic[0, 0, 0]) for index in range(3)] == [255, 9, 10]
    assert data.tasks[0].classes[9:] == ('pedestrian', 'bicyclist')


def test_camvid_pairs_neighbours_of_a_drive_with_both_labels(camvid):
    data = CamVid(str(camvid), 'val', frames=2)
    assert len(data) == 1
    assert [path.stem for path in data.incomplete] == ['0001TP_006690', '0016E5_07959']

    sample = data[0]
    assert sample.image.shape == (2, HEIGHT, WIDTH, 3)
    assert sample.image[:, 0, 0, 0].tolist() == [0, 1]
    assert sample.semantic[:, 0, 0].tolist() == [9, 10]
    assert sample.depth is sample.motion is None


def test_camvid_errors_name_the_faulty_file(camvid):
    data = CamVid(str(camvid), 'val')
    write_map(camvid / 'valannot' / '0016E5_07959.png', constant(12))

    with pytest.raises(DataError, match=r'0016E5_07959\.png: label 12 .* wanted 0-11'):
        data[1]

    (camvid / 'valannot' / '0016E5_07961.png').unlink()
    with pytest.raises(DataError, match=r'0016E5_07961\.png: does not exist'):
        data[2]


def test_camvid_refuses_missing_folders_and_unknown_splits(camvid):
    with pytest.raises(ConfigurationError, match="no split 'validation'"):
        CamVid(str(camvid), 'validation')
    with pytest.raises(DataError, match='trainannot: no such folder'):
        CamVid(str(camvid), 'train')
    with pytest.raises(DataError, match='none of 3 images has the 1 earlier'):
        CamVid(str(camvid), 'val', frames=2, spacing=30)
    with pytest.raises(ConfigurationError, match='frames is 0'):
        CamVid(str(camvid), 'val', frames=0)


def test_a_clip_with_images_of_two_sizes_is_refused(camvid):
    write_image(camvid / 'val' / '0016E5_07959.png', 0, HEIGHT + 2)
    with pytest.raises(DataError, match=r'07959\.png: is 8 x 8 .*07961.* 6 x 8'):
        CamVid(str(camvid), 'val', frames=2)[0]


def test_davis_labels_moving_pixels_in_every_frame(davis):
    data = Davis(str(davis), frames=2)
    assert len(data) == len(data.incomplete) == 2
    sample = data[1]
    assert sample.motion.sum() == 2
    assert sample.motion[0, 2, 0] == sample.motion[1, 2, 1] == 1
    assert sample.semantic is None


def test_davis_takes_a_list_or_named_sequences(davis):
    assert {path.parent.name for path, in Davis(str(davis), 'val').clips} == {'swan'}
    assert {path.parent.name for path, in Davis(str(davis), sequences=['bear']).clips} == {'bear'}
    with pytest.raises(DataError, match=r"no sequence 'camel'; there are \['bear', 'swan'\]"):
        Davis(str(davis), sequences=['camel'])
    with pytest.raises(DataError, match=r'ImageSets/480p/train\.txt: does not exist'):
        Davis(str(davis), 'train')

    write_text(davis / 'ImageSets/480p/train.txt', 'bear\ncamel\n')
    with pytest.raises(DataError, match="no sequence 'camel'"):
        Davis(str(davis), 'train')
    with pytest.raises(DataError, match='asked for hold no image'):
        Davis(str(davis), 'val', sequences=['bear'])


def test_davis_refuses_a_mask_of_greys(davis):
    write_map(davis / 'Annotations/480p/bear/00000.png', constant(128))
    with pytest.raises(DataError, match=r'bear/00000\.png: label 128 .* wanted 0-20, 255'):
        Davis(str(davis))[0]


@pytest.mark.real_data
def test_recorded_camvid(real_data):
    root = str(real_data('camvid') / 'CamVid')
    train, val = CamVid(root, 'train'), CamVid(root, 'val', frames=2)

    assert len(train) == 231
    assert (len(val), len(val.incomplete)) == (100, 1)  # 101 frames without a gap

    first = CamVid(root, 'val')[0]
    assert first.image.shape == (1, 360, 480, 3)

    names = val.tasks[0].classes
    looked_at = {(60, 260): 'sky', (37, 0): 'building', (300, 250): 'road', (318, 1): 'pavement',
                 (31, 479): 'tree', (210, 379): 'car', (186, 465): 'pedestrian',
                 (178, 245): 'bicyclist'}

    assert {place: names[first.semantic[0][place]] for place in looked_at} == looked_at
    np.testing.assert_array_equal(val[0].image[0], first.image[0])


@pytest.mark.real_data
def test_recorded_davis(real_data):
    data = Davis(str(real_data('davis')), frames=2)
    assert (len(data), len(data.incomplete)) == (24, 1)

    sample = data[9]
    assert data.clips[9][1].stem == '00010'
    assert sample.motion[1, 194, 470] == 1  # the side of the car
    assert sample.motion[1, 20, 20] == 0
    assert int((sample.motion[1] == 1).sum()) == 31960
