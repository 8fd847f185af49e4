# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the clips of a data set hold, counted."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.sample import Sample
from mtl_perception.tasks import NOT_LABELLED, UNKNOWN_MOTION, Task


@dataclass
class Findings:
    """
    Contents and faults of one data set.

    :param name: its name in the configuration.
    :param data: the data set, None if it could not be built.
    :param problems: faults, each with the path of its file.
    :param sizes: (height, width) of an image -> number of clips.
    :param labelled: task -> number of clips with at least one known pixel.
    :param pixels: task -> number of pixels, known or not, of the images with a known one.
    :param counts: task -> number of these pixels with each of the 256 values; not for depth.
    :param depth_known: pixels with a depth.
    :param depth_beyond: pixels whose depth is larger than the task's maximum.
    :param depth_range: smallest and largest finite depth, metres.
    :param images: digest of an image's pixels -> the paths with these pixels.
    :param boxes: class -> number of boxes.
    :param objects: number of objects with instance labels.
    :param tasks_of: number of a clip -> number of tasks that are labelled in its last image.
    """

    name: str
    data: RecordedClips | None = None
    problems: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    labelled: Counter[str] = field(default_factory=Counter)
    pixels: Counter[str] = field(default_factory=Counter)
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    depth_known: int = 0
    depth_beyond: int = 0
    depth_range: tuple[float, float] = (np.inf, 0.0)
    images: dict[bytes, set[Path]] = field(default_factory=dict)
    boxes: Counter[int] = field(default_factory=Counter)
    objects: int = 0
    tasks_of: Counter[int] = field(default_factory=Counter)

    def task(self, name: str) -> Task | None:
        """Return the task of that name, None if the data set does not label it."""
        tasks = self.data.tasks if self.data else ()
        return next((task for task in tasks if task.name == name), None)

    def best(self) -> list[int]:
        """Return the numbers of the clips whose last image has labels for the most tasks."""
        most = max(self.tasks_of.values(), default=0)
        return [number for number, tasks in self.tasks_of.items() if tasks == most]

    def add(self, number: int, clip: tuple[Path, ...], sample: Sample) -> None:
        """Count one clip."""
        self.tasks_of[number] = 0
        self.sizes[sample.image.shape[1], sample.image.shape[2]] += 1

        # Pixels are compared, not files: one image may have two names and two formats.
        for path, image in zip(clip, sample.image):
            digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            self.images.setdefault(digest, set()).add(path)

        adders = {'depth': self._add_depth, 'instance': self._add_objects}
        for task, label in sample.labels().items():
            add = adders.get(task, partial(self._add_classes, task))
            known = [add(image) for image in label]
            self.pixels[task] += label[0].size * sum(known)
            self.labelled[task] += any(known)
            self.tasks_of[number] += known[-1]  # of the last image, the annotated one

        if sample.detection is not None:
            kinds = sample.detection[..., 4].astype(int)
            known = (kinds != NOT_LABELLED).all(1).tolist()
            self.boxes.update(kinds[kinds >= 0].tolist())
            self.labelled['detection'] += any(known)
            self.tasks_of[number] += known[-1]

    def _add_objects(self, ids: NDArray[Any]) -> bool:
        """Count the objects of one image and return whether it has a known pixel."""
        self.objects += int(np.count_nonzero(np.unique(ids) > 0))
        return bool((ids >= 0).any())

    def _add_classes(self, task: str, ids: NDArray[Any]) -> bool:
        """Count the classes of one image and return whether it has a known pixel."""
        values = np.bincount(ids.ravel(), minlength=256)
        known = bool(values[:UNKNOWN_MOTION].any())
        if known:
            self.counts[task] = self.counts.get(task, np.int64(0)) + values
        return known

    def _add_depth(self, depth: NDArray[Any]) -> bool:
        """Count the depth of one image and return whether it has a known pixel."""
        known = depth[np.isfinite(depth) & (depth > 0)]
        if known.size:
            task = self.task('depth')
            self.depth_known += known.size
            self.depth_beyond += int((known > task.maximum).sum()) if task else 0
            nearest, farthest = self.depth_range
            self.depth_range = (
                min(nearest, float(known.min())), max(farthest, float(known.max())))
        return bool(known.size)
