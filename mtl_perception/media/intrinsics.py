# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The one rule for what a calibration says about an image, and how far it can be believed.

Node, recordings and calibration files share it. Calibrations are recognised by their fields, not
their class: messages of rclpy, of rosbags and :class:`.Calibration` all work.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.media.lens import KINDS, MOST_NUMBERS, POLYNOMIAL, Lens
from mtl_perception.reason_codes import ReasonCode

Matrix = NDArray[np.float64]

SHORTEST, LONGEST = 0.1, 20.0
"""A focal length is believed between these shares of the image's width: 157 to 3 degrees."""
UNSQUARE = 2.0
"""Pixels are believed to be at most so many times as high as wide, or as wide as high."""
NEAREST_EDGE = 0.05
"""The principal point is believed if it is at least this share of the width from the sides."""
CROPPED = 0.25
"""Rows are often cut off: the principal point may be this share of the height outside."""
AGREEMENT = 0.05
"""K and P contradict each other if their focal lengths differ by more than this share."""
SMALLEST_REACH = 0.35
"""A lens must be unambiguous up to this share of the image's smaller side from the middle."""

_RECTIFIED = re.compile(r'(^|[/_])rect(ified)?([/_]|$)')


class IntrinsicsState(str, Enum):
    """
    How far the focal length of a camera can be believed.

    - ``calibrated``: a calibration says it.
    - ``estimated``: a person gave the number, or it was measured from the images.
    - ``assumed``: nobody says it; it is taken to be that of the camera of the training.
    - ``unusable``: there is a calibration, but it cannot be believed; the same is assumed.
    """

    CALIBRATED = 'calibrated'
    ESTIMATED = 'estimated'
    ASSUMED = 'assumed'
    UNUSABLE = 'unusable'

    def __str__(self) -> str:
        """Return the word."""
        return str(self.value)


@dataclass(frozen=True)
class Intrinsics:
    """
    What is known of the camera of an image.

    :param state: how far it can be believed.
    :param focal_px: focal length along x at the image's size, pixels; None if nobody says it.
    :param focal_y_px: along y; None if nobody says it.
    :param reason: why it is not simply calibrated, or what is odd; empty if nothing is.
    :param lens: of an image with distortion, at the image's size.
    :param code: reason code that is counted for each frame; None if nothing is odd.
    :param centre: column and row of the principal point at the image's size, pixels; None if
        nobody says it.
    """

    state: IntrinsicsState
    focal_px: float | None = None
    focal_y_px: float | None = None
    reason: str = ''
    lens: Lens | None = None
    code: ReasonCode | None = None
    centre: tuple[float, float] | None = None

    @property
    def is_of_another_size(self) -> bool:
        """Whether the calibration is for images of another size."""
        return self.code is ReasonCode.INFO_MISMATCH

    def text(self, focal_px: float) -> str:
        """
        Return in words which focal length the metres stand on.

        :param focal_px: that of the training at the image's size, for one that is assumed.
        """
        shown = self.focal_px or focal_px
        words = f'{self.state} focal length of {shown:.4g} pixels'
        if self.state is IntrinsicsState.UNUSABLE:
            words = f'unusable calibration, assumed focal length of {shown:.4g} pixels'
        return words + (f' ({self.reason})' if self.reason else '')


    @property
    def caption(self) -> str:
        """The same in few words, for a film."""
        words = self.state if self.focal_px else IntrinsicsState.ASSUMED
        return f'focal length {words}' + (f', {self.focal_px:.4g} px' if self.focal_px else '')


NO_CALIBRATION = Intrinsics(
    IntrinsicsState.ASSUMED, reason='there is no calibration', code=ReasonCode.NO_INTRINSICS)


def given_focal_length(focal_px: float | None) -> Intrinsics:
    """
    Return the intrinsics of a focal length that somebody gives.

    :param focal_px: pixels; None or an impossible value is unknown.
    """
    if focal_px is None or not 0 < focal_px < np.inf:
        return NO_CALIBRATION
    return Intrinsics(IntrinsicsState.ESTIMATED, focal_px, focal_px, 'given as a number')


def is_rectified_topic(name: str) -> bool:
    """
    Return whether an image topic carries rectified images by its name.

    >>> is_rectified_topic('/camera/image_rect_color'), is_rectified_topic('/direct/image_raw')
    (True, False)
    """
    return _RECTIFIED.search(name) is not None


def intrinsics_of(
        info: Any, shape: tuple[int, ...], rectified: bool = False,
        frame_id: str = '') -> Intrinsics:
    """
    Return what a calibration says about an image.

    K describes the raw image and P the rectified one, which an image without distortion is too.
    Where the right one holds no number, the other one counts, and that is said.

    :param info: a ``sensor_msgs/CameraInfo`` or a :class:`.Calibration`; None = there is none.
    :param shape: of the image, rows and columns first.
    :param rectified: whether the image was rectified.
    :param frame_id: of the image.
    """
    if info is None:
        return NO_CALIBRATION
    try:
        return _Reading(info, shape, rectified, frame_id).intrinsics()
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        return _unusable(f'it cannot be read: {type(error).__name__}: {error}')


