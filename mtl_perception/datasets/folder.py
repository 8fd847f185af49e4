# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A user's own images and labels, described by one small YAML file."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import partial
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
from mtl_perception.image_range import ImageRange, limits_of
from mtl_perception.media.pictures import read_bytes, read_map, show_some
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
"""Share of each subfolder that goes to training where no path has a ``{split}``."""
_UNLABELLED = 'unlabelled'
_MOTION_NAMES = {'static': STATIC, 'moving': MOVING, 'unknown': UNKNOWN_MOTION}
_MOTION_IDS = {0: 'static', 1: 'moving', 255: 'unknown'}
"""What the numbers in a motion mask mean, unless the description says otherwise."""


@dataclass(frozen=True)
class FolderDescription:
    """
    The content of ``dataset.yaml``; paths are relative to its folder.

    In a path, ``{split}`` stands for the split and ``{name}`` for the image's path below
    ``images``, without the suffix; a path that begins with a brace needs quotes. All labels are
    PNG files with one number per pixel.

    :param images: folder of the images; a subfolder is a recording, in the order of its names.
    :param image_range: the numbers that become black and white in images of more than 8 bits, such
        as ``[7000, 8600]``; ``auto`` finds them in the images.
    :param semantic: path of an image's class ids.
    :param classes: class name -> RGB colour; the first class has id 0.
    :param ids: number in the file -> class name or ``unlabelled``; by default the number is the
        class id and 255 is unlabelled.
    :param movable: names of the classes whose objects can move.
    :param sky: name of the class that is infinitely far.
    :param depth: path of an image's depth along Z, 0 = unknown.
    :param depth_m: metres per step of ``depth``.
    :param disparity: path of an image's disparity, 0 = unknown; instead of ``depth``.
    :param disparity_px: pixels per step of ``disparity``.
    :param focal_px: focal length of the camera, or of the rectified stereo cameras, pixels;
        scales the depth of a model.
    :param baseline_m: distance between the stereo cameras, metres; disparity needs it.
    :param maximum_m: largest depth for training and evaluation, metres.
    :param motion: path of an image's motion mask.
    :param motion_ids: number in the file -> ``static``, ``moving`` or ``unknown``; by default
        0, 1 and 255.
    """

    images: str
    image_range: str | Sequence[int] = 'auto'
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
    motion_ids: Mapping[int, str] = field(default_factory=dict)


