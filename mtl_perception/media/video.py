# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Videos: every frame that is shown, with its own time, the right way up."""

import importlib
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.image_range import ImageRange, Limits
from mtl_perception.media.omissions import Omissions

FALLBACK_RATE = 10.0
"""Frames per second where a file says neither a rate nor times."""

SPARE_FRAMES = 2
"""So few missing frames are not an error: videos cut out of others often lack some at the ends."""

SPARE_S = 0.5
"""So much less than the header says is not an error either, seconds."""

_COVER = 1 << 10
"""FFmpeg's mark of a picture that is attached to a file, AV_DISPOSITION_ATTACHED_PIC."""

_WIDE = {'gray16': 'gray16le', 'ya16': 'gray16le', **dict.fromkeys(
    ('rgb48', 'bgr48', 'rgba64', 'bgra64', 'gbrp16', 'gbrap16'), 'rgb48le')}
"""Beginning of the name of a format of 16 bits -> the format to read it as."""

JOINED_STEPS, JOINED_S = 2.5, 1.0
"""
Times that jump back farther, frame steps or seconds, are of another video that was appended.
Decoders give frames in the order in which they are shown; bad files may have some times swapped.
"""


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """
    One frame of a video.

    :param name: its number, six digits.
    :param seconds: time since the first frame; never less than in the frame before.
    """

    name: str
    seconds: float
    _frame: Any
    _range: ImageRange | None = None

    def read(self) -> NDArray[np.uint8]:
        """
        Return the (H, W, 3) uint8 RGB, rotated and mirrored upright.

        The conversion takes longer than decoding: call it only for frames that are needed.
        """
        image = self._pixels()
        matrix = self._frame.side_data.get('DISPLAYMATRIX')
        return np.ascontiguousarray(image if matrix is None else _turned(image, bytes(matrix)))

    def _pixels(self) -> NDArray[np.uint8]:
        """Return the (H, W, 3) uint8 RGB as it is stored."""
        # A format of 10 or 12 bits says so itself; one of 16 may hold fewer.
        name = self._frame.format.name
        wide = next((form for start, form in _WIDE.items() if name.startswith(start)), 'rgb24')
        pixels: NDArray[Any] = self._frame.to_ndarray(format=wide)
        if wide == 'rgb24':
            return pixels
        narrow = (self._range or ImageRange()).eight_bits(np.ascontiguousarray(pixels, np.uint16))
        return narrow if narrow.ndim == 3 else np.repeat(narrow[..., None], 3, 2)


