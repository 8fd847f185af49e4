# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Read a data set once before hours of training are spent on it: count labels, find faults."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import combinations
from typing import Any

from mtl_perception.datasets.build import build_dataset
from mtl_perception.datasets.findings import Findings
from mtl_perception.datasets.label_sets import label_problems
from mtl_perception.errors import DataError
from mtl_perception.image_range import range_text
from mtl_perception.tasks import MOVING, UNKNOWN_MOTION, UNLABELLED


def examine(
        descriptions: Mapping[str, Mapping[str, Any]],
        show: Callable[[Iterable[int], str], Iterable[int]] = lambda items, name: items,
) -> list[Findings]:
    """
    Read every clip of every data set once, and find images that two of them share.

    :param descriptions: name -> description for :func:`.build_dataset`; a task that ``tasks``
        names must be labelled somewhere.
    :param show: wraps the clips' numbers of the data set with that name, for a progress bar.
    :raises ConfigurationError: if a description is wrong; faulty data are problems, not errors.
    """
    every: list[Findings] = []
    for name, description in descriptions.items():
        findings = Findings(name)
        every.append(findings)
        try:
            data = build_dataset(description, name)
        except DataError as error:
            findings.problems.append(str(error))
            continue

        # Clips share images, so one faulty file is met several times; a dict keeps the order.
        findings.data = data
        problems: dict[str, None] = {}
        for number in show(range(len(data)), name):
            try:
                findings.add(number, data.clips[number], data[number])
            except DataError as error:
                problems[str(error)] = None

        findings.problems += problems
        findings.problems += [
            f'{description["root"]}: no clip has a label of the task {task}; unpack the archive '
            'with its labels, or take it from tasks'
            for task in description.get('tasks') or () if not findings.labelled[task]]

    for findings, problem in label_problems([it for it in every if it.data is not None]):
        findings.problems.append(problem)
    _find_shared_images(every)
    _find_two_ranges(every, descriptions)
    return every


def _find_shared_images(every: list[Findings]) -> None:
    """Add a problem for each image that two data sets have: evaluation would flatter the model."""
    for one, other in combinations(every, 2):
        if one.name.split('.')[0] == other.name.split('.')[0]:
            continue  # parts of one mixture, which may label the same images for other tasks
        for digest in one.images.keys() & other.images.keys():
            first, second = min(one.images[digest]), min(other.images[digest])
            other.problems.append(
                f'{second}: is the same image as {first} of {one.name}; keep it in one of the two')
        other.problems.sort()


Row = tuple[str, ...]
"""A quantity, and its value in each data set."""
RowMaker = Callable[[str, Callable[[Findings], str]], Row]


def rows_of(every: list[Findings]) -> list[Row]:
    """Return a table of the findings; an empty row separates the tasks."""
    def row(what: str, value: Callable[[Findings], str]) -> Row:
        return (what, *(value(findings) for findings in every))

    rows = [
        row('clips', lambda it: str(len(it.data)) if it.data else '0'),
        row('images per clip', lambda it: str(len(it.data.clips[0])) if it.data else ''),
        row('left out, no earlier image',
            lambda it: str(len(it.data.incomplete)) if it.data else ''),
        row('duplicate images',
            lambda it: str(sum(len(paths) - 1 for paths in it.images.values()))),
        row('height x width', lambda it: ', '.join(
            f'{height} x {width}' for (height, width), _ in it.sizes.most_common(3))
            + (' ...' if len(it.sizes) > 3 else '')),
        *_contrast_rows(every, row),
        row('problems', lambda it: str(len(it.problems)))]

    for task, more in _ROWS_OF.items():
        if any(findings.task(task) for findings in every):
            rows += [row('', lambda _: ''), _labelled(task, row), *more(every, row)]
    return rows


def _semantic_rows(every: list[Findings], row: RowMaker) -> list[Row]:
    tasks = filter(None, (it.task('semantic') for it in every))
    names = dict.fromkeys(name for task in tasks for name in task.classes)
    return [*(row(f'  {name}', partial(_class_share, name=name)) for name in names),
            row('  unlabelled', lambda it: _share(it, 'semantic', UNLABELLED))]


