# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Picture files: colours as RGB, and the numbers of label and depth files unchanged."""

import importlib
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.compressed_header import JPEG, OTHER_KINDS, PNG, read_header
from mtl_perception.errors import DataError, FrameError
from mtl_perception.image_codec import MAX_PIXELS, decode_picture
from mtl_perception.image_range import ImageRange
from mtl_perception.media.picture_headers import size_of

SAMPLED = 32
"""So many images show the range of a set's 16-bit images."""

_PNG_BITS, _PNG_COLOUR_TYPE = 24, 25
"""Offsets of two bytes in the header of a PNG."""
_PHONES = (b'heic', b'heix', b'mif1', b'msf1', b'avif')
"""Brands of the containers that phones store pictures in."""
_PALETTE = 3
"""Colour type of a PNG whose pixels are indices into a palette."""


def read_rgb(path: Path, image_range: ImageRange | None = None) -> NDArray[np.uint8]:
    """
    Return the picture in an image file, upright; its content tells the kind, not its suffix.

    Grey pictures get three equal channels, alpha is dropped, 16 bits are scaled to 8 by the range
    that they use. A rotation in EXIF data is applied, as viewers do. The size is checked before a
    pixel is decoded.

    :param path: the file.
    :param image_range: of the 16-bit pictures of a folder; None takes that of this picture.
    :return: (H, W, 3) uint8 RGB.
    :raises DataError: naming the file, if it is missing, cut, damaged, huge or of another kind.
    """
    content = read_bytes(path)
    data = np.frombuffer(content, np.uint8)

    # Some versions of OpenCV fill a cut JPEG with grey; cut files of other kinds they refuse.
    if content.startswith((JPEG, PNG)):
        _check_header(path, data)
    elif (size := size_of(content)) is None:
        raise _no_picture(path, content)
    else:
        _check_pixels(path, *size)

    try:
        return decode_picture(data, upright=True, image_range=image_range)
    except FrameError as error:
        if content.startswith((JPEG, PNG)):
            raise DataError(f'{path}: {error}; copy or unpack the file again') from error
        raise _no_picture(path, content) from error


