# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The reference pages say what the tables of the nodes say, and need no ROS to be made."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mtl_perception import topics
from mtl_perception.ros.parameters import PARAMETERS, Settings
from mtl_perception.ros.reference import PAGES
from mtl_perception.ros.source_settings import PARAMETERS as SOURCE_PARAMETERS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('page', PAGES)
def test_the_page_is_up_to_date(page):
    assert (ROOT / page).read_text(encoding='utf-8') == PAGES[page](), 'run: make reference'


def test_the_file_of_parameters_has_every_default_with_its_type_and_says_what_is_live():
    text = PAGES['config/camera.yaml']()
    for node, declarations, others in (
            ('perception_node', PARAMETERS, {}), ('camera_source', SOURCE_PARAMETERS,
                                                  {'loop': True})):
        tree = yaml.safe_load(text)[f'/**/{node}']['ros__parameters']
        flat = {}
        for name, value in tree.items():
            inner = value if isinstance(value, dict) else {'': value}
            flat |= {f'{name}.{key}'.rstrip('.'): leaf for key, leaf in inner.items()}

        assert flat == {one.name: one.default for one in declarations} | others
        assert all(type(flat[one.name]) is type(one.default) for one in declarations)
    assert text.count('live)') == sum(
        one.dynamic for one in (*PARAMETERS, *SOURCE_PARAMETERS))
    assert max(map(len, text.splitlines())) <= 99


def test_every_parameter_has_a_row():
    text = PAGES['docs/parameters.md']()

    for one in (*PARAMETERS, *SOURCE_PARAMETERS):
        assert f'| `{one.name}` | {one.kind} | ' in text
        assert f' | {one.text} |' in text
    assert '| `max_gap` | double | `0.5` | 0.001 to 3600 | any time |' in text
    assert '| `threads` | integer | `0` | 0 to 256 | unconfigured |' in text
    assert '| `cameras` | string array | `[""]` |' in text
    assert '| `precision` | string | `"fp32"` | `auto`, `fp32`, `bf16`, `fp16`, `int8` | ' in text
    assert '| `autostart` | bool | `false` |  | start |' in text


def test_every_topic_has_a_row():
    lines = PAGES['docs/topics.md']().splitlines()
    rows = [row.split('`') for row in lines if row.startswith('| `')]

    names = [row[1].removeprefix('~/') for row in rows]
    assert sorted(names) == sorted(topic.name for topic in topics.EVERY)
    assert {row[3] for row in rows} == {topic.kind for topic in topics.EVERY}


def test_the_settings_have_a_field_for_every_parameter():
    assert set(Settings.__dataclass_fields__) == {one.field for one in PARAMETERS}


def test_the_pages_are_made_without_ros():
    code = ('import sys\n'
            "sys.modules['rclpy'] = sys.modules['rcl_interfaces'] = None\n"
            'from mtl_perception.ros.reference import main\n'
            "sys.exit(main(['docs/parameters.md']))")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout == PAGES['docs/parameters.md']()
