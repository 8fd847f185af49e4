# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a description of a few lines to a data set."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import NotRequired, get_type_hints

from mtl_perception.datasets.camvid import CamVid
from mtl_perception.datasets.cityscapes import Cityscapes
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.davis import Davis
from mtl_perception.datasets.folder import Folder
from mtl_perception.datasets.kitti2015 import Kitti2015
from mtl_perception.datasets.kitti_object import KittiObject
from mtl_perception.datasets.kitti_raw import KittiRaw
from mtl_perception.datasets.nyu import NyuV2
from mtl_perception.datasets.pandaset import PandaSet
from mtl_perception.datasets.synthia import Synthia
from mtl_perception.datasets.woodscape import WoodScape
from mtl_perception.errors import ConfigurationError, PerceptionError
from mtl_perception.name_checks import check_names
from mtl_perception.settings import arguments_of, checked, one_of, read_yaml, table
from mtl_perception.tasks import TASK_NAMES, Task

DATASETS: dict[str, type[RecordedClips]] = {
    'camvid': CamVid,
    'cityscapes': Cityscapes,
    'davis': Davis,
    'folder': Folder,
    'kitti2015': Kitti2015,
    'kitti_object': KittiObject,
    'kitti_raw': KittiRaw,
    'nyu': NyuV2,
    'pandaset': PandaSet,
    'synthia': Synthia,
    'woodscape': WoodScape,
}
"""Name -> data set, read from its official layout."""


SELECTION: Any = table('Selection', {
    'start': NotRequired[NonNegativeInt], 'stop': NotRequired[PositiveInt],
    'step': NotRequired[PositiveInt]}, """
    A part of the images, in their order; clips end with one of them.

    :param start: number of the first image, counted from 0.
    :param stop: number of the first image behind the part; without it, all to the end.
    :param step: 2 takes every second image.
    """)
"""The type of ``select`` in the description of a data set."""


def _described(name: str, kind: type[RecordedClips]) -> Any:
    """Return the type of the description of one data set in a recipe."""
    arguments = get_type_hints(arguments_of(kind), include_extras=True)
    hints = {key: NotRequired[hint] for key, hint in arguments.items()}  # data.root may give root
    return table(kind.__name__, {
        **hints, 'dataset': Annotated[str, one_of([name])],
        'tasks': NotRequired[list[Annotated[str, one_of(TASK_NAMES)]]],
        'select': NotRequired[SELECTION],
        'share': NotRequired[PositiveFloat]}, f"""{kind.__doc__}
    :param dataset: name of the data set.
    :param tasks: the only tasks to read, if not all.
    :param select: the only images to use, if not all.
    :param share: in a mixture: how often it is drawn from, 1 if not given.
    """)


DESCRIPTION: Any = Annotated[
    Union[tuple(_described(name, kind) for name, kind in DATASETS.items())],  # noqa: UP007
    Field(discriminator='dataset')]
"""The type of the description of a data set in a recipe, for its JSON Schema."""

SPLIT: Any = Union[  # noqa: UP007
    table('Street', {}), DESCRIPTION,
    table('Mixture', {'mix': Annotated[dict[str, DESCRIPTION], Field(min_length=1)]})]
"""The type of ``data.train`` and ``data.validation`` in a recipe."""

_PATHS = ('root', 'calibration')
"""Settings that are paths."""


def build_dataset(description: Mapping[str, Any], where: str = 'data set') -> RecordedClips:
    """
    Return the data set that a description names.

    :param description: ``dataset``, a name of :data:`DATASETS`, the arguments of its class,
        ``tasks``, the names of the only tasks to read, if not all, and ``select``, the only images
        to use: ``{start: 1, step: 2}`` for every second one.
    :param where: what is described, for the message.
    :raises ConfigurationError: if a name is unknown, missing or has a value of another type.
    :raises DataError: if the data is not there.
    """
    if 'dataset' not in description:
        raise ConfigurationError(f'{where}: no dataset is named; write dataset: {list(DATASETS)}')
    check_names([description['dataset']], list(DATASETS), f'{where}: data set')
    kind = DATASETS[description['dataset']]

    # The class's own signature says which settings there are, and their types.
    given = {
        name: value for name, value in description.items()
        if name not in ('dataset', 'tasks', 'select')}
    arguments: dict[str, Any] = checked(arguments_of(kind), given, where)
    part: dict[str, Any] = checked(SELECTION, description.get('select', {}), f'{where}: select')

    data: RecordedClips = kind(**arguments)
    if part:
        data = data.selected(**part)

    names = _tasks_read(description, data.tasks, where)
    return data if names is None else data.narrowed_to(names)