class Folder(RecordedClips):
    """
    Images and labels in folders that ``<root>/dataset.yaml`` describes.

    The images of a subfolder follow one another in natural order, in which ``9`` comes before
    ``10``; a clip never leaves its split. Where no path has a ``{split}``, each subfolder is
    divided: ``train`` is its first four fifths, ``validation`` the rest, at least the last image.
    The parts are not drawn at random, because neighbouring frames are nearly alike: a random
    validation split would flatter the model.

    :param root: the folder with ``dataset.yaml``; see :class:`FolderDescription`.
    :param split: replaces ``{split}`` in the paths. Where no path has one: ``train``,
        ``validation`` (or ``val``), or ``all``; empty for all images.
    :param frames: images T per clip.
    :param spacing: distance between two images of a clip, in images of the subfolder.
    :param description: the content of ``dataset.yaml``, in place of the file.
    :raises ConfigurationError: if the description is wrong or the split unknown.
    :raises DataError: if a folder is missing or empty.
    """

    filmed = True
    own_classes = True

    def __init__(
            self, root: str, split: str = '', frames: int = 1, spacing: int = 1,
            description: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._root = expand(root)
        self._split = split
        settings = (description_of(dict(description), root) if description else
                    read_description(self._root / DESCRIPTION))
        self._settings = settings
        self._ids = _semantic_ids(settings)
        self._motion_ids = {
            number: _MOTION_NAMES[name]
            for number, name in (settings.motion_ids or _MOTION_IDS).items()}
        self.tasks = _tasks(settings)
        described = {'semantic': settings.ids, 'motion': settings.motion_ids}
        self.assumed = [task for task, ids in described.items() if not ids]

        # A subfolder is a recording; without {split} each of them is divided.
        self._images = self._path(settings.images)
        self._order: dict[Path, list[Path]] = {}
        images = images_in(self._images, '**/*')
        for image in images:
            self._order.setdefault(image.parent, []).append(image)
        paths = (settings.images, settings.semantic, settings.depth, settings.disparity,
                 settings.motion)
        if not any('{split}' in path for path in paths):
            self._order = {
                folder: _images_of(recording, split) for folder, recording in self._order.items()}

        self._place = {image: place for recording in self._order.values()
                       for place, image in enumerate(recording)}
        super().__init__(list(self._place), frames, spacing)
        self.image_range = self._range(images)

    def find_earlier(self, image: Path, back: int) -> Path | None:
        """Return the image that is ``back`` images before another in its subfolder."""
        place = self._place[image] - back
        return self._order[image.parent][place] if place >= 0 else None

    def read_labels(self, image: Path, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Return the labels that the description names."""
        settings = self._settings
        labels: dict[str, NDArray[Any]] = {}
        name = image.relative_to(self._images).with_suffix('').as_posix()

        if settings.semantic:
            path = self._path(settings.semantic, name)
            labels['semantic'] = to_ids(read_map(path, shape), self._ids, path)

        if settings.depth:
            steps = read_map(self._path(settings.depth, name), shape)
            labels['depth'] = _in_units(steps, settings.depth_m)
        if settings.disparity:
            steps = read_map(self._path(settings.disparity, name), shape)
            labels['depth'] = depth_from_disparity(
                _in_units(steps, settings.disparity_px), settings.focal_px, settings.baseline_m)

        if settings.motion:
            path = self._path(settings.motion, name)
            labels['motion'] = to_ids(read_map(path, shape), self._motion_ids, path)
        return labels

    def focal_length(self, image: Path) -> float | None:
        """Return the focal length that the description gives, pixels."""
        return self._settings.focal_px or None

    def _range(self, images: Sequence[Path]) -> ImageRange:
        """Return the range of all images, whatever their split: one set has one range."""
        limits = limits_of(self._settings.image_range)
        return ImageRange(limits) if limits else ImageRange(sample=partial(show_some, images))

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
    try:
        settings = FolderDescription(**{
            name: _READERS[name](value, name) for name, value in content.items()})
        _check(settings)
    except (ConfigurationError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f'{path}: {error}') from error
    return settings


def _check(settings: FolderDescription) -> None:
    """Refuse values out of range and settings that contradict each other."""
    try:
        limits_of(settings.image_range)
    except ValueError as error:
        raise ConfigurationError(f'image_range is {error}') from error

    if bool(settings.semantic) != bool(settings.classes):
        raise ConfigurationError('semantic and classes belong together; give both or neither')

    for name, colour in settings.classes.items():
        if len(colour) != 3 or not all(0 <= int(value) <= 255 for value in colour):
            raise ConfigurationError(
                f'class {name!r} has the colour {colour!r}, wanted three numbers from 0 to 255')

    known = [*settings.classes]
    check_names([*settings.movable, *filter(None, [settings.sky])], known, 'class')
    check_names(settings.ids.values(), [*known, _UNLABELLED], 'class')
    check_names(settings.motion_ids.values(), list(_MOTION_NAMES), 'motion')
    for number in [*settings.ids, *settings.motion_ids]:
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 255:
            raise ConfigurationError(f'label number {number!r} is out of range; wanted 0 to 255')

    if settings.depth and settings.disparity:
        raise ConfigurationError('depth and disparity are both given; give one of them')
    if settings.disparity or settings.baseline_m:
        check_camera(settings.focal_px, settings.baseline_m)
    if settings.disparity and not settings.focal_px:
        raise ConfigurationError('disparity needs focal_px and baseline_m')
    if not 0 <= settings.focal_px < math.inf:
        raise ConfigurationError(
            f'focal_px is {settings.focal_px:g}; it must be pixels, 0 = unknown')
    if min(settings.depth_m, settings.disparity_px, settings.maximum_m) <= 0:
        raise ConfigurationError('depth_m, disparity_px and maximum_m must be positive')


def _text(value: Any, where: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ConfigurationError(f'{where} is {value!r}, wanted a text; put it in quotes')
    return value


def _number(value: Any, where: str) -> float:
    """Return a number, which may be written as a fraction such as ``1/256``."""
    try:
        found = float(value if not isinstance(value, str) else Fraction(value.replace(' ', '')))
    except (TypeError, ValueError, ZeroDivisionError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ConfigurationError(
            f'{where} is {value!r}, wanted a number such as 0.001, or a fraction such as 1/256')
    return found


def _name(value: Any, where: str) -> str:
    """Return the name of a class; whole numbers are names too."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ConfigurationError(
            f'{where} has the class {value!r}, wanted a text; YAML reads no, yes, on, off, null '
            "and 1.0 as something else: put the name in quotes, such as 'no'")
    return value


def _names(value: Any, where: str) -> list[str]:
    """Return a list of names of classes."""
    if not isinstance(value, list):
        raise ConfigurationError(f'{where} is {value!r}, wanted a list such as [{value}]')
    return [_name(one, where) for one in value]


def _table(value: Any, where: str) -> dict[Any, Any]:
    """Return a table."""
    if not isinstance(value, dict):
        raise ConfigurationError(f'{where} is {value!r}, wanted KEY: VALUE')
    return value


def _anything(value: Any, where: str) -> Any:
    """Return a value that is checked elsewhere."""
    return value


def _classes(value: Any, where: str) -> dict[str, Any]:
    """Return a table whose keys are names of classes."""
    return {_name(name, where): colour for name, colour in _table(value, where).items()}


def _ids(value: Any, where: str) -> dict[Any, str]:
    """Return a table whose values are names of classes."""
    return {number: _name(name, where) for number, name in _table(value, where).items()}


_READERS: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(('images', 'semantic', 'depth', 'disparity', 'motion'), _text),
    'classes': _classes,
    'ids': _ids,
    'motion_ids': _table,
    'movable': _names,
    'sky': _name,
    'image_range': _anything,
    **dict.fromkeys(('depth_m', 'disparity_px', 'focal_px', 'baseline_m', 'maximum_m'), _number)}
