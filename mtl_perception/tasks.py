# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The tasks that a network can be asked for, and the classes of the synthetic street.

Task names are the same in code, configuration, topics and metrics.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal['classes', 'regression', 'offsets', 'boxes']
Colour = tuple[int, int, int]

UNLABELLED = 255
"""Class id (uint8) of a pixel without a label."""

NO_BOX, NOT_LABELLED = -1, -2
"""Class of a row that pads an array of boxes, and of the rows of an image without box labels."""

STATIC, MOVING, UNKNOWN_MOTION = 0, 1, 255
"""Values (uint8) of a motion mask."""


@dataclass(frozen=True)
class Task:
    """
    One task of a network.

    :param name: ``semantic``, ``depth``, ``motion``, ``instance`` or ``detection``.
    :param kind: ``classes`` for a label per pixel, ``regression`` for a value per pixel,
        ``offsets`` for a vector per pixel to the centroid of its object, ``boxes`` for objects.
    :param classes: class names, the index is the id; empty for regression and offsets.
    :param palette: one RGB colour (0-255) per class.
    :param movable: ids of the classes whose objects can move by themselves; their objects are
        told apart as instances.
    :param sky: id of the class that has no finite depth, -1 if there is none.
    :param unit: unit of a regression's values, such as ``m``.
    :param maximum: largest value of a regression that the network was trained on, in its unit.
    :param inverse: depth times output, for a network that predicts inverse depth or disparity: 1
        for an output in 1/m, focal length times baseline for one in pixels. 0 = the output is the
        natural logarithm of metres, -1 = it is metres.
    :param semantic_ids: of a box task, the semantic class of each of its classes; empty if the
        semantic task has other classes.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...] = ()
    palette: tuple[Colour, ...] = ()
    movable: tuple[int, ...] = ()
    sky: int = -1
    unit: str = ''
    maximum: float = 0.0
    inverse: float = 0.0
    semantic_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind in ('classes', 'boxes') and len(self.classes) != len(self.palette):
            raise ValueError(
                f'task {self.name!r} has {len(self.classes)} classes but {len(self.palette)} '
                'colours; give one RGB colour per class')

    @property
    def channels(self) -> int:
        """Return the channels of a decoder for this task; for boxes, the number of classes."""
        if self.kind in ('classes', 'boxes'):
            return len(self.classes)
        return 2 if self.kind == 'offsets' else 1

    @property
    def unlabelled(self) -> int:
        """Return the id of a pixel whose class is unknown."""
        return UNKNOWN_MOTION if self.name == 'motion' else UNLABELLED

    def labels(self) -> dict[str, Any]:
        """
        Return what the ids of a task mean, as the ``labels`` topics say it in JSON.

        :return: ``{"task": ..., "classes": [{"id", "name", "color": [r, g, b], "movable"}, ...],
            "unlabelled": 255}``; the last only for masks.
        """
        classes = [
            {'id': index, 'name': name, 'color': list(colour), 'movable': index in self.movable}
            for index, (name, colour) in enumerate(zip(self.classes, self.palette))]
        fields: dict[str, Any] = {'task': self.name, 'classes': classes}
        if self.kind == 'classes':
            fields['unlabelled'] = self.unlabelled
        return fields

    def to_dict(self) -> dict[str, Any]:
        """Return the task as plain JSON types."""
        return asdict(self)

    @staticmethod
    def from_dict(fields: dict[str, Any]) -> 'Task':
        """Return the task that :meth:`to_dict` wrote."""
        return Task(
            name=str(fields['name']), kind=fields['kind'],
            classes=tuple(fields['classes']),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in fields['palette']),
            movable=tuple(fields['movable']), sky=int(fields['sky']),
            unit=str(fields['unit']), maximum=float(fields['maximum']),
            inverse=float(fields.get('inverse', 0.0)),
            semantic_ids=tuple(fields.get('semantic_ids', ())))


STREET_SEMANTIC = Task(
    name='semantic', kind='classes',
    classes=('road', 'road_marking', 'sidewalk', 'building', 'vegetation', 'terrain',
             'pole', 'traffic_sign', 'car', 'person', 'cyclist', 'sky'),
    palette=((128, 64, 128), (250, 250, 250), (244, 35, 232), (70, 70, 70), (107, 142, 35),
             (152, 251, 152), (153, 153, 153), (220, 220, 0), (0, 0, 142), (220, 20, 60),
             (119, 11, 32), (70, 130, 180)),
    movable=(8, 9, 10), sky=11)
"""The semantic classes of the synthetic street."""

ROADS_SEMANTIC = replace(
    STREET_SEMANTIC, classes=(*STREET_SEMANTIC.classes, 'fence'),
    palette=(*STREET_SEMANTIC.palette, (190, 153, 153)))
"""The semantic classes of the look ``roads``: those of the classic street, and fences."""

STREET_DEPTH = Task(name='depth', kind='regression', unit='m', maximum=80.0)
"""Metric depth along the camera's Z axis, in metres."""

STREET_MOTION = Task(
    name='motion', kind='classes', classes=('static', 'moving'),
    palette=((0, 0, 0), (255, 64, 64)))
"""Whether the object in a pixel moves relative to the ground, whatever the camera does."""

STREET_INSTANCE = Task(name='instance', kind='offsets', unit='px')
"""Which object a pixel of a movable class belongs to."""

STREET_DETECTION = Task(
    name='detection', kind='boxes', classes=('car', 'person', 'cyclist'),
    palette=tuple(STREET_SEMANTIC.palette[number] for number in STREET_SEMANTIC.movable),
    semantic_ids=STREET_SEMANTIC.movable)
"""The smallest upright box around the visible part of each movable object."""

STREET_TASKS = (STREET_SEMANTIC, STREET_DEPTH, STREET_MOTION)
"""The tasks of the shipped model."""

STREET_ALL_TASKS = (*STREET_TASKS, STREET_INSTANCE, STREET_DETECTION)
TASK_NAMES = tuple(task.name for task in STREET_ALL_TASKS)
"""Everything that the street has labels for."""

LOOKS = ('classic', 'roads')
"""How a street can look; the first is the default everywhere."""


def street_tasks(look: str) -> tuple[Task, ...]:
    """
    Return everything that a street has labels for.

    :param look: one of :data:`LOOKS`; ``roads`` has one class more.
    """
    semantic = ROADS_SEMANTIC if look == 'roads' else STREET_SEMANTIC
    return (semantic, *STREET_ALL_TASKS[1:])
