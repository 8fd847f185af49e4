# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cityscapes."""

import json

import numpy as np
import pytest
import torch
from dataset_trees import HEIGHT, WIDTH, boxes_by_id, constant, write_image, write_map, write_text

from mtl_perception.datasets.cityscapes import LABEL_IDS, SEMANTIC, Cityscapes, draw_polygons
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.losses.depth_units import Stereo, from_metres

NAME = 'ulm_000003_000019'


def polygons(objects, height=HEIGHT, width=WIDTH):
    """Return an annotation of Cityscapes: label -> corners (x, y)."""
    return json.dumps({'imgHeight': height, 'imgWidth': width, 'objects': [
        {'label': label, 'polygon': corners} for label, corners in objects]})


@pytest.fixture
def root(tmp_path):
    """Write one annotated image with everything that belongs to it."""
    def path(kind, ending, frame=19):
        return tmp_path / kind / 'train/ulm' / f'ulm_000003_{frame:06d}_{ending}'

    write_image(path('leftImg8bit', 'leftImg8bit.png'), 19)
    for frame in range(20):
        write_image(path('leftImg8bit_sequence', 'leftImg8bit.png', frame), frame)

    ids = constant(7)
    ids[0], ids[1, :4], ids[1, 4:] = 23, 26, 4
    write_map(path('gtFine', 'gtFine_labelIds.png'), ids)
    instances = ids.astype(np.uint16)
    instances[1, :4], instances[2, 5] = 26002, 26  # a car, and one of a group
    write_map(path('gtFine', 'gtFine_instanceIds.png'), instances)

    disparity = constant(0, np.uint16)
    disparity[2, 1], disparity[2, 2] = 1, 2561  # 0 px and 10 px
    write_map(path('disparity', 'disparity.png'), disparity)
    camera = {'extrinsic': {'baseline': 0.25}, 'intrinsic': {'fx': 2000.0}}
    write_text(path('camera', 'camera.json'), json.dumps(camera))
    return tmp_path


