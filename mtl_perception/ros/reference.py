# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The reference of parameters and topics, made from the tables that the nodes use.

``make reference`` writes ``docs/parameters.md``, ``docs/topics.md`` and ``config/camera.yaml``;
``python -m mtl_perception.ros.reference NAME`` prints one of them. ROS need not be installed.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from mtl_perception import topics
from mtl_perception.ros import parameters, source_settings
from mtl_perception.ros.declarations import Declaration

TOPIC_SECTIONS = (
    ('Inputs', topics.INPUTS, 'What the node subscribes to, for each camera.'),
    ('Robot', (topics.ROBOT_DESCRIPTION,), 'Below the namespace of the node, for all cameras.'),
    ('Results', topics.OUTPUTS,
     'Published for each frame, with the header of the image. A result that has no subscriber is '
     'not computed, and a model without the task has no such topic.'),
    ('Pictures', topics.VIEWS, 'For people. They are made on the CPU, only for subscribers.'),
    ('Ground truth', topics.TRUTH.values(), 'Published by `camera_source` for the street.'),
    ('Diagnostics', (topics.DIAGNOSTICS, topics.TIMING), 'What a node reports on itself.'),
)

NODES: tuple[tuple[str, tuple[Declaration, ...], dict[str, Any]], ...] = (
    ('perception_node', parameters.PARAMETERS, {}),
    ('camera_source', source_settings.PARAMETERS, {'loop': True}))
"""Names, parameters, and values of ``config/camera.yaml`` that are not the defaults."""

HEAD = """\
# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
#
# Parameters of the nodes of camera.launch.py, with their defaults (but that videos are played
# again). Copy this file, change what you need and start with params_file:=/path/to/your.yaml.
# A number with a decimal point must keep it.
#
# "live" may change while the node is active; "at the start" may not change at all; everything else
# needs deactivate, cleanup, configure.
#
# "make reference" writes this file from the tables of mtl_perception/ros.
"""
WIDTH = 99
PLAIN = re.compile(r'(?!(true|false|yes|no|on|off|null)$)[A-Za-z][A-Za-z0-9_]*', re.IGNORECASE)
"""Texts that YAML takes for texts without quotes."""


def parameters_page() -> str:
    """Return ``docs/parameters.md``."""
    lines = [
        '# Parameters', '',
        'The parameters of both nodes. `config/camera.yaml` is a parameter file to start from; in '
        'YAML a double needs its decimal point. A wrong value is reported by name, with the '
        'values that are allowed. `perception_node` then cannot be configured until the value is '
        'corrected; `camera_source` exits with code 2.', '',
        'Changes: at *any time*, which counts from the next frame on; *unconfigured*, after '
        'deactivate and cleanup; or only at the *start* of the node.', '',
        'This page is made by `make reference`.']
    for node, declarations, _ in NODES:
        lines += ['', f'## {node}', '', *_parameter_table(declarations)]
    return '\n'.join(lines) + '\n'


def topics_page() -> str:
    """Return ``docs/topics.md``."""
    lines = [
        '# Topics', '',
        'Names are relative to the namespace of a camera, such as `front/depth/image`; `~` is the '
        'name of the node, such as `perception_node/front/ego_motion`.', '',
        'This page is made by `make reference`.']
    for title, section, text in TOPIC_SECTIONS:
        lines += ['', f'## {title}', '', text, '', *_topic_table(section)]
    return '\n'.join(lines) + '\n'


def parameter_file() -> str:
    """Return ``config/camera.yaml``."""
    lines = [HEAD]
    for node, declarations, others in NODES:
        lines += [f'/**/{node}:', '  ros__parameters:']
        group = ''
        for one in declarations:
            first, dot, rest = one.name.rpartition('.')
            if dot and first != group:
                lines.append(f'    {first}:')
            group = first

            indent = ' ' * (6 if dot else 4)
            value = others.get(one.name, one.default)
            lines += [*textwrap.wrap(
                _comment(one), WIDTH, initial_indent=f'{indent}# ',
                subsequent_indent=f'{indent}# ', break_long_words=False, break_on_hyphens=False),
                f'{indent}{rest}: {_yaml(value)}', '']
    return '\n'.join(lines)


def _comment(one: Declaration) -> str:
    """Return what the file says above a parameter."""
    allowed = ', '.join(one.choices) or one.allowed
    changes = 'live' if one.dynamic else 'at the start' if one.read_only else ''
    notes = '; '.join(filter(None, (allowed, changes)))
    return one.text + (f' ({notes})' if notes else '')


def _yaml(value: Any) -> str:
    """Return a value as YAML, with which ROS finds its type."""
    if isinstance(value, list):
        return f'[{", ".join(map(_yaml, value))}]'
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) else f"'{value}'"
    return json.dumps(value)


def _parameter_table(declarations: Iterable[Declaration]) -> list[str]:
    """Return the rows of a table of parameters."""
    rows = ['| parameter | type | default | allowed | changes | meaning |',
            '|---|---|---|---|---|---|']
    for one in declarations:
        allowed = ', '.join(f'`{choice}`' for choice in one.choices) or one.allowed
        allowed += f'or {one.also}' if one.also else ''
        changes = 'start' if one.read_only else 'any time' if one.dynamic else 'unconfigured'
        rows.append(f'| `{one.name}` | {one.kind} | `{json.dumps(one.default)}` | {allowed} '
                    f'| {changes} | {one.text} |')
    return rows


def _topic_table(section: Iterable[topics.Topic]) -> list[str]:
    """Return the rows of a table of topics."""
    rows = ['| topic | type | encoding | content |', '|---|---|---|---|']
    for topic in section:
        name = f'~/{topic.name}' if topic in topics.BELOW_NODE else topic.name
        rows.append(f'| `{name}` | `{topic.kind}` | {topic.encoding} | {topic.content} |')
    return rows


PAGES = {
    'docs/parameters.md': parameters_page, 'docs/topics.md': topics_page,
    'config/camera.yaml': parameter_file}
"""Files of this repository, and what they are made by."""


def main(arguments: Sequence[str]) -> int:
    """Print one file."""
    if len(arguments) != 1 or arguments[0] not in PAGES:
        print(f'usage: python -m mtl_perception.ros.reference {{{",".join(PAGES)}}}',
              file=sys.stderr)
        return 2
    print(PAGES[arguments[0]](), end='')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
