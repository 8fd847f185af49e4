# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where a camera's pictures come from: the synthetic street, a video, a folder, a device."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import DataError
from mtl_perception.media.device import CameraDevice
from mtl_perception.media.listing import list_images
from mtl_perception.media.pictures import read_rgb
from mtl_perception.media.video import FALLBACK_RATE, Video, VideoFrame
from mtl_perception.preprocessing import resize
from mtl_perception.ros.source_settings import SourceSettings
from mtl_perception.synthetic import Street, StreetFrame

STREET_HEIGHT, STREET_WIDTH = 224, 384


@dataclass(frozen=True, eq=False)
class Picture:
    """
    One picture of a source.

    :param image: (H, W, 3) uint8 RGB.
    :param truth: the street's ground truth for it; None for a real camera.
    """

    image: NDArray[np.uint8]
    truth: StreetFrame | None = None


class ImageSource(Protocol):
    """
    Pictures, one after the other.

    ``rate`` is the rate of the source, pictures per second; 0 = as fast as it can be read.
    ``live`` is true for a device: its pictures cannot be read ahead of time.
    """

    rate: float
    live: bool

    def read(self) -> Picture | None:
        """
        Return the next picture, None at the end.

        :raises DataError: if there should be a picture but none can be read.
        """

    def close(self) -> None:
        """Release the file or the device."""


class StreetSource:
    """Endless synthetic streets with ground truth; two pictures are 1 / rate apart."""

    live = False

    def __init__(self, settings: SourceSettings) -> None:
        self.rate = settings.rate or FALLBACK_RATE
        self._size = (settings.width or STREET_WIDTH, settings.height or STREET_HEIGHT)
        self._first = settings.start_index
        self._seed = settings.seed
        self._seeds = settings.seeds
        self._per_street = max(1, round(settings.seconds_per_street * self.rate))
        self._count = 0
        self._street: Street | None = None
        self._street_seed = -1

    def place(self, count: int) -> tuple[int, int]:
        """Return the seed and the index in that street of picture number ``count``."""
        if self._seeds == 1:
            return self._seed, self._first + count

        # the streets take turns; on its next turn a street goes on where it stopped
        turn, step = divmod(count, self._per_street)
        lap, street = divmod(turn, self._seeds)
        return self._seed + street, self._first + lap * self._per_street + step

    def read(self) -> Picture:
        """Draw the next picture."""
        seed, index = self.place(self._count)
        if self._street is None or seed != self._street_seed:
            width, height = self._size
            self._street = Street(seed, width=width, height=height, rate=self.rate)
            self._street_seed = seed

        frame = self._street.render(index)
        self._count += 1
        return Picture(frame.image, frame)

    def close(self) -> None:
        """Forget the street."""
        self._street = None


class VideoSource:
    """
    A video file in real time: at a lower rate than the file's, pictures in between are skipped.

    ``rate`` is never higher than the file's own.
    """

    live = False

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._video = Video(Path(settings.source))
        self._own_rate = self._video.rate or settings.rate or FALLBACK_RATE
        self.rate = min(settings.rate or self._own_rate, self._own_rate)
        self._start()

    def read(self) -> Picture | None:
        """Return the file's picture that is due next."""
        frame = self._next_frame()
        if frame is None and self._settings.loop and self._given:
            self._start()
            frame = self._next_frame()

        if frame is None:
            if not self._given:
                raise DataError(f'{self._video.path}: no picture can be read from index '
                                f'{self._settings.start_index} on')
            return None
        self._given += 1
        return _picture(frame.read(), self._settings)

    def close(self) -> None:
        """Close the file."""
        self._frames.close()

    def _start(self) -> None:
        self._given = 0
        self._position = -self._settings.start_index  # of the file's next picture, 0 = the first
        self._frames = self._video.frames(strict=False)

    def _next_frame(self) -> VideoFrame | None:
        """Return the frame that is due next. Every frame is decoded: seeking is not exact."""
        due = round(self._given * self._own_rate / self.rate)
        for frame in self._frames:
            self._position += 1
            if self._position > due:
                return frame
        return None


class FolderSource:
    """The images of a folder in natural order of their names."""

    live = False

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._paths = list_images(Path(settings.source))
        if settings.start_index >= len(self._paths):
            raise DataError(
                f'{settings.source}: start_index is {settings.start_index}, but there are '
                f'{len(self._paths)} images')
        self.rate = settings.rate or FALLBACK_RATE
        self._next = settings.start_index

    def read(self) -> Picture | None:
        """Return the next image of the folder."""
        if self._next == len(self._paths):
            if not self._settings.loop:
                return None
            self._next = self._settings.start_index
        path = self._paths[self._next]
        self._next += 1
        return _picture(read_rgb(path, upright=True), self._settings)

    def close(self) -> None:
        """Nothing is open."""


class DeviceSource:
    """A camera such as ``/dev/video0``; its driver is asked for size and rate."""

    live = True

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self.rate = settings.rate
        self._camera = CameraDevice(
            settings.source, settings.width, settings.height, settings.rate)

    def read(self) -> Picture:
        """Wait for the camera's next picture."""
        return _picture(self._camera.read(), self._settings)

    def close(self) -> None:
        """Release the device."""
        self._camera.close()


SOURCES: dict[str, Callable[[SourceSettings], ImageSource]] = {
    'street': StreetSource,
    'video': VideoSource,
    'folder': FolderSource,
    'device': DeviceSource,
}
"""Kind of a source -> its class."""


def kind_of(source: str) -> str:
    """
    Return the kind of a source.

    :param source: ``street``, or the path of a video, a folder or a device.
    :return: a key of :data:`SOURCES`.
    :raises DataError: if there is nothing of that name.
    """
    if source == 'street':
        return 'street'
    path = Path(source)
    if path.is_dir():
        return 'folder'
    if path.is_char_device():
        return 'device'
    if path.is_file():
        return 'video'
    raise DataError(
        f'source {source!r}: {path.absolute()} does not exist; wanted "street", a video file, a '
        'folder of images or a camera device such as /dev/video0')


def open_image_source(settings: SourceSettings) -> ImageSource:
    """
    Open a source.

    :raises DataError: if it does not exist or cannot be read.
    """
    return SOURCES[kind_of(settings.source)](settings)


def _picture(image: NDArray[np.uint8], settings: SourceSettings) -> Picture:
    """Return the picture at the wanted size; if one side is given, the other keeps the ratio."""
    height, width = image.shape[:2]
    wanted_width = settings.width or (
        round(width * settings.height / height) if settings.height else width)
    wanted_height = settings.height or round(height * wanted_width / width)

    if (wanted_height, wanted_width) != (height, width):
        image = resize(image, wanted_height, wanted_width)
    return Picture(image)