def test_semantics_are_the_19_classes_of_the_benchmark(root):
    data = Cityscapes(str(root), 'train')
    semantic = data[0].semantic[0]
    names = data.tasks[0].classes

    assert len(names) == len(SEMANTIC.palette) == 19
    assert [names[semantic[row, 0]] for row in range(3)] == ['sky', 'car', 'road']
    assert semantic[1, 4] == 255  # static things are not evaluated

    kept = [number for name, number in LABEL_IDS.items() if name in names]
    assert kept == [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def test_the_7_categories_group_the_19_classes(root):
    data = Cityscapes(str(root), 'train', classes=7)
    semantic = data[0].semantic[0]
    names = data.tasks[0].classes

    assert [names[semantic[row, 0]] for row in range(3)] == ['sky', 'vehicle', 'flat']
    assert semantic[1, 4] == 255

    groups = {}
    for name in SEMANTIC.classes:
        write_map(root / 'gtFine/train/ulm' / f'{NAME}_gtFine_labelIds.png',
                  constant(LABEL_IDS[name]))
        groups.setdefault(names[data[0].semantic[0, 0, 0]], []).append(name)

    assert groups['object'] == ['pole', 'traffic light', 'traffic sign']
    assert groups['human'] == ['person', 'rider']
    assert groups['vehicle'] == ['car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle']
    assert [len(groups[name]) for name in names] == [2, 3, 3, 2, 1, 2, 6]
    with pytest.raises(ConfigurationError, match='classes is 21'):
        Cityscapes(str(root), 'train', classes=21)


def test_depth_comes_from_disparity_and_the_camera_of_the_image(root):
    depth = Cityscapes(str(root), 'train')[0].depth[0]
    assert depth[2, 1] == np.inf
    assert depth[2, 2] == 2000 * 0.25 / 10
    assert np.isnan(depth).sum() == HEIGHT * WIDTH - 2
    given = Cityscapes(str(root), 'train', focal_px=1000.0, baseline_m=0.25)[0].depth[0]
    assert given[2, 2] == 25.0


def test_earlier_frames_come_from_the_sequence(root):
    data = Cityscapes(str(root), 'train', frames=3, spacing=2)
    sample = data[0]

    assert sample.image[:, 0, 0, 0].tolist() == [15, 17, 19]
    assert (sample.semantic[:2] == 255).all()
    assert np.isnan(sample.depth[:2]).all()
    with pytest.raises(DataError, match='none of 1 images has the 1 earlier'):
        Cityscapes(str(root), 'train', frames=2, spacing=20)


def test_object_numbers_contain_their_label(root):
    data = Cityscapes(str(root), 'train')
    instances = data.read_instances(data.clips[0][0], (HEIGHT, WIDTH))
    assert boxes_by_id(instances) == {26002: (0, 1, 4, 2)}
    assert np.argwhere(instances < 0).tolist() == [[2, 5]]


@pytest.mark.parametrize('classes', [3, 19])
def test_boxes_stand_beside_the_19_classes_and_beside_road_sidewalk_and_void(root, classes):
    sample = Cityscapes(str(root), 'train', classes=classes)[0]
    names = Cityscapes.tasks_for(classes)[-1].classes

    (left, top, right, bottom, kind), = sample.detection[0]
    assert (left, top, right, bottom, names[int(kind)]) == (0, 1, 4, 2, 'car')


def test_road_sidewalk_and_void(root):
    data = Cityscapes(str(root), 'train', classes=3)
    names = data.tasks[0].classes
    assert names == ('road', 'sidewalk', 'void')
    assert [names[data[0].semantic[0, row, 0]] for row in range(3)] == ['void', 'void', 'road']


def test_60_20_and_20_percent_of_each_city(tmp_path):
    for folder, city, count in (('train', 'ulm', 10), ('train', 'bonn', 5), ('val', 'lindau', 5)):
        for number in range(count):
            write_image(
                tmp_path / 'leftImg8bit' / folder / city
                / f'{city}_{number:06d}_000019_leftImg8bit.png', number)

    def numbers(split):
        return [(path.parent.name, int(path.stem.split('_')[1]))
                for path, in Cityscapes(str(tmp_path), split).clips]
    assert numbers('val_20') == [('bonn', 3), ('ulm', 6), ('ulm', 7), ('lindau', 3)]
    assert numbers('test_20') == [('bonn', 4), ('ulm', 8), ('ulm', 9), ('lindau', 4)]
    assert len(numbers('train_60')) == 12
    assert not set(numbers('train_60')) & {*numbers('val_20'), *numbers('test_20')}


def test_the_stored_disparity_comes_back_whatever_the_camera_of_the_image(root):
    # xtasc_cityscapes.yaml reads every image with one camera, and learns disparity with the same
    stereo = Stereo(2262.52, 0.209313)
    depth = Cityscapes(
        str(root), 'train', focal_px=stereo.focal_px, baseline_m=stereo.baseline_m)[0].depth
    learned = from_metres(torch.from_numpy(depth), 'mtan', stereo)
    assert learned[0, 2, 2].item() == pytest.approx(10 / 256)  # 10 px were stored

    own = Cityscapes(str(root), 'train')[0].depth
    other = from_metres(torch.from_numpy(own), 'mtan', stereo)
    assert other[0, 2, 2].item() == pytest.approx(10 / 256 * 2262.52 * 0.209313 / (2000 * 0.25))


def test_polygons_are_drawn_where_label_ids_are_missing(root):
    folder = root / 'gtFine/train/ulm'
    (folder / f'{NAME}_gtFine_labelIds.png').unlink()
    square = [[2, 1], [4, 1], [4, 3], [2, 3]]
    write_text(folder / f'{NAME}_gtFine_polygons.json', polygons([
        ('road', [[0, 0], [7, 0], [7, 5], [0, 5]]), ('cargroup', square),
        ('license plate', [[0, 0], [1, 0], [1, 1]])]))
    semantic = Cityscapes(str(root), 'train')[0].semantic[0]
    expected = constant(0)
    expected[1:4, 2:5] = 13

    np.testing.assert_array_equal(semantic, expected)


@pytest.mark.parametrize(('text', 'message'), [
    ('{', 'is not an annotation'), (polygons([], HEIGHT + 1), 'is for 7 x 8'),
    (polygons([('horse', [[0, 0], [1, 0], [1, 1]])]), "label 'horse' is unknown")])
def test_a_wrong_annotation_names_itself(tmp_path, text, message):
    with pytest.raises(DataError, match=rf'a\.json: {message}'):
        draw_polygons(write_text(tmp_path / 'a.json', text), (HEIGHT, WIDTH))


def test_errors_name_the_faulty_file(root):
    data = Cityscapes(str(root), 'train')
    write_text(root / 'camera/train/ulm' / f'{NAME}_camera.json', '{"intrinsic": {}}')

    with pytest.raises(DataError, match=r'camera\.json: lacks intrinsic\.fx'):
        data[0]

    write_map(root / 'gtFine/train/ulm' / f'{NAME}_gtFine_labelIds.png', constant(34))
    with pytest.raises(DataError, match=r'labelIds\.png: label 34 .* wanted 0-33'):
        data[0]

    (root / 'gtFine/train/ulm' / f'{NAME}_gtFine_labelIds.png').unlink()
    with pytest.raises(DataError, match=r'labelIds\.png: does not exist'):
        data[0]
    with pytest.raises(DataError, match=r'leftImg8bit/val: no such folder'):
        Cityscapes(str(root), 'val')
    with pytest.raises(ConfigurationError, match="no split 'validation'"):
        Cityscapes(str(root), 'validation')


@pytest.mark.real_data
def test_recorded_cityscapes(real_data):
    data = Cityscapes(str(real_data('cityscapes')), 'train', frames=2)
    assert (len(data), len(data.incomplete)) == (3, 1)  # of one snippet there is no sequence
    assert data.clips[0][1].stem == 'aachen_000000_000019_leftImg8bit'

    sample = data[0]
    assert sample.image.shape == (2, 1024, 2048, 3)
    assert sample.depth is None

    names = data.tasks[0].classes
    looked_at = {(748, 539): 'road', (60, 1895): 'sky', (472, 689): 'car', (210, 1278): 'building'}

    assert {place: names[sample.semantic[1][place]] for place in looked_at} == looked_at
    assert (sample.semantic[0] == 255).all()

    boxes = boxes_by_id(data.read_instances(data.clips[0][1], (1024, 2048)))
    assert boxes[26010] == (609, 420, 808, 532)  # the dark car in the middle
    assert sum(number // 1000 == 26 for number in boxes) >= 8
