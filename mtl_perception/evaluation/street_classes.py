# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which models the streets can measure: those whose classes are the streets' own."""

from mtl_perception.errors import ConfigurationError
from mtl_perception.manifest import Manifest
from mtl_perception.tasks import LOOKS, Task, street_tasks


def check_street_classes(manifest: Manifest, look: str = LOOKS[0]) -> None:
    """
    Refuse a model that streets cannot measure, since its classes are others than theirs.

    Masks are compared by number. A class that only one side has at its end, such as the fences
    of ``roads``, changes no other. Boxes are compared by the names of their classes.

    :param manifest: of the model.
    :param look: of the streets, one of :data:`.LOOKS`.
    :raises ConfigurationError: naming the first class that differs.
    """
    for street in street_tasks(look):
        task = manifest.task(street.name)
        if task is None:
            continue
        if problem := _difference(task, street):
            raise ConfigurationError(
                f'{street.name} of model {manifest.name!r}: {problem}; streets measure only '
                f'models with their classes, {list(street.classes)}. Give labelled data with the '
                'classes of the model: mtl evaluate --data, mtl calibrate --data')


def _difference(task: Task, street: Task) -> str:
    """Return in words the first class that differs, empty if none does."""
    if street.kind == 'boxes':
        missing = [name for name in street.classes if name not in task.classes]
        return f'there is no class {missing[0]!r} among {list(task.classes)}' if missing else ''
    return next((
        f'class {number} is {own!r}, that of the streets {wanted!r}'
        for number, (own, wanted) in enumerate(zip(task.classes, street.classes))
        if own != wanted), '')
