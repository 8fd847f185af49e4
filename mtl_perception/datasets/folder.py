# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A user's own images and labels, described by one small YAML file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.files import expand, images_in, to_ids
from mtl_perception.datasets.geometry import check_camera, depth_from_disparity
from mtl_perception.errors import ConfigurationError
from mtl_perception.media.pictures import read_bytes, read_map
from mtl_perception.name_checks import check_names
from mtl_perception.tasks import (
    MOVING,
    STATIC,
    STREET_DEPTH,
    STREET_MOTION,
    UNKNOWN_MOTION,
    UNLABELLED,
    Task,
)

DESCRIPTION = 'dataset.yaml'
TRAINING_SHARE = 0.8
"""Share of a folder without splits that the training split gets."""
_UNLABELLED = 'unlabelled'
_MOTION_NAMES = {'static': STATIC, 'moving': MOVING, 'unknown': UNKNOWN_MOTION}


@dataclass(frozen=True)
class FolderDescription:
    """
    The content of ``dataset.yaml``; paths are relative to its folder.

    In a path, ``{split}`` stands for the split and ``{name}`` for the image's path below
    ``images``, without the suffix; a path that begins with a brace needs quotes. All labels are
    PNG files with one number per pixel.

    :param images: folder of the images; a subfolder is a recording, in the order of its names.
    :param semantic: path of the class ids of an image.
    :param classes: class name -> RGB colour; the first class has id 0.
    :param ids: number in the file -> class name or ``unlabelled``; by default the number is the
        class id and 255 is unlabelled.
    :param movable: names of the classes whose objects can move.
    :param sky: name of the class that is infinitely far.
    :param depth: path of the depth along Z of an image, 0 = unknown.
    :param depth_m: metres per step of ``depth``.
    :param disparity: path of the disparity of an image, 0 = unknown; instead of ``depth``.
    :param disparity_px: pixels per step of ``disparity``.
    :param focal_px: focal length of the rectified stereo cameras, pixels.
    :param baseline_m: distance of the stereo cameras, metres.
    :param maximum_m: largest depth for training and evaluation, metres.
    :param motion: path of the motion mask of an image.
    :param motion_ids: number in the file -> ``static``, ``moving`` or ``unknown``.
    """

    images: str
    semantic: str = ''
    classes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    ids: Mapping[int, str] = field(default_factory=dict)
    movable: Sequence[str] = ()
    sky: str = ''
    depth: str = ''
    depth_m: float = 0.001
    disparity: str = ''
    disparity_px: float = 1 / 256
    focal_px: float = 0.0
    baseline_m: float = 0.0
    maximum_m: float = STREET_DEPTH.maximum
    motion: str = ''
    motion_ids: Mapping[int, str] = field(
        default_factory=lambda: {0: 'static', 1: 'moving', 255: 'unknown'})


class Folder(RecordedClips):
    """
    Images and labels in folders that ``<root>/dataset.yaml`` describes.

    Earlier images are those before an image in the natural order of its subfolder, in which ``9``
    comes before ``10``, within the same split. Where no path has a ``{split}``, ``train`` is the
    first four fifths of each subfolder in this order and ``validation`` the rest, at least its
    last image: frames of one recording resemble their neighbours, and a random part would flatter
    the model.

    :param root: the folder with ``dataset.yaml``; see :class:`FolderDescription`.
    :param split: replaces ``{split}`` in the paths; without one, ``train``, ``validation`` or
        ``val``, and ``all`` or nothing for all images.
    :param frames: images T per clip.
    :param spacing: distance of two images of a clip in images of the subfolder.
    :param description: the content of ``dataset.yaml``, in place of the file.
    :raises ConfigurationError: if the description is wrong or the split unknown.
    :raises DataError: if a folder is missing or empty.
    """

    def __init__(
            self, root: str, split: str = '', frames: int = 1, spacing: int = 1,
            description: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._root = expand(root)
        self._split = split
        about = (description_of(dict(description), root) if description else
                 read_description(self._root / DESCRIPTION))
        self._about = about
        self._ids = _semantic_ids(about)
        self._motion_ids = {
            number: _MOTION_NAMES[name] for number, name in about.motion_ids.items()}
        self.tasks = _tasks(about)

        # A subfolder is a recording; without {split} each of them is divided.
        self._images = self._path(about.images)
        self._order: dict[Path, list[Path]] = {}
        for image in images_in(self._images, '**/*'):
            self._order.setdefault(image.parent, []).append(image)
        if not any('{split}' in path for path in (
                about.images, about.semantic, about.depth, about.disparity, about.motion)):
            self._order = {
                folder: _part(recording, split) for folder, recording in self._order.items()}

        self._place = {image: place for recording in self._order.values()
                       for place, image in enumerate(recording)}
        super().__init__(list(self._place), frames, spacing)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image ``back`` places before another in its subfolder."""
        place = self._place[image] - back
        return self._order[image.parent][place] if place >= 0 else None

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return the labels that the description names."""
        about = self._about
        labels: dict[str, NDArray[Any]] = {}
        name = image.relative_to(self._images).with_suffix('').as_posix()

        if about.semantic:
            path = self._path(about.semantic, name)
            labels['semantic'] = to_ids(read_map(path, shape), self._ids, path)

        if about.depth:
            steps = read_map(self._path(about.depth, name), shape)
            labels['depth'] = _known(steps, about.depth_m)
        if about.disparity:
            steps = read_map(self._path(about.disparity, name), shape)
            labels['depth'] = depth_from_disparity(
                _known(steps, about.disparity_px), about.focal_px, about.baseline_m)

        if about.motion:
            path = self._path(about.motion, name)
            labels['motion'] = to_ids(read_map(path, shape), self._motion_ids, path)
        return labels

    def focal_length(self, image: Path) -> float | None:
        """Return the focal length that the description gives, pixels."""
        return self._about.focal_px or None

    def _path(self, pattern: str, name: str = '') -> Path:
        """Return a path of the description with its braces replaced."""
        return self._root / pattern.replace('{split}', self._split).replace('{name}', name)


def read_description(path: Path) -> FolderDescription:
    """
    Read a ``dataset.yaml``.

    :raises DataError: if it cannot be read.
    :raises ConfigurationError: if it is not YAML, has an unknown key or an impossible value.
    """
    try:
        content = yaml.safe_load(read_bytes(path))
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f'{path}: is not YAML ({error}); a text that begins with {{ needs quotes') from error
    return description_of(content, str(path))


