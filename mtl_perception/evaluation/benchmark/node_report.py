# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the node level."""

from collections.abc import Sequence

from mtl_perception.evaluation.benchmark.tables import Found, number_text, table

RANKS = ('p50', 'p95', 'p99', 'max')


def node_lines(level: Found) -> list[str]:
    """
    Return the tables of the node.

    :param level: of :func:`.measure_nodes`.
    """
    frames, nodes = level['frames'], level['nodes']
    lines = [
        '## Node, through DDS', '',
        f'Node and probe are separate processes. Frames: {frames["what"]}, {frames["size"]}, '
        f'sha256 {frames["sha256"][:16]}, forth and back; {level["seconds"]:g} s at each rate, in '
        f'{level["rounds"]} rounds; nodes take turns, phase by phase. '
        'Latency: from the stamp of an image until its last map was received; age: until it was '
        'published; p50 / p95 / p99 / largest, ms. A frame is lost if one of its maps never came. '
        f'The node: engine {level["engine"]}, device {level["device"]}, {level["precision"]}.', '']

    lines += table(
        ['', 'rate, Hz', 'sent', 'lost', 'latency, ms', 'age at publish, ms', 'cores',
         'CPU ms per answer'],
        [[node['node'], f'{one["rate"]:g} (sent {number_text(one["sent_rate"])})',
          str(one['sent']), str(one['lost']), _ranks(one['latency_ms']), _ranks(one['age_ms']),
          number_text(one['cores'], 2), number_text(one['cpu_ms_per_answer'])]
         for node in nodes for one in node['rates']])

    keys = list(dict.fromkeys(
        key for node in nodes for key in (node['accuracy'] or {}).get('metrics', ())))
    lines += table(
        ['', 'highest rate without a lost frame, Hz', 'private memory, MB',
         'memory slope, MB per minute', *keys, 'frames evaluated'],
        [[node['node'], _highest(node), number_text(node['private_memory_mb'], 0),
          _slope(node), *_accuracy(node, keys)] for node in nodes])

    lines += [f'- {one["node"]}: left out, {" ".join(one["reason"].split())}'
              for one in level['left_out']]
    for node in nodes:
        control = node['control']
        lines.append(
            f'- Control, {node["node"]}: frame {control["withheld"][0]} was withheld; lost are '
            f'{control["lost"]}: {"found" if control["found"] else "NOT as planted"}.')
    return [*lines, '']


def node_warnings(level: Found) -> list[str]:
    """Return why the figures should not be trusted; empty if nothing is known against them."""
    return [
        f'{node["node"]}: frame {node["control"]["withheld"][0]} was withheld, but '
        f'{node["control"]["lost"]} were lost' for node in level['nodes']
        if not node['control']['found']] + [
        f'{node["node"]}: {one["rate"]:g} Hz was asked for, but the probe sent '
        f'{one["sent_rate"]:.1f} Hz' for node in level['nodes'] for one in node['rates']
        if one['sent_rate'] is not None and abs(one['sent_rate'] / one['rate'] - 1) > 0.05]


def _ranks(values: Found) -> str:
    """Return percentiles."""
    return ' / '.join(number_text(values[rank], 0) for rank in RANKS)


def _highest(node: Found) -> str:
    """Return the highest rate."""
    best = node['highest_rate']
    return 'none' if best is None else f'{best["rate"]:.1f} ({best["sent"]} frames)'


def _slope(node: Found) -> str:
    """Return the slope of the memory."""
    memory = node['memory']
    if memory is None:
        return 'unknown'
    return f'{memory["slope_mb_per_minute"]:+.2f} over {memory["seconds"]:.0f} s'


def _accuracy(node: Found, keys: Sequence[str]) -> list[str]:
    """Return the metrics, and of how many frames they are."""
    found = node['accuracy']
    if found is None:
        return [*('' for _ in keys), 'no truth']
    return [*(number_text(found['metrics'].get(key), 4) for key in keys),
            f'{found["frames"]} of {found["sent"]}']