"""Setting -> what makes its value of what YAML says; YAML does not know the types."""


def _images_of(recording: list[Path], split: str) -> list[Path]:
    """
    Return the images of a recording that belong to a split, where no path has a ``{split}``.

    :raises ConfigurationError: if the split is unknown.
    """
    check_names([split or 'all'], ['all', 'train', 'validation', 'val'], 'split')

    # Validation gets at least one image; a single image goes to training.
    first = min(math.ceil(TRAINING_SHARE * len(recording)), max(1, len(recording) - 1))
    return {'train': recording[:first], 'validation': recording[first:],
            'val': recording[first:]}.get(split, recording)


def _semantic_ids(settings: FolderDescription) -> dict[int, int]:
    """Return number in the file -> class id or 255."""
    # A name that is not a class is 'unlabelled': _check has refused all others.
    places = {name: place for place, name in enumerate(settings.classes)}
    if not settings.ids:
        return {**{place: place for place in places.values()}, UNLABELLED: UNLABELLED}
    return {number: places.get(name, UNLABELLED) for number, name in settings.ids.items()}


def _tasks(settings: FolderDescription) -> tuple[Task, ...]:
    """Return the tasks that the description has labels of."""
    tasks = []
    names = list(settings.classes)

    if settings.semantic:
        tasks.append(Task(
            name='semantic', kind='classes', classes=tuple(names),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in settings.classes.values()),
            movable=tuple(names.index(name) for name in settings.movable),
            sky=names.index(settings.sky) if settings.sky else -1))

    if settings.depth or settings.disparity:
        tasks.append(replace(STREET_DEPTH, maximum=settings.maximum_m))
    if settings.motion:
        tasks.append(STREET_MOTION)
    return tuple(tasks)


def _in_units(steps: NDArray[Any], size: float) -> NDArray[np.float32]:
    """Return stored steps times the size of a step, NaN where they are 0 (unknown)."""
    return np.where(steps > 0, steps * size, np.nan).astype(np.float32)
