# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Metric depth from what sensors store: the disparity of a stereo pair, the points of a lidar.

Depth is Z in the camera's frame, in metres; not the length of the ray.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.frames import rotation_of_quaternion
from mtl_perception.media.pictures import read_bytes

Matrix = NDArray[np.float64]

DISPARITY_STEPS = 256.0
"""Steps of a stored disparity per pixel, KITTI and Cityscapes alike."""


def kitti_disparity(stored: NDArray[Any]) -> NDArray[np.float32]:
    """
    Return the disparity in pixels of KITTI's uint16 files: stored / 256, 0 = unknown.

    :param stored: (H, W) uint16.
    :return: (H, W) float32 pixels, NaN = unknown.
    """
    return np.where(stored > 0, stored / DISPARITY_STEPS, np.nan).astype(np.float32)


def cityscapes_disparity(stored: NDArray[Any]) -> NDArray[np.float32]:
    """
    Return the disparity in pixels of Cityscapes' uint16 files: (stored - 1) / 256, 0 = unknown.

    :param stored: (H, W) uint16.
    :return: (H, W) float32 pixels, NaN = unknown; 0 is infinitely far.
    """
    disparity = (stored.astype(np.float64) - 1) / DISPARITY_STEPS
    return np.where(stored > 0, disparity, np.nan).astype(np.float32)


def depth_from_disparity(
        disparity_px: NDArray[np.floating[Any]], focal_px: float,
        baseline_m: float) -> NDArray[np.float32]:
    """
    Return Z = f B / d.

    :param disparity_px: (H, W) floating pixels at the size at which ``focal_px`` holds; NaN =
        unknown.
    :param focal_px: focal length of the rectified cameras, pixels.
    :param baseline_m: distance between the cameras, metres.
    :return: (H, W) float32 metres; NaN = unknown, Inf where the disparity is 0.
    """
    with np.errstate(divide='ignore'):
        return np.asarray(focal_px * baseline_m / disparity_px, np.float32)


def check_camera(focal_px: float, baseline_m: float) -> None:
    """
    Refuse a stereo camera that is incomplete or has negative values.

    :param focal_px: pixels, 0 = not given.
    :param baseline_m: metres, 0 = not given.
    :raises ConfigurationError: if only one is given or one is negative.
    """
    if min(focal_px, baseline_m) < 0 or (focal_px > 0) != (baseline_m > 0):
        raise ConfigurationError(
            f'focal_px is {focal_px:g} and baseline_m {baseline_m:g}; give both, positive, or '
            'neither')


def read_kitti_calibration(path: Path) -> dict[str, Matrix]:
    """
    Return the numbers in one of KITTI's calibration files.

    :param path: text with ``name: number number ...`` in each line.
    :return: name -> (n,) float64; lines without numbers are left out.
    :raises DataError: if the file cannot be read.
    """
    numbers = {}
    for line in read_bytes(path).decode('utf-8', 'replace').splitlines():
        name, _, words = line.partition(':')
        try:
            numbers[name.strip()] = np.array(words.split(), np.float64)
        except ValueError:  # a date, such as that of calib_time
            continue
    return numbers


def calibrated(
        numbers: dict[str, Matrix], name: str, shape: tuple[int, int], path: Path) -> Matrix:
    """
    Return one matrix of a KITTI calibration file.

    :param numbers: of :func:`read_kitti_calibration`.
    :param name: of the entry.
    :param shape: of the matrix.
    :param path: the file, for the message.
    :raises DataError: if the entry is missing, has too many or too few numbers, or is a projection
        without a focal length.
    """
    found = numbers.get(name)
    if found is None or found.size != shape[0] * shape[1]:
        raise DataError(
            f'{path}: {name!r} has {0 if found is None else found.size} numbers, wanted '
            f'{shape[0] * shape[1]}; it holds {sorted(numbers)}')

    if name.startswith('P') and not (np.isfinite(found).all() and found[0] > 0):
        raise DataError(
            f'{path}: {name!r} begins with {found[0]:g}, wanted a positive focal length; unpack '
            'the calibration again')
    return found.reshape(shape)


