# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images to go through, one after the other: of a folder, a video or a recording."""

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.bags.reader import Bag, Moment
from mtl_perception.bags.storage import SUFFIXES
from mtl_perception.errors import DataError
from mtl_perception.media.calibration import focal_length, image_size
from mtl_perception.media.listing import list_images
from mtl_perception.media.pictures import read_rgb
from mtl_perception.media.video import FALLBACK_RATE, Video


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
        return None if self.info is None else focal_length(self.info)


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
        return Source(_recorded(path, namespace), len(stamps), rate or own or FALLBACK_RATE)
    if path.is_dir():
        images = list_images(path)
        stems: dict[str, Path] = {}
        for image in images:
            if stems.setdefault(image.stem, image) != image:
                raise DataError(
                    f'{path}: {stems[image.stem].name} and {image.name} have one name, and so '
                    'would their answers; rename one')
        rate = rate or FALLBACK_RATE
        return Source((Shot(image.stem, round(number * 1e9 / rate), read_rgb(image, True))
                       for number, image in enumerate(images, 1)), len(images), rate)
    if not path.is_file():
        raise DataError(f'{path}: does not exist; give a folder of images, a rosbag2, or a video')
    video = Video(path)
    return Source(_decoded(video, rate), video.count, rate or video.rate or FALLBACK_RATE)


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a rosbag2."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or any(
            one.suffix in SUFFIXES for one in path.iterdir())
    return path.suffix in (*SUFFIXES, '.zstd')


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
            if info is not None and image_size(info) != image.shape[:2]:
                info = None
            yield Shot(str(moment.stamp_ns), moment.stamp_ns, image, info, moment)
        for topic, reasons in bag.skipped.items():
            raise DataError(
                f'{path}: {topic}: {sum(reasons.values())} messages cannot be read '
                f'({next(iter(reasons))}); remove them or their topic from the recording', 'B05')


def _decoded(video: Video, rate: float) -> Iterator[Shot]:
    """
    Yield every frame of a video.

    :param rate: frames per second, 0 for the times that the video has.
    :raises DataError: if it cannot be decoded, or ends before its end.
    """
    step = 1 / (rate or video.rate or FALLBACK_RATE)
    for number, frame in enumerate(video.frames()):
        seconds = number * step if rate else frame.seconds
        yield Shot(f'{number:06d}', round((seconds + step) * 1e9), frame.read())
