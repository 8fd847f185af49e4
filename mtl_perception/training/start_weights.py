# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A training that goes on from a model: which of its weights are taken over."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mtl_perception.datasets.class_table import counterparts
from mtl_perception.errors import ConfigurationError
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import read_model
from mtl_perception.tasks import Task

OWN_PARTS = ('decoders.', 'attention.masks.')
"""Parts of a network that have one part per task, as the names of weights begin."""


def load_start(
        network: nn.Module, model: str, tasks: Sequence[Task] | None = None,
) -> dict[str, list[str]]:
    """
    Load the weights of a model into a network; a model has no task-transfer networks.

    :param network: is changed; its task-transfer networks keep their weights.
    :param model: name of a shipped model or path of a ``.safetensors`` file.
    :param tasks: of the network. If they are given, they may be others than the model's. Of a
        decoder for other classes, each class starts with the weights of the class that is most
        like it, see :func:`.counterparts`. Decoders of tasks that the model does not have, or has
        in another unit, keep their own weights. Of depth decoders with one and two channels, the
        first is the same.
    :return: name of each task that the model does not have as it is -> its classes that keep
        their own weights, or its name if the whole decoder does.
    :raises ConfigurationError: if the model has other parts.
    :raises CheckpointError: if its file is damaged.
    """
    manifest, given = load_network(model)
    theirs, own = given.state_dict(), network.state_dict()
    weights = {**theirs, **{
        name: item for name, item in own.items() if name.startswith('transfer')}}

    fresh = {}
    if tasks is not None:
        heads = {task.name: tuple(f'{part}{task.name}.' for part in OWN_PARTS) for task in tasks}
        wanted = tuple(prefix for prefixes in heads.values() for prefix in prefixes)
        weights = {name: item for name, item in weights.items()
                   if name.startswith(wanted) or not name.startswith(OWN_PARTS)}

        for task in tasks:
            if _same(task, manifest.task(task.name)):
                continue
            head = {name: item for name, item in own.items()
                    if name.startswith(heads[task.name])}
            like = _like(task, manifest.task(task.name))
            taken = _taken_over(head, theirs, like)
            fresh[task.name] = [task.name] if taken is None else [
                name for name, one in zip(task.classes, like, strict=True) if one is None]
            weights = {name: item for name, item in weights.items()
                       if not name.startswith(heads[task.name])} | (taken or head)

    for name, item in own.items():
        if name.startswith('decoders.depth.') and name in weights:
            weights[name] = _fitted(weights[name], item)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigurationError(
            f'network.start is {model}, whose parts differ from those of the recipe ({error}); '
            'take a model that was trained with the same network settings') from error
    return fresh


def _like(task: Task, other: Task | None) -> list[int | None]:
    """Return for each class of a task the class of the other task that is most like it."""
    if other is None or (task.kind, other.kind) != ('classes', 'classes'):
        return [None] * len(task.classes)
    return counterparts(other, task)


def _taken_over(
        head: Mapping[str, Tensor], theirs: Mapping[str, Tensor], like: Sequence[int | None],
) -> dict[str, Tensor] | None:
    """
    Return the weights of a decoder of classes with those of a decoder for other classes.

    :param head: its own weights by name.
    :param theirs: those of the model.
    :param like: for each class the one of the model, None for none.
    :return: None if no class has one, or the decoders differ in more than their classes.
    """
    new = [number for number, one in enumerate(like) if one is not None]
    old = [one for one in like if one is not None]
    if not new or any(name not in theirs for name in head):
        return None

    taken = {}
    for name, item in head.items():
        given = theirs[name]
        if '.score.' not in name and '.upsample.' not in name:
            wanted = given
        elif '.upsample.' in name and item.ndim == 4 and item.shape[2:] == given.shape[2:]:
            # It adds up over its inputs: classes that start as one have a part of its weight each.
            wanted = item.clone()
            count = torch.tensor([float(old.count(one)) for one in old])
            wanted[np.ix_(new, new)] = given[np.ix_(old, old)] / count[:, None, None, None]
        elif item.shape[1:] == given.shape[1:]:
            wanted = item.clone()
            wanted[new] = given[old]
        else:
            return None

        if wanted.shape != item.shape:
            return None
        taken[name] = wanted
    return taken


def _fitted(given: Tensor, own: Tensor) -> Tensor:
    """Return weights for one channel in place of two, or two of one; others as they are given."""
    different = {
        (old, new) for old, new in zip(given.shape, own.shape, strict=False) if old != new}
    if not different or given.ndim != own.ndim or not different <= {(1, 2), (2, 1)}:
        return given

    # The scores of new channels start at 0, so at first they change nothing.
    result = own.clone() if own.ndim == 4 and own.shape[2] > 1 else torch.zeros_like(own)
    common = tuple(slice(min(sizes)) for sizes in zip(given.shape, own.shape, strict=True))
    result[common] = given[common]
    return result


def _same(task: Task, other: Task | None) -> bool:
    """Return whether two tasks have the same outputs with the same meaning."""
    return other is not None and (task.classes, task.unit, task.inverse) == (
        other.classes, other.unit, other.inverse)


def left_behind(model: str, tasks: Sequence[Task]) -> str:
    """
    Return a line that names the tasks of a model that the new one will not have, or nothing.

    :param model: name or path of the model.
    :param tasks: of the network.
    """
    kept = {task.name for task in tasks}
    lost = [task.name for task in read_model(model)[0].tasks if task.name not in kept]
    if not lost:
        return ''
    return (f'{model}: the new model will be without {", ".join(lost)}; each takes labels of its '
            'own, and its name in tasks')


def in_words(model: str, tasks: Sequence[Task], fresh: Mapping[str, list[str]]) -> str:
    """
    Return a line for each decoder that differs from the model's, and one for those that are lost.

    :param model: name or path of the model.
    :param tasks: of the network.
    :param fresh: what :func:`load_start` returns.
    """
    lines = []
    for task in tasks:
        anew = fresh.get(task.name)
        if anew == [task.name]:
            lines.append(f'{model}: its decoder of {task.name} does not fit; that starts anew')
        elif anew is not None:
            count = len(task.classes)
            rest = f'; anew: {", ".join(anew)}' if anew else ''
            lines.append(f'{model}: {count - len(anew)} of {count} classes of {task.name} start '
                         f'as the class of the model that is most like them{rest}')
    return '\n'.join(filter(None, [*lines, left_behind(model, tasks)]))
