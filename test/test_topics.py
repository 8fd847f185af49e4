# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The list of topics: complete, without repetition, and the only place that has their names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mtl_perception.tasks import STREET_ALL_TASKS
from mtl_perception.topics import (
    DIAGNOSTICS,
    EVERY,
    IMAGE,
    PREDICTIONS,
    RECORDED,
    TIMING,
    TRUTH,
    VIEWS,
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


LAUNCH = (ROOT / 'launch' / 'camera.launch.py').read_text()


def test_the_launch_file_names_only_what_rviz_shows_and_a_camera_publishes():
    shown = next(
        ast.literal_eval(node.value) for node in ast.parse(LAUNCH).body
        if isinstance(node, ast.Assign) and node.targets[0].id == 'SHOWN')

    assert set(shown) <= {topic.name for topic in EVERY}
    assert {name.strip('/') for name in topic_names(LAUNCH)} <= {
        *shown, 'image_raw', 'image_raw/compressed', 'camera_info'}


def test_the_launch_file_records_every_result_but_points_and_all_ground_truth():
    """The list of the launch file itself is tested where ``launch`` is installed."""
    assert 'for topic in RECORDED' in LAUNCH
    recorded = {topic.name for topic in RECORDED}
    assert {'objects/state', 'objects/markers', 'depth/confidence', 'ego_motion'} <= recorded
    assert 'points' not in recorded
    assert {topic.name for topic in TRUTH.values()} <= recorded
    assert {topic.name for topic in PREDICTIONS.values()} <= recorded
    assert not recorded & {topic.name for topic in VIEWS}


def test_the_list_imports_nothing_heavy():
    code = ('import sys\nfrom mtl_perception import topics\n'
            "print({'numpy', 'cv2', 'torch', 'yaml', 'rclpy'} & set(sys.modules))")
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == 'set()\n', done.stderr


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
