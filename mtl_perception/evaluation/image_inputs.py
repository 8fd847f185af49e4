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

from mtl_perception.bags.reader import Bag, Moment
from mtl_perception.bags.storage import SUFFIXES
from mtl_perception.datasets.files import images_in, read_rgb
from mtl_perception.errors import DataError

FOLDER_RATE = 10.0

SPARE_FRAMES = 2
"""So many frames may be missing at the ends of a video, as where it was cut from a longer one."""


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
        stems: dict[str, Path] = {}
        for image in images:
            if stems.setdefault(image.stem, image) != image:
                raise DataError(
                    f'{path}: {stems[image.stem].name} and {image.name} have one name, and so '
                    'would their answers; rename one')
        rate = rate or FOLDER_RATE
        return Source((Shot(image.stem, round(number * 1e9 / rate), read_rgb(image))
                       for number, image in enumerate(images, 1)), len(images), rate)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            own = float(stream.average_rate or 0)
            count = stream.frames or round(_seconds(container, stream) * own)
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise DataError(
            f'{path}: is neither a folder nor a recording nor a video that can be read ({error}); '
            'give a folder of JPEG or PNG images, a rosbag2, or a video file') from error
    return Source(_decoded(path, rate), count, rate or own or FOLDER_RATE)


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a rosbag2."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or any(
            one.suffix in SUFFIXES for one in path.iterdir())
    return path.suffix in (*SUFFIXES, '.zstd')


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
    """
    Yield every frame of a video, the right way up.

    :param rate: frames per second, 0 for the times that the video has.
    :raises DataError: if it cannot be decoded, or ends before its end.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            step = 1 / (rate or float(stream.average_rate or FOLDER_RATE))
            number, first, last = -1, 0.0, 0.0
            for number, frame in enumerate(container.decode(video=0)):
                time = number * step if rate or frame.time is None else float(frame.time)
                first = time if number == 0 else first
                last = max(time, last) if number else time
                image = np.rot90(frame.to_ndarray(format='rgb24'), round(frame.rotation / 90))
                yield Shot(f'{number:06d}', round((last - first + step) * 1e9),
                           np.ascontiguousarray(image, np.uint8))
            wanted, seconds = stream.frames, _seconds(container, stream)
    except (OSError, av.error.FFmpegError) as error:
        raise DataError(f'{path}: cannot be decoded to its end ({error})') from error
    if number + 1 < wanted - SPARE_FRAMES:
        raise DataError(
            f'{path}: ends after {number + 1} of {wanted} frames; it is cut short, copy it again')
    if not wanted and not rate and last - first + step * (1 + SPARE_FRAMES) < seconds:
        raise DataError(
            f'{path}: ends after {last - first + step:.2f} of {seconds:.2f} s; it is cut short, '
            'copy it again')


def _seconds(container: Any, stream: Any) -> float:
    """Return how long a video is, 0 if only its sound may say."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1
    return container.duration / av.time_base if alone and container.duration else 0.0
