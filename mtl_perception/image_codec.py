# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Between image messages and arrays, without ROS.

Messages are told by their fields: those of rclpy, of rosbags and test doubles are read alike. No
transport checks that the fields fit together, so everything is checked here, in Python integers,
before memory is allocated.
"""

import functools
import importlib
import re
import sys
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.compressed_header import read_header
from mtl_perception.errors import FrameError
from mtl_perception.image_range import ImageRange
from mtl_perception.reason_codes import ReasonCode

MAX_PIXELS = 2 ** 27
"""Images with more pixels are refused unless the caller says otherwise: files and messages."""

SMALLEST_PATTERN = 3
"""Height and width from which on OpenCV can tell the colours of a Bayer pattern."""

MAX_INVALID_FRACTION = 0.5
"""Images of floating-point numbers with more unusable pixels are refused."""

SUPPORTED = (
    'rgb, bgr, rgba, bgra, mono (each 8 or 16), 8UC1, 8UC3, 8UC4, 16UC1, 16UC3, 16UC4, 32FC1, '
    '32FC3, bayer_*8, bayer_*16, yuv422, uyvy, yuyv, yuv422_yuy2, nv12, nv21')


class ImageLike(Protocol):
    """The fields of ``sensor_msgs/Image`` that matter here."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class CompressedImageLike(Protocol):
    """The fields of ``sensor_msgs/CompressedImage`` that matter here."""

    format: str
    data: Any


@dataclass(eq=False)
class ImageFields:
    """
    The fields of a ``sensor_msgs/Image``, without the header.

    :param data: flat view of the bytes, ``height * step`` of them; keeps the array alive.
    """

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


@dataclass(frozen=True)
class Layout:
    """
    Memory layout of an encoding.

    :param dtype: numpy's name of the type of one number, without byte order.
    :param channels: numbers per pixel of a row.
    :param conversion: OpenCV's code that turns it into RGB, None if it is RGB already.
    :param planes: rows per two rows of the image: 3 for the planar 4:2:0 encodings, else 2.
    :param multiple: divisor of every valid width, and with planes of every valid height.
    :param smallest: smallest width and height that can be converted.
    """

    dtype: str
    channels: int
    conversion: int | None = None
    planes: int = 2
    multiple: int = 1
    smallest: int = 1


def _layouts() -> dict[str, Layout]:
    """Return the layouts of all encodings that can be turned into RGB."""
    to_rgb: dict[str, tuple[int, int | None]] = {
        'rgb': (3, None), 'bgr': (3, cv2.COLOR_BGR2RGB), 'rgba': (4, cv2.COLOR_RGBA2RGB),
        'bgra': (4, cv2.COLOR_BGRA2RGB), 'mono': (1, cv2.COLOR_GRAY2RGB)}
    # 8UC3 names no colours; OpenCV and RViz take blue, green, red.
    opencv = {1: 'mono', 3: 'bgr', 4: 'bgra'}
    # OpenCV names a pattern by the second pixel of the second row, ROS by the first of the first.
    bayer = {'rggb': cv2.COLOR_BayerBG2RGB, 'bggr': cv2.COLOR_BayerRG2RGB,
             'gbrg': cv2.COLOR_BayerGR2RGB, 'grbg': cv2.COLOR_BayerGB2RGB}

    layouts = {}
    for bits, dtype in ((8, 'u1'), (16, 'u2')):
        for name, (channels, conversion) in to_rgb.items():
            layouts[f'{name}{bits}'] = Layout(dtype, channels, conversion)
        for channels, name in opencv.items():
            layouts[f'{bits}UC{channels}'] = layouts[f'{name}{bits}']
        for pattern, code in bayer.items():
            layouts[f'bayer_{pattern}{bits}'] = Layout(dtype, 1, code, smallest=SMALLEST_PATTERN)

    layouts['32FC1'] = Layout('f4', 1, cv2.COLOR_GRAY2RGB)
    layouts['32FC3'] = Layout('f4', 3, cv2.COLOR_BGR2RGB)
    for name in ('yuv422', 'uyvy'):
        layouts[name] = Layout('u1', 2, cv2.COLOR_YUV2RGB_UYVY, multiple=2)
    for name in ('yuv422_yuy2', 'yuyv'):
        layouts[name] = Layout('u1', 2, cv2.COLOR_YUV2RGB_YUY2, multiple=2)
    layouts['nv12'] = Layout('u1', 1, cv2.COLOR_YUV2RGB_NV12, planes=3, multiple=2)
    layouts['nv21'] = Layout('u1', 1, cv2.COLOR_YUV2RGB_NV21, planes=3, multiple=2)
    return layouts


