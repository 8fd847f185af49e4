# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model's predictions and the labels of a data set, both in the classes that are judged."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mtl_perception.datasets.class_table import ClassMap, map_classes
from mtl_perception.errors import ConfigurationError
from mtl_perception.frames import Detections, Perception, TrueBoxes, Truth
from mtl_perception.name_checks import check_names
from mtl_perception.tasks import UNLABELLED, Task

MAPPED = ('semantic', 'detection')
"""Tasks whose classes may differ from data set to data set."""


class JudgedClasses:
    """
    The classes by which a model is judged on a data set.

    :param maps: task -> how its classes are compared; a task whose classes are equal has none.
    """

    def __init__(self, maps: Mapping[str, ClassMap]) -> None:
        self.maps = dict(maps)

    def tasks(self, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """Return the tasks of a model with the classes that are judged."""
        return tuple(self.maps[task.name].task if task.name in self.maps else task
                     for task in tasks)

    def prediction(self, prediction: Perception) -> Perception:
        """Return a prediction in the judged classes; a box of an unmatched class is left out."""
        semantic, detection = prediction.semantic, prediction.detection
        if semantic is not None and 'semantic' in self.maps:
            semantic = self.maps['semantic'].model[semantic]

        if detection is not None and 'detection' in self.maps:
            classes = self.maps['detection'].model[detection.classes]
            kept = classes != UNLABELLED
            detection = Detections(
                detection.corners[kept], detection.scores[kept], classes[kept])
        return dataclasses.replace(prediction, semantic=semantic, detection=detection)

    def truth(self, truth: Truth) -> Truth:
        """Return the labels of a data set in the judged classes."""
        semantic, detection = truth.semantic, truth.detection
        if semantic is not None and 'semantic' in self.maps:
            semantic = self.maps['semantic'].labels[semantic]
        if detection is not None and 'detection' in self.maps:
            classes = self.maps['detection'].labels[detection.classes].astype(np.int64)
            detection = TrueBoxes(detection.corners, classes, detection.difficult)
        return dataclasses.replace(truth, semantic=semantic, detection=detection)


def judged_classes(
        tasks: Sequence[Task], known: Mapping[str, Task],
        given: Mapping[str, Sequence[str]]) -> JudgedClasses:
    """
    Return the classes by which a model is judged on a data set.

    :param tasks: of the model.
    :param known: tasks of the data set by name.
    :param given: class of the model -> classes of the data set, in place of the table.
    :raises ConfigurationError: if no class of a task is common, or a given name does not exist.
    """
    pairs = [(task, known[task.name]) for task in tasks
             if task.name in MAPPED and task.name in known]
    if given and not pairs:
        raise ConfigurationError(
            '--class-map: neither semantic nor detection is judged here; leave it out')
    for side, place in (('model', 0), ('data', 1)):
        names = [*given] if side == 'model' else [one for names in given.values() for one in names]
        check_names(names, [one for pair in pairs for one in pair[place].classes],
                    f'--class-map: class of the {side}')

    maps = {}
    for ours, theirs in pairs:
        own = {name: [one for one in names if one in theirs.classes]
               for name, names in given.items() if name in ours.classes}
        if own or ours.classes != theirs.classes:
            maps[ours.name] = map_classes(ours, theirs, own)
    return JudgedClasses(maps)
