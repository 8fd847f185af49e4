# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Picture files: which numbers are read, and how a wrong file is refused."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from mtl_perception.errors import DataError
from mtl_perception.media import pictures
from mtl_perception.media.pictures import read_channels, read_map, read_rgb

HEIGHT, WIDTH = 6, 8
SHAPE = (HEIGHT, WIDTH)


def picture(value=0):
    """Return an RGB image, red = value, green = column, blue = row."""
    rows, columns = np.indices(SHAPE)
    return np.stack([np.full_like(rows, value), columns, rows], axis=-1).astype(np.uint8)


def constant(value, dtype=np.uint8):
    return np.full(SHAPE, value, dtype)


def write(path, values):
    """Write (H, W) numbers or an (H, W, 3) RGB image."""
    assert cv2.imwrite(str(path), values if values.ndim == 2 else values[..., ::-1])
    return path


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
    np.testing.assert_array_equal(read_rgb(write(tmp_path / 'a.png', picture(200))), picture(200))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_map_is_read_as_it_is(tmp_path, dtype):
    values = np.arange(HEIGHT * WIDTH, dtype=dtype).reshape(SHAPE) * (5 if dtype is np.uint8 else
                                                                      1000)
    found = read_map(write(tmp_path / 'a.png', values), SHAPE)
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
    grey = write(tmp_path / 'a.png', np.repeat(constant(7)[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(read_map(grey, SHAPE), constant(7))
    with pytest.raises(DataError, match=r'b\.png: holds colours'):
        read_map(write(tmp_path / 'b.png', picture()), SHAPE)


def test_a_map_of_another_size_is_refused_with_both_sizes(tmp_path):
    path = write(tmp_path / 'a.png', constant(0))
    with pytest.raises(DataError, match=r'a\.png: is 6 x 8 .*, its image 6 x 9'):
        read_map(path, (6, 9))


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('read', [read_rgb, lambda path: read_map(path, SHAPE)])
def test_a_cut_file_names_itself(tmp_path, suffix, read):
    path = write(tmp_path / f'a{suffix}', picture())
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=rf'a\{suffix}.*truncated'):
        read(path)


@pytest.mark.parametrize('suffix', ['.bmp', '.tif', '.webp', '.ppm'])
def test_a_cut_file_of_another_kind_names_itself(tmp_path, suffix):
    path = write(tmp_path / f'a{suffix}', picture())
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(DataError, match=rf'a\{suffix}: cannot be read as an image'):
        read_rgb(path)


def test_a_jpeg_is_no_label_file_and_text_no_image(tmp_path):
    with pytest.raises(DataError, match=r'a\.jpg: is a JPEG'):
        read_map(write(tmp_path / 'a.jpg', constant(3)), SHAPE)
    (tmp_path / 'b.png').write_text('<html>not found</html>')
    with pytest.raises(DataError, match=r'b\.png: cannot be read as an image; it starts with'):
        read_rgb(tmp_path / 'b.png')
    with pytest.raises(DataError, match=r'c\.png: does not exist'):
        read_rgb(tmp_path / 'c.png')


@pytest.mark.parametrize('suffix', ['.bmp', '.tif', '.ppm', '.webp'])
def test_other_kinds_of_files_are_read_as_well(tmp_path, suffix):
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == '.webp' else []  # 101 is lossless
    cv2.imwrite(str(tmp_path / f'a{suffix}'), picture(200)[..., ::-1], options)

    np.testing.assert_array_equal(read_rgb(tmp_path / f'a{suffix}'), picture(200))


def test_sixteen_bits_are_scaled_to_eight_in_every_kind_of_file(tmp_path):
    values = np.array([[0, 257, 30000, 65535]], np.uint16)
    for suffix in ('.png', '.tif', '.pgm'):
        found = read_rgb(write(tmp_path / f'a{suffix}', values))
        assert found.tolist() == [[[0] * 3, [1] * 3, [117] * 3, [255] * 3]]


def with_orientation(content, orientation):
    """Return a JPEG with an EXIF segment that holds the orientation alone."""
    tiff = b'MM' + struct.pack('>HIHHHIHHI', 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b'Exif\0\0' + tiff
    return content[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + content[2:]


def test_an_exif_rotation_is_applied(tmp_path):
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :16, 0] = 255  # red at the top left
    path = write(tmp_path / 'photo.jpg', image)
    path.write_bytes(with_orientation(path.read_bytes(), 6))  # to be turned to the right

    upright = read_rgb(path)

    assert upright.shape == (48, 32, 3)
    assert upright[4, 28, 0] > 200
    assert upright[4, 4, 0] < 50


SUFFIXES = ('.png', '.jpg', '.bmp', '.tif', '.webp', '.pgm', '.ppm')


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_bomb_of_every_kind_is_refused_before_it_is_decoded(tmp_path, suffix, monkeypatch):
    values = picture() if suffix != '.pgm' else picture()[..., 0]
    path = write(tmp_path / f'a{suffix}', values)
    monkeypatch.setattr(pictures, 'MAX_PIXELS', HEIGHT * WIDTH)
    assert read_rgb(path).shape == (HEIGHT, WIDTH, 3)

    monkeypatch.setattr(pictures, 'MAX_PIXELS', HEIGHT * WIDTH - 1)
    monkeypatch.setattr(pictures, 'decode_picture', lambda *_, **__: pytest.fail('was decoded'))
    with pytest.raises(DataError, match=rf'a\{suffix}: claims 6 x 8 .* make a smaller copy'):
        read_rgb(path)


def test_a_file_that_claims_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.png', picture())
    monkeypatch.setattr(pictures, 'MAX_PIXELS', HEIGHT * WIDTH - 1)

    for read in (read_rgb, lambda path: read_map(path, SHAPE)):
        with pytest.raises(DataError, match=r'a\.png: claims 6 x 8 .* make a smaller copy'):
            read(path)


def test_three_channels_come_in_the_order_of_the_file(tmp_path):
    values = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint16).reshape(*SHAPE, 3) * 400

    found = read_channels(write(tmp_path / 'a.png', values), SHAPE)

    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, values)
    with pytest.raises(DataError, match=r'a\.png: has the shape \(6, 8, 3\), wanted \(6, 9, 3\)'):
        read_channels(tmp_path / 'a.png', (6, 9))


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_photo_of_48_megapixels_is_read(tmp_path, suffix):
    # the smallest file that claims so many: all of one colour
    image = np.full((6000, 8000) if suffix == '.pgm' else (6000, 8000, 3), 90, np.uint8)

    found = read_rgb(write(tmp_path / f'a{suffix}', image))
    assert found.shape == (6000, 8000, 3)
    assert abs(int(found[-1, -1, 0]) - 90) <= 2


@pytest.mark.parametrize(('content', 'kind'), [
    (b'\0\0\0\x24ftypheic' + bytes(40), 'HEIC or AVIF'), (b'GIF89a' + bytes(20), 'GIF'),
    (b'\0\0\0\x18ftypisom' + bytes(40), 'MP4')])
def test_a_picture_of_a_kind_that_is_not_read_says_what_to_do(tmp_path, content, kind):
    (tmp_path / 'IMG_1.jpg').write_bytes(content)

    with pytest.raises(DataError, match=f'looks like {kind}.*convert it to JPEG or PNG'):
        read_rgb(tmp_path / 'IMG_1.jpg')


def test_a_png_with_a_forged_size_is_refused_at_once(tmp_path):
    content = small_png(np.zeros((4, 8), np.uint8), 8, kind=0)
    body = b'IHDR' + struct.pack('>IIBBBBB', 60000, 60000, 8, 0, 0, 0, 0)
    forged = content[:12] + body + struct.pack('>I', zlib.crc32(body)) + content[33:]
    (tmp_path / 'a.png').write_bytes(forged)

    with pytest.raises(DataError, match=r'a\.png: claims 60000 x 60000'):
        read_rgb(tmp_path / 'a.png')