class Video:
    """
    A video file of any kind that FFmpeg reads.

    What the header says is for progress bars alone: frames and times are those of the content.

    :param path: of the file.
    :param limits: of a video of 16 bits; None finds them.
    :ivar image_range: of the same.
    :ivar rate: mean frames per second by the header, 0 = unknown.
    :ivar count: number of frames by the header, 0 = unknown.
    :ivar omissions: what the last call of :meth:`frames` left out.
    :raises DataError: if it cannot be opened as a video.
    :raises ConfigurationError: if PyAV is not installed.
    """

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path = path
        self.omissions = Omissions()
        self.image_range = ImageRange(limits)
        self._av = pyav()
        try:
            with self._open() as container:
                stream = film_stream(container)
                self.rate = float(stream.average_rate or 0)
                # Other formats count what they think of as frames.
                self._stored = int(stream.frames) if 'mp4' in container.format.name else 0
                self._duration = self._seconds_of(container, stream)
                self.count = int(stream.frames) or round(self._duration * self.rate)
        except (OSError, LookupError, self._av.error.FFmpegError) as error:
            raise DataError(
                f'{path}: cannot be opened as a video ({error}); the file may be cut, or of a '
                'format that this build of FFmpeg does not read') from error

    def frames(self, strict: bool = True) -> Generator[VideoFrame, None, None]:
        """
        Yield every frame, in the order in which they are shown.

        :param strict: whether damage is an error; else damaged parts are left out and counted in
            ``omissions``.
        :raises DataError: with ``strict``, if a part cannot be decoded or the end is missing.
        """
        self.omissions.clear()
        self.image_range.forget()
        clock = FrameClock(1 / (self.rate or FALLBACK_RATE))
        packets = 0

        # Packet by packet, so that decoding can continue after a damaged one.
        try:
            with self._open() as container:
                stream = film_stream(container)
                for packet in container.demux(stream):
                    packets += packet.size > 0

                    for frame in self._decoded(packet, strict):
                        yield VideoFrame(
                            f'{clock.count:06d}', clock.place(frame.time), frame,
                            self.image_range)
        except (OSError, self._av.error.FFmpegError) as error:
            self._note(f'cannot be decoded to its end ({error})', strict)
        else:
            self._check_end(packets, clock, strict)

        if remark := self.image_range.remark():
            self.omissions.add(f'{self.path}: {remark}', 0)

    def _decoded(self, packet: Any, strict: bool) -> Iterator[Any]:
        """Yield the frames in a packet; decoding continues behind a damaged one."""
        # Within a video an empty packet repeats a frame; given to the decoder it would end it.
        if not packet.size and packet.dts is not None:
            return
        try:
            frames = packet.decode()
        except self._av.error.InvalidDataError as error:
            if strict:
                raise
            self._note(f'a part at {float(packet.pts or 0) * float(packet.time_base):.2f} s '
                       f'cannot be decoded ({error.strerror})', strict, 1)
            return

        for frame in frames:
            if frame.is_corrupt:
                self._note(f'the frame at {frame.time or 0:.2f} s is damaged', strict, 1)
            else:
                yield frame

    def _check_end(self, packets: int, clock: 'FrameClock', strict: bool) -> None:
        """Note a file that ends before its header says."""
        # An edit list hides frames, and some of them are not even read.
        if packets < self._stored - SPARE_FRAMES and (
                found := self._count_packets()) < self._stored - SPARE_FRAMES:
            self._note(f'ends after {found} of {self._stored} frames; it is cut short', strict)

        # The header counts from zero on, and how long the last frame is shown.
        end = clock.start + clock.seconds + max(clock.step * (1 + SPARE_FRAMES), SPARE_S)
        if not self._stored and end < self._duration:
            self._note(f'ends at {clock.start + clock.seconds:.2f} s, its header says '
                       f'{self._duration:.2f} s: it may be cut short', strict)

    def _note(self, what: str, strict: bool, frames: int = 0) -> None:
        """Raise, or count what is left out."""
        text = f'{self.path}: {what}; copy it again'
        if strict:
            raise DataError(text)
        self.omissions.add(text, frames)

    def _count_packets(self) -> int:
        """Return how many frames are stored in the file, shown or not."""
        with self._open(ignore_editlist='1') as container:
            return sum(packet.size > 0 for packet in container.demux(film_stream(container)))

    def _open(self, **options: str) -> Any:
        # Without the prefix, FFmpeg would take a name like 'front:1.mp4' for a URL.
        return self._av.open(f'file:{self.path}', options=options)

    def _seconds_of(self, container: Any, stream: Any) -> float:
        """Return the duration of the images, 0 if the header has only that of several streams."""
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        alone = len(container.streams) == 1
        return container.duration / self._av.time_base if alone and container.duration else 0.0


class FrameClock:
    """
    Times since the first frame, from the times in a file.

    :param step: between frames without a time, seconds.
    :ivar count: of the frames so far.
    :ivar seconds: of the last one.
    :ivar step: the last distance that was not zero.
    :ivar start: time of the first frame by the file, seconds.
    """

    def __init__(self, step: float) -> None:
        self.count = 0
        self.seconds = 0.0
        self.step = step
        self._guess = step
        self.start = 0.0

    def place(self, time: float | None) -> float:
        """
        Return the time of the next frame, seconds.

        :param time: by the file; None if it says none.
        """
        if time is None:
            time = self.start + self.count * self._guess
        if not self.count:
            self.start = time
        elif time - self.start < self.seconds - self._joined_s():
            self.start = time - self.seconds - self.step

        seconds = max(self.seconds, time - self.start)
        if seconds > self.seconds:
            self.step = seconds - self.seconds
        self.seconds = seconds
        self.count += 1
        return seconds

    def _joined_s(self) -> float:
        """Return how far times jump back at a joint at least, seconds."""
        # a pause before the joint is no usual step
        return min(JOINED_S, JOINED_STEPS * min(self.step, self._guess))


def film_stream(container: Any) -> Any:
    """
    Return the first stream of images that is not a picture of a cover.

    :raises LookupError: if there is none.
    """
    films = [stream for stream in container.streams.video
             if not int(getattr(stream, 'disposition', 0)) & _COVER]
    if not films:
        raise LookupError('it holds no images')
    return films[0]


def pyav() -> Any:
    """
    Import PyAV, which only videos need.

    :raises ConfigurationError: if it is not installed.
    """
    try:
        importlib.import_module('av.error')  # makes it an attribute of av
        return importlib.import_module('av')
    except ImportError as error:
        raise ConfigurationError('reading a video needs PyAV; pip install av') from error


def _turned(image: NDArray[np.uint8], matrix: bytes) -> NDArray[np.uint8]:
    """
    Return an image as it is shown.

    :param matrix: nine int32; of them a, b, u, c, d: x' = a x + c y, y' = b x + d y.
    """
    a, b, _, c, d = struct.unpack_from('=5i', matrix)
    if abs(b) > abs(a):
        image = image.transpose(1, 0, 2)
        a, d = c, b
    return image[::-1 if d < 0 else 1, ::-1 if a < 0 else 1]
