# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI object detection."""

import numpy as np
import pytest
from dataset_trees import constant, write_image, write_map, write_text

from mtl_perception.datasets.build import tasks_known
from mtl_perception.datasets.kitti2015 import Kitti2015
from mtl_perception.datasets.kitti_object import KittiObject
from mtl_perception.errors import ConfigurationError, DataError

CALIBRATION = """P2: 4 0 4 2 0 4 3 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 -0.25
"""
LABELS = """Van 0.00 0 1.85 1.00 2.00 4.50 5.00 1.67 1.87 3.69 -16.53 2.39 58.49 1.57
Truck 0.00 0 -1.57 0 0 3 3 2.85 2.63 12.34 0.47 1.49 69.44 -1.56
Cyclist 0.00 3 -1.65 6.00 0.00 7.00 4.00 1.86 0.60 2.02 4.59 1.32 45.84 -1.55
DontCare -1 -1 -10 5 1 5 1 -1 -1 -1 -1000 -1000 -1000 -10
"""


@pytest.fixture
def root(tmp_path):
    """Write images 3, 4 and 5 in the layout of the benchmark; 3 has no frame before."""
    folder = tmp_path / 'training'
    for number in (3, 4, 5):
        write_image(folder / f'image_2/{number:06d}.png', number)
        write_text(folder / f'label_2/{number:06d}.txt', LABELS)
        write_text(folder / f'calib/{number:06d}.txt', CALIBRATION)
        if number > 3:
            write_image(folder / f'prev_2/{number:06d}_01.png', 10 + number)
    (folder / 'velodyne').mkdir()
    (folder / 'velodyne/000003.bin').write_bytes(
        np.array([[8.25, 2, 0, 0.5]], '<f4').tobytes())
    return tmp_path


def test_boxes_of_the_three_classes_and_no_others(root):
    sample = KittiObject(str(root))[0]
    assert sample.detection[0].tolist() == [[1, 2, 4.5, 5, 0], [6, 0, 7, 4, 2]]  # a van is a car
    assert sample.semantic is None


def test_lidar_points_land_where_the_camera_sees_them(root):
    depth = KittiObject(str(root))[0].depth[0]
    # x ahead, y left: the camera has (-2, 0, 8); u = (4 * -2 + 4 * 8 + 2) / 8 = 3.25, v = 3
    assert depth[3, 3] == 8
    assert np.isfinite(depth).sum() == 1
    assert KittiObject(str(root))[1].depth is None  # no scan


def test_the_focal_length_is_that_of_the_calibration(root, tmp_path):
    data = KittiObject(str(root), frames=2)
    assert [data.focal_length(path) for path in data.clips[0]] == [4, 4]  # also of prev_2
    (root / 'training/calib/000004.txt').write_text('P2: 1 2 3')
    with pytest.raises(DataError, match=r'000004\.txt'):
        data.focal_length(data.clips[0][-1])


def test_without_a_calibration_the_focal_length_is_unknown(tmp_path):
    write_image(tmp_path / 'training/image_2/000003.png', 3)
    data = KittiObject(str(tmp_path))
    assert data.focal_length(data.clips[0][-1]) is None


def test_the_previous_frame_has_no_boxes_and_an_image_without_it_is_left_out(root):
    data = KittiObject(str(root), frames=2)
    assert [path.stem for path in data.incomplete] == ['000003']
    sample = data[0]
    assert sample.image[:, 0, 0, 0].tolist() == [14, 4]
    assert sample.detection[0, :, 4].tolist() == [-2, -2]
    assert sample.detection[1, :, 4].tolist() == [0, 2]


def test_every_fifth_image_is_held_out(root):
    def names(split):
        return [path.stem for path, in KittiObject(str(root), split).clips]
    assert names('validation') == ['000004']
    assert names('train') == ['000003', '000005']
    with pytest.raises(ConfigurationError, match="no split 'val'"):
        names('val')


@pytest.mark.parametrize('line', ['Lorry 0 0 0 1 2 3 4', 'Car 0 0 0 1 2 three 4', 'Car 0 0 0 1'])
def test_a_faulty_line_is_refused_with_its_number(root, line):
    write_text(root / 'training/label_2/000005.txt', LABELS + line)
    with pytest.raises(DataError, match=r'000005.txt: line 5 is .* unpack label_2 again'):
        KittiObject(str(root))[2]


@pytest.fixture
def semantic(tmp_path):
    """Write scene 4 with the semantic benchmark's labels beside the image."""
    folder = tmp_path / 'training'
    write_image(folder / 'image_2/000004_10.png')
    labels, objects = constant(7), constant(7 * 256, np.uint16)
    labels[2:4, 1:5], labels[0], labels[5] = 26, 23, 8
    objects[2:4, 1:3], objects[2:4, 3:5], objects[0] = 26 * 256 + 1, 26 * 256 + 2, 23 * 256
    write_map(folder / 'semantic/000004_10.png', labels)
    write_map(folder / 'instance/000004_10.png', objects)
    return tmp_path


def test_the_semantic_benchmark_labels_the_same_images(semantic):
    sample = Kitti2015(str(semantic))[0]
    assert sample.semantic[0, :, 1].tolist() == [10, 0, 13, 13, 0, 1]  # sky, road, car, sidewalk
    assert np.unique(sample.instance).tolist() == [0, 26 * 256 + 1, 26 * 256 + 2]

    car = tasks_known({'dataset': 'kitti2015'})[-1].classes.index('car')
    assert sample.detection[0].tolist() == [[1, 2, 3, 4, car], [3, 2, 5, 4, car]]

    road = Kitti2015(str(semantic), classes=3)
    assert road[0].semantic[0, :, 1].tolist() == [2, 0, 2, 2, 0, 1]
    assert [task.name for task in road.tasks] == ['semantic', 'depth', 'motion', 'detection']
    assert road[0].detection[0].tolist() == sample.detection[0].tolist()
    with pytest.raises(ConfigurationError, match='classes is 8'):
        Kitti2015(str(semantic), classes=8)


@pytest.mark.real_data
def test_recorded_kitti_object(real_data):
    data = KittiObject(str(real_data('kitti_object')))
    assert [path.stem for path, in data.clips] == ['000000', '000001']

    pedestrian, others = data[0], data[1]
    # label_2/000000.txt has one pedestrian, 8.41 m ahead
    corners = pedestrian.detection[0, 0]

    np.testing.assert_allclose(corners, [712.40, 143.00, 810.73, 307.92, 1], rtol=1e-6)

    x0, y0, x1, y1 = corners[:4].astype(int)
    inside = pedestrian.depth[0, y0:y1, x0:x1]

    assert np.nanpercentile(inside, 20) == pytest.approx(8.41, abs=0.35)
    # 000001: a truck counts for nothing, a car and a cyclist do
    assert others.detection[0, :, 4].tolist() == [0, 2]

    x0, y0, x1, y1 = others.detection[0, 0, :4].astype(int)
    inside = others.depth[0, y0:y1, x0:x1]

    assert np.abs(inside[np.isfinite(inside)] - 58.49).min() < 2.5  # the car, 3.69 m long
