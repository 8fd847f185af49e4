# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images to go through, one after the other: of a folder, a video or a recording."""

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.files import images_in, read_rgb
from mtl_perception.errors import DataError
from mtl_perception.evaluation.bag import Bag, Moment
from mtl_perception.evaluation.storage import SUFFIXES

FOLDER_RATE = 10.0


@dataclass(frozen=True, eq=False)
class Shot:
    """
    One image.

    :param name: of it, also of the files that are made of it.
    :param stamp_ns: nanoseconds; of an image without one, its number by the rate.
    :param image: (H, W, 3) uint8 RGB.
    :param info: calibration of a recording, a ``sensor_msgs/CameraInfo``; None if unknown or for
        images of another size.
    :param moment: of the recording it is from, with what is true of it; else None.
    """

    name: str
    stamp_ns: int
    image: NDArray[np.uint8]
    info: Any = None
    moment: Moment | None = None

    @property
    def focal_px(self) -> float | None:
        """Focal length by the calibration, pixels; None if there is none."""
        return None if self.info is None else focal_of(self.info)


@dataclass(frozen=True)
class Source:
    """
    Images to go through.

    :param shots: yields them in order.
    :param count: how many there are, 0 if that is not known.
    :param rate: images per second.
    """

    shots: Iterable[Shot]
    count: int
    rate: float


def open_source(path: Path, rate: float = 0.0, namespace: str = '') -> Source:
    """
    Return the images of a folder, a video or a recording.

    :param path: of any of them.
    :param rate: images per second; 0 takes that of the video or recording, or 10 for a folder.
    :param namespace: of the camera of a recording.
    :raises DataError: if there is no such file, or no image in it.
    """
    if is_bag(path):
        with Bag(path, namespace) as bag:
            bag.require(['image'])
            stamps = bag.stamps_of('image')
        span = stamps[-1] - stamps[0]
        own = (len(stamps) - 1) * 1e9 / span if span else 0.0
        return Source(_recorded(path, namespace), len(stamps), rate or own or FOLDER_RATE)
    if path.is_dir():
        images = images_in(path)
        rate = rate or FOLDER_RATE
        return Source((Shot(image.stem, round(number * 1e9 / rate), read_rgb(image))
                       for number, image in enumerate(images, 1)), len(images), rate)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            count, own = stream.frames, float(stream.average_rate or 0)
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise DataError(
            f'{path}: is neither a folder nor a recording nor a video that can be read ({error}); '
            'give a folder of JPEG or PNG images, a rosbag2, or a video file') from error
    rate = rate or own or FOLDER_RATE
    return Source(_decoded(path, rate), count, rate)


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a rosbag2."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or any(
            one.suffix in SUFFIXES for one in path.iterdir())
    return path.suffix in SUFFIXES


def focal_of(info: Any) -> float | None:
    """Return the focal length of a ``sensor_msgs/CameraInfo``, pixels; None if not calibrated."""
    focal = float(info.k[0]) / max(1, info.binning_x)
    return focal if math.isfinite(focal) and focal > 0 else None


def is_for(info: Any, height: int, width: int) -> bool:
    """Return whether a ``sensor_msgs/CameraInfo`` is for images of a size."""
    return (height, width) == (
        (info.roi.height or info.height) // max(1, info.binning_y),
        (info.roi.width or info.width) // max(1, info.binning_x))


class Calibrations:
    """
    The calibrations of a recording.

    :param bag: the recording.
    """

    def __init__(self, bag: Bag) -> None:
        self._infos = bag.infos()
        self._stamps = sorted(self._infos)

    def at(self, stamp_ns: int) -> Any:
        """Return the calibration with a stamp, or else the one before; None if there is none."""
        place = bisect.bisect_right(self._stamps, stamp_ns)
        return self._infos[self._stamps[place - 1]] if place else None


def _recorded(path: Path, namespace: str) -> Iterator[Shot]:
    """Yield every image of a recording that can be read, in the order of the stamps."""
    with Bag(path, namespace) as bag:
        calibrations = Calibrations(bag)
        roles = ['image', *(role for role in bag.roles if role.startswith('true_'))]
        for moment in bag.moments(roles):
            if 'image' not in moment.arrays:
                continue
            image, info = moment.arrays['image'], calibrations.at(moment.stamp_ns)
            if info is not None and not is_for(info, image.shape[0], image.shape[1]):
                info = None
            yield Shot(str(moment.stamp_ns), moment.stamp_ns, image, info, moment)
        for topic, reasons in bag.skipped.items():
            raise DataError(
                f'{path}: {topic}: {sum(reasons.values())} messages cannot be read '
                f'({next(iter(reasons))}); remove them or their topic from the recording', 'B05')


def _decoded(path: Path, rate: float) -> Iterator[Shot]:
    """Yield every frame of a video."""
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                yield Shot(f'{number:06d}', round((number + 1) * 1e9 / rate),
                           np.asarray(frame.to_ndarray(format='rgb24'), np.uint8))
    except (OSError, av.error.FFmpegError) as error:
        raise DataError(f'{path}: cannot be decoded to its end ({error})') from error
