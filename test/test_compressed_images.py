# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facts about JPEG and PNG messages: what is decoded, how damage and bombs are refused."""

import struct
import time
import tracemalloc
import types
import zlib

import cv2
import numpy as np
import pytest
from refusals import code

from mtl_perception.compressed_header import read_header
from mtl_perception.errors import FrameError
from mtl_perception.image_codec import decode_compressed, decode_image, image_fields


def compressed(data, kind='jpeg'):
    return types.SimpleNamespace(format=kind, data=data)


PHOTO = cv2.resize(np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8), (64, 48))


def jpeg(*settings_, image=PHOTO):
    return cv2.imencode('.jpg', image[..., ::-1], settings_)[1].tobytes()


def png(image=PHOTO):
    return cv2.imencode('.png', image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def test_a_png_gives_back_its_pixels_and_a_jpeg_nearly():
    np.testing.assert_array_equal(decode_compressed(compressed(png())), PHOTO)
    for options in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)):
        decoded = decode_compressed(compressed(jpeg(cv2.IMWRITE_JPEG_QUALITY, 95, *options)))
        assert np.abs(decoded.astype(int) - PHOTO).mean() < 4


def test_mono_and_alpha_become_three_channels():
    grey = PHOTO[..., 0]
    np.testing.assert_array_equal(
        decode_compressed(compressed(png(grey))), np.stack([grey] * 3, -1))
    alpha = cv2.imencode('.png', np.dstack([PHOTO[..., ::-1], grey]))[1].tobytes()
    np.testing.assert_array_equal(decode_compressed(compressed(alpha)), PHOTO)


def test_16_bits_are_scaled_to_8_as_in_messages_without_compression():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    file = cv2.imencode('.png', values)[1].tobytes()
    raw = types.SimpleNamespace(**vars(image_fields(values, 'mono16')))

    np.testing.assert_array_equal(decode_compressed(compressed(file)), decode_image(raw))


@pytest.mark.parametrize('claimed', [
    '', 'jpeg', 'png', 'rgb8; jpeg compressed bgr8', '16UC1; compressedDepth'])
@pytest.mark.parametrize('file', ['jpeg', 'png', 'gif', 'depth', 'text'])
def test_the_content_decides_and_not_the_format_field(file, claimed):
    data = {'jpeg': jpeg(), 'png': png(), 'gif': b'GIF89a' + bytes(40),
            'depth': bytes(12) + png(), 'text': b'hello, world'}[file]
    if file in ('jpeg', 'png'):
        assert decode_compressed(compressed(data, claimed)).shape == PHOTO.shape
    else:
        assert code(decode_compressed, compressed(data, claimed)) == 'I19_format'


@pytest.mark.parametrize('data', [jpeg(), jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), png()])
def test_a_truncated_file_is_refused_wherever_it_ends(data):
    for length in sorted({len(data) * part // 64 for part in range(64)}):
        found = code(decode_compressed, compressed(data[:length]))
        assert found == (
            'I01_empty' if not length else 'I19_format' if length < 8 and data[:1] == b'\x89'
            else 'I17_decode'), length
        if length > 8:  # whatever OpenCV would make of it, some versions fill up with grey
            assert code(read_header, np.frombuffer(data[:length], np.uint8)) == 'I17_decode'


def test_bytes_behind_the_end_of_a_jpeg_are_ignored():
    assert decode_compressed(compressed(jpeg() + bytes(100))).shape == PHOTO.shape


def chunk(kind, content):
    return (struct.pack('>I', len(content)) + kind + content
            + struct.pack('>I', zlib.crc32(kind + content)))


def test_a_bomb_is_refused_at_once():
    header = struct.pack('>IIBBBBB', 12000, 12000, 8, 2, 0, 0, 0)
    bomb = b'\x89PNG\r\n\x1a\n' + b''.join([
        chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(bytes(1000))), chunk(b'IEND', b'')])
    forged = bytearray(jpeg())
    at = forged.index(b'\xff\xc0')
    forged[at + 5:at + 9] = b'\xff\xff\xff\xff'
    for data in (bomb, bytes(forged)):
        tracemalloc.start()
        start = time.perf_counter()
        assert code(decode_compressed, compressed(data)) == 'I10_too_big'
        assert time.perf_counter() - start < 0.05
        assert tracemalloc.get_traced_memory()[1] < 2 ** 20
        tracemalloc.stop()


def test_a_file_without_pixels_is_refused():
    empty = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 0, 5, 8, 2, 0, 0, 0))
    assert code(decode_compressed, compressed(empty + chunk(b'IEND', b''))) == 'I02_zero_size'


@pytest.mark.parametrize('data', [jpeg(), png()], ids=['jpeg', 'png'])
def test_damaged_files_raise_nothing_but_frame_errors(data, capfd):
    random = np.random.default_rng(0)
    codes = []
    for _ in range(1500):
        mutated = bytearray(data)
        for _ in range(random.integers(1, 4)):
            mutated[random.integers(len(mutated))] = random.integers(256)

        try:
            image = decode_compressed(compressed(bytes(mutated)), max_pixels=10 ** 5)
            assert image.dtype == np.uint8
            assert image.shape[2] == 3
            codes += ['decoded'] if bytes(mutated) != data else []
        except FrameError as error:
            codes.append(error.code[:3])

    assert {'I02', 'I10', 'I17', 'I19', 'decoded'} >= set(codes)
    # A PNG has checksums; most damaged JPEG files still look like a JPEG.
    assert ('decoded' in codes) == (data[:1] == b'\xff')
    capfd.readouterr()  # what OpenCV prints


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('kind', ['.png', '.jpg'])
def test_a_compressed_bayer_pattern_gets_its_colours(pattern, kind):
    colour = {'r': 200, 'g': 120, 'b': 40}
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (16, 16))
    data = cv2.imencode(kind, mosaic, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    form = f'bayer_{pattern}8; {kind[1:]} compressed '

    found = decode_compressed(compressed(data, form))[4:-4, 4:-4]

    assert np.abs(found.reshape(-1, 3).mean(0) - [200, 120, 40]).max() < 3


def test_a_bayer_camera_whose_compressed_images_have_colours_already_keeps_them():
    form = 'bayer_rggb8; png compressed bgr8'

    np.testing.assert_array_equal(decode_compressed(compressed(png(), form)), PHOTO)