def show_some(images: Sequence[Path], image_range: ImageRange) -> None:
    """Read some pictures of a set through a range, so that it fits all of them."""
    for image in images[::max(1, -(-len(images) // SAMPLED))]:
        with suppress(DataError):  # a faulty file is an error of its own
            read_rgb(image, image_range)


def read_map(
        path: Path, shape: tuple[int, int] | None, wanted_bits: int = 0) -> NDArray[Any]:
    """
    Return the numbers in a PNG of one channel: labels, disparity, depth.

    Of a PNG with a palette these are the places in the palette, not the colours. Of a grey picture
    that was saved with colour channels it is the one value that they share.

    :param path: the file.
    :param shape: (H, W) of the image that it belongs to; None takes any.
    :param wanted_bits: 16 if the numbers need them: a file with fewer was saved by a program that
        cut its numbers. 0 takes any.
    :return: (H, W) uint8 or uint16.
    :raises DataError: naming the file, if it is missing, damaged, coloured or of another size or
        depth.
    """
    content = read_bytes(path)
    _check_header(path, np.frombuffer(content, np.uint8))
    if not content.startswith(PNG):
        raise DataError(
            f'{path}: is a JPEG, which changes numbers; labels and depth have to be a PNG')
    values = _one_channel(path, content)

    if shape is not None and values.shape != shape:
        raise DataError(
            f'{path}: is {values.shape[0]} x {values.shape[1]} (height x width), its image '
            f'{shape[0]} x {shape[1]}; they must have the same size' + (
                '. An image is turned as its EXIF data say, a label is not: turn the label, or '
                'store the image upright' if values.shape == shape[::-1] else ''))
    if values.dtype.itemsize * 8 < wanted_bits:
        raise DataError(
            f'{path}: has {values.dtype.itemsize * 8} bits per pixel, wanted {wanted_bits}; the '
            'program that saved it has cut its numbers: unpack the file again')
    return values


def read_channels(path: Path, shape: tuple[int, int]) -> NDArray[Any]:
    """
    Return the numbers in a PNG of three channels, in the order of the file: red, green, blue.

    :param path: the file.
    :param shape: (H, W) of the image that it belongs to.
    :return: (H, W, 3) uint8 or uint16.
    :raises DataError: naming the file, if it is missing, damaged or of another size or kind.
    """
    content = read_bytes(path)
    values = None
    if content.startswith(PNG):
        _check_header(path, np.frombuffer(content, np.uint8))
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DataError(f'{path}: cannot be decoded as a PNG; copy or unpack the file again')

    if values.ndim != 3 or values.shape[:2] != shape:
        raise DataError(
            f'{path}: has the shape {values.shape}, wanted {(*shape, 3)} (height, width, '
            'channels); it must be as large as its image')
    return values[:, :, 2::-1]


def read_bytes(path: Path) -> bytes:
    """
    Return the content of a file.

    :raises DataError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f'{path}: does not exist; is the data set complete?') from None
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error})') from error


def _check_header(path: Path, data: NDArray[np.uint8]) -> None:
    """Refuse a JPEG or PNG file that is cut or too large, before it is decoded."""
    try:
        height, width = read_header(data)
    except FrameError as error:
        raise DataError(f'{path}: {error}; copy or unpack the file again') from error
    _check_pixels(path, height, width)


def _check_pixels(path: Path, height: int, width: int) -> None:
    """Refuse an empty picture and a huge one."""
    if height <= 0 or width <= 0:
        raise DataError(
            f'{path}: is {height} x {width} (height x width), wanted at least one pixel; copy or '
            'unpack the file again')
    if height * width > MAX_PIXELS:
        raise DataError(
            f'{path}: claims {height} x {width} (height x width), wanted at most {MAX_PIXELS} '
            'pixels; make a smaller copy of it')


def _no_picture(path: Path, content: bytes) -> DataError:
    """Return the refusal of a file that is no picture of a kind that is read."""
    kind = next((name for magic, name in OTHER_KINDS.items() if content.startswith(magic)), '')
    if content[4:8] == b'ftyp':
        kind = 'HEIC or AVIF' if content[8:12] in _PHONES else 'MP4'
    cure = ('convert it to JPEG or PNG' if kind in ('HEIC or AVIF', 'MP4', 'GIF')
            else 'copy or unpack the file again')
    return DataError(
        f'{path}: cannot be read as an image; it starts with {content[:8]!r}'
        f'{f", which looks like {kind}" if kind else ""}. Wanted a complete PNG, JPEG, BMP, '
        f'TIFF, WebP, PGM or PPM; {cure}')


def _one_channel(path: Path, content: bytes) -> NDArray[Any]:
    """Return the (H, W) uint8 or uint16 numbers in a PNG file."""
    if content[_PNG_COLOUR_TYPE] == _PALETTE:
        return _palette_indices(path, content)

    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DataError(f'{path}: the PNG cannot be decoded; copy or unpack the file again')
    if values.ndim == 3:
        if (values[:, :, :3] != values[:, :, :1]).any():
            raise DataError(
                f'{path}: holds colours, wanted one number per pixel; name the file with the ids, '
                'not the one with the colours')
        values = values[:, :, 0]

    # OpenCV scales greys of 1, 2 and 4 bits to 0 to 255; labels need the stored numbers.
    bits = content[_PNG_BITS]
    return values // (255 // (2 ** bits - 1)) if bits < 8 else values


def _palette_indices(path: Path, content: bytes) -> NDArray[np.uint8]:
    """Return the (H, W) indices into the palette; OpenCV returns only the colours."""
    pillow = importlib.import_module('PIL.Image')
    try:
        return np.asarray(pillow.open(io.BytesIO(content)), np.uint8)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise DataError(
            f'{path}: the PNG cannot be decoded ({error}); copy or unpack the file again',
        ) from error
