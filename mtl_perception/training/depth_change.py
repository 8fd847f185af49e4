# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an adaptation does to depth, and the checks of it without labels."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.manifest import Manifest
from mtl_perception.training.drive_depth import (
    Classes,
    DriveDepth,
    Film,
    find_depth,
    mean_errors,
    photometric_errors,
)
from mtl_perception.training.self_training import Teacher

MAX_PHOTOMETRIC_LOSS = 0.03
"""How far the photometric error may rise, as a share of it."""
MAX_DRIFT = 1.2
"""How far the scale of depth may move from what it is tied to, as a factor."""
ROAD = ('road', 'road_marking')
"""Names of classes that lie on the road."""
CHECKED = 20
"""Held-out images whose photometric error is computed."""


@dataclass(frozen=True, eq=False)
class DepthChange:
    """
    What an adaptation did to depth.

    :param found: what the drive showed.
    :param before: (H, W) float32 depth of the held-out images, in the network's metres.
    :param after: the same of the adapted model.
    :param error_before: photometric error of the held-out images where both models' depth shows;
        NaN if depth was not learned.
    :param error_after: the same of the adapted model.
    :param errors: those before, for each pixel of the images that are checked.
    """

    found: DriveDepth
    before: list[NDArray[np.float32]]
    after: list[NDArray[np.float32]]
    error_before: float = float('nan')
    error_after: float = float('nan')
    errors: Sequence[NDArray[np.float32]] = ()

    @property
    def drift(self) -> float:
        """Return the median factor on depth beyond the one that was wanted."""
        if not self.found.labels:
            return 1.0
        ratios = [np.median(new / old) for old, new in zip(self.before, self.after, strict=True)]
        return float(np.median(ratios)) / self.found.factor

    def faults(self) -> list[str]:
        """Return in what the adapted depth is worse."""
        faults = []
        if self.error_after > self.error_before * (1 + MAX_PHOTOMETRIC_LOSS):
            faults.append(f'its depth explains the drive worse: photometric error '
                          f'{self.error_before:.4f} -> {self.error_after:.4f}')
        if not 1 / MAX_DRIFT < self.drift < MAX_DRIFT:
            faults.append(f'the scale of its depth has drifted by a factor of {self.drift:.2f}')
        return faults


class Looker:
    """
    Ask a teacher for the depth of a drive.

    :param teacher: with the weights that are asked.
    :param drive: clips, the held-out ones at the end.
    :param manifest: of the model.
    :param height_ratio: of the camera, see :class:`.Film`.
    """

    def __init__(
            self, teacher: Teacher, drive: Sequence[NDArray[np.uint8]], manifest: Manifest,
            height_ratio: float = 1.0) -> None:
        semantic, depth = manifest.task('semantic'), manifest.task('depth')
        assert semantic is not None
        self.teacher = teacher
        self.drive = drive
        self.height_ratio = height_ratio
        self.classes = Classes(semantic.movable, semantic.sky, tuple(
            number for number, name in enumerate(semantic.classes) if name in ROAD))
        self.inverse = None if depth is None else depth.inverse

    def __call__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the classes and the depth of an image."""
        return self.teacher.look(self.drive[number], self.inverse or 0.0, self.height_ratio)

    def depth_change(self, film: Film | None, learned: int) -> DepthChange:
        """Return what the drive shows of the depth of the images that are learned from."""
        if self.inverse is None:
            return DepthChange(DriveDepth({}, why_not='the model has no depth'), [], [])
        if film is None:
            return DepthChange(DriveDepth({}, why_not=(
                'nobody says that the images follow one another; depth needs a video, a '
                'recording, or --rate for a folder of consecutive frames')), [], [])

        found = find_depth(film, range(learned), self, self.classes)
        if not found.labels:
            return DepthChange(found, [], [])
        numbers = range(learned, len(self.drive))
        return DepthChange(
            found, [self(number)[1] for number in numbers], [],
            errors=photometric_errors(film, self._checked(learned), self, self.classes))

    def after(self, change: DepthChange, film: Film | None) -> DepthChange:
        """Return the change with what the teacher answers now."""
        if film is None or not change.found.labels:
            return change
        learned = len(self.drive) - len(change.before)
        before, after = mean_errors(change.errors, photometric_errors(
            film, self._checked(learned), self, self.classes))
        return dataclasses.replace(
            change, after=[self(number)[1] for number in range(learned, len(self.drive))],
            error_before=before, error_after=after)

    def _checked(self, learned: int) -> list[int]:
        """Return the held-out images whose photometric error is computed."""
        count = min(CHECKED, len(self.drive) - learned)
        return [int(place) for place in np.linspace(learned, len(self.drive) - 1, count)]
