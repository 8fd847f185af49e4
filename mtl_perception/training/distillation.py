# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images that a teacher labels become a data set, on which any network can be trained."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from mtl_perception.datasets.class_table import map_classes
from mtl_perception.datasets.folder import DESCRIPTION
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.files import write_atomically
from mtl_perception.name_checks import check_names
from mtl_perception.tasks import STREET_DEPTH, UNLABELLED, Task
from mtl_perception.training.labellers import Labeller

FACTS = 'teacher.json'
"""What the labels of a folder were made of."""
SURE_ENOUGH_TO_TEACH = 0.5
"""Pixels of which the teacher is less sure stay unlabelled."""
FEWEST = 10
"""Smallest number of images."""
LABELLED = 0.25
"""Smallest share of the pixels that must get a label."""
STEPS_PER_METRE = 256
"""Of the files of depth, 16 bits; 0 is unknown."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """
    What a student learns from its teacher.

    :param semantic: the classes that are learned.
    :param table: (256,) uint8, id of the teacher -> id of the class, 255 without one.
    :param depth: whether depth is learned.
    :param lacking: classes of the student that the teacher does not know.
    :param unused: classes of the teacher that the student does not have.
    """

    semantic: Task
    table: NDArray[np.uint8]
    depth: bool
    lacking: Sequence[str] = ()
    unused: Sequence[str] = ()


def lesson_of(
        teacher: Labeller, student: Sequence[Task] | None,
        given: Mapping[str, Sequence[str]]) -> Lesson:
    """
    Return what a student learns from a teacher.

    Classes of the student that the teacher does not tell apart are learned as one.

    :param teacher: it.
    :param student: its tasks; None for a new one, which learns all that the teacher knows.
    :param given: class of the teacher -> classes of the student, in place of the table.
    :raises ConfigurationError: if no class is common, a given name does not exist, or the student
        has no semantics.
    """
    if student is None:
        if given:
            raise ConfigurationError(
                '--class-map: a new network learns the classes of its teacher; leave it out, or '
                'use mtl finetune')
        return Lesson(teacher.semantic, np.arange(256, dtype=np.uint8), teacher.depth)

    own = next((task for task in student if task.name == 'semantic'), None)
    if own is None:
        raise ConfigurationError(
            f'the student has no semantics, only {[task.name for task in student]}; a teacher '
            'needs a student with some, or none: mtl train FOLDER --teacher')
    check_names(given, teacher.semantic.classes, '--class-map: class of the teacher')
    check_names([one for names in given.values() for one in names], own.classes,
                '--class-map: class of the student')
    found = map_classes(teacher.semantic, own, given)
    depth = teacher.depth and any(task.name == 'depth' for task in student)
    return Lesson(found.task, found.model, depth, found.lacking, found.unmatched)


def write_lesson(
        images: Iterable[tuple[str, NDArray[np.uint8]]], teacher: Labeller, lesson: Lesson,
        folder: Path, facts: Mapping[str, Any]) -> int:
    """
    Write images and what a teacher says about them as a data set ``folder``.

    The description is written last: a folder with one is complete.

    :param images: name and (H, W, 3) uint8 RGB of each, all of one size.
    :param teacher: labels them.
    :param lesson: what is learned.
    :param folder: of the data set.
    :param facts: what the labels are made of; the same ones again need no work.
    :return: number of images, 0 if the folder was complete.
    :raises ConfigurationError: if the folder holds the labels of something else.
    :raises DataError: if there are too few images, or the teacher is sure of too little.
    """
    if (folder / DESCRIPTION).is_file():
        if _facts_of(folder) != facts:
            raise ConfigurationError(
                f'{folder} holds other labels already; choose another folder with --labels-to, or '
                'remove it')
        return 0

    count, labelled, columns = 0, 0.0, 0
    for name, image in images:
        count += 1
        columns = columns or image.shape[1]
        if image.shape[1] != columns:
            raise DataError(
                f'{name} has {image.shape[1]} columns, the images before it {columns}; depth '
                'needs one camera: give images of one size')

        answer = teacher.answer(image)
        classes = np.where(
            answer.confidence >= SURE_ENOUGH_TO_TEACH, lesson.table[answer.semantic],
            np.uint8(UNLABELLED))
        labelled += float((classes != UNLABELLED).mean())
        _write(folder / 'images' / f'{name}.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        _write(folder / 'semantic' / f'{name}.png', classes)
        if lesson.depth:
            assert answer.depth is not None
            _write(folder / 'depth' / f'{name}.png', _steps(answer.depth))

    if count < FEWEST:
        raise DataError(f'there are {count} images; a student needs at least {FEWEST}')
    if labelled < LABELLED * count:
        raise DataError(
            f'the teacher {teacher.name} labels {labelled / count:.0%} of the pixels, wanted at '
            f'least {LABELLED:.0%}: it does not know such images, or the student lacks its '
            'classes; take another teacher, or a --class-map')

    write_atomically(json.dumps(dict(facts), indent=2).encode(), folder / FACTS)
    write_atomically(
        yaml.safe_dump(_described(lesson, teacher.focal * columns), sort_keys=False).encode(),
        folder / DESCRIPTION)
    return count


def _facts_of(folder: Path) -> Any:
    """Return what the labels of a folder were made of; None if nobody knows."""
    try:
        return json.loads((folder / FACTS).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def _described(lesson: Lesson, focal_px: float) -> dict[str, Any]:
    """Return the content of the description of a data set, see :class:`.FolderDescription`."""
    task = lesson.semantic
    described: dict[str, Any] = {
        'images': 'images', 'semantic': 'semantic/{name}.png',
        'classes': {name: list(colour) for name, colour in zip(task.classes, task.palette)},
        'movable': [task.classes[kind] for kind in task.movable]}
    if task.sky >= 0:
        described['sky'] = task.classes[task.sky]
    if lesson.depth:
        described |= {
            'depth': 'depth/{name}.png', 'depth_m': f'1/{STEPS_PER_METRE}',
            'focal_px': float(focal_px), 'maximum_m': STREET_DEPTH.maximum}
    return described


def _steps(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return depth as it is stored; 0 where it is unknown, infinite or out of range."""
    with np.errstate(invalid='ignore'):
        steps = np.round(depth * STEPS_PER_METRE)
        known = (steps >= 1) & (steps < 2 ** 16)
    return np.where(known, steps, 0).astype(np.uint16)


def _write(path: Path, pixels: NDArray[Any]) -> None:
    """Write a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, content = cv2.imencode('.png', pixels)
    assert done
    write_atomically(content.tobytes(), path)