def image_scale(info: Any, height: int, width: int) -> tuple[float, float] | None:
    """
    Return the factors from the pixels of K to those of an image, along x and y.

    None for another image.

    The size that equals the image's wins: that of the calibration itself, or that of its window
    (or all of it) divided by the binning, or that of the window without.
    """
    for rows, columns, binning_y, binning_x in _sizes(info):
        if abs(height - rows / binning_y) < 1 and abs(width - columns / binning_x) < 1:
            return 1 / binning_x, 1 / binning_y
    return None


def image_size(info: Any) -> tuple[int, int]:
    """Return height and width of the images that a calibration is for: window, then binning."""
    *_, (rows, columns, binning_y, binning_x) = list(_sizes(info))[:2]
    return rows // binning_y, columns // binning_x


def _sizes(info: Any) -> Iterator[tuple[int, int, int, int]]:
    """Yield the sizes that images of a calibration may have: rows, columns, and their binning."""
    full = int(info.height), int(info.width)
    yield *full, 1, 1
    roi = getattr(info, 'roi', None)
    window = (int(getattr(roi, 'height', 0)) or full[0], int(getattr(roi, 'width', 0)) or full[1])
    binning = [max(1, int(getattr(info, name, 0))) for name in ('binning_y', 'binning_x')]
    yield *window, binning[0], binning[1]
    yield *window, 1, 1


def _unusable(
        reason: str, code: ReasonCode = ReasonCode.INFO_UNUSABLE) -> Intrinsics:
    return Intrinsics(IntrinsicsState.UNUSABLE, reason=reason, code=code)


