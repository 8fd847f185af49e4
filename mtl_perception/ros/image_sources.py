# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where a camera's pictures come from: the street, a video, a folder, a device, an address."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import DataError
from mtl_perception.image_range import limits_of
from mtl_perception.media.addresses import is_address, local_path
from mtl_perception.media.device import CameraDevice
from mtl_perception.media.network_stream import NetworkStream
from mtl_perception.media.omissions import Omissions
from mtl_perception.media.picture_folder import PictureFolder, PictureFrame, is_picture
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
    :param seconds: since the first picture; None = published as soon as it is there.
    :param truth: the street's ground truth for it; None for a real camera.
    """

    image: NDArray[np.uint8]
    seconds: float | None = None
    truth: StreetFrame | None = None


class ImageSource(Protocol):
    """
    Pictures, one after the other.

    ``rate`` is the rate of the source, pictures per second; 0 = unknown. ``live`` is true for a
    camera: its pictures cannot be read ahead of time. ``remarks`` should be said before the first
    picture; ``omissions`` grows with each picture that is left out.
    """

    rate: float
    live: bool
    remarks: tuple[str, ...]
    omissions: Omissions

    def read(self) -> Picture | None:
        """
        Return the next picture, None at the end.

        :raises DataError: if there should be a picture but none can be read.
        """

    def use_rate(self, rate: float) -> None:
        """
        Take another rate of the settings, from the next picture on; not for a live source.

        May be called from another thread.
        """

    def close(self) -> None:
        """Release the file or the device."""


class StreetSource:
    """Endless synthetic streets with ground truth; two pictures are 1 / rate apart."""

    live = False
    remarks: tuple[str, ...] = ()

    def __init__(self, settings: SourceSettings) -> None:
        self.rate = self._next_rate = settings.rate or FALLBACK_RATE
        self.omissions = Omissions()
        self._size = (settings.width or STREET_WIDTH, settings.height or STREET_HEIGHT)
        self._first = settings.start_index
        self._seed = settings.seed
        self._seeds = settings.seeds
        self._seconds_per_street = settings.seconds_per_street
        self._count = 0
        self._street: Street | None = None
        self._street_seed = -1

    def place(self, count: int) -> tuple[int, int]:
        """Return the seed and the index in that street of picture number ``count``."""
        if self._seeds == 1:
            return self._seed, self._first + count

        # the streets take turns; on its next turn a street goes on where it stopped
        per_street = max(1, round(self._seconds_per_street * self.rate))
        turn, step = divmod(count, per_street)
        lap, street = divmod(turn, self._seeds)
        return self._seed + street, self._first + lap * per_street + step

    def use_rate(self, rate: float) -> None:
        """Take another rate; the street goes on where it is."""
        self._next_rate = rate or FALLBACK_RATE

    def read(self) -> Picture:
        """Draw the next picture."""
        if self._next_rate != self.rate:
            self._change_rate(self._next_rate)
        seed, index = self.place(self._count)
        if self._street is None or seed != self._street_seed:
            width, height = self._size
            self._street = Street(seed, width=width, height=height, rate=self.rate)
            self._street_seed = seed

        frame = self._street.render(index)
        seconds = self._count / self.rate
        self._count += 1
        return Picture(frame.image, seconds, frame)

    def close(self) -> None:
        """Forget the street."""
        self._street = None

    def _change_rate(self, rate: float) -> None:
        """Count in other periods; the next picture is not earlier than it would have been."""
        ratio = rate / self.rate
        self._count = math.ceil(self._count * ratio - 1e-9)
        self._first = round(self._first * ratio)
        self.rate = rate
        self._street = None


class FileSource(ABC):
    """
    Pictures of a file or a folder, each at its own time.

    Of pictures that come faster than the rate in the settings some are skipped. One that cannot be
    read is left out and counted.

    :param settings: of the source.
    :param omissions: to which the pictures that cannot be read are added.
    :raises DataError: if it cannot be opened.
    """

    live = False
    rate = 0.0
    remarks: tuple[str, ...] = ()

    def __init__(self, settings: SourceSettings, omissions: Omissions) -> None:
        self.omissions = omissions
        self._settings = settings
        self._shift = self._last = 0.0
        self._limit = self._next_limit = settings.rate
        self._step = 1 / (settings.rate or FALLBACK_RATE)
        self._restart()

    @abstractmethod
    def frames(self) -> Iterator[VideoFrame | PictureFrame]:
        """Yield all frames from the first that is wanted on; its time is 0."""

    def read(self) -> Picture | None:
        """
        Return the next picture, at its time since the first one.

        :raises DataError: if not a single one can be read.
        """
        if self._next_limit != self._limit:
            self._change_rate(self._next_limit)

        picture = self._next()
        if picture is None and self._settings.loop and self._given:
            # one step after the last picture, so that the seam is no pause
            self._shift = self._last + self._step
            self._restart()
            picture = self._next()

        if picture is None and not self._given:
            raise DataError(
                f'{self._settings.source}: no picture can be read from index '
                f'{self._settings.start_index} on'
                + (f': {self.omissions}' if self.omissions else ''))
        return picture

    def use_rate(self, rate: float) -> None:
        """Take another rate; no picture that is due is skipped."""
        self._next_limit = rate

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._frames, Generator):
            self._frames.close()

    def _restart(self) -> None:
        self._given = 0
        self._slot = -1
        self._frames: Iterator[VideoFrame | PictureFrame] = self.frames()

    def _next(self) -> Picture | None:
        """Return the next picture that is due; None at the end."""
        for frame in self._frames:
            if not self._is_due(frame.seconds):
                continue
            try:
                image = frame.read()
            except DataError as error:
                self.omissions.add(str(error))
                continue

            seconds = self._shift + frame.seconds
            if self._given and seconds > self._last:
                self._step = seconds - self._last
            self._last = seconds
            self._given += 1
            return _picture(image, self._settings, seconds)
        return None

    def _is_due(self, seconds: float) -> bool:
        """Return whether a frame is the first one of its period, at the rate that is wanted."""
        if not self._limit:
            return True
        slot = self._slot_of(seconds)
        due = slot > self._slot
        self._slot = max(slot, self._slot)
        return due

    def _slot_of(self, seconds: float) -> int:
        """Return the number of the period of a time since the first picture."""
        # A quarter of a period early is in time: the times of cameras vary.
        return math.floor(seconds * self._limit + 0.25)

    def _change_rate(self, rate: float) -> None:
        """Count in other periods, from the last picture on."""
        self._limit = rate
        self._step = 1 / (rate or FALLBACK_RATE)
        if self._given:
            self._slot = self._slot_of(self._last - self._shift)


class VideoSource(FileSource):
    """A video file, by its own times."""

    def __init__(self, settings: SourceSettings) -> None:
        self._video = Video(local_path(settings.source), limits_of(settings.image_range))
        super().__init__(settings, self._video.omissions)

    def frames(self) -> Generator[VideoFrame, None, None]:
        """Yield the frames. Every one is decoded: seeking is not exact."""
        start: float | None = None
        for number, frame in enumerate(self._video.frames(strict=False)):
            if number >= self._settings.start_index:
                start = frame.seconds if start is None else start
                yield replace(frame, seconds=frame.seconds - start)


class FolderSource(FileSource):
    """The images of a folder in natural order of their names, or a single one; 1 / rate apart."""

    def __init__(self, settings: SourceSettings) -> None:
        self.rate = settings.rate or FALLBACK_RATE
        self._folder = PictureFolder(
            local_path(settings.source), self.rate, limits_of(settings.image_range))
        self.remarks = tuple(self._folder.remarks())
        if settings.start_index >= self._folder.count:
            raise DataError(
                f'{settings.source}: start_index is {settings.start_index}, but there are '
                f'{self._folder.count} images')
        super().__init__(settings, self._folder.omissions)

    def frames(self) -> Generator[PictureFrame, None, None]:
        """Yield the pictures, each one period of the rate of that moment after the last."""
        seconds = 0.0
        for frame in self._folder.frames(self._settings.start_index):
            yield replace(frame, seconds=seconds)
            seconds += 1 / (self._limit or FALLBACK_RATE)

    def _is_due(self, seconds: float) -> bool:
        return True


class DeviceSource:
    """A camera such as ``/dev/video0``; its driver is asked for size and rate."""

    live = True
    remarks: tuple[str, ...] = ()

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self.rate = settings.rate
        self.omissions = Omissions()
        self._camera = CameraDevice(
            str(local_path(settings.source)), settings.width, settings.height, settings.rate)

    def read(self) -> Picture:
        """Wait for the camera's next picture."""
        return _picture(self._camera.read(), self._settings)

    def use_rate(self, rate: float) -> None:
        """Do nothing: the driver was asked for a rate at the start."""

    def close(self) -> None:
        """Release the device."""
        self._camera.close()