def stereo_camera(path: Path) -> tuple[float, float]:
    """
    Return (focal length in pixels, baseline in metres) of KITTI's colour cameras 2 and 3.

    The rectified projections hold the place x of a camera in their last column: P[0, 3] = -f x.

    :param path: a ``calib_cam_to_cam`` file.
    :raises DataError: if it cannot be read or lacks an entry.
    """
    numbers = read_kitti_calibration(path)
    left, right = (calibrated(numbers, f'P_rect_0{camera}', (3, 4), path) for camera in (2, 3))

    baseline = float((left[0, 3] - right[0, 3]) / left[0, 0])
    if not baseline > 0:
        raise DataError(
            f'{path}: P_rect_02 and P_rect_03 have a baseline of {baseline:g} m, wanted camera 3 '
            'to the right of camera 2; unpack the calibration again')
    return float(left[0, 0]), baseline


def read_scan(path: Path) -> NDArray[np.float32]:
    """
    Return the points of one of KITTI's Velodyne scans.

    :param path: little-endian float32 x, y, z, reflectance of each point.
    :return: (N, 3) float32 metres in the lidar's frame: x ahead, y left, z up.
    :raises DataError: if the file cannot be read or is cut.
    """
    content = read_bytes(path)
    if not content or len(content) % 16:
        raise DataError(
            f'{path}: has {len(content)} bytes, wanted a multiple of 16 (x, y, z, reflectance as '
            'float32); copy or unpack the file again')
    return np.frombuffer(content, '<f4').reshape(-1, 4)[:, :3]


def project_points(
        points: NDArray[np.floating[Any]], projection: Matrix,
        shape: tuple[int, int]) -> NDArray[np.float32]:
    """
    Return sparse depth: each point at its pixel, the nearest where several share one.

    :param points: (N, 3) floating metres in the lidar's frame.
    :param projection: (3, 4) from the lidar's frame to homogeneous pixels whose third coordinate
        is Z in metres; pixel centres have integer coordinates.
    :param shape: (H, W) of the image.
    :return: (H, W) float32 metres, NaN at pixels without a point.
    """
    seen = points.astype(np.float64) @ projection[:, :3].T + projection[:, 3]
    seen = seen[seen[:, 2] > 0]  # not behind the camera

    column, row = np.rint(seen[:, :2] / seen[:, 2:]).astype(np.int64).T
    inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])

    depth = np.full(shape, np.inf)
    np.minimum.at(depth, (row[inside], column[inside]), seen[inside, 2])
    return np.where(np.isinf(depth), np.nan, depth).astype(np.float32)


@dataclass(frozen=True)
class FisheyeCamera:
    """
    A lens whose image height is a polynomial of the angle off its axis.

    r(theta) = k1 theta + k2 theta^2 + ..., the model of WoodScape's calibration files.

    :param coefficients: k1, k2, ...; k1 in pixels per radian is the focal length at the centre.
    :param size: (width, height) of the image, pixels.
    :param offset: of the principal point from the centre of the image, pixels.
    :param aspect_ratio: of the height of a pixel to its width.
    :param quaternion: (x, y, z, w), from the camera's frame (x right, y down, z ahead) to the
        vehicle's (x ahead, y left, z up).
    :param translation: place of the camera in the vehicle's frame, metres; z is its height above
        the ground.
    """

    coefficients: tuple[float, ...]
    size: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)
    aspect_ratio: float = 1.0
    quaternion: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0)
    translation: tuple[float, ...] = (0.0, 0.0, 0.0)

    def project(self, points: NDArray[np.floating[Any]]) -> Matrix:
        """
        Return the pixels that see points.

        :param points: (N, 3) in the camera's frame, metres.
        :return: (N, 2) float64 pixels, centres of pixels have integer coordinates; NaN for the
            place of the camera itself.
        """
        points = np.asarray(points, np.float64)

        # theta is the angle off the axis, r its distance from the principal point.
        across = np.hypot(points[:, 0], points[:, 1])
        angle = np.arctan2(across, points[:, 2])
        radius = np.polynomial.polynomial.polyval(angle, (0.0, *self.coefficients))

        with np.errstate(divide='ignore', invalid='ignore'):
            direction = np.where(across[:, None] > 0, points[:, :2] / across[:, None], 0.0)
        seen = radius[:, None] * direction * (1.0, self.aspect_ratio)
        seen += (np.array(self.size) - 1) / 2 + self.offset
        seen[(points == 0).all(1)] = np.nan
        return np.asarray(seen)

    def from_vehicle(self, points: NDArray[np.floating[Any]]) -> Matrix:
        """
        Return points of the vehicle's frame in the camera's frame.

        :param points: (N, 3) metres.
        :return: (N, 3) float64 metres.
        """
        to_vehicle = rotation_of_quaternion(self.quaternion)
        return np.asarray((points - np.array(self.translation)) @ to_vehicle)
