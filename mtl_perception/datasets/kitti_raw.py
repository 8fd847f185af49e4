# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI's raw recordings: sparse depth from the lidar."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, find_earlier, images_in
from mtl_perception.datasets.geometry import (
    Matrix,
    calibrated,
    project_points,
    read_kitti_calibration,
    read_scan,
)
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.tasks import STREET_DEPTH

SPLITS = ('all', 'train', 'test')

EIGEN_TEST = {
    '2011_09_26': (2, 9, 13, 20, 23, 27, 29, 36, 46, 48, 52, 56, 59, 64, 84, 86, 93, 96, 101, 106,
                   117),
    '2011_09_28': (2,),
    '2011_09_29': (71,),
    '2011_09_30': (16, 18, 27),
    '2011_10_03': (27, 47),
}
"""Date -> numbers of the 28 drives that Eigen et al., NIPS 2014, keep for tests."""


class KittiRaw(RecordedClips):
    """
    KITTI raw, synchronised and rectified (Geiger et al., IJRR 2013).

    Reads ``<root>/<date>/<date>_drive_NNNN_sync/image_02/data/*.png``, the scans
    ``velodyne_points/data/*.bin`` beside it, and ``calib_cam_to_cam.txt`` and
    ``calib_velo_to_cam.txt`` of the date. A frame without a scan has no depth. Points are
    projected without compensation for moving objects or for the motion of the car during a turn
    of the lidar.

    :param root: the folder with the dates.
    :param split: ``all``; ``test`` for the 28 test drives of Eigen et al., ``train`` for the rest.
    :param drives: names of the only drives to use, such as ``2011_09_26_drive_0001_sync``.
    :param frames: images T per clip.
    :param spacing: distance between two images of a clip in frames, at 10 Hz.
    :param camera: 2 for the left colour camera, 3 for the right one.
    :param calibration: folder of the two files, if they are not in that of the date; with it, all
        drives must be of one date.
    :ivar projections: folder of a date -> (3, 4) from the lidar's frame to the camera's pixels.
    :raises ConfigurationError: if the split or the camera is unknown, or one calibration is given
        for several dates.
    :raises DataError: if a folder, a drive or a calibration file is missing.
    """

    tasks = (STREET_DEPTH,)
    filmed = True
    points = True

    def __init__(
            self, root: str, split: str = 'all', drives: Sequence[str] = (), frames: int = 1,
            spacing: int = 1, camera: int = 2, calibration: str = '') -> None:
        if split not in SPLITS:
            raise ConfigurationError(f'KITTI raw has no split {split!r}; it has {list(SPLITS)}')
        if camera not in (2, 3):
            raise ConfigurationError(
                f'camera is {camera}; wanted a colour camera: 2 (left) or 3 (right)')

        images = images_in(expand(root), f'*/*_sync/image_{camera:02d}/data/*')
        there = sorted({_drive(path).name for path in images})
        if unknown := sorted(set(drives) - set(there)):
            raise DataError(f'{root}: no drive {unknown[0]!r}; there are {there}')
        wanted = [path for path in images if not drives or _drive(path).name in drives]
        if split != 'all':
            wanted = [path for path in wanted if _is_test(_drive(path)) == (split == 'test')]

        # The sensors were calibrated each day; images without scans need no calibration.
        dates = sorted({_drive(path).parent for path in wanted})
        if calibration and len(dates) > 1:
            raise ConfigurationError(
                f'calibration is {calibration} for {[date.name for date in dates]}; each date has '
                'its own: name the drives of one date')
        self._camera = f'P_rect_{camera:02d}'
        self._calibration = expand(calibration) if calibration else None
        self.projections = {
            date: _projection(self._calibration or date, self._camera)
            for date in dates if any(date.glob('*/velodyne_points'))}
        super().__init__(wanted, frames, spacing)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image of the same drive ``back`` frames before."""
        return find_earlier(image, back)

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return the depth of the lidar's points in an image, if it has a scan."""
        drive = _drive(image)
        scan = drive / 'velodyne_points' / 'data' / f'{image.stem}.bin'
        if not scan.is_file():
            return {}
        projection = self.projections[drive.parent]
        return {'depth': project_points(read_scan(scan), projection, shape)}


    def focal_length(self, image: Path) -> float | None:
        """Return the focal length of an image, pixels; None without the date's calibration."""
        path = (self._calibration or _drive(image).parent) / 'calib_cam_to_cam.txt'
        if not path.is_file():
            return None
        return float(calibrated(read_kitti_calibration(path), self._camera, (3, 4), path)[0, 0])


def _drive(image: Path) -> Path:
    """Return the folder of an image's drive."""
    return image.parents[2]


def _is_test(drive: Path) -> bool:
    """Return whether a drive is one of the 28 for tests."""
    return any(drive.name == f'{date}_drive_{number:04d}_sync'
               for date, numbers in EIGEN_TEST.items() for number in numbers)


def _projection(folder: Path, camera: str) -> Matrix:
    """Return the (3, 4) projection of the lidar's points into a rectified camera."""
    path = folder / 'calib_velo_to_cam.txt'
    numbers = read_kitti_calibration(path)
    to_camera = np.eye(4)
    to_camera[:3, :3] = calibrated(numbers, 'R', (3, 3), path)
    to_camera[:3, 3:] = calibrated(numbers, 'T', (3, 1), path)

    path = folder / 'calib_cam_to_cam.txt'
    numbers = read_kitti_calibration(path)
    rectification = np.eye(4)
    rectification[:3, :3] = calibrated(numbers, 'R_rect_00', (3, 3), path)

    # From the lidar to camera 0, to its rectified axes, to pixels of the camera that is asked for.
    camera_matrix = calibrated(numbers, camera, (3, 4), path)
    return np.asarray(camera_matrix @ rectification @ to_camera)
