# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The names of the metrics: their keys in logs and reports, their labels, which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """
    A metric and its names.

    :param task: that it measures.
    :param key: its name in ``metrics.jsonl``, in a manifest and in ``report.json``; a dot leads
        into a nested table.
    :param label: its name in plots, in the tables of a training and in the settings of a search.
    :param row: its name in the rows of a report if that is not the label; None keeps it out of
        them.
    :param main: whether validations during a training show it.
    :param lower_is_better: whether it is an error rather than a score.
    :param compared: whether networks are compared by it unless a comparison names its metrics.
        False for baselines, for metrics that depend on one threshold on the scores, and for those
        that papers print beside better ones.
    :param per_class: whether the key leads to one value per class.
    :param baseline: a constant, or the key of the metric that is the baseline; None if the
        image-blind baseline is measured.
    """

    task: str
    key: str
    label: str
    row: str | None = ''
    main: bool = False
    lower_is_better: bool = False
    compared: bool = True
    per_class: bool = False
    baseline: float | str | None = None


METRICS = (
    Metric('semantic', 'miou', 'mIoU', main=True),
    Metric('semantic', 'miou_per_image', 'mIoU per image'),
    Metric('semantic', 'pixel_accuracy', 'pixel accuracy', main=True),
    Metric('semantic', 'boundary.f', 'boundary F (2 px)'),
    Metric('semantic', 'iou', 'IoU', per_class=True),

    Metric('depth', 'abs_rel', 'AbsRel', 'depth AbsRel', main=True, lower_is_better=True),
    Metric('depth', 'abs_rel_per_image', 'AbsRel per image', 'depth AbsRel per image',
           lower_is_better=True),
    Metric('depth', 'mae', 'MAE (m)', 'depth MAE (m)', lower_is_better=True),
    Metric('depth', 'rmse', 'RMSE (m)', 'depth RMSE (m)', lower_is_better=True),
    Metric('depth', 'delta1', 'delta1', 'depth delta1', main=True),
    Metric('depth', 'delta1_per_image', 'delta1 per image', 'depth delta1 per image'),
    Metric('depth', 'delta2', 'delta2', 'depth delta2'),
    Metric('depth', 'delta3', 'delta3', 'depth delta3'),
    Metric('depth', 'inverse.abs_err', 'inverse depth AbsErr (1/m)', lower_is_better=True),
    Metric('depth', 'inverse.rel_err', 'inverse depth RelErr', lower_is_better=True),
    Metric('depth', 'abs_err', 'Abs Err', None, main=True, lower_is_better=True, compared=False),
    Metric('depth', 'rel_err', 'Rel Err', None, main=True, lower_is_better=True, compared=False),

    Metric('motion', 'iou_moving', 'moving IoU', main=True, baseline='iou_all_movable'),
    Metric('motion', 'iou_all_movable', 'all movable', None, main=True, compared=False),
    Metric('motion', 'pixel_accuracy', 'motion pixel accuracy', None, main=True, compared=False),
    Metric('motion', 'iou_moving_of_all', 'moving IoU, unknown as static',
           baseline='iou_all_movable'),
    Metric('motion', 'unknown', 'motion unknown', lower_is_better=True),
    Metric('motion', 'auc', 'moving objects AUC', baseline=0.5),
    Metric('motion', 'balanced_accuracy', 'moving objects balanced accuracy', baseline=0.5),
    Metric('motion', 'identical_frames_moving', 'called moving on identical frames',
           lower_is_better=True, baseline=1.0),

    Metric('instance', 'found', 'instance recall', main=True),
    Metric('instance', 'found_of', 'instance recall', per_class=True),
    Metric('instance', 'precision', 'instance precision', main=True, compared=False),
    Metric('instance', 'panoptic', 'instance PQ'),

    Metric('detection', 'ap50', 'AP50', 'box AP50', main=True, baseline=0.0),
    Metric('detection', 'ap', 'AP', 'box AP', main=True, baseline=0.0),
    Metric('detection', 'ap50_of', 'AP50', 'box AP50', per_class=True, baseline=0.0),
    Metric('detection', 'found', 'box recall', main=True, compared=False, baseline=0.0),
    Metric('detection', 'found_of', 'box recall', per_class=True, baseline=0.0),
    Metric('detection', 'precision', 'box precision', baseline=0.0),
)
"""All metrics that are shown, in the order of every table; adding one is a line here."""

MAIN_METRICS = tuple(metric for metric in METRICS if metric.main)
"""The metrics of validations during a training."""

LOWER_IS_BETTER = frozenset(metric.label for metric in METRICS if metric.lower_is_better)
"""Labels of the errors; every other metric is a score."""

COMPARED = frozenset(metric.label for metric in MAIN_METRICS if metric.compared)
"""Labels of the metrics that networks are compared by."""


def main_metrics(validation: Mapping[str, Any]) -> dict[str, float]:
    """
    Return the main metrics of a validation by their labels.

    A task that was not validated and a metric without a value (None) are left out.

    >>> main_metrics({'depth': {'abs_rel': 0.25, 'delta1': None, 'rmse': 4.0}})
    {'AbsRel': 0.25}

    :param validation: task -> key -> value, as a line of ``metrics.jsonl`` holds it.
    :return: label -> value, in the order of :data:`MAIN_METRICS`.
    """
    return {
        metric.label: float(validation[metric.task][metric.key]) for metric in MAIN_METRICS
        if metric.task in validation and validation[metric.task].get(metric.key) is not None}


def metric_text(value: float) -> str:
    """
    Return a value of a main metric as every table prints it.

    >>> metric_text(0.12345)
    '0.123'
    """
    return f'{value:.3f}'
