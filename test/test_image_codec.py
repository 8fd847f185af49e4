# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facts about image messages: what is accepted, what it means, how the rest is refused."""

import array
import sys
import tracemalloc
import types

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from refusals import code

from mtl_perception import image_codec
from mtl_perception.errors import FrameError
from mtl_perception.image_codec import (
    LAYOUTS,
    decode_array,
    decode_image,
    image_fields,
)


@pytest.fixture(autouse=True)
def without_cv_bridge(monkeypatch):
    monkeypatch.setattr(image_codec, '_cv_bridge', lambda: None)


def message(height, width, encoding, step, data, is_bigendian=0):
    return types.SimpleNamespace(
        height=height, width=width, encoding=encoding, step=step, data=data,
        is_bigendian=is_bigendian)


def encode(rows, encoding, padding=0, big=False):
    """Return the message of an (H, W, C) array with so many bytes of rubbish behind each row."""
    rows = np.atleast_3d(rows)
    height, width = rows.shape[:2]
    flat = rows.astype(rows.dtype.newbyteorder('>' if big else '<')).reshape(height, -1)
    data = b''.join(row.tobytes() + b'\xa5' * padding for row in flat)
    return message(height, width, encoding, len(data) // height, data, int(big))


def picture(height=6, width=8, channels=3, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top, (height, width, channels), dtype, True)


# --- what is accepted ------------------------------------------------------------------------

small = st.integers(0, 5)


@given(small, small, st.integers(0, 20), st.integers(0, 120),
       st.sampled_from(['rgb8', 'mono8', '16UC1', 'rgb16', '32FC1', '8UC4']))
@example(2, 2, 8, 14, 'rgb8')
@example(2, 2, 8, 13, 'rgb8')
@settings(deadline=None, max_examples=500)
def test_an_image_is_accepted_exactly_if_every_pixel_lies_in_the_buffer(
        height, width, step, length, encoding):
    layout = LAYOUTS[encoding]
    row = width * layout.channels * np.dtype(layout.dtype).itemsize
    acceptable = (
        height > 0 and width > 0 and step >= row and length >= step * (height - 1) + row
        and length <= step * (height + 1))
    msg = message(height, width, encoding, step, bytes(length))
    if acceptable:
        assert decode_image(msg).shape == (height, width, 3)
        assert decode_array(msg).shape[:2] == (height, width)
    else:
        wanted = (
            'I02_zero_size' if not height * width else 'I01_empty' if not length else
            'I05_step' if step < row else
            'I03_short' if length < step * (height - 1) + row else 'I04_long')
        assert code(decode_image, msg) == code(decode_array, msg) == wanted


@given(st.tuples(*[st.sampled_from([0, 1, 2, 65535, 65536, 2 ** 31, 2 ** 32 - 1])] * 3),
       st.sampled_from(sorted(LAYOUTS)), st.binary(max_size=8))
@settings(deadline=None, max_examples=300)
def test_a_claim_of_any_size_is_refused_without_allocating_memory(claim, encoding, data):
    tracemalloc.start()
    try:
        msg = message(*claim[:2], encoding, claim[2], data)
        try:
            decode_image(msg)
            accepted = True
        except FrameError:
            accepted = False
        assert tracemalloc.get_traced_memory()[1] < 2 ** 20
    finally:
        tracemalloc.stop()

    assert not accepted or claim[0] * claim[1] <= 8


def test_the_limit_on_pixels_is_exact_and_can_be_set():
    msg = message(4, 5, 'mono8', 5, bytes(20))
    assert decode_image(msg, max_pixels=20).shape == (4, 5, 3)
    assert code(decode_image, msg, 19) == 'I10_too_big'
    assert code(decode_image, message(2 ** 16, 2 ** 16, 'rgb8', 0, b'x')) == 'I10_too_big'


@pytest.mark.parametrize('buffer', [
    bytes, bytearray, memoryview, lambda data: array.array('B', data),
    lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer_is_accepted_without_a_copy(buffer):
    image = picture()
    data = buffer(image.tobytes())
    decoded = decode_image(message(6, 8, 'rgb8', 24, data))
    np.testing.assert_array_equal(decoded, image)
    assert not decoded.flags.owndata
    assert np.shares_memory(decoded, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize('data', [[1, 2, 3], 'abc', None, 7])
def test_data_that_are_not_a_buffer_are_refused(data):
    assert code(decode_image, message(1, 1, 'rgb8', 3, data)) == 'I17_decode'


# --- what it means ---------------------------------------------------------------------------

@pytest.mark.parametrize('padding', range(8))
@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('encoding', sorted(LAYOUTS))
def test_neither_padding_nor_byte_order_changes_the_image(encoding, big, padding):
    layout = LAYOUTS[encoding]
    dtype = np.dtype(layout.dtype)
    rows = picture(6 * layout.planes // 2, 8, layout.channels,
                   np.uint8 if dtype.kind == 'f' else dtype)
    if dtype.kind == 'f':
        rows = (rows / 255).astype(np.float32)
    plain, odd = encode(rows, encoding), encode(rows, encoding, padding, big)
    plain.height = odd.height = 6

    np.testing.assert_array_equal(decode_image(odd), decode_image(plain))
    assert decode_image(odd).shape == (6, 8, 3)
    assert decode_image(odd).dtype == np.uint8

    if layout.planes == 2:
        np.testing.assert_array_equal(decode_array(odd), np.squeeze(rows))
        assert decode_array(odd).dtype == dtype
        assert decode_array(odd).dtype.isnative


RED, GREEN, BLUE = (250, 10, 20), (30, 240, 40), (50, 60, 230)
RGB = np.array([[RED, GREEN, BLUE]], np.uint8)


@pytest.mark.parametrize(('encoding', 'order'), [
    ('rgb8', [0, 1, 2]), ('bgr8', [2, 1, 0]), ('rgba8', [0, 1, 2, 0]), ('bgra8', [2, 1, 0, 0]),
    ('8UC3', [2, 1, 0]), ('8UC4', [2, 1, 0, 0]), ('rgb16', [0, 1, 2]), ('bgr16', [2, 1, 0]),
    ('rgba16', [0, 1, 2, 0]), ('bgra16', [2, 1, 0, 0]), ('16UC3', [2, 1, 0]),
    ('16UC4', [2, 1, 0, 0]), ('32FC3', [2, 1, 0])])
def test_colours_arrive_as_red_green_blue(encoding, order):
    pixels = RGB[..., order]
    if encoding == '32FC3':
        pixels = (pixels / 255).astype(np.float32)
    elif '16' in encoding:
        pixels = pixels.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_image(encode(pixels, encoding)), RGB)


@pytest.mark.parametrize('encoding', ['mono8', '8UC1', 'mono16', '16UC1', '32FC1'])
def test_mono_gets_three_equal_channels(encoding):
    grey = np.array([[0, 100, 255]], np.uint8)
    pixels = grey
    if encoding == '32FC1':
        pixels = (grey / 255).astype(np.float32)
    elif '16' in encoding:
        pixels = grey.astype(np.uint16) * 257

    np.testing.assert_array_equal(
        decode_image(encode(pixels, encoding)), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_bayer_pattern_gives_back_the_colour_it_was_made_of(pattern, bits):
    colour = dict(zip('rgb', RED, strict=True))
    tile = np.array([colour[letter] for letter in pattern], np.uint16).reshape(2, 2)
    mosaic = np.tile(tile, (4, 5))
    mosaic = mosaic.astype(np.uint8) if bits == 8 else mosaic * 257
    decoded = decode_image(encode(mosaic, f'bayer_{pattern}{bits}'))
    np.testing.assert_array_equal(decoded, np.broadcast_to(RED, (8, 10, 3)))


def yuv(colour):
    """Return Y, U, V of an RGB colour by ITU-R BT.601, studio range."""
    red, green, blue = (value / 255 for value in colour)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return (round(16 + 219 * luma), round(128 + 112 * (blue - luma) / 0.886),
            round(128 + 112 * (red - luma) / 0.701))


@pytest.mark.parametrize('colour', [RED, GREEN, BLUE])
@pytest.mark.parametrize('encoding', [
    'yuv422', 'uyvy', 'yuyv', 'yuv422_yuy2', 'nv12', 'nv21'])
def test_yuv_gives_back_the_colour_it_was_made_of(encoding, colour):
    y, u, v = yuv(colour)
    if encoding.startswith('nv'):
        chroma = [u, v] if encoding == 'nv12' else [v, u]
        data = bytes([y] * 24 + chroma * 6)
        msg = message(4, 6, encoding, 6, data)
    else:
        pair = [u, y, v, y] if encoding in ('yuv422', 'uyvy') else [y, u, y, v]
        msg = message(4, 6, encoding, 12, bytes(pair * 12))

    assert np.abs(decode_image(msg).astype(int) - colour).max() <= 4


def test_byte_order_is_ignored_where_a_number_is_one_byte():
    image = picture()
    for flag in (0, 1, 255):
        msg = message(6, 8, 'rgb8', 24, image.tobytes(), flag)
        np.testing.assert_array_equal(decode_image(msg), image)


@pytest.mark.parametrize(('encoding', 'dtype', 'channels'), [
    ('8SC1', 'i1', 1), ('16SC2', 'i2', 2), ('32SC1', 'i4', 1), ('32FC2', 'f4', 2),
    ('64FC3', 'f8', 3), ('8UC2', 'u1', 2), ('16UC', 'u2', 1)])
def test_arrays_of_any_opencv_type_can_be_read(encoding, dtype, channels):
    values = np.arange(-3 if dtype[0] != 'u' else 0, 40)[:12 * channels].astype(dtype)
    values = values.reshape(3, 4, channels)
    decoded = decode_array(encode(values, encoding, padding=3, big=True))
    np.testing.assert_array_equal(decoded, np.squeeze(values))
    assert decoded.dtype == np.dtype(dtype)
    assert code(decode_image, encode(values, encoding)) == 'I07_encoding'


def test_depth_keeps_its_infinities_as_an_array():
    depth = np.array([[1.5, np.inf, np.nan]], np.float32)
    np.testing.assert_array_equal(decode_array(encode(depth, '32FC1')), depth)


def test_numbers_that_are_not_finite_become_black_until_half_the_image_is_lost():
    values = np.full((4, 5), 1.0, np.float32)
    values.flat[:5] = [np.nan, np.inf, -np.inf, -0.1, 1e30]
    decoded = decode_image(encode(values, '32FC1'))[..., 0]

    np.testing.assert_array_equal(decoded.flat[:6], [0, 0, 0, 0, 0, 255])

    values.flat[:10] = np.nan
    decode_image(encode(values, '32FC1'))
    values.flat[:11] = np.nan

    assert code(decode_image, encode(values, '32FC1')) == 'I12_nonfinite'

    depth = np.linspace(2, 80, 20, dtype=np.float32).reshape(4, 5)
    assert code(decode_image, encode(depth, '32FC1')) == 'I12_nonfinite'


# --- what is refused -------------------------------------------------------------------------

# all of sensor_msgs/image_encodings.hpp
ENCODINGS = [
    *[f'{order}{bits}' for order in ('rgb', 'rgba', 'bgr', 'bgra', 'mono') for bits in (8, 16)],
    *[f'{kind}C{channels}' for kind in ('8U', '8S', '16U', '16S', '32S', '32F', '64F')
      for channels in (1, 2, 3, 4)],
    *[f'bayer_{pattern}{bits}' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
      for bits in (8, 16)],
    'uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2', 'nv12', 'nv21', 'nv24']


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_of_sensor_msgs_is_decoded_or_refused_by_name(encoding):
    msg = message(4, 4, encoding, 128, bytes(6 * 128 if encoding[:3] in ('nv1', 'nv2') else 512))
    if encoding in LAYOUTS:
        assert decode_image(msg).shape == (4, 4, 3)
    else:
        with pytest.raises(FrameError, match=encoding) as caught:
            decode_image(msg)
        assert caught.value.code == 'I07_encoding'


@given(st.one_of(st.text(), st.sampled_from(['', 'rg\0b8', 'RGB8', 'rgb8 ', '\ufffd', 'a\nb'])))
@example('x' * 2 ** 20)
@example('\U0001f600' * 100)
def test_any_other_encoding_is_refused_in_one_short_line(encoding):
    if encoding in LAYOUTS:
        return
    msg = message(1, 1, encoding, 3, b'abc')

    with pytest.raises(FrameError) as caught:
        decode_image(msg)

    text = str(caught.value)
    assert caught.value.code == 'I07_encoding'
    assert len(text) < 300
    assert text.isprintable()
    assert text.isascii()


@pytest.mark.parametrize('encoding', ['yuv422', 'yuyv', 'nv12', 'nv21'])
def test_an_odd_size_is_refused_where_pixels_share_a_colour(encoding):
    assert code(decode_image, message(4, 5, encoding, 10, bytes(60))) == 'I17_decode'
    if encoding.startswith('nv'):
        assert code(decode_image, message(5, 4, encoding, 4, bytes(30))) == 'I17_decode'


@pytest.mark.parametrize('size', [(1, 1), (2, 9), (9, 2)])
def test_a_bayer_image_too_small_for_its_pattern_is_refused(size):
    msg = message(*size, 'bayer_rggb8', size[1], bytes(size[0] * size[1]))
    assert code(decode_image, msg) == 'I17_decode'


def test_the_text_names_what_was_found_and_what_was_wanted():
    with pytest.raises(FrameError) as caught:
        decode_image(message(480, 640, 'rgb8', 1920, b'12345'))
    assert str(caught.value) == (
        '[I03_short] data has 5 bytes, wanted at least 921600 (height 480, step 1920, encoding '
        'rgb8)')


def test_cv_bridge_gets_unknown_encodings_only(monkeypatch):
    asked = []

    def imgmsg_to_cv2(msg, wanted):
        asked.append((msg.encoding, wanted))
        if msg.encoding == 'broken':
            raise TypeError('no')
        return np.full((2, 2, 3), 9, np.uint8)

    bridge = types.SimpleNamespace(imgmsg_to_cv2=imgmsg_to_cv2)
    monkeypatch.setattr(image_codec, '_cv_bridge', lambda: bridge)
    decode_image(message(2, 2, 'rgb8', 6, bytes(12)))

    assert asked == []
    assert (decode_image(message(2, 2, 'nv24', 6, bytes(12))) == 9).all()
    assert asked == [('nv24', 'rgb8')]
    assert code(decode_image, message(2, 2, 'broken', 6, bytes(12))) == 'I07_encoding'
    assert code(decode_image, message(2, 2, 'nv24', 6, bytes(3))) == 'I07_encoding'
    assert code(decode_image, message(3, 3, 'nv24', 6, bytes(18))) == 'I07_encoding'


# --- encoding --------------------------------------------------------------------------------

@pytest.mark.parametrize('encoding', sorted(
    name for name, layout in LAYOUTS.items() if layout.planes == 2 and layout.multiple == 1))
def test_encoded_arrays_decode_to_themselves(encoding):
    layout = LAYOUTS[encoding]
    values = picture(4, 5, layout.channels).astype(layout.dtype)
    values = values[..., 0] if layout.channels == 1 else values
    fields = image_fields(values, encoding)

    assert len(fields.data) == fields.height * fields.step
    assert fields.is_bigendian == (sys.byteorder == 'big' and values.itemsize > 1)
    np.testing.assert_array_equal(decode_array(fields), values)
    assert np.shares_memory(np.frombuffer(fields.data, np.uint8), values)


def test_an_array_that_is_not_contiguous_is_encoded_correctly():
    values = picture(6, 8)[::2, ::-1]
    np.testing.assert_array_equal(decode_image(image_fields(values, 'rgb8')), values)


@pytest.mark.parametrize(('values', 'encoding'), [
    (np.zeros((2, 2), np.uint8), 'rgb8'), (np.zeros((2, 2, 3), np.uint16), 'rgb8'),
    (np.zeros((2, 2), np.float64), '32FC1'), (np.zeros((1, 2, 2, 1), np.uint8), 'mono8')])
def test_an_array_that_does_not_fit_the_encoding_is_refused(values, encoding):
    with pytest.raises(ValueError, match='does not fit'):
        image_fields(values, encoding)
