# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which models the streets can judge: those whose classes are the streets' own."""

from mtl_perception.errors import ConfigurationError
from mtl_perception.manifest import Manifest
from mtl_perception.tasks import LOOKS, street_tasks


def check_street_classes(manifest: Manifest, look: str = LOOKS[0]) -> None:
    """
    Refuse a model that streets cannot judge, since its classes are others than theirs.

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

        if street.kind == 'boxes':
            problems = [f'there is no class {name!r} among {list(task.classes)}'
                        for name in street.classes if name not in task.classes]
        else:
            problems = [f'class {number} is {own!r}, that of the streets {wanted!r}'
                        for number, (own, wanted) in enumerate(zip(task.classes, street.classes))
                        if own != wanted]

        if problems:
            raise ConfigurationError(
                f'{street.name} of model {manifest.name!r}: {problems[0]}; streets only judge '
                f'models with their classes, {list(street.classes)}. Give labelled data with the '
                'classes of the model: mtl evaluate --data, mtl calibrate --data')
