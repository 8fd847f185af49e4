# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import struct
import zlib

import cv2
import numpy as np
import pytest
from dataset_trees import HEIGHT, WIDTH, constant, picture, write_image, write_map

from mtl_perception.datasets.files import (
    find_earlier,
    images_in,
    ranges,
    read_map,
    read_rgb,
    to_ids,
)
from mtl_perception.datasets.geometry import (
    cityscapes_disparity,
    depth_from_disparity,
    kitti_disparity,
    project_points,
    read_scan,
)
from mtl_perception.errors import DataError

SHAPE = (HEIGHT, WIDTH)


def small_png(indices, bits, kind=3):
    """Return a PNG with a palette of colours that are not the indices, or (kind 0) a grey one."""
    def chunk(kind, body):
        content = kind + body
        return struct.pack('>I', len(body)) + content + struct.pack('>I', zlib.crc32(content))

    height, width = indices.shape
    expanded = np.unpackbits(indices[:, :, None], axis=2)[:, :, -bits:].reshape(height, -1)
    rows = b''.join(b'\0' + np.packbits(row).tobytes() for row in expanded)
    palette = bytes(reversed(range(3 * 2 ** bits % 256 or 256)))
    return (b'\x89PNG\r\n\x1a\n'
            + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, 0))
            + (chunk(b'PLTE', palette[:3 * (len(palette) // 3)]) if kind else b'')
            + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def test_an_image_is_read_as_rgb(tmp_path):
    np.testing.assert_array_equal(read_rgb(write_image(tmp_path / 'a.png', 200)), picture(200))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_map_is_read_as_it_is(tmp_path, dtype):
    values = np.arange(HEIGHT * WIDTH, dtype=dtype).reshape(SHAPE) * (5 if dtype is np.uint8 else
                                                                      1000)
    found = read_map(write_map(tmp_path / 'a.png', values), SHAPE)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_of_few_bits_or_a_palette_the_numbers_are_read_and_not_the_colours(tmp_path, bits):
    indices = (np.arange(HEIGHT * WIDTH).reshape(SHAPE) % 2 ** bits).astype(np.uint8)
    path = tmp_path / 'a.png'
    path.write_bytes(small_png(indices, bits, kind=0))
    np.testing.assert_array_equal(read_map(path, SHAPE), indices)
    path.write_bytes(small_png(indices, bits))
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 3  # OpenCV alone gives colours
    np.testing.assert_array_equal(read_map(path, SHAPE), indices)


def test_a_grey_map_saved_with_channels_is_read_and_a_coloured_one_refused(tmp_path):
    grey = write_map(tmp_path / 'a.png', np.repeat(constant(7)[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(read_map(grey, SHAPE), constant(7))
    with pytest.raises(DataError, match=r'b\.png: holds colours'):
        read_map(write_image(tmp_path / 'b.png'), SHAPE)


def test_a_map_of_another_size_is_refused_with_both_sizes(tmp_path):
    path = write_map(tmp_path / 'a.png', constant(0))
    with pytest.raises(DataError, match=r'a\.png: is 6 x 8 .*, its image 6 x 9'):
        read_map(path, (6, 9))


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('read', [read_rgb, lambda path: read_map(path, SHAPE)])
def test_a_cut_file_names_itself(tmp_path, suffix, read):
    path = write_image(tmp_path / f'a{suffix}')
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=rf'a\{suffix}.*truncated'):
        read(path)


def test_a_jpeg_is_no_label_file_and_text_no_image(tmp_path):
    with pytest.raises(DataError, match=r'a\.jpg: is a JPEG'):
        read_map(write_map(tmp_path / 'a.jpg', constant(3)), SHAPE)
    (tmp_path / 'b.png').write_text('<html>not found</html>')
    with pytest.raises(DataError, match=r'b\.png.*neither JPEG nor PNG'):
        read_rgb(tmp_path / 'b.png')
    with pytest.raises(DataError, match=r'c\.png: does not exist'):
        read_rgb(tmp_path / 'c.png')


def test_a_label_that_means_nothing_is_refused_with_its_place(tmp_path):
    values = constant(3)
    values[4, 5] = values[5, 0] = 77
    with pytest.raises(DataError, match=r'a\.png: label 77 at row 4, column 5 \(and 1 more wrong '
                                        r'pixels\) is none of 0-4, 255'):
        to_ids(values, {**{number: number for number in range(5)}, 255: 255}, tmp_path / 'a.png')


def test_numbers_are_shown_as_ranges():
    assert ranges([255, 3, 0, 1, 2, 7, 8]) == '0-3, 7-8, 255'


def test_a_missing_folder_names_itself_and_what_is_there_instead(tmp_path):
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
