# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions as a film: camera and all tasks side by side, in the time of the input."""

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import StorageError
from mtl_perception.evaluation.image_inputs import InputImage
from mtl_perception.evaluation.pictures import Painter
from mtl_perception.evaluation.video_writer import VideoWriter
from mtl_perception.frames import FrameRecord, Perception
from mtl_perception.tasks import Task

LONGEST_PAUSE_S = 2.0
"""A longer pause of a recording is shown so long, seconds."""


class FilmOutput:
    """
    A film of predictions with a legend; each frame is shown as long as in the input.

    :param path: of the mp4 file.
    :param tasks: of the model.
    :param rate: frames per second where the stamps do not tell.
    :raises StorageError: if it cannot be written.
    """

    def __init__(self, path: Path, tasks: tuple[Task, ...], rate: float) -> None:
        self._painter = Painter(tasks)
        self._step = 1 / rate
        self._seconds = 0.0
        self._last_ns: int | None = None
        self._legend: NDArray[np.uint8] | None = None  # all frames have one width
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f'{path}: cannot be written ({error})') from error
        self._film = VideoWriter(path, rate)

    def __enter__(self) -> 'FilmOutput':
        """Return the output."""
        return self

    def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None,
            trace: TracebackType | None) -> None:
        """Finish the film."""
        self._film.__exit__(kind, error, trace)

    @property
    def kept(self) -> Path | None:
        """The file that holds the frames; None if there is none."""
        return self._film.kept

    @property
    def remark(self) -> str:
        """What a viewer should know; empty if there is nothing."""
        if not self._film.fitted:
            return ''
        return ('frames of another shape than the first one, fitted into its frame with black '
                f'bars: {self._film.fitted}')

    def take(self, shown: InputImage, prediction: Perception) -> None:
        """
        Append one frame.

        :raises StorageError: if that is impossible.
        """
        # stamps of a recording may jump back, for example where two were joined
        if self._last_ns is not None:
            pause = (shown.stamp_ns - self._last_ns) / 1e9
            self._seconds += min(pause, LONGEST_PAUSE_S) if pause > 0 else self._step
        self._last_ns = shown.stamp_ns

        record = FrameRecord(shown.stamp_ns, shown.image, prediction)
        lines = [shown.name] if prediction.depth is None else [
            shown.name, shown.intrinsics.caption]
        picture = self._painter.draw(record, lines)
        if self._legend is None:
            self._legend = self._painter.legend(picture.shape[1])
        self._film.add(np.vstack([picture, self._legend]), self._seconds)