class AddressSource:
    """A network camera such as ``rtsp://camera/stream``; of its pictures the newest is next."""

    live = True
    rate = 0.0
    remarks: tuple[str, ...] = ()

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self.omissions = Omissions()
        self._stream = NetworkStream(settings.source)

    def read(self) -> Picture | None:
        """Wait for the camera's next picture; None at the end of a file."""
        image = self._stream.read()
        return None if image is None else _picture(image, self._settings)

    def use_rate(self, rate: float) -> None:
        """Do nothing: the camera has a rate of its own."""

    def close(self) -> None:
        """End the connection."""
        self._stream.close()


SOURCES: dict[str, Callable[[SourceSettings], ImageSource]] = {
    'street': StreetSource,
    'video': VideoSource,
    'folder': FolderSource,
    'device': DeviceSource,
    'address': AddressSource,
}
"""Kind of a source -> its class."""


def kind_of(source: str) -> str:
    """
    Return the kind of a source.

    :param source: ``street``, the path of a video, a folder, a picture or a device, or an address.
    :return: a key of :data:`SOURCES`.
    :raises DataError: if there is nothing of that name.
    """
    if source == 'street':
        return 'street'
    if is_address(source):
        return 'address'
    path = local_path(source)
    if path.is_dir() or is_picture(path):
        return 'folder'
    if path.is_char_device():
        return 'device'
    if path.is_file():
        return 'video'
    raise DataError(
        f'source {source!r}: {path.absolute()} does not exist; wanted "street", a video file, a '
        'folder of images, a camera device such as /dev/video0 or an address such as '
        'rtsp://camera/stream')


def open_image_source(settings: SourceSettings) -> ImageSource:
    """
    Open a source.

    :raises DataError: if it does not exist or cannot be read.
    """
    return SOURCES[kind_of(settings.source)](settings)


def _picture(
        image: NDArray[np.uint8], settings: SourceSettings, seconds: float | None = None,
) -> Picture:
    """Return the picture at the wanted size; if one side is given, the other keeps the ratio."""
    height, width = image.shape[:2]
    wanted_width = settings.width or (
        round(width * settings.height / height) if settings.height else width)
    wanted_height = settings.height or round(height * wanted_width / width)

    if (wanted_height, wanted_width) != (height, width):
        image = resize(image, wanted_height, wanted_width)
    return Picture(image, seconds)
