# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a benchmark: figures as JSON, tables as Markdown."""

import math
from collections.abc import Iterator
from pathlib import Path

from mtl_perception.evaluation.benchmark.engine_worker import USUAL
from mtl_perception.evaluation.benchmark.node_report import node_lines, node_warnings
from mtl_perception.evaluation.benchmark.tables import Found, number_text, table
from mtl_perception.evaluation.report_files import write_json
from mtl_perception.files import write_atomically

FORMAT = 1
"""Of ``benchmark.json``; it grows when a name there changes its meaning."""


def write_files(found: Found, folder: Path) -> str:
    """
    Write ``benchmark.json`` and ``benchmark.md``.

    :param found: everything that was measured.
    :param folder: is made if missing.
    :return: the text of the latter.
    :raises StorageError: if the disk refuses.
    """
    write_json(found, folder / 'benchmark.json')
    text = as_markdown(found)
    write_atomically(text.encode(), folder / 'benchmark.md')
    return text


def as_markdown(found: Found) -> str:
    """Return the tables of a benchmark."""
    model = found['model']
    lines = [f'# Benchmark of {model["name"]}', '', *_facts(found), '']
    if warnings := all_warnings(found):
        lines += ['**This machine was too noisy, or a control failed:**', '',
                  *(f'- {text}' for text in warnings), '']
    if 'engine_level' in found:
        lines += _engine_lines(found['engine_level'])
    if 'node_level' in found:
        lines += node_lines(found['node_level'])
    return '\n'.join(lines).rstrip('\n') + '\n'


def all_warnings(found: Found) -> list[str]:
    """Return why the figures should not be trusted; empty if nothing is known against them."""
    warnings = list(found['conditions'].get('warnings', ()))
    if 'node_level' in found:
        warnings += node_warnings(found['node_level'])
    engines = found.get('engine_level')
    if engines is None:
        return warnings

    warnings += engines['noise']['warnings']
    control = engines['controls']
    if not control['found']:
        warnings.append(
            f'a planted delay of {control["planted"]:.0%} was not found: its ratio is '
            f'{ratio_text(control["slower"])}')
    if control['false_alarm']:
        warnings.append(
            f'a step differs from itself: the ratio is {ratio_text(control["same"])}')
    return warnings


def ratio_text(ratio: Found) -> str:
    """Return a ratio with its interval."""
    text = f'{ratio["median"]:.2f}'
    if not math.isfinite(ratio['high']):
        return text  # too few rounds for an interval
    return f'{text} ({ratio["low"]:.2f} to {ratio["high"]:.2f})'


def engine_name(row: Found) -> str:
    """Return engine, device, precision and threads of a row, in words."""
    name = 'usual pattern, torch' if row['engine'] == USUAL else row['engine']
    threads = row['threads']
    return (f'{name} {row["device"]} {row["precision"]}, '
            f'{threads} thread{"" if threads == 1 else "s"}')


def _facts(found: Found) -> Iterator[str]:
    """Yield what was measured, on what, and when."""
    machine, model, conditions = (found[name] for name in ('machine', 'model', 'conditions'))
    size = f'{model["width"]}x{model["height"]}'
    yield f'- Machine: {"; ".join(f"{name} {value}" for name, value in machine.items())}'
    yield ('- Versions: '
           + ', '.join(f'{name} {value}' for name, value in found['versions'].items()))
    yield (f'- Model: {model["name"]}, {size}, frames {model["frames"]}, weights sha256 '
           f'{model["sha256"][:16]}, motion head {model["motion_head"][:16] or "none"}')
    yield (f'- Command: `{conditions["command"]}` on {conditions["started"]}, '
           f'{conditions["seconds"]:.0f} s; load average {conditions["load_before"]} before')


def _engine_lines(level: Found) -> list[str]:
    """Return the tables of the engines."""
    rows = level['engines']
    control = level['controls']
    lines = [
        '## Engines', '',
        'Milliseconds of wall time, the median of the rounds (its quartiles), and in brackets '
        'the median CPU time of all threads. *Times as fast*: as the first row with as many '
        'threads, with the 99 % interval; of rows with one CPU thread by CPU time, of others by '
        f'wall time. Frames: {level["frames"]["what"]}, sha256 {level["frames"]["sha256"][:16]}; '
        f'{level["rounds"]} rounds of {level["calls"]} calls.', '']

    ways = list(dict.fromkeys(way for row in rows for way in row['ways']))
    lines += table(
        ['ms', *ways],
        [[engine_name(row), *(_times(row['ways'].get(way)) for way in ways)] for row in rows])
    lines += table(
        ['times as fast', *ways],
        [[engine_name(row), *(_ratio(row['ways'].get(way)) for way in ways)] for row in rows])

    lines += table(
        ['', 'start, s', 'private memory, MB', 'CPU time of two frames / one'],
        [[engine_name(row), f'{row["load_s"]:.2f}', number_text(row['memory_mb'], 0),
          ratio_text(row['next_over_first']) if 'next_over_first' in row else '']
         for row in rows])
    lines += [f'- {one["engine"]} {one["device"]} {one["precision"]}: left out, {one["reason"]}'
              for one in level['left_out']]

    lines += ['', (
        f'Control: the same step beside itself {ratio_text(control["same"])}, with a planted '
        f'delay of {control["planted"]:.0%} {ratio_text(control["slower"])}: '
        f'{"found" if control["found"] else "NOT found"}.'), '']
    return lines


def _times(way: Found | None) -> str:
    """Return the times of a way."""
    if way is None:
        return ''
    wall, cpu = way['wall_ms'], way['cpu_ms']
    return (f'{wall["median"]:.1f} ({wall["q25"]:.1f} to {wall["q75"]:.1f}) '
            f'[{cpu["median"]:.1f}]')


def _ratio(way: Found | None) -> str:
    """Return how many times as fast a way is as in the first row."""
    return ratio_text(way['times_as_fast']) if way and 'times_as_fast' in way else ''
