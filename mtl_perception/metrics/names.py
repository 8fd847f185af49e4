# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The names of the metrics: their keys in logs and reports, their labels, which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """
    One main metric of a validation.

    :param task: that it measures.
    :param key: its name in ``metrics.jsonl``, in a manifest and in ``report.json``.
    :param label: its name in tables, plots and the settings of a search.
    :param lower_is_better: whether it is an error rather than a score.
    :param compared: whether networks are compared by it. False for baselines and for what only
        one threshold on the scores decides.
    """

    task: str
    key: str
    label: str
    lower_is_better: bool = False
    compared: bool = True


METRICS = (
    Metric('semantic', 'miou', 'mIoU'),
    Metric('semantic', 'pixel_accuracy', 'pixel accuracy'),
    Metric('depth', 'abs_rel', 'AbsRel', lower_is_better=True),
    Metric('depth', 'delta1', 'delta1'),
    Metric('motion', 'iou_moving', 'moving IoU'),
    Metric('motion', 'iou_all_movable', 'all movable', compared=False),
    Metric('instance', 'found', 'instance recall'),
    Metric('instance', 'precision', 'instance precision', compared=False),
    Metric('detection', 'ap50', 'AP50'),
    Metric('detection', 'ap', 'AP'),
    Metric('detection', 'found', 'box recall', compared=False),
)
"""The main metrics in the order of every table; adding one is a line here."""

LOWER_IS_BETTER = frozenset(metric.label for metric in METRICS if metric.lower_is_better)
"""Labels of the errors; every other metric is a score."""

COMPARED = frozenset(metric.label for metric in METRICS if metric.compared)
"""Labels of the metrics that networks are compared by."""


def main_metrics(validation: Mapping[str, Any]) -> dict[str, float]:
    """
    Return the main metrics of a validation by their labels.

    A task that was not validated and a metric without a value (None) are left out.

    >>> main_metrics({'depth': {'abs_rel': 0.25, 'delta1': None, 'rmse': 4.0}})
    {'AbsRel': 0.25}

    :param validation: task -> key -> value, as a line of ``metrics.jsonl`` holds it.
    :return: label -> value, in the order of :data:`METRICS`.
    """
    return {
        metric.label: float(validation[metric.task][metric.key]) for metric in METRICS
        if metric.task in validation and validation[metric.task].get(metric.key) is not None}


def metric_text(value: float) -> str:
    """
    Return a value of a main metric as every table prints it.

    >>> metric_text(0.12345)
    '0.123'
    """
    return f'{value:.3f}'
