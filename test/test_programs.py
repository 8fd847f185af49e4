# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The command lines of the nodes, before anything of ROS is imported."""

import pytest

from mtl_perception import programs

NODES = [programs.perception_node, programs.camera_source]


@pytest.mark.parametrize('node', NODES)
def test_a_node_says_how_it_is_started_and_does_not_start(node, capsys):
    with pytest.raises(SystemExit) as end:
        node([node.__name__, '--help'])

    assert end.value.code == 0
    assert f'usage: {node.__name__} --ros-args -p ' in capsys.readouterr().out


@pytest.mark.parametrize('node', NODES)
@pytest.mark.parametrize('words', [['drive.mp4'], ['--ros-args', '-p', 'a:=1', '--', 'drive.mp4']])
def test_a_word_that_ros_would_ignore_is_refused(node, words, capsys):
    with pytest.raises(SystemExit) as end:
        node([node.__name__, *words])

    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.startswith("cannot start: 'drive.mp4' is no argument of ROS; ")
    assert said.count('\n') == 1


def test_arguments_of_ros_are_left_to_rclpy(monkeypatch):
    pytest.importorskip('rclpy')
    given = []
    monkeypatch.setattr(
        'mtl_perception.ros.camera_source.main', lambda words, stop: given.append(words) or 0)
    words = ['camera_source', '--ros-args', '-p', 'rate:=5.0', '--', '--ros-args', '-r', 'a:=b']

    assert programs.camera_source(words) == 0
    assert given == [words]