class _Reading:
    """
    One calibration beside one image.

    :param info: with the fields of a ``sensor_msgs/CameraInfo``.
    :param shape: of the image.
    :param rectified: whether the image was rectified.
    :param frame_id: of the image.
    :raises ValueError: if a matrix does not have its numbers.
    """

    def __init__(self, info: Any, shape: tuple[int, ...], rectified: bool, frame_id: str) -> None:
        self.info = info
        self.height, self.width = int(shape[0]), int(shape[1])
        self.k = _matrix(info.k, (3, 3), 'K')
        self.p = _matrix(getattr(info, 'p', ()), (3, 4), 'P')
        self.d = np.asarray(getattr(info, 'd', ()), np.float64).ravel()
        r = _matrix(getattr(info, 'r', ()), (3, 3), 'R')
        self.turned = bool(np.any(r)) and not np.allclose(r, np.eye(3), atol=1e-3)
        self.model = str(getattr(info, 'distortion_model', '')).strip()
        self.rectified = rectified
        self.frame_id = frame_id

    def intrinsics(self) -> Intrinsics:
        """Return what the calibration says about the image."""
        info = self.info
        if not (int(info.height) > 0 and int(info.width) > 0):
            return self._none(f'is for {info.width} x {info.height} pixels')
        if not np.any(self.k) and not np.any(self.p):
            return self._none('holds no numbers, K and P are 0')

        scale = image_scale(info, self.height, self.width)
        if scale is None:
            rows, columns = image_size(info)
            return _unusable(
                f'the camera_info is for {columns} x {rows} pixels, the image has {self.width} x '
                f'{self.height}', ReasonCode.INFO_MISMATCH)
        return self._chosen(scale)

    def _none(self, why: str) -> Intrinsics:
        """Return what a camera says that was not calibrated."""
        return Intrinsics(
            IntrinsicsState.ASSUMED, reason=f'the camera_info {why}: it is not calibrated',
            code=ReasonCode.NO_INTRINSICS)

    def _chosen(self, scale: tuple[float, float]) -> Intrinsics:
        """Return what the right one of K and P says, or else the other one."""
        distorted = self._is_distorted
        wants_p = self.rectified or (not distorted and not self.turned)
        found = {'K': self.k, 'P': self.p[:, :3]}
        wrong = {name: self._problem(name, matrix) for name, matrix in found.items()}
        first, second = ('P', 'K') if wants_p and np.any(self.p) else ('K', 'P')
        name = second if wrong[first] and not wrong[second] else first
        if wrong[name]:
            return _unusable('; '.join(filter(None, wrong.values())))

        # What remains odd is said, although a focal length is known.
        other = 'K' if name == 'P' else first
        remarks = [f'{wrong[other]}, so {name} counts'] if wrong[other] else []
        if name == 'P' and not wrong['K'] and self._contradict() and not distorted:
            remarks.append(f'K says {self.k[0, 0]:.4g} and P {self.p[0, 0]:.4g} pixels; the image '
                           'is rectified, so P counts')
        theirs = str(getattr(getattr(self.info, 'header', None), 'frame_id', ''))
        if theirs and self.frame_id and theirs != self.frame_id:
            remarks.append(f'the camera_info is of frame {theirs!r}, the image of '
                           f'{self.frame_id!r}')

        lens: Lens | str | None = None
        if name == 'K' and distorted and not self.rectified:
            lens = self._lens(scale)
        if isinstance(lens, str):
            return _unusable(lens)
        matrix = found[name]
        return Intrinsics(
            IntrinsicsState.CALIBRATED, float(matrix[0, 0]) * scale[0],
            float(matrix[1, 1]) * scale[1],
            '; '.join(remarks), lens, ReasonCode.INFO_ODD if remarks else None,
            self._centre(found[name], scale))

    @property
    def _is_distorted(self) -> bool:
        """Whether the raw image is not that of a pinhole."""
        return bool(np.any(self.d)) or KINDS.get(self.model, POLYNOMIAL) != POLYNOMIAL

    def _contradict(self) -> bool:
        """Return whether K and P have clearly different focal lengths."""
        return bool(abs(self.k[0, 0] / self.p[0, 0] - 1) > AGREEMENT)

    def _problem(self, name: str, matrix: Matrix) -> str:
        """Return why a matrix cannot be believed, empty if it can."""
        if not np.any(matrix):
            return f'{name} is 0'
        if not np.all(np.isfinite(matrix)):
            return f'{name} holds numbers that are not finite'

        fx, fy = float(matrix[0, 0]), float(matrix[1, 1])
        rows, columns = int(self.info.height), int(self.info.width)
        for focal in (fx, fy):
            if not SHORTEST * columns <= focal <= LONGEST * columns:
                return (f'the focal length in {name} is {focal:.4g} pixels, believed are '
                        f'{SHORTEST * columns:.4g} to {LONGEST * columns:.4g} for a width of '
                        f'{columns}')
        if not 1 / UNSQUARE <= fy / fx <= UNSQUARE:
            return f'the focal lengths in {name} are {fx:.4g} and {fy:.4g} pixels'

        cx, cy = float(matrix[0, 2]), float(matrix[1, 2])
        if not (NEAREST_EDGE * columns <= cx <= (1 - NEAREST_EDGE) * columns
                and -CROPPED * rows <= cy <= (1 + CROPPED) * rows):
            return (f'the principal point in {name} is ({cx:.4g}, {cy:.4g}), not inside of '
                    f'{columns} x {rows} pixels')
        return ''

    def _centre(self, matrix: Matrix, scale: tuple[float, float]) -> tuple[float, float]:
        """Return column and row of the principal point at the image's size, pixels."""
        # The image may be a window of the sensor, made smaller.
        roi = getattr(self.info, 'roi', None)
        windowed = (self.height, self.width) != (int(self.info.height), int(self.info.width))
        left = float(getattr(roi, 'x_offset', 0)) if windowed else 0.0
        top = float(getattr(roi, 'y_offset', 0)) if windowed else 0.0
        return ((float(matrix[0, 2]) - left + 0.5) * scale[0] - 0.5,
                (float(matrix[1, 2]) - top + 0.5) * scale[1] - 0.5)

    def _lens(self, scale: tuple[float, float]) -> Lens | str:
        """Return the lens at the image's size, or why there is none."""
        kind = KINDS.get(self.model) if self.model else POLYNOMIAL
        if kind is None:
            return (f'the distortion model {self.model!r} is not known; known are '
                    f'{", ".join(KINDS)}')
        if len(self.d) > MOST_NUMBERS[kind] or not np.all(np.isfinite(self.d)):
            return (f'the distortion has {len(self.d)} numbers, wanted at most '
                    f'{MOST_NUMBERS[kind]}, all finite')
        if np.any(self.d[12:]):
            return 'the distortion has a tilted sensor, which is not supported'

        lens = Lens(
            kind, float(self.k[0, 0]) * scale[0], float(self.k[1, 1]) * scale[1],
            *self._centre(self.k, scale),
            tuple(float(number) for number in self.d[:12]))

        least = SMALLEST_REACH * min(self.height, self.width)
        if not lens.reach >= least:
            return (f'the distortion folds the image {lens.reach:.4g} pixels from its middle, '
                    f'wanted at least {least:.4g}')
        return lens


def _matrix(numbers: Any, shape: tuple[int, int], name: str) -> Matrix:
    """
    Return a matrix of a calibration, zeros if it has none.

    :raises ValueError: if it has another number of numbers.
    """
    found = np.asarray(numbers, np.float64).ravel()
    if not found.size:
        return np.zeros(shape)
    if found.size != shape[0] * shape[1]:
        raise ValueError(f'{name} has {found.size} numbers, wanted {shape[0] * shape[1]}')
    return found.reshape(shape)