LAYOUTS = _layouts()
"""The encodings that :func:`decode_image` decodes without cv_bridge."""

_OPENCV_TYPE = re.compile('(8|16|32|64)([USF])C([1-4]?)')
_KINDS = {'U': 'u', 'S': 'i', 'F': 'f'}


def decode_image(
    msg: ImageLike, max_pixels: int = MAX_PIXELS, image_range: ImageRange | None = None,
) -> NDArray[np.uint8]:
    """
    Return the RGB image in a ``sensor_msgs/Image``.

    Mono images get three equal channels, alpha is dropped, 16 bits are scaled to 8 by the range
    that they use. Floating-point images hold 0 to 1; pixels outside of that range or not finite
    become black. For ``rgb8`` the result is a view of the message's data, possibly read-only. An
    encoding that is not in :data:`LAYOUTS` is handed to cv_bridge if that is installed.

    :param msg: the message.
    :param max_pixels: the largest height x width to accept.
    :param image_range: of the camera's 16-bit images; None takes that of this image.
    :return: (H, W, 3) uint8 RGB.
    :raises FrameError: with the codes ``I01_empty`` to ``I17_decode``.
    """
    layout = LAYOUTS.get(msg.encoding)
    data = _checked_data(msg, max_pixels)
    if layout is None:
        return _decode_by_cv_bridge(msg, data)

    if min(msg.height, msg.width) < layout.smallest:
        raise FrameError(
            f'the image is {msg.height} x {msg.width}; {msg.encoding} needs at least '
            f'{layout.smallest} x {layout.smallest} pixels to be converted',
            ReasonCode.IMAGE_DECODE)
    if msg.width % layout.multiple or (layout.planes != 2 and msg.height % layout.multiple):
        raise FrameError(
            f'the image is {msg.height} x {msg.width}; with {msg.encoding} pairs of pixels share '
            'a colour, so the size must be even', ReasonCode.IMAGE_DECODE)

    pixels = _pixels(msg, data, layout)
    if layout.dtype == 'f4':
        pixels = _float_to_bytes(pixels)
    if layout.conversion is not None:
        pixels = _native(pixels)
        if pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        pixels = cv2.cvtColor(pixels, layout.conversion)
    return _eight_bits(_native(pixels), image_range)


