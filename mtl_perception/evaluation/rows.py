# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of a report: each metric with its interval and its image-blind baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_perception.metrics import METRICS

TARGETS = {'mIoU': '>= 0.72', 'depth AbsRel': '<= 0.11', 'depth delta1': '>= 0.88',
           'box AP50': '>= 0.5', 'instance recall car': '>= 0.6',
           'called moving on identical frames': '0'}
"""Goals for the models of the street."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class MetricRow:
    """
    A line of the report.

    :param name: of the metric.
    :param value: of the model.
    :param interval: where it would lie on other frames of the same kind, see
        :func:`mtl_perception.metrics.bootstrap.bootstrap_interval`; None if unknown.
    :param baseline: the image-blind baseline.
    :param target: goal for the models of the street.
    """

    name: str
    value: float | None
    interval: Interval | None
    baseline: float | None
    target: str = ''


def rows(metrics: Mapping[str, Any]) -> list[MetricRow]:
    """
    Return the rows for the metrics of an evaluation.

    :param metrics: of :func:`mtl_perception.evaluation.task_evaluators.compute_metrics`.
    """
    found: list[MetricRow] = []
    for metric in METRICS:
        values = metrics.get(metric.task)
        if not values or metric.row is None:
            continue

        # a recording holds masks only, so its AUC has one threshold
        label = metric.row or metric.label
        if metric.key in ('auc', 'balanced_accuracy') and values['by_mask']:
            label += ' (of the mask)'

        # a baseline that is a known value takes the place of a measured one
        known = metric.baseline
        if isinstance(known, str):
            known = values[known]

        keys = metric.key.split('.')
        for name in _at(values, keys) if metric.per_class else ['']:
            full = f'{label} {name}' if name else label
            path = [*keys, name] if name else keys
            baseline = _at(metrics['baseline'].get(metric.task), path) if known is None else known
            interval = _at(metrics['intervals'].get(metric.task), path)
            found.append(MetricRow(
                full, _at(values, path), interval, baseline, TARGETS.get(full, '')))
    return found


def _at(metrics: Any, keys: Sequence[str]) -> Any:
    """Return a nested entry, None if it does not exist."""
    for key in keys:
        metrics = metrics.get(key) if metrics is not None else None
    return metrics


def value_text(value: float | None, places: int = 3) -> str:
    """Return a metric as text, ``n/a`` if it does not exist."""
    return 'n/a' if value is None else f'{value:.{places}f}'


def interval_text(interval: Interval | None) -> str:
    """Return an interval as text."""
    return '' if interval is None else f'{value_text(interval[0])} to {value_text(interval[1])}'
