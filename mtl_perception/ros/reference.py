# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The reference of parameters and topics, made from the tables that the nodes use.

``python -m mtl_perception.ros.reference parameters > docs/parameters.md``, and the same with
``topics``; ROS need not be installed.
"""

import json
import sys
from collections.abc import Iterable, Sequence

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


def parameters_page() -> str:
    """Return ``docs/parameters.md``."""
    lines = [
        '# Parameters', '',
        'The parameters of both nodes. `config/camera.yaml` is a parameter file to start from; in '
        'YAML a double needs its decimal point. A wrong value is reported by name, with the '
        'values that are allowed. `perception_node` then cannot be configured until the value is '
        'corrected; `camera_source` exits with code 2.', '',
        'Changes: at *any time*; *unconfigured*, after deactivate and cleanup; or only at the '
        '*start* of the node.', '',
        'This page is made by `python -m mtl_perception.ros.reference parameters`.', '',
        '## perception_node', '', *_parameter_table(parameters.PARAMETERS), '',
        '## camera_source', '', *_parameter_table(source_settings.PARAMETERS)]
    return '\n'.join(lines) + '\n'


def topics_page() -> str:
    """Return ``docs/topics.md``."""
    lines = [
        '# Topics', '',
        'Names are relative to the namespace of a camera, such as `front/depth/image`; `~` is the '
        'name of the node, such as `perception_node/front/ego_motion`.', '',
        'This page is made by `python -m mtl_perception.ros.reference topics`.']
    for title, section, text in TOPIC_SECTIONS:
        lines += ['', f'## {title}', '', text, '', *_topic_table(section)]
    return '\n'.join(lines) + '\n'


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
    below_node = (topics.EGO_MOTION, topics.TIMING)
    rows = ['| topic | type | encoding | content |', '|---|---|---|---|']
    for topic in section:
        name = f'~/{topic.name}' if topic in below_node else topic.name
        rows.append(f'| `{name}` | `{topic.kind}` | {topic.encoding} | {topic.content} |')
    return rows


PAGES = {'parameters': parameters_page, 'topics': topics_page}


def main(arguments: Sequence[str]) -> int:
    """Print one page."""
    if len(arguments) != 1 or arguments[0] not in PAGES:
        print(f'usage: python -m mtl_perception.ros.reference {{{",".join(PAGES)}}}',
              file=sys.stderr)
        return 2
    print(PAGES[arguments[0]](), end='')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
