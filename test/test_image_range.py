# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images of more than 8 bits: which of their numbers are black and white, and for how long."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from campaign import campaign
from hypothesis import given
from hypothesis import strategies as st

from mtl_perception.image_codec import decode_image, decode_picture, image_fields
from mtl_perception.image_range import PATIENCE, ImageRange, limits_of


def scene(low=0, high=255, seed=0, height=60, width=80):
    """Return a grey picture whose numbers rise from low to high, in a random order."""
    values = np.linspace(low, high, height * width).round().astype(np.uint16)
    return np.random.default_rng(seed).permutation(values).reshape(height, width)


def decoded(pixels, image_range=None, encoding='mono16'):
    return decode_image(image_fields(pixels, encoding), image_range=image_range)[..., 0]


@pytest.mark.parametrize('bits', [10, 12, 14, 16])
def test_a_camera_that_fills_some_of_16_bits_looks_as_one_of_8_bits(bits):
    grey = scene(5, 250)
    pixels = (grey.astype(float) * (2 ** bits - 1) / 255).round().astype(np.uint16)

    assert np.abs(decoded(pixels).astype(int) - grey).max() <= 1


@pytest.mark.parametrize('high', [250, 120, 70])
def test_a_12_bit_image_in_the_lower_or_the_upper_bits_is_the_same_picture(high):
    twelve = scene(0, 16 * high)

    lower, upper = decoded(twelve), decoded(twelve << 4)

    assert np.abs(lower.astype(int) - upper).max() <= 1


@pytest.mark.parametrize('dtype', [np.uint16, np.dtype('>u2')])
def test_a_thermal_image_fills_the_range_from_black_to_white(dtype):
    pixels = scene(7090, 8440)
    message = replace(
        image_fields(pixels, '16UC1'),
        data=memoryview(pixels.astype(dtype).tobytes()), is_bigendian=int(dtype != np.uint16))

    found = decode_image(message)[..., 0]

    assert found.min() < 40
    assert found.max() > 215
    assert (np.diff(found.ravel()[np.argsort(pixels.ravel())].astype(int)) >= 0).all()


def test_a_black_border_and_hot_pixels_do_not_change_the_range():
    plain, odd = ImageRange(), ImageRange()
    pixels = scene(7090, 8440, height=120, width=160)
    decoded(pixels, plain)
    bordered = pixels.copy()
    bordered[:10] = bordered[:, :10] = 0
    bordered[60, 80] = bordered[70, 90] = 65535
    decoded(bordered, odd)

    assert odd.limits == plain.limits


def test_colours_keep_their_ratios():
    pixels = np.zeros((40, 40, 3), np.uint16)
    pixels[:20] = (4000, 2000, 1000)
    pixels[20:] = (100, 2000, 50)

    found = decode_image(image_fields(pixels, 'rgb16'))

    assert found[0, 0].tolist() == [249, 125, 62]


@pytest.mark.parametrize('encoding', ['mono8', 'rgb8', 'bgr8', '8UC1', 'bayer_rggb8'])
def test_images_of_8_bits_are_not_touched(encoding):
    shape = (40, 60, 3) if encoding in ('rgb8', 'bgr8') else (40, 60)
    pixels = np.random.default_rng(1).integers(100, 110, shape, dtype=np.uint8)
    message = image_fields(pixels, encoding)
    image_range = ImageRange()

    np.testing.assert_array_equal(decode_image(message, image_range=image_range),
                                  decode_image(message))
    assert decode_image(message, image_range=image_range).max() < 115
    assert image_range.images == image_range.changes == 0


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_picture_files_of_16_bits_are_scaled_alike(suffix):
    pixels = scene(0, 4000)
    _, content = cv2.imencode(suffix, pixels)

    np.testing.assert_array_equal(decode_picture(content)[..., 0], decoded(pixels))


def test_a_dark_tunnel_does_not_change_the_range_at_once():
    image_range = ImageRange()
    decoded(scene(0, 4000), image_range)

    dark = [decoded(scene(0, 200, number), image_range) for number in range(PATIENCE - 1)]

    assert {picture.max() for picture in dark} == {12}
    assert image_range.changes == 0


def test_a_camera_that_stays_dark_gets_another_range_once():
    image_range = ImageRange()
    decoded(scene(0, 4000), image_range)

    for number in range(4 * PATIENCE):
        last = decoded(scene(0, 240, number), image_range)

    assert image_range.limits == (0, 255)
    assert image_range.changes == 1
    assert last.max() == 240


def test_light_after_the_tunnel_is_not_cut_off():
    image_range = ImageRange()
    decoded(scene(0, 240), image_range)

    bright = decoded(scene(0, 4000), image_range)

    assert image_range.limits == (0, 4095)
    assert (bright == 255).mean() < 0.01


def test_scenes_of_two_temperatures_in_turn_do_not_flicker():
    image_range = ImageRange()
    for number in range(300):
        low = 7000 if number % 2 else 9000
        decoded(scene(low, low + 1400, number), image_range)

    assert image_range.changes == 1
    assert image_range.limits[0] <= 7003
    assert image_range.limits[1] >= 10397


def test_small_changes_of_the_scene_leave_the_range():
    image_range = ImageRange()
    rng = np.random.default_rng(0)
    for number in range(200):
        low, high = 7000 + rng.integers(-150, 150), 8500 + rng.integers(-150, 150)
        decoded(scene(low, high, number), image_range)

    assert image_range.changes == 0


