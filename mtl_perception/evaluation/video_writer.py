# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writing pictures into a video file."""

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import DataError, StorageError

ENCODERS: dict[str, dict[str, str]] = {
    'libx264': {'crf': '23', 'preset': 'superfast'},
    'libopenh264': {},
    'mpeg4': {'q:v': '4'},
}
"""Encoders in the order of preference, with their options; FFmpeg itself contains mpeg4."""


class VideoWriter:
    """
    An mp4 file.

    :param path: of the file; an earlier one is replaced only when the video is complete.
    :param rate: pictures per second.
    :raises StorageError: if it cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self._rate = Fraction(rate).limit_denominator(1000)

        # Written under another name first, so that an earlier video survives a failure.
        self._partial = path.with_name(f'.{path.name}.part')
        try:
            self._container = av.open(str(self._partial), 'w', format='mp4')
        except (OSError, av.error.FFmpegError) as error:
            raise StorageError(f'{path}: the video cannot be written: {error}') from error
        self._stream: av.VideoStream | None = None
        self.encoder = ''

    def __enter__(self) -> 'VideoWriter':
        """Return the writer."""
        return self

    def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None,
            trace: TracebackType | None) -> None:
        """Finish the file, or remove the incomplete one."""
        try:
            # None asks the encoder for the pictures that it still holds.
            if self._stream is not None and kind is None:
                self._encode(self._stream, None)
            self._container.close()

            if kind is None:
                os.replace(self._partial, self.path)
        except (OSError, av.error.FFmpegError) as problem:
            if kind is None:
                raise StorageError(
                    f'{self.path}: the video cannot be written: {problem}') from problem
        finally:
            with contextlib.suppress(OSError):
                self._partial.unlink()

    def add(self, picture: NDArray[np.uint8]) -> None:
        """
        Append a picture.

        :param picture: (H, W, 3) uint8 RGB with even H and W, of the first one's size.
        :raises StorageError: if it cannot be written.
        """
        if self._stream is None:
            self._stream = self._start(picture.shape[0], picture.shape[1])
        if picture.shape != (self._stream.height, self._stream.width, 3):
            raise DataError(
                f'{self.path}: a picture of shape {picture.shape} after one of '
                f'{(self._stream.height, self._stream.width, 3)}')

        self._encode(self._stream, av.VideoFrame.from_ndarray(
            np.ascontiguousarray(picture), format='rgb24'))

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
            self.encoder = name
            return stream
        raise StorageError(
            f'{self.path}: this build of PyAV has none of the encoders {list(ENCODERS)}')
