# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation as JSON, Markdown and HTML; the same for every command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.rows import MetricRow, interval_text, rows, value_text
from mtl_perception.metrics import FEWEST_GROUPS

Metrics = Mapping[str, Any]
Fact = tuple[str, str, str]
"""Name, value and remark of a fact that is not a metric, such as a latency."""


@dataclass(frozen=True, eq=False)
class Report:
    """
    The results of an evaluation.

    :param title: first line.
    :param metrics: go into ``report.json``, with null for what is not finite; the metrics of
        :func:`mtl_perception.evaluation.task_evaluators.compute_metrics` become rows.
    :param facts: counts, rates and latencies.
    :param notes: paragraphs below the tables.
    :param pictures: caption and (H, W, 3) uint8 RGB each; part of the page.
    :param targets: whether the goals for the models of the street are shown.
    :param links: Markdown at the end, such as a picture that lies beside the report.
    """

    title: str
    metrics: Metrics
    facts: Sequence[Fact] = ()
    notes: Sequence[str] = ()
    pictures: Sequence[tuple[str, NDArray[np.uint8]]] = ()
    targets: bool = False
    links: Sequence[str] = field(default=())

    @property
    def rows(self) -> list[MetricRow]:
        """The metrics beside their image-blind baselines."""
        return rows(self.metrics) if 'baseline' in self.metrics else []

    @property
    def remarks(self) -> list[str]:
        """Remarks about the rows, and the notes."""
        return [*(_remarks(self.metrics) if self.rows else []), *self.notes]


def ran_text(engine: str) -> str:
    """Return in a sentence what ran the network: engine, device and precision."""
    return f'The network ran by {engine}.'


def recording_facts(metrics: Metrics) -> list[Fact]:
    """
    Return how many frames of a recording have a prediction, and the latencies.

    :param metrics: of a recording, as in ``report.json``.
    """
    dropped = ', '.join(f'{count} {reason}' for reason, count in metrics['dropped'].items())
    latency = metrics['latency_ms']

    facts = [
        ('frames in', str(metrics['frames_in']), _camera_rate(metrics)),
        ('frames published', str(metrics['published']),
         f'{value_text(metrics["fps"], 2)} frames/s'),
        ('frames dropped', str(sum(metrics['dropped'].values())), dropped),
        ('latency p50, ms', value_text(latency['p50'], 1),
         "camera stamp to the recorder's receipt"),
        ('latency p95, ms', value_text(latency['p95'], 1), ''),
        ('latency p99, ms', value_text(latency['p99'], 1),
         f'largest {value_text(latency["max"], 1)}'),
    ]

    age = metrics.get('age_at_publish_ms')
    if age:
        facts.append((
            'age at publish p99, ms', value_text(age.get('p99'), 1), 'by the node itself'))
    return facts


def as_markdown(report: Report) -> str:
    """Return the tables of a report and its remarks."""
    lines: list[str] = []
    if report.facts:
        lines += ['| | measured | |', '|---|---|---|']
        lines += [f'| {" | ".join(fact)} |' for fact in report.facts]
        lines.append('')

    if report.rows:
        targets = report.targets
        lines += ['| | model | 95 % interval | image-blind baseline |'
                  + (' target |' if targets else ''),
                  f'|---|---|---|---|{"---|" if targets else ""}']
        for row in report.rows:
            cells = [row.name, value_text(row.value), interval_text(row.interval),
                     value_text(row.baseline), *([row.target] if targets else [])]
            lines.append(f'| {" | ".join(cells)} |')
        lines.append('')

    for remark in report.remarks:
        lines += [remark, '']
    return '\n'.join(lines).rstrip('\n')


def _camera_rate(metrics: Metrics) -> str:
    """Return the rate of the camera, and the requested rate if it is clearly lower."""
    rate, wanted = metrics['rate'], metrics.get('conditions', {}).get('rate')
    slow = rate is not None and wanted is not None and rate < 0.95 * wanted
    return f'{value_text(rate, 2)} frames/s' + (f', {wanted:g} wanted' if slow else '')


def _remarks(metrics: Metrics) -> list[str]:
    base = metrics['baseline']
    sure = metrics['intervals']
    remarks = [
        'Image-blind baseline: the most frequent class and the mean depth of each pixel over '
        f'{base["from"]}; for motion, every movable object moves; for instances, each connected '
        'region of a class in the true mask is one object; no boxes.']

    # frames of one drive resemble each other, so whole drives are resampled
    if sure['groups'] >= FEWEST_GROUPS:
        remarks.append(
            f'Intervals: {100 * sure["level"]:g} % by bootstrap with replacement over '
            f'{sure["groups"]} groups of frames (drives, streets or stretches of time).')
    else:
        remarks.append(
            f'Intervals: none; they need at least {FEWEST_GROUPS} groups of frames (drives, '
            f'streets or stretches of time), and there are {sure["groups"]}.')

    if absent := metrics.get('semantic', {}).get('absent'):
        remarks.append(f'Classes that never occur and are not in the mean: {", ".join(absent)}.')
    return remarks