def description_of(content: Any, path: str) -> FolderDescription:
    """
    Return the description in the content of a YAML file.

    :param content: as parsed.
    :param path: of the file, for messages.
    :raises ConfigurationError: as :func:`read_description`.
    """
    if not isinstance(content, dict) or 'images' not in content:
        raise ConfigurationError(f"{path}: lacks 'images'; write at least images: FOLDER")

    check_names(content, [item.name for item in fields(FolderDescription)], f'{path}: setting')
    about = FolderDescription(**content)
    try:
        _check(about)
    except (ConfigurationError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f'{path}: {error}') from error
    return about


def _check(about: FolderDescription) -> None:
    """Refuse values out of range and settings that contradict each other."""
    # YAML gives a list or a text as readily as a table.
    for name in ('classes', 'ids', 'motion_ids'):
        if not isinstance(getattr(about, name), dict):
            raise ConfigurationError(f'{name} is {getattr(about, name)!r}, wanted KEY: VALUE')
    if bool(about.semantic) != bool(about.classes):
        raise ConfigurationError('semantic and classes belong together; give both or neither')

    for name, colour in about.classes.items():
        if len(colour) != 3 or not all(0 <= int(value) <= 255 for value in colour):
            raise ConfigurationError(
                f'class {name!r} has the colour {colour!r}, wanted three numbers from 0 to 255')

    known = [*about.classes]
    check_names([*about.movable, *filter(None, [about.sky])], known, 'class')
    check_names(about.ids.values(), [*known, _UNLABELLED], 'class')
    check_names(about.motion_ids.values(), list(_MOTION_NAMES), 'motion')
    for number in [*about.ids, *about.motion_ids]:
        if not isinstance(number, int) or not 0 <= number <= 255:
            raise ConfigurationError(f'label number {number!r} is out of range; wanted 0 to 255')

    if about.depth and about.disparity:
        raise ConfigurationError('depth and disparity are both given; give one of them')
    check_camera(about.focal_px, about.baseline_m)
    if about.disparity and not about.focal_px:
        raise ConfigurationError('disparity needs focal_px and baseline_m')
    if min(about.depth_m, about.disparity_px, about.maximum_m) <= 0:
        raise ConfigurationError('depth_m, disparity_px and maximum_m must be positive')


def _part(recording: list[Path], split: str) -> list[Path]:
    """
    Return the images of a recording that belong to a split, where no path has a ``{split}``.

    :raises ConfigurationError: if the split is unknown.
    """
    check_names([split or 'all'], ['all', 'train', 'validation', 'val'], 'split')

    # At least one image for validation, and at least one for training where there is only one.
    first = min(math.ceil(TRAINING_SHARE * len(recording)), max(1, len(recording) - 1))
    return {'train': recording[:first], 'validation': recording[first:],
            'val': recording[first:]}.get(split, recording)


def _semantic_ids(about: FolderDescription) -> dict[int, int]:
    """Return number in the file -> class id or 255."""
    # Any name that is not a class is 'unlabelled': _check has refused all others.
    places = {name: place for place, name in enumerate(about.classes)}
    if not about.ids:
        return {**{place: place for place in places.values()}, UNLABELLED: UNLABELLED}
    return {number: places.get(name, UNLABELLED) for number, name in about.ids.items()}


def _tasks(about: FolderDescription) -> tuple[Task, ...]:
    """Return the tasks that the description has labels of."""
    tasks = []
    names = list(about.classes)

    if about.semantic:
        tasks.append(Task(
            name='semantic', kind='classes', classes=tuple(names),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in about.classes.values()),
            movable=tuple(names.index(name) for name in about.movable),
            sky=names.index(about.sky) if about.sky else -1))

    if about.depth or about.disparity:
        tasks.append(replace(STREET_DEPTH, maximum=about.maximum_m))
    if about.motion:
        tasks.append(STREET_MOTION)
    return tuple(tasks)


def _known(steps: NDArray[Any], size: float) -> NDArray[np.float32]:
    """Return steps times their size, NaN where they are 0."""
    return np.where(steps > 0, steps * size, np.nan).astype(np.float32)
