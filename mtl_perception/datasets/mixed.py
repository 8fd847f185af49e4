# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several data sets in one training, so that a network learns each task where it is labelled."""

import math
from collections.abc import Mapping, Sequence

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError
from mtl_perception.tasks import Task


class MixedClips:
    """
    Clips of several data sets in given shares.

    Its length is the smallest at which every clip occurs and the shares hold; the clips of a data
    set that is small for its share occur more than once.

    :param parts: name -> data set.
    :param shares: name -> part of all clips, up to a common factor; 1 where none is given.
    :param wanted: tasks that samples are to have; each data set labels those that it knows.
    :raises ConfigurationError: if there is no part, a share is not positive or is that of no part,
        or two parts label a task with different classes.
    """

    def __init__(
            self, parts: Mapping[str, RecordedClips], shares: Mapping[str, float],
            wanted: Sequence[str]) -> None:
        if not parts:
            raise ConfigurationError('a mixture needs at least one data set below mix:')
        self.parts = {name: part.narrowed_to(wanted) for name, part in parts.items()}
        weights = {name: shares.get(name, 1.0) for name in parts}
        for name, weight in weights.items():
            if not (weight > 0 and math.isfinite(weight)):
                raise ConfigurationError(f'the share of {name} is {weight}; it must be positive')
        self.tasks = joined({name: part.tasks for name, part in self.parts.items()}, wanted)
        length = max(len(part) / weights[name] for name, part in parts.items())
        self._blocks = [
            (part, max(len(part), round(length * weights[name])))
            for name, part in self.parts.items()]

    def __len__(self) -> int:
        """Return the number of clips, those that occur twice counted twice."""
        return sum(count for _, count in self._blocks)

    def __getitem__(self, index: int) -> Sample:
        """
        Return one clip.

        :raises IndexError: if there is no such clip.
        :raises DataError: naming the file that is wrong.
        """
        place = index
        for part, count in self._blocks:
            if 0 <= place < count:
                return part[place % len(part)]
            place -= count
        raise IndexError(f'clip {index} of {len(self)}')


def joined(known: Mapping[str, Sequence[Task]], wanted: Sequence[str]) -> tuple[Task, ...]:
    """
    Return the tasks that several data sets label together.

    :param known: name of a data set -> what it labels.
    :param wanted: names of the tasks that matter.
    :raises ConfigurationError: if two label the same task with different classes.
    """
    tasks: dict[str, tuple[str, Task]] = {}
    for name, labelled in known.items():
        for task in labelled:
            if task.name not in wanted:
                continue
            first, same = tasks.setdefault(task.name, (name, task))
            if same.classes != task.classes or same.unit != task.unit:
                raise ConfigurationError(
                    f'{first} labels {task.name} as {list(same.classes)}, {name} as '
                    f'{list(task.classes)}; give both the same classes, or name below one of '
                    f'them the tasks that it is for, without {task.name}')
    return tuple(task for _, task in tasks.values())
