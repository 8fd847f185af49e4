# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which classes of different data sets mean the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError
from mtl_perception.settings import read_yaml
from mtl_perception.tasks import UNLABELLED, Task

_BY_MEANING = {
    # The ground.
    ('road', 'flat'): ('road',),
    ('marking', 'road', 'flat'): ('road marking', 'lane marking'),
    ('sidewalk', 'flat'): ('sidewalk', 'pavement'),

    # What is built.
    ('building', 'construction'): ('building',),
    ('wall', 'fence', 'construction'): ('wall',),
    ('fence', 'construction'): ('fence',),
    ('pole', 'object'): ('pole',),
    ('sign', 'object'): ('traffic sign', 'sign symbol'),
    ('light', 'sign', 'object'): ('traffic light',),

    # What grows.
    ('vegetation', 'nature'): ('vegetation', 'tree'),
    ('terrain', 'vegetation', 'nature'): ('terrain',),

    # Who and what moves.
    ('person', 'human'): ('person', 'pedestrian'),
    ('rider', 'person', 'human'): ('rider', 'cyclist', 'bicyclist'),
    ('bicycle', 'rider', 'vehicle', 'person'): ('bicycle',),
    ('motorcycle', 'rider', 'vehicle', 'person'): ('motorcycle',),
    ('car', 'vehicle'): ('car',),
    ('truck', 'car', 'vehicle'): ('truck',),
    ('bus', 'car', 'vehicle'): ('bus',),
    ('train', 'vehicle'): ('train',),

    ('void',): ('void', 'misc', 'other', 'background'),
}
"""
From the special to the general: what a class is, and what it counts as where that does not exist.

The order decides. A bicycle is a bicycle; without such a class it goes with its rider, then it is
a vehicle, then a part of a person. A class that is not in the table means its own name.
"""

MEANINGS: dict[str, tuple[str, ...]] = {
    name: meanings for meanings, names in _BY_MEANING.items() for name in names}
"""Class name -> its meanings, the special one first."""

_VOID = 'void'
_NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


def meanings_of(name: str) -> tuple[str, ...]:
    """Return the meanings of a class, the special one first; large letters do not matter."""
    plain = name.lower().replace('_', ' ').replace('-', ' ')
    return MEANINGS.get(plain, (plain,))


@dataclass(frozen=True, eq=False)
class ClassMap:
    """
    How a model's classes and those of a data set are compared.

    Classes of the data set that the model does not tell apart are joined, such as
    ``car + truck + bus``.

    :param task: of the judged classes.
    :param model: (256,) uint8, id of the model -> id of the judged class, 255 without one.
    :param labels: (256,) uint8, the same for the ids of the data set.
    :param parts: judged class -> the model's classes that it consists of; none for a class that
        the model lacks.
    :param unmatched: classes of the model that the data set does not have.
    """

    task: Task
    model: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    parts: Mapping[str, Sequence[str]]
    unmatched: Sequence[str]

    @property
    def lacking(self) -> list[str]:
        """The judged classes that the model does not have."""
        return [name for name, parts in self.parts.items() if not parts]

    def to_dict(self) -> dict[str, Any]:
        """Return the map as plain JSON types, for ``report.json``."""
        return {'classes': {name: [*parts] for name, parts in self.parts.items()},
                'lacking': self.lacking, 'unmatched': [*self.unmatched]}


