# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of a report: each metric with its interval and its image-blind baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TARGETS = {'mIoU': '>= 0.72', 'depth AbsRel': '<= 0.11', 'depth delta1': '>= 0.88',
           'box AP50': '>= 0.5', 'instance recall car': '>= 0.6'}
"""Goals for the models of the street."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """
    A line of the report.

    :param name: of the metric.
    :param value: of the model.
    :param interval: where it would lie on other frames of the same kind, see
        :func:`mtl_perception.metrics.bootstrap_interval`; None if unknown.
    :param guess: the image-blind baseline.
    :param target: goal for the models of the street.
    """

    name: str
    value: float | None
    interval: Interval | None
    guess: float | None
    target: str = ''


def rows(figures: Mapping[str, Any]) -> list[Row]:
    """
    Return the rows for the metrics of an evaluation.

    :param figures: of :func:`mtl_perception.evaluation.evaluators.figures_of`.
    """
    base = figures['baseline']
    sure = figures['intervals']
    found: list[Row] = []

    def add(task: str, label: str, *keys: str, guess: float | None = None) -> None:
        # a baseline that is a known constant takes the place of a measured one
        looked = base.get(task) if guess is None else None
        found.append(Row(
            label, _at(figures[task], keys), _at(sure.get(task), keys),
            _at(looked, keys) if guess is None else guess, TARGETS.get(label, '')))

    if 'semantic' in figures:
        for label, key in (('mIoU', 'miou'), ('mIoU per image', 'miou_per_image'),
                           ('pixel accuracy', 'pixel_accuracy')):
            add('semantic', label, key)
        add('semantic', 'boundary F (2 px)', 'boundary', 'f')
        for name in figures['semantic']['iou']:
            add('semantic', f'IoU {name}', 'iou', name)

    if 'depth' in figures:
        for label, key in (('AbsRel', 'abs_rel'), ('MAE (m)', 'mae'), ('RMSE (m)', 'rmse'),
                           ('delta1', 'delta1'), ('delta2', 'delta2'), ('delta3', 'delta3')):
            add('depth', f'depth {label}', key)
        add('depth', 'inverse depth AbsErr (1/m)', 'inverse', 'abs_err')
        add('depth', 'inverse depth RelErr', 'inverse', 'rel_err')

    if motion := figures.get('motion'):
        add('motion', 'moving IoU', 'iou_moving', guess=motion['iou_all_movable'])
        add('motion', 'moving IoU, unknown as static', 'iou_moving_of_all',
            guess=motion['iou_all_movable'])
        found.append(Row('motion unknown', motion['unknown'], None, None))

        # a recording holds masks only, so its AUC has one threshold
        by = ' (of the mask)' if motion['by_mask'] else ''
        add('motion', f'moving objects AUC{by}', 'auc', guess=0.5)
        add('motion', f'moving objects balanced accuracy{by}', 'balanced_accuracy', guess=0.5)
        found.append(Row('called moving on identical frames', motion['identical_frames_moving'],
                         None, 1.0, '0'))

    if instance := figures.get('instance'):
        add('instance', 'instance recall', 'found')
        for name in instance['found_of']:
            add('instance', f'instance recall {name}', 'found_of', name)
        add('instance', 'instance precision', 'precision')
        add('instance', 'instance PQ', 'panoptic')

    if boxes := figures.get('detection'):
        add('detection', 'box AP50', 'ap50', guess=0.0)
        add('detection', 'box AP', 'ap', guess=0.0)
        for name in boxes['ap50_of']:
            add('detection', f'box AP50 {name}', 'ap50_of', name, guess=0.0)
        add('detection', 'box recall', 'found', guess=0.0)
        for name in boxes['found_of']:
            add('detection', f'box recall {name}', 'found_of', name, guess=0.0)
        add('detection', 'box precision', 'precision', guess=0.0)
    return found


def _at(figures: Any, keys: Sequence[str]) -> Any:
    """Return a nested entry, None if it does not exist."""
    for key in keys:
        figures = figures.get(key) if figures is not None else None
    return figures


def figure_text(value: float | None, places: int = 3) -> str:
    """Return a metric as text, ``n/a`` if it does not exist."""
    return 'n/a' if value is None else f'{value:.{places}f}'


def interval_text(interval: Interval | None) -> str:
    """Return an interval as text."""
    return '' if interval is None else f'{figure_text(interval[0])} to {figure_text(interval[1])}'
