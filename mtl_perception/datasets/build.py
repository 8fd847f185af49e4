# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a small description to a data set."""

import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.datasets.camvid import CamVid
from mtl_perception.datasets.cityscapes import Cityscapes
from mtl_perception.datasets.davis import Davis
from mtl_perception.datasets.folder import Folder
from mtl_perception.datasets.kitti2015 import Kitti2015
from mtl_perception.datasets.kitti_raw import KittiRaw
from mtl_perception.datasets.names import check_names
from mtl_perception.datasets.recorded import RecordedClips
from mtl_perception.errors import ConfigurationError
from mtl_perception.tasks import Task

DATASETS: dict[str, type[RecordedClips]] = {
    'camvid': CamVid,
    'cityscapes': Cityscapes,
    'davis': Davis,
    'folder': Folder,
    'kitti2015': Kitti2015,
    'kitti_raw': KittiRaw,
}
"""Name -> data set, read from its official layout."""

_PATHS = ('root', 'calibration')
"""Settings that are paths."""


def build_dataset(description: Mapping[str, Any], where: str = 'data set') -> RecordedClips:
    """
    Return the data set that a description names.

    :param description: ``dataset``, a name of :data:`DATASETS`, and the arguments of its class.
    :param where: what is described, for the message.
    :raises ConfigurationError: if a name is unknown, missing or has a value of another type.
    :raises DataError: if the data is not there.
    """
    if 'dataset' not in description:
        raise ConfigurationError(f'{where}: no dataset is named; write dataset: {list(DATASETS)}')
    check_names([description['dataset']], list(DATASETS), f'{where}: data set')
    kind = DATASETS[description['dataset']]
    arguments = {name: value for name, value in description.items() if name != 'dataset'}
    signature = inspect.signature(kind)
    check_names(arguments, list(signature.parameters), f'{where}: setting')
    for name, parameter in signature.parameters.items():
        if name not in arguments:
            if parameter.default is parameter.empty:
                raise ConfigurationError(f'{where}: {kind.__name__} needs {name!r}; add it')
            continue
        if not _fits(arguments[name], parameter.annotation):
            raise ConfigurationError(
                f'{where}: {name} is {arguments[name]!r}, wanted '
                f'{getattr(parameter.annotation, "__name__", parameter.annotation)}')
    return kind(**arguments)


def tasks_known(description: Mapping[str, Any], where: str = 'data set') -> tuple[Task, ...]:
    """
    Return what a described data set can label, without looking at its files where that is known.

    :raises ConfigurationError: if the description is wrong.
    :raises DataError: if only the data can tell, and it is not there.
    """
    check_names([description.get('dataset', '')], list(DATASETS), f'{where}: data set')
    kind = DATASETS[description['dataset']]
    if kind is Cityscapes:
        classes = description.get('classes', 19)
        if classes in (7, 19, 20):
            return Cityscapes.tasks_for(classes)
    if isinstance(tasks := getattr(kind, 'tasks', None), tuple):
        return tasks
    return build_dataset(description, where).tasks


def read_descriptions(path: Path) -> dict[str, Mapping[str, Any]]:
    """
    Return the descriptions in a YAML file.

    The file describes one data set, or several, each under a name such as ``train``. A relative
    path is relative to the file.

    :return: name -> description for :func:`build_dataset`; the name of a single one is ``data``.
    :raises ConfigurationError: if the file cannot be read or describes nothing.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f'{path}: cannot be read as YAML ({error})') from error
    if isinstance(content, dict) and 'dataset' in content:
        content = {'data': content}
    if not isinstance(content, dict) or not content:
        raise ConfigurationError(f'{path}: describes no data set; write dataset: and root:')
    described: dict[str, Mapping[str, Any]] = {}
    for name, description in content.items():
        if not isinstance(description, dict):
            raise ConfigurationError(
                f'{path}: {name} is {description!r}, wanted dataset:, root: and the rest below it')
        for key in _PATHS:
            if isinstance(value := description.get(key), str) and value:
                description[key] = str(path.parent / Path(value).expanduser())
        described[str(name)] = description
    return described


def _fits(value: Any, annotation: Any) -> bool:
    """Return whether a YAML value can be the argument: text, number, switch or list of texts."""
    if typing.get_origin(annotation) is not None:  # Sequence[str] is the only such argument
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is annotation