def _depth_rows(every: list[Findings], row: RowMaker) -> list[Row]:
    return [
        row('  pixels with depth', lambda it: _percent(it.depth_known, it.pixels['depth'])),
        row('  nearest, farthest', lambda it: (
            '{:.2f} m, {:.2f} m'.format(*it.depth_range) if it.depth_known else '')),
        row('  beyond the maximum', _beyond)]


def _motion_rows(every: list[Findings], row: RowMaker) -> list[Row]:
    return [row('  moving', lambda it: _share(it, 'motion', MOVING)),
            row('  unknown', lambda it: _share(it, 'motion', UNKNOWN_MOTION))]


def _contrast_rows(every: list[Findings], row: RowMaker) -> list[Row]:
    """Return what is black and white in images of more than 8 bits, if there are any."""
    if not any(it.data and it.data.image_range.images for it in every):
        return []
    return [
        row('black and white of 16 bits', lambda it: range_text(it.data.image_range.limits)
            if it.data and it.data.image_range.images else ''),
        row('almost no contrast', lambda it: str(len(it.data.faint)) if it.data else '')]


def _find_two_ranges(
        every: list[Findings], descriptions: Mapping[str, Mapping[str, Any]]) -> None:
    """Add a problem where two parts of one folder would not be read alike."""
    for one, other in combinations(every, 2):
        limits = [it.data.image_range.limits for it in (one, other) if it.data]
        first, second = descriptions[one.name], descriptions[other.name]
        if None in limits or len(set(limits)) < 2 or not (
                first['dataset'] == second['dataset'] == 'folder'
                and first.get('root') == second.get('root')):
            continue
        ranges = ' and '.join(map(range_text, limits))
        other.problems.append(
            f'{second["root"]}: black and white of its 16-bit images are {ranges} in {one.name} '
            f'and {other.name}; write one range for both into its description, such as '
            f'image_range: [{range_text(limits[0])}]')


def _instance_rows(every: list[Findings], row: RowMaker) -> list[Row]:
    return [row('  objects', lambda it: str(it.objects) if it.task('instance') else '')]


def _detection_rows(every: list[Findings], row: RowMaker) -> list[Row]:
    tasks = filter(None, (it.task('detection') for it in every))
    names = dict.fromkeys(name for task in tasks for name in task.classes)
    return [row(f'  boxes: {name}', partial(_box_count, name=name)) for name in names]


_ROWS_OF = {
    'semantic': _semantic_rows,
    'depth': _depth_rows,
    'motion': _motion_rows,
    'instance': _instance_rows,
    'detection': _detection_rows,
}
"""Task -> what the table says of it below the number of labelled clips."""


def _labelled(task: str, row: RowMaker) -> Row:
    """Return the number of clips in which a task is labelled."""
    return row(f'{task}: clips with labels',
               lambda it: str(it.labelled[task]) if it.task(task) else 'none')


def _class_share(findings: Findings, name: str) -> str:
    """Return the share of a class among the pixels of the labelled images."""
    task = findings.task('semantic')
    if task is None or name not in task.classes:
        return ''
    return _share(findings, 'semantic', task.classes.index(name))


def _box_count(findings: Findings, name: str) -> str:
    """Return the number of boxes of a class."""
    task = findings.task('detection')
    if task is None or name not in task.classes:
        return ''
    return str(findings.boxes[task.classes.index(name)])


def _share(findings: Findings, task: str, value: int) -> str:
    """Return the share of a value among the pixels of a task's labels."""
    counts = findings.counts.get(task)
    return '' if counts is None else _percent(int(counts[value]), findings.pixels[task])


def _beyond(findings: Findings) -> str:
    """Return the share of depths beyond the maximum of the task."""
    task = findings.task('depth')
    if task is None or not findings.depth_known:
        return ''
    return f'{_percent(findings.depth_beyond, findings.depth_known)} > {task.maximum:g} m'


def _percent(part: int, whole: int) -> str:
    return f'{100 * part / whole:.2f} %' if whole else ''
