# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label numbers, folders, earlier images, and depth from disparity or lidar points."""

from pathlib import Path

import numpy as np
import pytest
from dataset_trees import HEIGHT, WIDTH, constant, write_image

from mtl_perception.datasets.clips import drives_of
from mtl_perception.datasets.files import find_earlier, images_in, ranges, to_ids
from mtl_perception.datasets.geometry import (
    cityscapes_disparity,
    depth_from_disparity,
    kitti_disparity,
    project_points,
    read_scan,
)
from mtl_perception.errors import DataError

SHAPE = (HEIGHT, WIDTH)


def test_an_unknown_label_number_is_refused_with_its_pixel(tmp_path):
    values = constant(3)
    values[4, 5] = values[5, 0] = 77
    with pytest.raises(DataError, match=r'a\.png: label 77 at row 4, column 5 \(and 1 more wrong '
                                        r'pixels\) is unknown, wanted 0-4, 255'):
        to_ids(values, {**{number: number for number in range(5)}, 255: 255}, tmp_path / 'a.png')


def test_numbers_are_shown_as_ranges():
    assert ranges([255, 3, 0, 1, 2, 7, 8]) == '0-3, 7-8, 255'


def test_a_missing_folder_is_refused_with_the_contents_of_its_parent(tmp_path):
    (tmp_path / 'CamVid').mkdir()
    with pytest.raises(DataError, match=r'train: no such folder; .* holds \[.CamVid.\]'):
        images_in(tmp_path / 'train')
    with pytest.raises(DataError, match='no image'):
        images_in(tmp_path / 'CamVid')


def test_the_earlier_image_is_found_by_its_number(tmp_path):
    for name in ('a_0008.jpg', 'a_0010.png', 'b_0009.png', 'a_10.png'):
        write_image(tmp_path / name)
    image = tmp_path / 'a_0010.png'

    assert find_earlier(image, 2) == tmp_path / 'a_0008.jpg'
    assert find_earlier(image, 1) is None  # b_0009 is of another drive
    assert find_earlier(image, 11) is None
    assert find_earlier(tmp_path / 'unnumbered.png', 1) is None


def test_kitti_stores_256_steps_per_pixel_and_cityscapes_one_step_more():
    stored = np.array([[0, 1, 256, 2561]], np.uint16)
    np.testing.assert_array_equal(kitti_disparity(stored), [[np.nan, 1 / 256, 1, 2561 / 256]])
    np.testing.assert_array_equal(cityscapes_disparity(stored), [[np.nan, 0, 255 / 256, 10]])


def test_depth_is_focal_length_times_baseline_over_disparity():
    depth = depth_from_disparity(np.array([[50.0, 0.0, np.nan]]), 700.0, 0.5)
    np.testing.assert_array_equal(depth, np.array([[7, np.inf, np.nan]], np.float32))


def test_zoom_multiplies_disparity_and_focal_length_and_leaves_depth():
    disparity = np.linspace(1, 90, 20)
    for zoom in (0.5, 1.5):
        np.testing.assert_allclose(
            depth_from_disparity(zoom * disparity, zoom * 700.0, 0.5),
            depth_from_disparity(disparity, 700.0, 0.5), rtol=1e-6)


def test_points_land_where_a_pinhole_sees_them_and_the_nearest_wins():
    # lidar axes: x ahead, y left, z up; a camera of 10 px focal length looking along x
    projection = np.array([[10, 0, 4, 0], [0, 10, 3, 0], [0, 0, 1, 0]], float) @ np.array(
        [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    points = np.array([
        [20, 2, 2, 0], [5, 0.5, 0.5, 0], [50, 0, 0, 0], [-5, 0, 0, 0], [1, 5, 0, 0]])[:, :3]
    depth = project_points(points, projection, (HEIGHT, WIDTH))

    assert depth[2, 3] == 5.0  # the first two share the pixel
    assert depth[3, 4] == 50.0
    assert np.isfinite(depth).sum() == 2  # behind the camera and beside the image: nowhere


def test_a_cut_scan_names_itself(tmp_path):
    path = tmp_path / '0000000000.bin'
    path.write_bytes(np.arange(8, dtype='<f4').tobytes())
    np.testing.assert_array_equal(read_scan(path), [[0, 1, 2], [4, 5, 6]])
    path.write_bytes(bytes(30))
    with pytest.raises(DataError, match=r'0000000000\.bin: has 30 bytes'):
        read_scan(path)


def test_images_are_of_one_drive_by_their_folder_and_the_name_before_the_number():
    def drives(*names):
        return drives_of([Path(name) for name in names])
    assert drives('a/1.png', 'a/2.png', 'b/1.png') == [
        (Path('a'), ''), (Path('a'), ''), (Path('b'), '')]
    assert len(set(drives('x/0001TP_006690.png', 'x/0001TP_006720.png', 'x/Seq05_01.png'))) == 2
    assert drives('a/1.png', 'a/2.png') == [None, None]  # nothing tells them apart
    assert drives_of([Path('a/1.png'), Path('a/2.png')], filmed=True) == [(Path('a'), '')] * 2
