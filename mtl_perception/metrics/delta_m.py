# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Delta_m: the relative gain of a network over a baseline, across metrics of different kinds."""

from collections.abc import Collection, Mapping

import numpy as np


def delta_m(
        metrics: Mapping[str, float], baseline: Mapping[str, float],
        lower_is_better: Collection[str],
        per_task: Mapping[str, Collection[str]] | None = None) -> float:
    r"""
    Return :math:`\Delta_m`, the mean relative gain over a baseline, in per cent.

    Equation 17 of Nakano et al., *Cross-Task Consistency Learning Framework for Multi-Task
    Learning* (XTasC-Net): the plain mean over all metrics. With ``per_task`` the metrics of each
    task are averaged first, as other papers do; the two agree if all tasks have equally many.

    >>> delta_m({'miou': 0.75, 'abs_rel': 0.3125}, {'miou': 0.5, 'abs_rel': 0.25}, ['abs_rel'])
    12.5

    (50 % better in mIoU, 25 % worse in AbsRel.)

    :param metrics: name -> metric of the network.
    :param baseline: name -> metric of the baseline, the same names; none may be 0.
    :param lower_is_better: names of the errors among them.
    :param per_task: task -> names of its metrics, every name once; None weighs all metrics alike.
    :return: per cent, positive = better than the baseline.
    :raises ValueError: if the names differ, a baseline is 0 or a metric belongs to no task.
    """
    if not metrics or metrics.keys() != baseline.keys():
        raise ValueError(
            f'the network has the metrics {sorted(metrics)}, the baseline {sorted(baseline)}; '
            'compare the same ones')
    if unknown := sorted(set(lower_is_better) - metrics.keys()):
        raise ValueError(f'lower_is_better names {unknown}; the metrics are {sorted(metrics)}')
    if zero := [name for name, value in baseline.items() if value == 0]:
        raise ValueError(f'the baseline of {zero[0]!r} is 0, so no relative gain exists')

    # (-1)^l (M - B) / B per metric, l = 1 for errors (equation 17)
    gains = {
        name: (-1 if name in lower_is_better else 1) * (value - baseline[name]) / baseline[name]
        for name, value in metrics.items()}

    groups = [list(gains)] if per_task is None else [list(names) for names in per_task.values()]
    if sorted(name for names in groups for name in names) != sorted(gains):
        raise ValueError(f'per_task has {groups}; wanted every one of {sorted(gains)} once')
    return float(np.mean([np.mean([gains[name] for name in names]) for names in groups]) * 100)
