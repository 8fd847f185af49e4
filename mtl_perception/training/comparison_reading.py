# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a comparison tells: which rows differ from the reference, and whether the order settled."""

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mtl_perception.metrics.significance import holm, kendall_tau, welch_p
from mtl_perception.training.comparison import ComparisonPlan, ResultRow, gains

LEVEL = 0.05
"""Corrected p-values below this are differences."""
SETTLED = 0.8
"""From this tau with the order after two thirds of the steps on, an order has settled."""
UNKNOWN = 'cannot be told'


@dataclass(frozen=True)
class Difference:
    """
    A row against the reference.

    :param gain: mean Delta_m of the row less that of the reference, percentage points; None if one
        of the two was not trained.
    :param p: of Welch's test over the seeds, None with fewer than two of either.
    :param corrected: the same after Holm's correction over all rows that were tested.
    :param verdict: ``better``, ``worse`` or ``cannot be told``.
    """

    gain: float | None
    p: float | None
    corrected: float | None
    verdict: str


def differences(
        plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> dict[str, Difference]:
    """Return name of a row -> how it differs from the reference; baseline rows have none."""
    reference = gains(plan, rows, plan.reference)
    every = {variant.name: gains(plan, rows, variant.name) for variant in plan.variants
             if variant.name not in (*plan.baseline, plan.reference)}
    tested = {name: welch_p(values, reference) for name, values in every.items()}
    corrected = holm({name: p for name, p in tested.items() if p is not None})

    found = dict[str, Difference]()
    for name, values in every.items():
        gain = float(np.mean(values) - np.mean(reference)) if values and reference else None
        p = corrected.get(name)
        verdict = UNKNOWN if p is None or p >= LEVEL or not gain else (
            'better' if gain > 0 else 'worse')
        found[name] = Difference(gain, tested[name], p, verdict)
    return found


def ranks(plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> dict[int, dict[str, float]]:
    """
    Return step -> name of a row -> its rank by mean Delta_m over the baseline of that step.

    Rank 1 is the best; rows of the baseline have none. Rows of equal Delta_m share the mean
    of their ranks. Steps that a row lacks are left out, so each step ranks the same rows.
    """
    names = [variant.name for variant in plan.variants
             if variant.name not in plan.baseline and rows[variant.name].history]
    steps = {step for row in rows.values() for past in row.history.values() for step in past}

    found = dict[int, dict[str, float]]()
    for step in sorted(steps):
        values = [gains(plan, rows, name, step) for name in names]
        if names and all(values):
            means = np.array([np.mean(value) for value in values])
            above = (means > means[:, None]).sum(1)
            same = (means == means[:, None]).sum(1)
            found[step] = dict(zip(names, (above + (same + 1) / 2).tolist()))
    return found


def settling(places: Mapping[int, Mapping[str, float]]) -> tuple[int, int, float] | None:
    """
    Return two steps and Kendall's tau of the orders there: the last, and that at two thirds of it.

    :param places: see :func:`ranks`.
    :return: (earlier step, last step, tau); None without an earlier step or with one row.
    """
    earlier = [step for step in places if step <= max(places) * 2 / 3]
    if not earlier:
        return None
    first, last = places[max(earlier)], places[max(places)]
    tau = kendall_tau([first[name] for name in last], list(last.values()))
    return None if tau is None else (max(earlier), max(places), tau)


def reading(plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> str:
    """Return the tests and the order in Markdown."""
    lines = [
        f'## Against {plan.reference}', '',
        f"Delta_m of each row against that of {plan.reference}: Welch's test over the seeds, "
        f"Holm's correction over all rows that were tested, level {LEVEL}.", '',
        '| | difference, points | p | p, corrected | verdict |', '|---|---|---|---|---|']
    lines += [
        f'| {name} | {_text(found.gain, "+.1f")} | {_text(found.p, ".3f")} | '
        f'{_text(found.corrected, ".3f")} | {found.verdict} |'
        for name, found in differences(plan, rows).items()]

    lines += _spreads(rows)
    lines += ['', '## The order over the budget', '']
    places = ranks(plan, rows)
    found = settling(places)
    trained = len(next(iter(places.values()), {}))

    if not found:
        lines += [f'Whether the order has settled {UNKNOWN}: it takes two rows and validations at '
                  'two thirds of the steps and at the end.']
    else:
        lines += [f"Kendall's tau between the orders after {found[0]} and {found[1]} steps is "
                  f'{found[2]:.2f}, over {trained} rows: the order has '
                  f'{"" if found[2] >= SETTLED else "not "}settled (the limit is {SETTLED}).',
                  '', '![rank of each row over the steps](ranks.png)']

    # a partial table says so
    missing = [variant.name for variant in plan.variants
               if len(rows[variant.name].metrics) < len(plan.seeds)]
    if missing:
        lines += ['', f'{len(missing)} of {len(plan.variants)} rows are not complete. The same '
                  'command trains what is missing: ' + ', '.join(missing) + '.']
    return '\n'.join(lines)


def _spreads(rows: Mapping[str, ResultRow]) -> list[str]:
    """Return a table of what seeds and what other drives move each metric by, in Markdown."""
    labels = list(dict.fromkeys(
        label for row in rows.values() for found in row.intervals.values() for label in found))
    if not labels:
        return []

    lines = ['', '## What seeds move, and what other drives would', '',
             'Standard deviation over the seeds / half the 95 % bootstrap interval over the '
             'drives of the validation, within a seed, mean over the seeds. All rows are '
             'validated on the same drives, so the second is no test of their differences: it '
             'says how far the metrics themselves would be off on other drives.', '']

    lines += ['| | ' + ' | '.join(labels) + ' |', '|---|' + '---|' * len(labels)]
    for name, row in rows.items():
        cells = []
        for label in labels:
            values = [found[label] for found in row.metrics.values() if label in found]
            halves = [(high - low) / 2 for found in row.intervals.values()
                      for key, (low, high) in found.items() if key == label]

            seeds = float(np.std(values, ddof=1)) if len(values) > 1 else None
            drives = float(np.mean(halves)) if halves else None
            cells.append(f'{_text(seeds, ".3f")} / {_text(drives, ".3f")}')
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return lines


def _text(value: float | None, form: str) -> str:
    """Return a number in words."""
    return '-' if value is None else format(value, form)


def draw_ranks(plan: ComparisonPlan, rows: Mapping[str, ResultRow]) -> Figure:
    """Return a figure with the rank of each row over the steps, the best on top."""
    places = ranks(plan, rows)
    names = list(places[max(places)]) if places else []
    figure = Figure(figsize=(7, 1.5 + 0.3 * len(names)), layout='constrained')
    axes = figure.subplots()
    colours = matplotlib.colormaps['tab20']

    for number, name in enumerate(names):
        values = [place[name] for place in places.values()]
        axes.plot(list(places), values, '.-', color=colours(number % 20))
        axes.annotate(name, (max(places), values[-1]), (6, -3), textcoords='offset points')

    axes.set_xlabel('step')
    axes.set_ylabel('rank by mean Delta_m')
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.grid(alpha=0.3)
    return figure
