# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Video files: every frame with its time, the right way up."""

import importlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError, DataError

FALLBACK_RATE = 10.0
"""Frames per second where a file says neither a rate nor times."""

SPARE_FRAMES = 2
"""So few missing frames are not an error: videos cut out of others often lack some at the ends."""


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """
    One frame of a video.

    :param seconds: time since the first frame; never less than in the frame before.
    """

    seconds: float
    _frame: Any

    def read(self) -> NDArray[np.uint8]:
        """
        Return the (H, W, 3) uint8 RGB, rotated upright.

        The conversion takes longer than decoding: call it only for frames that are needed.
        """
        image = self._frame.to_ndarray(format='rgb24')
        return np.ascontiguousarray(np.rot90(image, round(self._frame.rotation / 90)), np.uint8)


class Video:
    """
    A video file of any kind that FFmpeg reads.

    :param path: of the file.
    :ivar rate: mean frames per second by the header, 0 = unknown.
    :ivar count: number of frames by the header, 0 = unknown.
    :raises DataError: if it cannot be opened as a video.
    :raises ConfigurationError: if PyAV is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._av = _pyav()
        try:
            with self._open() as container:
                stream = container.streams.video[0]
                self.rate = float(stream.average_rate or 0)
                self._stored = int(stream.frames)
                self._duration = self._seconds_of(container, stream)
        except (OSError, IndexError, self._av.error.FFmpegError) as error:
            raise DataError(
                f'{path}: cannot be opened as a video ({error}); the file may be cut, or of a '
                'format that this build of FFmpeg does not read') from error
        self.count = self._stored or round(self._duration * self.rate)

    def frames(self, strict: bool = True) -> Generator[VideoFrame, None, None]:
        """
        Yield every frame, in the order in which they are shown.

        :param strict: whether damage is an error; else damaged parts are left out.
        :raises DataError: with ``strict``, if a part cannot be decoded or the end is missing.
        """
        step = 1 / (self.rate or FALLBACK_RATE)
        number = 0
        first = last = 0.0
        for frame in self._decoded(strict):
            time = number * step if frame.time is None else float(frame.time)
            if number == 0:
                first = last = time
            last = max(last, time)  # times can jump back where two videos were joined
            number += 1
            yield VideoFrame(last - first, frame)

        if strict:
            self._check_end(number, last - first + step, step)

    def _decoded(self, strict: bool) -> Iterator[Any]:
        """Yield the frames as PyAV returns them."""
        # Packet by packet, so that decoding can continue after a damaged one.
        try:
            with self._open() as container:
                for packet in container.demux(container.streams.video[0]):
                    try:
                        yield from packet.decode()
                    except self._av.error.InvalidDataError:
                        if strict:
                            raise
        except (OSError, self._av.error.FFmpegError) as error:
            if strict:
                raise DataError(
                    f'{self.path}: cannot be decoded to its end ({error}); copy it again',
                ) from error

    def _check_end(self, number: int, seconds: float, step: float) -> None:
        """Refuse a file that ends before its header says."""
        if number < self._stored - SPARE_FRAMES:
            raise DataError(
                f'{self.path}: ends after {number} of {self._stored} frames; it is cut short, '
                'copy it again')
        if not self._stored and seconds + step * SPARE_FRAMES < self._duration:
            raise DataError(
                f'{self.path}: ends after {seconds:.2f} of {self._duration:.2f} s; it is cut '
                'short, copy it again')

    def _open(self) -> Any:
        # Without the prefix, FFmpeg would take a name like 'front:1.mp4' for a URL.
        return self._av.open(f'file:{self.path}')

    def _seconds_of(self, container: Any, stream: Any) -> float:
        """Return the duration of the images, 0 if the header has only that of several streams."""
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        alone = len(container.streams) == 1
        return container.duration / self._av.time_base if alone and container.duration else 0.0


def _pyav() -> Any:
    """Import PyAV, which only videos need."""
    try:
        importlib.import_module('av.error')  # makes it an attribute of av
        return importlib.import_module('av')
    except ImportError as error:
        raise ConfigurationError('reading a video needs PyAV; pip install av') from error
