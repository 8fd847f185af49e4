# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``--teacher`` of ``mtl train`` and ``mtl finetune``: another model labels the images."""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mtl_perception.commands._options import path_argument, progress
from mtl_perception.datasets.class_table import read_class_map
from mtl_perception.errors import ConfigurationError
from mtl_perception.files import digest_of_files
from mtl_perception.manifest import Manifest
from mtl_perception.training.distillation import lesson_of, write_lesson
from mtl_perception.training.labellers import load_labeller

if TYPE_CHECKING:
    from mtl_perception.evaluation.image_inputs import ImageInput

MOST = 2000
"""Images of a longer film are left out evenly."""


def add_teacher_options(parser: argparse.ArgumentParser) -> None:
    """Declare what makes a teacher's answers the labels."""
    parser.add_argument(
        '--teacher', default='', metavar='MODEL',
        help='labels the images, which need no labels then and may be a video or a recording: a '
        'model by its name or path, or an .onnx file of another project with its classes in a '
        '.yaml beside it')
    parser.add_argument(
        '--class-map', type=path_argument, metavar='FILE',
        help="which classes of the teacher are which of the student's, where names do not tell")
    parser.add_argument(
        '--labels-to', type=path_argument, metavar='FOLDER',
        help="where the teacher's labels go (default: runs/IMAGES_by_TEACHER)")


def labelled_folder(
        arguments: argparse.Namespace, images: Path, student: Manifest | None = None) -> Path:
    """
    Return the folder of a data set whose labels are a teacher's answers.

    :param arguments: with ``teacher``, ``class_map`` and ``labels_to``.
    :param images: a folder of images, a video or a recording.
    :param student: of the model that goes on learning; None for a new one.
    """
    if images.suffix in ('.yaml', '.yml'):
        raise ConfigurationError(
            f'--teacher labels images, and {images} is a recipe; give the images, and the '
            'settings of the recipe behind them, such as --network.encoder resnet10')

    # a training without a teacher needs no library that reads recordings
    try:
        from mtl_perception.evaluation.image_inputs import open_input
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"pip install 'mtl_perception[evaluate]' brings the Python module {error.name!r}, "
            'which is not installed; --teacher reads images with it') from error

    teacher = load_labeller(arguments.teacher)
    given = read_class_map(arguments.class_map) if arguments.class_map else {}
    lesson = lesson_of(teacher, student.tasks if student else None, given)
    if joined := [name for name in lesson.semantic.classes if ' + ' in name]:
        print(f'{teacher.name} does not tell {joined} apart: each is learned as one class')
    if lesson.lacking:
        print(f'{teacher.name} does not know {list(lesson.lacking)}: the student forgets them')
    if lesson.unused:
        print(f'the student has no class for {list(lesson.unused)}: they stay unlabelled')

    folder: Path = arguments.labels_to or Path('runs') / f'{images.stem}_by_{teacher.name}'
    source = open_input(images)

    facts = {
        'teacher': teacher.name, 'sha256': teacher.digest, 'images': images.name,
        'files': digest_of_files(images),
        'classes': list(lesson.semantic.classes), 'table': lesson.table.tolist(),
        'depth': lesson.depth}
    count = write_lesson(_evenly(source), teacher, lesson, folder, facts)
    for remark in (*source.remarks, *([str(source.omissions)] if source.omissions else [])):
        print(remark)
    print(f'{folder}: {count or "the"} images, labelled by {teacher.name}'
          f'{" with depth" if lesson.depth else ""}')
    return folder


def check_teacher_options(arguments: argparse.Namespace) -> None:
    """Refuse options of a teacher without one."""
    for option in ('class_map', 'labels_to'):
        if getattr(arguments, option) and not arguments.teacher:
            raise ConfigurationError(
                f'--{option.replace("_", "-")} belongs to --teacher; name the teacher, or leave '
                'it out')


def _evenly(source: 'ImageInput') -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield name and pixels of at most about ``MOST`` images."""
    step = max(1, math.ceil(source.count / MOST))
    for number, one in enumerate(progress(source.images, 'labelling', source.count or None)):
        if number % step == 0:
            yield one.name, one.image
