# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label sets that cannot be learned: classes without a pixel, one value everywhere."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.findings import Findings
from mtl_perception.errors import DataError
from mtl_perception.tasks import UNLABELLED, Task

READ = 500
"""Most clips of a data set in which its classes are looked for."""

_KEYS = {'semantic': 'ids', 'motion': 'motion_ids'}
"""Task -> the key of a ``dataset.yaml`` that says what its numbers mean."""


def label_problems(every: Sequence[Findings]) -> list[tuple[Findings, str]]:
    """
    Return what makes the labels of some data sets impossible to learn or to evaluate.

    The parts of a mixture, ``train.NAME``, count together. A class needs pixels in ``train``;
    where no data set has that name, in any of them. That every class has pixels is asked only of
    data sets whose owner wrote the classes down: a part of a published one may lack some.

    :param every: with the name, the data set and the counts of each.
    :return: the data set and the problem, with the path and the key to change.
    """
    found = []
    for task in _KEYS:
        sets = _joined(every, task)
        for findings, counts in sets.values():
            found += [(findings, text) for text in _one_value(findings, task, counts)]

        learned = {name: one for name, one in sets.items() if name == 'train'} or sets
        if learned:
            findings = next(iter(learned.values()))[0]
            total = np.sum([counts for _, counts in learned.values()], axis=0)
            found += [(findings, text) for text in _without_pixels(findings, task, total)]
        if task == 'semantic':
            found += _nothing_common(sets)

    for findings in every:
        nearest, farthest = findings.depth_range
        if _owned(findings) and findings.depth_known > 1 and nearest == farthest:
            found.append((findings, f'{_root(findings)}: every known depth is {nearest:g} m; look '
                          'at the files of depth, and at depth_m or disparity_px'))
    return found


def check_labels(sets: Mapping[str, RecordedClips], skip_bad: bool) -> None:
    """
    Refuse data that cannot be learned; only as many clips are read as it takes to know.

    :param sets: name -> data set, as in :func:`label_problems`.
    :param skip_bad: leave out clips that cannot be read.
    :raises DataError: with all problems.
    """
    every = [_sampled(name, data, skip_bad) for name, data in sets.items()]
    if problems := label_problems(every):
        raise DataError(
            '; '.join(f'data.{findings.name}: {text}' for findings, text in problems)
            + '. mtl data check shows the shares of all classes; --force trains all the same')


def _sampled(name: str, data: RecordedClips, skip_bad: bool) -> Findings:
    """Return what a random sample of clips holds, as small as tells that nothing is wrong."""
    findings = Findings(name, data)
    for number in np.random.default_rng(0).permutation(len(data))[:READ]:
        try:
            findings.add(int(number), data.clips[number], data[int(number)])
        except DataError:
            if not skip_bad:
                raise
            continue
        if not any(findings.task(task) for task in _KEYS) or not label_problems([findings]):
            break
    return findings


def _joined(
        every: Sequence[Findings], task: str,
) -> dict[str, tuple[Findings, NDArray[np.int64]]]:
    """Return name -> the first data set of that name that labels a task, and the counts of all."""
    sets: dict[str, tuple[Findings, NDArray[np.int64]]] = {}
    for findings in every:
        if findings.task(task) is None:
            continue
        counts = findings.counts.get(task, np.zeros(256, np.int64))
        name = findings.name.split('.')[0]
        first, before = sets.get(name, (findings, np.zeros(256, np.int64)))
        sets[name] = first, before + counts
    return sets


def _one_value(findings: Findings, task: str, counts: NDArray[np.int64]) -> list[str]:
    """Return the problem of labels of one class alone, or of none."""
    names = _task(findings, task).classes
    seen = np.flatnonzero(counts[:len(names)])
    if len(names) < 2 or len(seen) > 1 or (task == 'motion' and not _owned(findings)):
        return []
    if not len(seen):
        # Labels of a published data set may be missing; that is said elsewhere.
        return [f'{_root(findings)}: no pixel of {task} has a label{_hint(findings, task, counts)}'
                ] if _owned(findings) else []
    return [f'{_root(findings)}: every labelled pixel of {task} is {names[seen[0]]!r}, so nothing '
            f'can be told from it{_hint(findings, task, counts)}']


def _without_pixels(findings: Findings, task: str, counts: NDArray[np.int64]) -> list[str]:
    """Return the problem of classes that no pixel has, where others are there."""
    names = _task(findings, task).classes
    missing = [name for name, count in zip(names, counts) if not count]
    if not _owned(findings) or len(names) - len(missing) < 2 or not missing:
        return []
    return [f'{_root(findings)}: no pixel of {task} is {" or ".join(map(repr, missing))}'
            f'{_hint(findings, task, counts)}']


def _nothing_common(
        sets: Mapping[str, tuple[Findings, NDArray[np.int64]]]) -> list[tuple[Findings, str]]:
    """Return the problem of two data sets whose labels share no class."""
    seen = {name: {_task(findings, 'semantic').classes[kind] for kind in np.flatnonzero(
        counts[:len(_task(findings, 'semantic').classes)])}
        for name, (findings, counts) in sets.items()}
    return [
        (sets[other][0], f'{_root(sets[other][0])}: has the classes {sorted(seen[other])}, {one} '
         f'{sorted(seen[one])}; none is common, so nothing that is learned can be evaluated')
        for one, other in combinations(sets, 2)
        if seen[one] and seen[other] and not seen[one] & seen[other]]


def _hint(findings: Findings, task: str, counts: NDArray[np.int64]) -> str:
    """Return what to do: where 255 was taken for unlabelled unasked, the line to write."""
    names = _task(findings, task).classes
    key = _KEYS[task]
    seen = [int(number) for number in np.flatnonzero(counts)]
    if not _owned(findings):
        return '; take a larger part of the data set, or unpack all of its labels'
    if UNLABELLED not in seen or not findings.data or task not in findings.data.assumed:
        return f'; correct the labels, or classes and {key} in dataset.yaml'

    line = f'{key}: {{NUMBER: CLASS, ...}}'
    if len(seen) == len(names):
        pairs = ', '.join(f'{number}: {name}' for number, name in zip(seen, names))
        line = f'{key}: {{{pairs}}}'
    return (f'; the masks hold the numbers {seen}, of which {UNLABELLED} counts as unlabelled: if '
            f'it is a class, write {line} into dataset.yaml')


def _owned(findings: Findings) -> bool:
    """Return whether the classes are those of the data's owner."""
    return findings.data is not None and findings.data.own_classes


def _root(findings: Findings) -> str:
    """Return the folder that a problem is about."""
    assert findings.data is not None
    return str(findings.data.clips[0][-1].parent)


def _task(findings: Findings, name: str) -> Task:
    """Return a task that the data set labels."""
    task = findings.task(name)
    assert task is not None
    return task
