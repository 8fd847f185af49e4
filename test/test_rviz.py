# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The RViz layout, without RViz: its plugins exist, its topics are ours."""

import ast
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PLUGINS = {
    '',  # RViz writes this for its own manager
    'rviz_common/Displays', 'rviz_common/Views', 'rviz_common/Time',
    *(f'rviz_default_plugins/{name}' for name in (
        'Grid', 'Image', 'MarkerArray', 'PointCloud2', 'TF', 'MoveCamera', 'Select',
        'FocusCamera', 'Orbit')),
}
"""Of those that rviz_common and rviz_default_plugins have, the ones we may use."""


def found(tree, key):
    """Return every value of a key, however deep."""
    if isinstance(tree, dict):
        yield from (value for name, value in tree.items() if name == key)
        tree = tree.values()
    elif not isinstance(tree, list):
        return
    for part in tree:
        yield from found(part, key)


def layout():
    return yaml.safe_load((ROOT / 'config' / 'camera.rviz').read_text())


def shown_by_launch():
    """Return the topics that the launch file remaps for RViz."""
    for node in ast.parse((ROOT / 'launch' / 'camera.launch.py').read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == 'SHOWN':
            return set(ast.literal_eval(node.value))
    raise AssertionError('no SHOWN in camera.launch.py')


def test_the_layout_has_the_two_parts_that_rviz_wants_and_known_plugins():
    assert layout().keys() >= {'Panels', 'Visualization Manager'}
    assert set(found(layout(), 'Class')) <= PLUGINS


def test_every_topic_is_one_that_the_launch_file_knows():
    topics = {topic['Value'] for topic in found(layout(), 'Topic')}
    assert {topic.lstrip('/') for topic in topics} == shown_by_launch()


def test_answers_are_shown_reliably_and_the_camera_whatever_it_offers():
    offers = {topic['Value']: topic['Reliability Policy'] for topic in found(layout(), 'Topic')}
    assert offers.pop('/image_raw') == 'Best Effort'
    assert set(offers.values()) == {'Reliable'}


def test_the_search_finds_a_plugin_of_ros_1():
    assert list(found({'a': [{'Class': 'rviz/Image'}]}, 'Class')) == ['rviz/Image']