def decode_array(msg: ImageLike, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """
    Return the numbers in a ``sensor_msgs/Image`` unchanged: labels, depth, flow.

    :param msg: the message; Bayer images give their raw pattern.
    :param max_pixels: the largest height x width to accept.
    :return: (H, W) for one channel, else (H, W, channels), in the machine's byte order; a view
        of the message's data where that is possible, possibly read-only.
    :raises FrameError: with the codes ``I01_empty`` to ``I10_too_big``.
    """
    layout = LAYOUTS.get(msg.encoding)
    if layout is None and (found := _OPENCV_TYPE.fullmatch(msg.encoding[:8])):
        bits, kind, channels = found.groups()
        if kind != 'F' or int(bits) >= 32:
            layout = Layout(f'{_KINDS[kind]}{int(bits) // 8}', int(channels or 1))

    data = _checked_data(msg, max_pixels)
    if layout is None or layout.planes != 2:
        raise _unsupported(msg.encoding)
    pixels = _pixels(msg, data, layout)
    if not pixels.dtype.isnative or not pixels.flags.aligned:
        pixels = _native(pixels)
    return pixels[..., 0] if layout.channels == 1 else pixels


def decode_compressed(
    msg: CompressedImageLike, max_pixels: int = MAX_PIXELS,
    image_range: ImageRange | None = None,
) -> NDArray[np.uint8]:
    """
    Return the RGB image in a ``sensor_msgs/CompressedImage``: JPEG or PNG.

    The data tells the kind, not ``format``, which drivers fill in many ways. The size is read from
    the header before anything is decoded. Only ``format`` can tell that a picture of one channel
    is the pattern of a Bayer sensor. Flipped bits inside a JPEG mostly decode without an error and
    stay unnoticed; a PNG has checksums, which are verified.

    :param msg: the message.
    :param max_pixels: the largest height x width to accept.
    :param image_range: of the camera's 16-bit images; None takes that of this image.
    :return: (H, W, 3) uint8 RGB as stored: a rotation in EXIF is not applied.
    :raises FrameError: with the codes ``I01_empty``, ``I02_zero_size``, ``I10_too_big``,
        ``I17_decode``, ``I19_format``.
    """
    data = _bytes_of(msg.data)
    if not data.size:
        raise FrameError('data is empty, wanted a JPEG or PNG file', ReasonCode.IMAGE_EMPTY)

    # The size is known before a pixel is decoded: a kilobyte can claim a gigabyte of pixels.
    height, width = read_header(data, msg.format)
    _check_size(height, width, max_pixels)

    pattern = LAYOUTS.get(msg.format.partition(';')[0].strip())
    bayer = pattern.conversion if pattern and msg.format.startswith('bayer_') else None
    image = decode_picture(data, image_range=image_range, bayer=bayer)
    if image.shape != (height, width, 3):
        raise FrameError(
            f'the image has {image.shape[0]} x {image.shape[1]} pixels, {height} x {width} by its '
            'header; it is damaged', ReasonCode.IMAGE_DECODE)
    return image


def decode_picture(
    data: NDArray[np.uint8], upright: bool = False, image_range: ImageRange | None = None,
    bayer: int | None = None,
) -> NDArray[np.uint8]:
    """
    Return the RGB image in a picture file of any kind that OpenCV reads.

    Grey images get three equal channels, alpha is dropped, 16 bits are scaled to 8 by the range
    that they use.

    :param data: flat uint8, the file.
    :param upright: whether a rotation in its EXIF data is applied.
    :param image_range: of 16-bit pictures of one origin; None takes that of this picture.
    :param bayer: OpenCV's code for the pattern of the sensor, if a picture of one channel is one.
    :return: (H, W, 3) uint8 RGB.
    :raises FrameError: ``I17_decode`` if it cannot be decoded.
    """
    flags = cv2.IMREAD_ANYDEPTH | (cv2.IMREAD_COLOR if bayer is None else cv2.IMREAD_ANYCOLOR)
    if not upright:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION

    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise FrameError(
            f'the image cannot be decoded ({_short(error)})', ReasonCode.IMAGE_DECODE) from error

    if image is None:
        raise FrameError(
            f'the image cannot be decoded ({data.size} bytes); it is truncated or damaged',
            ReasonCode.IMAGE_DECODE)
    if image.dtype not in (np.uint8, np.uint16):
        raise FrameError(
            f'the image holds {image.dtype} numbers; wanted 8 or 16 bits per channel',
            ReasonCode.IMAGE_DECODE)

    if image.ndim == 2 and bayer is not None and min(image.shape) >= SMALLEST_PATTERN:
        return _eight_bits(cv2.cvtColor(image, bayer), image_range)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return _eight_bits(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), image_range)


def image_fields(image: NDArray[Any], encoding: str) -> ImageFields:
    """
    Return the fields of a ``sensor_msgs/Image`` that holds an array.

    :param image: (H, W) or (H, W, channels), of the encoding's type.
    :param encoding: one of :data:`LAYOUTS` that is neither planar nor YUV.
    :raises ValueError: if the array does not fit the encoding.
    """
    layout = LAYOUTS[encoding]
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if image.dtype != np.dtype(layout.dtype) or channels != layout.channels or image.ndim > 3:
        raise ValueError(
            f'{image.dtype} of shape {image.shape} does not fit {encoding}, which has '
            f'{np.dtype(layout.dtype)} and {layout.channels} channel(s)')

    rows: Any = np.ascontiguousarray(image)
    return ImageFields(
        height=image.shape[0], width=image.shape[1], encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big' and rows.itemsize > 1), step=rows.strides[0],
        data=memoryview(rows.reshape(-1)).cast('B'))


def _checked_data(msg: ImageLike, max_pixels: int) -> NDArray[np.uint8]:
    """Return the data as bytes, after the size was checked."""
    _check_size(msg.height, msg.width, max_pixels)
    data = _bytes_of(msg.data)
    if not data.size:
        raise FrameError(
            f'data is empty, wanted {msg.height} rows of step {int(msg.step)} bytes',
            ReasonCode.IMAGE_EMPTY)
    return data


def _check_size(height: int, width: int, max_pixels: int) -> None:
    """Refuse an empty or a huge image."""
    if height <= 0 or width <= 0:
        raise FrameError(
            f'the image is {height} x {width} (height x width), wanted at least one pixel',
            ReasonCode.IMAGE_ZERO_SIZE)
    if int(height) * int(width) > max_pixels:
        raise FrameError(
            f'the image claims {height} x {width} (height x width), wanted at most {max_pixels} '
            'pixels; raise max_pixels if it is really so large', ReasonCode.IMAGE_TOO_BIG)