def tasks_known(description: Mapping[str, Any], where: str = 'data set') -> tuple[Task, ...]:
    """
    Return the tasks of a described data set, without reading its files where possible.

    :raises ConfigurationError: if the description is wrong.
    :raises DataError: if only the files can tell, and they are missing.
    """
    check_names([description.get('dataset', '')], list(DATASETS), f'{where}: data set')
    kind = DATASETS[description['dataset']]

    # Most classes have fixed tasks, some choose them by the number of semantic classes.
    tasks = getattr(kind, 'tasks', None)
    if tasks_for := getattr(kind, 'tasks_for', None):
        classes = description.get('classes', inspect.signature(kind).parameters['classes'].default)
        try:
            tasks = tasks_for(classes)
        except (KeyError, TypeError):  # build_dataset says below what is wrong
            tasks = None

    if not isinstance(tasks, tuple):
        tasks = build_dataset(description, where).tasks
    names = _tasks_read(description, tasks, where)
    return tuple(task for task in tasks if names is None or task.name in names)


def read_descriptions(path: Path, root: Path | None = None) -> dict[str, Mapping[str, Any]]:
    """
    Return the descriptions in a YAML file.

    The file describes one data set, or several, each under a name such as ``train``; a mixture
    gives a description for each of its parts. A relative path is relative to the file. The file
    may also be the recipe of a training: then paths, tasks and frames are those of the training.

    :param path: of the file.
    :param root: folder of the data set in place of that in the file, as ``data.root`` of a recipe.
    :return: name -> description for :func:`build_dataset`; the name of a single one is ``data``.
    :raises ConfigurationError: if the file cannot be read or describes nothing.
    """
    content = read_yaml(path)

    # Stages are what tells a recipe from descriptions.
    recipe: Mapping[str, Any] = {}
    if 'stages' in content:
        recipe = content
        data = content.get('data')
        content = {name: data[name] for name in ('train', 'validation')
                   if isinstance(data, dict) and data.get(name)}
        if root is None and isinstance(data, dict) and isinstance(data.get('root'), str):
            root = Path(data['root']) if data['root'] else None

    if 'dataset' in content:
        content = {'data': content}
    if not content:
        raise ConfigurationError(f'{path}: describes no data set; write dataset: and root:')

    described: dict[str, Mapping[str, Any]] = {}
    for name, description in _without_mixtures(content).items():
        if not isinstance(description, dict):
            raise ConfigurationError(
                f'{path}: {name} is {description!r}, wanted dataset:, root: and the rest below it')

        # A part of a mixture, 'train.NAME', lies in the folder NAME below a root that is given.
        if root is not None:
            description['root'] = str(root.expanduser() / str(name).partition('.')[2])
        for key in _PATHS:
            if isinstance(value := description.get(key), str) and value and root is None:
                folder = Path() if recipe else path.parent
                description[key] = str(folder / Path(value).expanduser())

        described[str(name)] = _as_trained(description, recipe) if recipe else description
    return described


def _as_trained(description: dict[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with the tasks and frames of a recipe."""
    network = recipe.get('network')
    tasks = recipe.get('tasks')
    frames = network.get('frames') if isinstance(network, dict) else None
    if isinstance(frames, int) and frames > 1:
        description.setdefault('frames', frames)
    if isinstance(tasks, list):
        try:
            known = [task.name for task in tasks_known(description)]
        except PerceptionError:  # build_dataset says later what is wrong
            return description
        description['tasks'] = [name for name in tasks if name in known] or known
    return description


def _without_mixtures(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return descriptions with each mixture replaced by its parts, without their shares."""
    parts: dict[Any, Any] = {}
    for name, description in content.items():
        mix = description.get('mix') if isinstance(description, dict) else None
        if not isinstance(mix, dict):
            parts[name] = description
            continue
        for part, one in mix.items():
            parts[f'{name}.{part}'] = {
                key: value for key, value in one.items() if key != 'share'
            } if isinstance(one, dict) else one
    return parts


def _tasks_read(
        description: Mapping[str, Any], known: tuple[Task, ...], where: str) -> list[str] | None:
    """
    Return the names of the tasks that a description asks for, None for all.

    :raises ConfigurationError: if it names a task that the data set does not label.
    """
    names = description.get('tasks')
    if names is None:
        return None
    if not isinstance(names, list) or not names:
        raise ConfigurationError(f'{where}: tasks is {names!r}, wanted a list of task names')
    check_names(names, [task.name for task in known], f'{where}: task')
    return list(names)