@pytest.mark.parametrize('pixels', [
    np.full((40, 60), 7300), np.zeros((40, 60)),
    7300 + np.random.default_rng(0).normal(0, 8, (40, 60)),
    64 + np.random.default_rng(0).normal(0, 3, (40, 60)),
    16 * (64 + np.random.default_rng(0).normal(0, 3, (40, 60)).round())],
    ids=['one number', 'zeros', 'noise of a thermal camera', 'noise of a 12-bit camera',
         'noise in the upper bits'])
def test_a_covered_lens_is_counted_and_its_noise_stays_invisible(pixels):
    image_range = ImageRange()

    found = decoded(pixels.round().astype(np.uint16), image_range)

    assert image_range.faint == 1
    assert int(found.max()) - int(found.min()) < 32


def test_a_shutter_that_closes_for_a_moment_leaves_the_range():
    image_range = ImageRange()
    decoded(scene(7090, 8440), image_range)
    before = image_range.limits
    decoded(np.full((60, 80), 9000, np.uint16), image_range)
    decoded(scene(7090, 8440), image_range)

    assert image_range.limits == before
    assert (image_range.faint, image_range.changes, image_range.images) == (1, 0, 3)


def test_a_range_that_is_set_never_changes():
    image_range = ImageRange((7000, 8000))
    found = decoded(np.uint16([[0, 7000, 7500, 8000, 65535]] * 5), image_range)
    decoded(scene(0, 60000), image_range)
    image_range.forget()

    assert found[0].tolist() == [0, 0, 128, 255, 255]
    assert (image_range.limits, image_range.changes) == ((7000, 8000), 0)


@pytest.mark.parametrize('shape', [(4, 1), (1, 4), (4, 4), (1, 1), (4, 1, 3), (5, 7, 3)])
def test_images_of_few_pixels_are_scaled_as_large_ones(shape):
    pixels = np.random.default_rng(0).integers(6900, 8100, shape).astype(np.uint16)
    wanted = np.rint(np.clip((pixels - 7000.0) * 255 / 1000, 0, 255))

    found = ImageRange((7000, 8000)).eight_bits(pixels)

    assert found.shape == shape
    assert np.abs(found - wanted).max() <= 1


def test_another_stream_begins_again():
    image_range = ImageRange()
    decoded(scene(0, 60000), image_range)
    image_range.forget()

    np.testing.assert_array_equal(decoded(scene(0, 4000), image_range), decoded(scene(0, 4000)))


def test_another_range_says_whether_brightness_changes():
    image_range = ImageRange()
    assert not image_range.use((0, 4095))  # there was no image
    decoded(scene(0, 4000), image_range)
    assert not image_range.use((0, 4095))
    assert image_range.use((0, 8191))
    assert decoded(np.full((9, 9), 8191, np.uint16), image_range).max() == 255

    assert image_range.use(None)
    assert image_range.text() == 'auto'
    np.testing.assert_array_equal(decoded(scene(0, 4000), image_range), decoded(scene(0, 4000)))
    assert image_range.limits == (0, 4095)
    assert not image_range.use((0, 4095))  # what was found is what is set
    decoded(scene(0, 60000), image_range)
    assert image_range.limits == (0, 4095)


@pytest.mark.parametrize(('given', 'wanted'), [
    ('auto', None), ('7000,8600', (7000, 8600)), ('[7000, 8600]', (7000, 8600)),
    ([7000, 8600], (7000, 8600)), (' 0 4095 ', (0, 4095))])
def test_ranges_that_may_be_given(given, wanted):
    assert limits_of(given) == wanted


@pytest.mark.parametrize('given', [
    '', 'none', '7000', '8600,7000', '5,5', '0,65536', '-5,20', '1.5,20', [1, 2, 3], [], None, 7,
    [True, 'x'], ['a', 'b'], {'low': 1}])
def test_ranges_that_are_refused_with_what_is_wanted(given):
    with pytest.raises(ValueError, match=r'wanted auto, or the numbers of black and white'):
        limits_of(given)


BANDS = st.tuples(
    st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([0, 0, 2, 4, 8]),
    st.integers(1, 60))


@campaign(0.5)
@given(bands=st.lists(BANDS, min_size=1, max_size=6), shape=st.sampled_from(
    [(1, 1), (4, 1), (9, 7), (5, 4, 3), (40, 60)]))
def test_a_stream_of_anything_keeps_the_order_of_its_numbers_and_never_flickers(bands, shape):
    image_range = ImageRange()
    rng = np.random.default_rng(len(bands))
    sent = 0
    for first, second, shift, count in bands:
        low, high = sorted((first, second))
        for _ in range(count):
            pixels = (rng.integers(low, high + 1, shape) >> shift << shift).astype(np.uint16)
            found = image_range.eight_bits(pixels)
            sent += 1

            assert (found.dtype, found.shape) == (np.uint8, shape)
            assert (np.diff(found.ravel()[np.argsort(pixels, None)].astype(int)) >= 0).all()

    # It may grow from 8 to 16 bits after each time that it shrank, and not more often.
    steps = 12
    assert image_range.images == sent
    assert image_range.faint <= sent
    assert image_range.changes <= steps * (1 + sent // PATIENCE)
