# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several data sets in one training, for tasks that no single one labels."""

import math
from collections.abc import Hashable, Mapping, Sequence

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError
from mtl_perception.tasks import Task


class MixedClips:
    """
    Clips of several data sets in given shares.

    The length is the smallest at which every clip occurs and the shares hold. Clips of a data set
    that is small for its share occur more than once.

    :param parts: name -> data set.
    :param shares: name -> part of all clips, up to a common factor; 1 where none is given.
    :param wanted: names of the tasks to read; each data set labels those that it has.
    :raises ConfigurationError: if parts are empty, a share is not positive, or two parts label a
        task with different classes.
    """

    def __init__(
            self, parts: Mapping[str, RecordedClips], shares: Mapping[str, float],
            wanted: Sequence[str]) -> None:
        if not parts:
            raise ConfigurationError('a mixture needs at least one data set below mix:')
        weights = {name: shares.get(name, 1.0) for name in parts}
        for name, weight in weights.items():
            if not (weight > 0 and math.isfinite(weight)):
                raise ConfigurationError(f'the share of {name} is {weight}; it must be positive')

        self.parts = {name: part.narrowed_to(wanted) for name, part in parts.items()}
        self.tasks = joined({name: part.tasks for name, part in self.parts.items()}, wanted)

        # At this length the part with the most clips for its share occurs exactly once.
        length = max(len(part) / weights[name] for name, part in parts.items())
        self._blocks = [
            (part, max(len(part), round(length * weights[name])))
            for name, part in self.parts.items()]

    def __len__(self) -> int:
        """Return the number of clips; one that occurs twice counts twice."""
        return sum(count for _, count in self._blocks)

    @property
    def drives(self) -> list[Hashable]:
        """The drive of each clip, of one data set."""
        found: list[Hashable] = []
        for number, (part, count) in enumerate(self._blocks):
            drives = part.drives
            found += [(number, drives[place % len(part)]) for place in range(count)]
        return found

    def __getitem__(self, index: int) -> Sample:
        """
        Return one clip.

        :raises IndexError: if there is no such clip.
        :raises DataError: naming the faulty file.
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

    :param known: name of a data set -> its tasks.
    :param wanted: names of the tasks to return.
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
                    f'{list(task.classes)}; give both the same classes, or list below one of '
                    f'them its tasks: without {task.name}')
    return tuple(task for _, task in tasks.values())