def map_classes(
        model: Task, labels: Task, given: Mapping[str, Sequence[str]] = _NOTHING) -> ClassMap:
    """
    Return how the classes of a model are compared with those of a data set.

    Each class of the model counts as the class of the data set that has the first of its
    meanings. A class of the data set that none counts as is joined with what the model calls it:
    trucks with cars.

    :param model: its task.
    :param labels: the same task of the data set.
    :param given: class of the model -> classes of the data set, in place of the table; the names
        exist.
    :raises ConfigurationError: if no class is common.
    """
    pairs = _pairs(model.classes, labels.classes, given)
    if not pairs:
        raise ConfigurationError(
            f'{labels.name}: no class of the model, {[*model.classes]}, means a class of the '
            f'data, {[*labels.classes]}; say which do with --class-map FILE, or name the other '
            'tasks with --tasks')

    # Classes of the data set that share a class of the model become one.
    group = list(range(len(labels.classes)))
    for ours in range(len(model.classes)):
        same = {group[theirs] for mine, theirs in pairs if mine == ours}
        group = [min(same) if one in same else one for one in group]
    kept = sorted(set(group))

    to_judged = np.full(256, UNLABELLED, np.uint8)
    to_judged[:len(group)] = [kept.index(one) for one in group]
    from_model = np.full(256, UNLABELLED, np.uint8)
    for ours, theirs in pairs:
        from_model[ours] = to_judged[theirs]

    names = [' + '.join(name for name, one in zip(labels.classes, group) if one == first)
             for first in kept]
    task = replace(
        labels, classes=tuple(names), palette=tuple(labels.palette[first] for first in kept),
        movable=tuple(sorted({int(to_judged[kind]) for kind in labels.movable})),
        sky=int(to_judged[labels.sky]) if labels.sky >= 0 else -1, semantic_ids=())
    matched = [(name, int(from_model[ours])) for ours, name in enumerate(model.classes)]
    return ClassMap(
        task, from_model, to_judged,
        {name: [one for one, judged in matched if judged == place]
         for place, name in enumerate(names)},
        [one for one, judged in matched if judged == UNLABELLED])


def counterparts(model: Task, labels: Task) -> list[int | None]:
    """
    Return for each class of a data set the id of the model's class that is most like it.

    Of several classes of the model that count as one of the data, such as road and marking as
    road, it is the one that means the same, else the first. None for a class that the model
    lacks, and for what is left over (void).

    :param model: its task.
    :param labels: the same task of the data set.
    """
    pairs = _pairs(model.classes, labels.classes, _NOTHING)
    found: list[int | None] = []
    for number, name in enumerate(labels.classes):
        meaning = meanings_of(name)[0]
        ours = [one for one, theirs in pairs if theirs == number and meaning != _VOID]
        same = [one for one in ours if meanings_of(model.classes[one])[0] == meaning]
        found.append(next(iter([*same, *ours]), None))
    return found


def read_class_map(path: Path) -> dict[str, list[str]]:
    """
    Read a class map that a user wrote.

    :param path: YAML with a line for each class of the model that the table shall not decide:
        ``MODEL CLASS: DATA CLASS``, a list of such classes, or ``[]`` for none.
    :raises ConfigurationError: if it cannot be read or holds something else.
    """
    given = {}
    for name, classes in read_yaml(path).items():
        listed = [classes] if isinstance(classes, str) else classes
        if not isinstance(name, str) or not isinstance(listed, list) or not all(
                isinstance(one, str) for one in listed):
            raise ConfigurationError(
                f'{path}: {name!r}: {classes!r} is no line of a class map; wanted MODEL CLASS: '
                'DATA CLASS, a list of such classes, or [] for none; a name that looks like a '
                'number or is yes, no, on or off needs quotes')
        given[name] = listed
    return given


def _pairs(
        model: Sequence[str], labels: Sequence[str], given: Mapping[str, Sequence[str]],
) -> list[tuple[int, int]]:
    """Return (id of the model, id of the data set) of the classes that mean the same."""
    pairs = [(model.index(name), labels.index(one)) for name, names in given.items()
             for one in names]

    # From the model to the data: the first meaning that the data has.
    theirs = _by_first_meaning(labels, ())
    for number, name in enumerate(model):
        meant = [theirs[one] for one in meanings_of(name) if one in theirs]
        if meant and name not in given:
            pairs.append((number, meant[0]))

    # From the data to the model: what is left is joined with what the model calls it.
    ours = _by_first_meaning(model, given)
    found = {number for _, number in pairs}
    for number, name in enumerate(labels):
        meant = [ours[one] for one in meanings_of(name) if one in ours]
        if meant and number not in found:
            pairs.append((meant[0], number))

    # Where the data has a class for everything else, the rest of the model's classes is in it.
    if pairs and _VOID in theirs:
        found = {number for number, _ in pairs}
        pairs += [(number, theirs[_VOID]) for number, name in enumerate(model)
                  if number not in found and name not in given]
    return pairs


def _by_first_meaning(names: Sequence[str], but: Sequence[str] | Mapping[str, Any]) -> dict[
        str, int]:
    """Return the first meaning of each class -> its id; of equal ones the first."""
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        if name not in but:
            found.setdefault(meanings_of(name)[0], number)
    return found
