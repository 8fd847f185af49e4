# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The list of topics: complete, without repetition, and the only place that has their names."""

import ast
from pathlib import Path

import pytest

from mtl_perception.tasks import STREET_ALL_TASKS
from mtl_perception.topics import (
    DIAGNOSTICS,
    EVERY,
    IMAGE,
    PREDICTIONS,
    TIMING,
    TRUTH,
    topic_of,
)

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'mtl_perception'
FILES = sorted(PACKAGE.rglob('*.py'))


def test_no_name_is_given_twice():
    names = [topic.name for topic in EVERY]

    assert len(set(names)) == len(names) == 36


def test_every_task_has_a_prediction_and_every_map_has_a_truth():
    tasks = {task.name for task in STREET_ALL_TASKS}

    assert set(PREDICTIONS) == tasks
    assert set(TRUTH) == tasks - {'detection'}


def test_a_namespace_stands_before_relative_names():
    assert IMAGE.below('') == '/image_raw'
    assert IMAGE.below('/front/') == IMAGE.below('front') == '/front/image_raw'
    assert TIMING.below('perception_node') == '/perception_node/timing'
    assert DIAGNOSTICS.below('') == DIAGNOSTICS.below('front') == '/diagnostics'


def topic_names(source: str) -> set[str]:
    """Return the names of the list of topics that a module writes down itself."""
    names = {topic.name.strip('/') for topic in EVERY}
    # a name of one word may mean something else; of these two it never does
    names = {name for name in names if '/' in name} | {'image_raw', 'camera_info'}
    return {
        node.value for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and (node.value.removeprefix('~').strip('/') in names or node.value == '/diagnostics')}


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_topic_names_stand_in_one_file(path):
    if path.name != 'topics.py':
        assert not topic_names(path.read_text())


def test_the_search_for_topic_names_finds_every_form():
    source = ("a = '/image_raw'\nb = f'~/{c}/depth/image'\n"
              "d = {'truth/depth/image': '/diagnostics'}\ne = 'image'\n")
    assert topic_names(source) == {
        '/image_raw', '/depth/image', 'truth/depth/image', '/diagnostics'}


def test_the_launch_file_names_topics_of_the_list():
    source = (ROOT / 'launch' / 'camera.launch.py').read_text()
    lists = {
        node.targets[0].id: eval(ast.unparse(node.value))  # our own file
        for node in ast.parse(source).body if isinstance(node, ast.Assign)
        and node.targets[0].id in ('OUTPUTS', 'TRUTH', 'SHOWN')}

    assert {*lists['OUTPUTS'], *lists['SHOWN']} <= {topic.name for topic in EVERY}
    assert set(lists['TRUTH']) == {topic.name for topic in TRUTH.values()}


@pytest.mark.parametrize(('name', 'kind', 'topic', 'namespace'), [
    ('/image_raw', IMAGE.kind, 'image_raw', ''),
    ('/robot/front/image_raw', IMAGE.kind, 'image_raw', 'robot/front'),
    ('/front/depth/image_raw', IMAGE.kind, 'depth/image_raw', 'front'),
    ('/truth/depth/image', IMAGE.kind, 'truth/depth/image', ''),
    ('/diagnostics', DIAGNOSTICS.kind, '/diagnostics', '')])
def test_a_topic_of_a_graph_is_told_by_its_longest_name(name, kind, topic, namespace):
    found, below = topic_of(name, kind)
    assert (found.name, below) == (topic, namespace)
    assert found.below(below) == name


@pytest.mark.parametrize(('name', 'kind'), [
    ('/image_raw', 'std_msgs/msg/String'), ('/my_image_raw', IMAGE.kind),
    ('/front/diagnostics', DIAGNOSTICS.kind)])
def test_a_foreign_topic_is_none_of_the_list(name, kind):
    assert topic_of(name, kind) is None
