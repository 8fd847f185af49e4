# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run came to: one table, for the terminal, for people and for programs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_perception.errors import StorageError

Figures = Mapping[str, Any]


def table(figures: Figures) -> list[tuple[str, str, str]]:
    """
    Return the table of a run.

    :param figures: as in ``report.json``.
    :return: rows of a name, the measured value, and what to compare it with.
    """
    dropped = ', '.join(f'{count} {reason}' for reason, count in figures['dropped'].items())
    rows = [
        ('frames in', str(figures['frames_in']), _camera_rate(figures)),
        ('frames published', str(figures['published']),
         f'{_number(figures["fps"], 2)} frames/s'),
        ('frames dropped', str(sum(figures['dropped'].values())), dropped),
        ('latency p50, ms', _number(figures['latency_ms']['p50'], 1),
         "camera stamp to the recorder's receipt"),
        ('latency p95, ms', _number(figures['latency_ms']['p95'], 1), ''),
        ('latency p99, ms', _number(figures['latency_ms']['p99'], 1),
         f'largest {_number(figures["latency_ms"]["max"], 1)}'),
    ]
    age = figures.get('age_at_publish_ms')
    if age:
        rows.append(('age at publish p99, ms', _number(age.get('p99'), 1), 'by the node itself'))
    return rows + _quality(figures)


def _camera_rate(figures: Figures) -> str:
    """Return the camera's rate, and what was wanted if it is clearly less."""
    rate, wanted = figures['rate'], figures['conditions']['rate']
    slow = rate is not None and rate < 0.95 * wanted
    return f'{_number(rate, 2)} frames/s' + (f', {wanted:g} wanted' if slow else '')


def _quality(figures: Figures) -> list[tuple[str, str, str]]:
    """Return the rows about right and wrong, with the figures of trivial answers beside them."""
    rows = []
    semantic, depth, motion = (figures.get(name) for name in ('semantic', 'depth', 'motion'))
    if semantic:
        rows.append(('semantic mIoU', _number(semantic['miou']),
                     f'most frequent class per pixel: {_number(semantic.get("baseline_miou"))}'))
    if depth:
        rows += [
            ('depth AbsRel', _number(depth['abs_rel']),
             f'mean depth per pixel: {_number(depth.get("baseline_abs_rel"))}'),
            ('depth RMSE, m', _number(depth['rmse'], 2), ''),
            ('depth delta1', _number(depth['delta1']),
             f'mean depth per pixel: {_number(depth.get("baseline_delta1"))}')]
    if motion:
        identical = motion.get('identical_frames_moving')
        rows += [
            ('motion IoU of moving', _number(motion.get('iou_moving')),
             f'everything movable moves: {_number(motion.get("iou_all_movable"))}'),
            ('motion AUC of objects', _number(motion.get('auc')), 'chance: 0.500'),
            ('moving on identical frames', _number(identical), 'right: 0.000')]
    if instance := figures.get('instance'):
        rows += [
            ('objects found as instances', _number(instance.get('found')),
             'of at least 60 pixels, overlap above 0.5'),
            ('instances that are objects', _number(instance.get('precision')), '')]
    return rows


def write_report(folder: Path, figures: Figures, title: str, notes: list[str]) -> None:
    """
    Write ``report.json`` and ``report.md``.

    :param notes: paragraphs below the table.
    :raises StorageError: if they cannot be written.
    """
    lines = [f'# {title}', '', '| | measured | |', '|---|---|---|']
    lines += [f'| {name} | {value} | {remark} |' for name, value, remark in table(figures)]
    for note in notes:
        lines += ['', note]
    if figures.get('semantic'):
        lines += ['', '## IoU per class', '', '| class | IoU |', '|---|---|']
        classes = figures['semantic']['iou']
        lines += [f'| {name} | {_number(iou)} |' for name, iou in classes.items()]
    lines += ['', '![moments of the recording](mosaic.png)', '']
    _write(folder / 'report.md', '\n'.join(lines))
    _write(folder / 'report.json', json.dumps(figures, indent=2) + '\n')


def _write(path: Path, text: str) -> None:
    """Put a file in its place in one step, so that nobody ever reads half of it."""
    partial = path.with_name(path.name + '.part')
    try:
        partial.write_text(text, encoding='utf-8')
        os.replace(partial, path)
    except OSError as error:
        raise StorageError(f'{path}: cannot be written: {error}') from error


def _number(value: float | None, places: int = 3) -> str:
    return 'n/a' if value is None else f'{value:.{places}f}'
