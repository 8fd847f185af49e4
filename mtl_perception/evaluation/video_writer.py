# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writing pictures into a video file."""

import contextlib
import itertools
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import StorageError
from mtl_perception.preprocessing import resize

ENCODERS: dict[str, dict[str, str]] = {
    'libx264': {'crf': '23', 'preset': 'superfast'},
    'libopenh264': {},
    'mpeg4': {'q:v': '4'},
}
"""Encoders in the order of preference, with their options; FFmpeg itself contains mpeg4."""


TICKS = 30000
"""Ticks per second; common rates have whole numbers of them, and every encoder takes so many."""

_SALVAGEABLE = av.library_versions['libavformat'] >= (61, 7, 100)
"""Whether this FFmpeg writes mp4 files that can be read when their end is missing."""


class VideoWriter:
    """
    An mp4 file.

    Pictures are never lost: when the work or the disk fails, those before it stay in
    ``NAME.partial.mp4``, or, if there is such a file, ``NAME.partial2.mp4`` and so on, and an
    earlier ``NAME.mp4`` stays as it was. When the disk is full, that takes FFmpeg 7.1 or newer.

    :param path: of the file; an earlier one is replaced only when the video is complete.
    :param rate: pictures per second.
    :ivar fitted: number of pictures of another size than the first one's.
    :ivar kept: the file that holds the pictures at the end; None if there is none.
    :raises StorageError: if it cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self.fitted = 0
        self.kept: Path | None = None
        self._rate = Fraction(rate).limit_denominator(1000)
        self._partial = _free(lambda number: path.with_name(f'.{path.name}.part{number}'))

        # Without the prefix, FFmpeg would take a name like '22:57.mp4' for an address.
        options = {'movflags': 'hybrid_fragmented+negative_cts_offsets'} if _SALVAGEABLE else {}
        try:
            self._container = av.open(f'file:{self._partial}', 'w', format='mp4', options=options)
        except (OSError, av.error.FFmpegError) as error:
            raise StorageError(f'{path}: the video cannot be written: {error}') from error
        self._stream: av.VideoStream | None = None
        self._ticks = -1
        self._count = 0
        self.encoder = ''

    def __enter__(self) -> 'VideoWriter':
        """Return the writer."""
        return self

    def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None,
            trace: TracebackType | None) -> None:
        """Finish the file; what was written before an error is kept under another name."""
        try:
            self._finish()
            if kind is None:
                os.replace(self._partial, self.path)
                self.kept = self.path
            elif self._count:
                self._keep()
        except (OSError, av.error.FFmpegError) as problem:
            self._keep()
            if kind is None:
                raise StorageError(
                    f'{self.path}: the video cannot be written: {problem}') from problem
        finally:
            with contextlib.suppress(OSError):
                self._partial.unlink()

    def add(self, picture: NDArray[np.uint8], seconds: float | None = None) -> None:
        """
        Append a picture; one of another size than the first one's gets black bars.

        :param picture: (H, W, 3) uint8 RGB; H and W of the first one are even.
        :param seconds: when it is shown; None = one step after the one before it.
        :raises StorageError: if it cannot be written.
        """
        if self._stream is None:
            self._stream = self._start(picture.shape[0], picture.shape[1])
        if picture.shape != (self._stream.height, self._stream.width, 3):
            picture = letterboxed(picture, self._stream.height, self._stream.width)
            self.fitted += 1

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
        wanted = self._count / self._rate if seconds is None else seconds
        self._ticks = max(self._ticks + 1, round(wanted * TICKS))
        frame.pts = self._ticks
        frame.time_base = Fraction(1, TICKS)
        self._encode(self._stream, frame)
        self._count += 1

    def _finish(self) -> None:
        """Write what the encoder still holds, and the end of the file."""
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def _keep(self) -> None:
        """Give the pictures so far a visible name, if they can be read."""
        stem, suffix = self.path.stem, self.path.suffix
        target = _free(lambda number: self.path.with_name(f'{stem}.partial{number}{suffix}'))
        with contextlib.suppress(OSError, av.error.FFmpegError):
            with av.open(f'file:{self._partial}') as container:
                next(container.decode(video=0))
            os.replace(self._partial, target)
            self.kept = target

    def _encode(self, stream: av.VideoStream, frame: av.VideoFrame | None) -> None:
        try:
            self._container.mux(stream.encode(frame))
        except (OSError, av.error.FFmpegError) as error:
            raise StorageError(f'{self.path}: the video cannot be written: {error}') from error

    def _start(self, height: int, width: int) -> av.VideoStream:
        """
        Return a stream of the first encoder that this build of FFmpeg has.

        :raises StorageError: if it has none.
        """
        for name, options in ENCODERS.items():
            try:
                av.Codec(name, 'w')
            except (ValueError, av.error.FFmpegError):
                continue

            # yuv420p is the format that every player decodes; it needs even sizes.
            stream = self._container.add_stream(name, rate=self._rate, options=dict(options))
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt = height, width, 'yuv420p'
            stream.codec_context.time_base = Fraction(1, TICKS)
            self.encoder = name
            return stream
        raise StorageError(
            f'{self.path}: this build of PyAV has none of the encoders {list(ENCODERS)}')


def _free(name: Callable[[str], Path]) -> Path:
    """
    Return the first path that does not exist; one that does may be the input, or what an earlier
    run left.

    :param name: returns the path with a number; the first one has none.
    """
    paths = (name('' if number == 1 else str(number)) for number in itertools.count(1))
    return next(path for path in paths if not os.path.lexists(path))


def letterboxed(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture in a frame of another size, with black bars on two sides."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner_height = max(1, round(picture.shape[0] * scale))
    inner_width = max(1, round(picture.shape[1] * scale))
    top = (height - inner_height) // 2
    left = (width - inner_width) // 2

    frame = np.zeros((height, width, 3), np.uint8)
    frame[top:top + inner_height, left:left + inner_width] = resize(
        picture, inner_height, inner_width)
    return frame