def _pixels(msg: ImageLike, data: NDArray[np.uint8], layout: Layout) -> NDArray[Any]:
    """
    Return the (rows, W, channels) numbers as a view of the data, whatever the padding.

    The view may be unaligned and in foreign byte order.
    """
    dtype = np.dtype(layout.dtype)
    rows = int(msg.height) * layout.planes // 2
    step = int(msg.step)
    row_bytes = int(msg.width) * layout.channels * dtype.itemsize
    where = f'(height {msg.height}, step {step}, encoding {msg.encoding})'

    if step < row_bytes:
        raise FrameError(
            f'step is {step} bytes, wanted at least {row_bytes} (width {msg.width}, encoding '
            f'{msg.encoding}); the rows would overlap', ReasonCode.IMAGE_STEP)
    # The last row needs no padding; some drivers append up to a row.
    if data.size < step * (rows - 1) + row_bytes:
        raise FrameError(
            f'data has {data.size} bytes, wanted at least {step * (rows - 1) + row_bytes} {where}',
            ReasonCode.IMAGE_SHORT)
    if data.size > step * (rows + 1):
        raise FrameError(
            f'data has {data.size} bytes, wanted at most {step * (rows + 1)} {where}',
            ReasonCode.IMAGE_LONG)

    order: Literal['<', '>'] = '>' if msg.is_bigendian else '<'
    return np.ndarray(
        (rows, int(msg.width), layout.channels), dtype.newbyteorder(order), data,
        strides=(step, layout.channels * dtype.itemsize, dtype.itemsize))


def _eight_bits(
    pixels: NDArray[Any], image_range: ImageRange | None = None,
) -> NDArray[np.uint8]:
    """Return 16-bit numbers scaled to 8 bits by a range; 8-bit numbers unchanged."""
    if pixels.dtype.itemsize == 2:
        return (image_range or ImageRange()).eight_bits(pixels)
    return pixels.astype(np.uint8, copy=False)


def _native(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers in the machine's byte order, aligned, with rows that OpenCV can read."""
    if pixels.dtype.itemsize == 1:
        return pixels
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder('='))


def _float_to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return numbers from 0 to 1 as 0 to 255, all others as 0."""
    native = _native(pixels)
    usable = (native >= 0) & (native <= 1)
    invalid = 1 - float(usable.mean())
    if invalid > MAX_INVALID_FRACTION:
        raise FrameError(
            f'{invalid:.0%} of the numbers are not finite or outside 0 to 1, wanted at most '
            f'{MAX_INVALID_FRACTION:.0%}; is this a depth image?', ReasonCode.IMAGE_NOT_FINITE)
    scaled: NDArray[np.uint8] = np.rint(np.where(usable, native, 0) * 255).astype(np.uint8)
    return scaled


def _bytes_of(data: Any) -> NDArray[np.uint8]:
    """Return a view of the bytes that rclpy, rosbags or a test put into ``data``."""
    try:
        view = memoryview(data)
        if not view.nbytes:
            return np.empty(0, np.uint8)
        return np.frombuffer(view, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise FrameError(
            f'data is a {type(data).__name__}, wanted bytes ({_short(error)})',
            ReasonCode.IMAGE_DECODE) from error


def _decode_by_cv_bridge(msg: ImageLike, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the RGB image by cv_bridge; refuse the encoding if that is impossible."""
    bridge = _cv_bridge()
    if bridge is None or data.size < int(msg.step) * int(msg.height) or msg.step < msg.width:
        raise _unsupported(msg.encoding)

    try:
        image = np.asarray(bridge.imgmsg_to_cv2(msg, 'rgb8'))
    except Exception as error:  # its own error classes live in an optional library
        raise _unsupported(msg.encoding) from error

    if image.shape != (msg.height, msg.width, 3) or image.dtype != np.uint8:
        raise _unsupported(msg.encoding)
    return image


@functools.lru_cache(maxsize=1)
def _cv_bridge() -> Any:
    """Return a bridge, None if cv_bridge is not installed or does not fit this numpy."""
    try:
        return importlib.import_module('cv_bridge').CvBridge()
    except (ImportError, AttributeError, RuntimeError):
        return None


def _unsupported(encoding: str) -> FrameError:
    """Return the refusal of an encoding; a damaged name may be megabytes of newlines."""
    hint = ''
    if encoding[:8].lower().startswith(('bayer', 'yuv', 'nv')):
        hint = '; convert it with image_proc'
    return FrameError(
        f'encoding {ascii(encoding[:32])[:32]} is not supported{hint}; the encodings are '
        f'{SUPPORTED}', ReasonCode.IMAGE_ENCODING)


def _short(error: BaseException) -> str:
    """Return the text of an exception on one line."""
    return ' '.join(str(error).split())[:120]
