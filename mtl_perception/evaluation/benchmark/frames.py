# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The frames of a benchmark, drawn or read once and then held in memory."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.bags.reader import Bag
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.evaluation.bag_evaluation import recorded_intrinsics
from mtl_perception.evaluation.records import complete_truth
from mtl_perception.frames import Truth
from mtl_perception.manifest import Manifest
from mtl_perception.synthetic import Street

SEED = 20000
"""Of the street; streets from here on are used neither for training nor to choose a model."""
FIRST = 20
"""Index of its first frame that is taken."""
RATE = 10.0
"""Frames of the street per second."""
Image = NDArray[np.uint8]
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Drive:
    """
    Consecutive frames of one camera, with what is true of them.

    :param what: where they are from, in words.
    :param images: (H, W, 3) uint8 RGB each.
    :param truths: of each image; None where there is none.
    :param focal_px: focal length of the camera, pixels; 0 = unknown.
    :param period_ns: between two frames.
    """

    what: str
    images: list[Image]
    truths: list[Truth | None]
    focal_px: float
    period_ns: int

    @property
    def sha256(self) -> str:
        """Digest of the images, hexadecimal."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Frames:
    """
    Consecutive frames of one camera, in one size or several.

    :param what: where they are from, in words.
    :param images: (width, height) -> images (H, W, 3) uint8 RGB.
    :param focal_px: focal length along x as a share of the width.
    """

    what: str
    images: dict[Size, list[Image]]
    focal_px: float
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for images in self.images.values():
            for image in images:
                digest.update(np.ascontiguousarray(image).data)
        object.__setattr__(self, 'sha256', digest.hexdigest())

    def save(self, path: Path) -> None:
        """Write the images into a file for :func:`load_images`."""
        arrays = {f'{width}x{height}': np.stack(images)
                  for (width, height), images in self.images.items()}
        np.savez(path, **arrays)  # type: ignore[arg-type]  # names of arrays, no options


def load_images(path: Path) -> dict[Size, list[Image]]:
    """Return the images that :meth:`Frames.save` wrote."""
    with np.load(path) as file:
        return {parse_size(name): list(file[name]) for name in file.files}


def street_frames(sizes: Sequence[Size], count: int) -> Frames:
    """
    Return consecutive frames of a street.

    :param sizes: width and height of the images, pixels.
    :param count: frames of each size.
    """
    images, focal = {}, 0.0
    for width, height in dict.fromkeys(sizes):
        street = Street(SEED, width, height, RATE)
        focal = street.focal_px / width
        images[width, height] = [street.render(FIRST + number).image for number in range(count)]
    return Frames(f'street {SEED}, {count} frames from {FIRST} on', images, focal)


def street_drive(size: Size, count: int) -> Drive:
    """
    Return frames of a street with their truth.

    :param size: width and height of the images, pixels.
    :param count: number of frames.
    """
    street = Street(SEED, *size, RATE)
    frames = [street.render(FIRST + number) for number in range(count)]
    return Drive(
        f'street {SEED}, {count} frames from {FIRST} on', [frame.image for frame in frames],
        [Truth(frame.semantic, frame.depth, frame.motion, frame.instance) for frame in frames],
        street.focal_px, round(1e9 / RATE))


def bag_drive(path: Path, manifest: Manifest, count: int) -> Drive:
    """
    Return the first frames of a recording, with their truth if it has any.

    :param path: of a rosbag2.
    :param manifest: of the model.
    :param count: frames at most.
    :raises DataError: if it cannot be read or has fewer than two images of one size.
    """
    images: list[Image] = []
    truths: list[Truth | None] = []
    stamps: list[int] = []
    with Bag(path) as bag:
        focal_px = float(recorded_intrinsics(bag, manifest).get('focal_px', 0.0))

        for record in bag.records(manifest.tasks):
            if record.image is None or (images and record.image.shape != images[0].shape):
                continue
            images.append(record.image)
            truths.append(complete_truth(record, manifest.tasks).truth)
            stamps.append(record.stamp_ns)
            if len(images) == count:
                break
    if len(images) < 2:
        raise DataError(f'{path}: {len(images)} image(s); a benchmark needs at least two')

    period_ns = int(np.median(np.diff(stamps)))
    return Drive(
        f'{path.name}, {len(images)} frames', images, truths, focal_px, max(1, period_ns))


def forth_and_back(count: int) -> Iterator[int]:
    """Yield 0, 1, ... count - 1, ... 1, 0, 1, ... for ever: neighbours stay neighbours."""
    while True:
        yield from range(count)
        yield from range(count - 2, 0, -1)


def parse_size(text: str) -> Size:
    """
    Return width and height.

    :param text: such as ``640x480``.
    :raises ConfigurationError: if it is not that.
    """
    words = text.lower().split('x')
    if len(words) != 2 or not all(word.isdigit() and 16 <= int(word) <= 8192 for word in words):
        raise ConfigurationError(
            f'size {text!r} is not WIDTHxHEIGHT in pixels, 16 to 8192 each, such as 640x480')
    return int(words[0]), int(words[1])
