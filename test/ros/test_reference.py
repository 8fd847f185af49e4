# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The reference pages say what the tables of the nodes say, and need no ROS to be made."""

import subprocess
import sys
from pathlib import Path

import pytest

from mtl_perception import topics
from mtl_perception.ros.parameters import PARAMETERS, Settings
from mtl_perception.ros.reference import PAGES
from mtl_perception.ros.source_settings import PARAMETERS as SOURCE_PARAMETERS

DOCS = Path(__file__).parents[2] / 'docs'


@pytest.mark.parametrize('page', PAGES)
def test_the_page_is_up_to_date(page):
    assert (DOCS / f'{page}.md').read_text(encoding='utf-8') == PAGES[page](), (
        f'run: python -m mtl_perception.ros.reference {page} > docs/{page}.md')


def test_every_parameter_has_a_row():
    text = PAGES['parameters']()

    for one in (*PARAMETERS, *SOURCE_PARAMETERS):
        assert f'| `{one.name}` | {one.kind} | ' in text
        assert f' | {one.text} |' in text
    assert '| `max_gap` | double | `0.5` | 0.001 to 3600 | unconfigured |' in text
    assert '| `cameras` | string array | `[""]` |' in text
    assert '| `precision` | string | `"fp32"` | `auto`, `fp32`, `bf16`, `fp16`, `int8` | ' in text
    assert '| `autostart` | bool | `false` |  | start |' in text


def test_every_topic_has_a_row():
    rows = [row.split('`') for row in PAGES['topics']().splitlines() if row.startswith('| `')]

    names = [row[1].removeprefix('~/') for row in rows]
    assert sorted(names) == sorted(topic.name for topic in topics.EVERY)
    assert {row[3] for row in rows} == {topic.kind for topic in topics.EVERY}


def test_the_settings_have_a_field_for_every_parameter():
    assert set(Settings.__dataclass_fields__) == {one.field for one in PARAMETERS}


def test_the_pages_are_made_without_ros():
    code = ('import sys\n'
            "sys.modules['rclpy'] = sys.modules['rcl_interfaces'] = None\n"
            'from mtl_perception.ros.reference import main\n'
            "sys.exit(main(['parameters']))")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout == PAGES['parameters']()
