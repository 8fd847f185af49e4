# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Network cameras: RTSP, HTTP and whatever else FFmpeg can open by an address."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import DataError
from mtl_perception.media.addresses import without_password
from mtl_perception.media.video import VideoFrame, film_stream, pyav

TIMEOUT_S = 5.0
"""An address that does not answer for so long is given up, seconds."""

RETRY_S = 30.0
"""For so long a connection that was lost is tried again, seconds."""

PAUSE_S = 1.0
"""Between two tries, seconds."""

_FILES = ('http://', 'https://', 'ftp://')
"""Addresses whose end is an end; that of any other is a lost connection."""


class NetworkStream:
    """
    The frames of an address, one after the other; a lost connection is opened again.

    :param address: such as ``rtsp://camera/stream``.
    :raises DataError: if it cannot be opened.
    :raises ConfigurationError: if PyAV is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.shown = without_password(address)
        self._av = pyav()
        self._frames: Iterator[Any] = iter(())
        self._container: Any = None
        if problem := self._connect():
            raise self._failure(problem)

    def read(self) -> NDArray[np.uint8] | None:
        """
        Wait for the next frame and return its (H, W, 3) uint8 RGB, None at the end of a file.

        :raises DataError: if the connection was lost and cannot be opened again.
        """
        deadline = time.monotonic() + RETRY_S
        problem = ''
        while True:
            try:
                frame = next(self._frames, None)
                if frame is not None:
                    return VideoFrame('', 0.0, frame).read()
                if not problem and self.address.lower().startswith(_FILES):
                    return None
            except (OSError, self._av.error.FFmpegError) as error:
                problem = str(error)

            # the camera restarts, or the network is gone for a while
            if time.monotonic() > deadline:
                raise self._failure(problem or 'the stream has ended')
            time.sleep(PAUSE_S)
            problem = self._connect()

    def close(self) -> None:
        """End the connection."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _connect(self) -> str:
        """Open the address and return what is wrong, empty if nothing is."""
        self.close()
        rtsp = self.address.lower().startswith('rtsp')
        try:
            # RTSP over UDP loses packets, and with them parts of images.
            self._container = self._av.open(
                self.address, timeout=TIMEOUT_S,
                options={'rtsp_transport': 'tcp'} if rtsp else {})
            self._frames = self._container.decode(film_stream(self._container))
        except (OSError, LookupError, ValueError, self._av.error.FFmpegError) as error:
            self._frames = iter(())
            return str(error) or type(error).__name__
        return ''

    def _failure(self, problem: str) -> DataError:
        text = problem.replace(self.address, self.shown)
        return DataError(
            f'{self.shown}: cannot be played ({text}); wanted an address that FFmpeg opens. Check '
            'name, port, user and network')
