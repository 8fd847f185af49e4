# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the example for Nav2 asks for is what the node publishes; Nav2 itself is not here."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy')

from node_bench import BEST_EFFORT, HEIGHT, WIDTH
from sensor_msgs.msg import PointCloud2, PointField
from test_node_calibration import info
from test_node_tracks import OneCar

from mtl_perception import topics
from mtl_perception.ros.parameters import PARAMETERS

CONFIG = Path(__file__).parents[2] / 'config'


def sources():
    """Return the observation sources of the costmap by layer."""
    costmap = yaml.safe_load((CONFIG / 'nav2_costmap.yaml').read_text())['costmap']['costmap']
    parameters = costmap['ros__parameters']
    layers = {name: parameters[name] for name in parameters['plugins']}
    return {name: layer[layer['observation_sources']] for name, layer in layers.items()
            if 'observation_sources' in layer}


def overrides():
    """Return the parameters of the node that the example sets, with dots in their names."""
    values = yaml.safe_load((CONFIG / 'nav2_perception.yaml').read_text())
    groups = values['/**/perception_node']['ros__parameters']
    return {f'{group}.{name}': value for group, one in groups.items()
            for name, value in one.items()}


def test_every_source_is_a_cloud_of_the_list_of_topics():
    wanted = {source['topic'] for source in sources().values()}
    assert wanted == {topics.POINTS.below(''), topics.OBJECT_STATE.below('')}
    assert {source['data_type'] for source in sources().values()} == {'PointCloud2'}


def test_the_nodes_parameters_are_in_the_table():
    table = {one.name: one for one in PARAMETERS}
    for name, value in overrides().items():
        assert table[name].problem(value) == ''
        assert value != table[name].default


def test_a_costmap_gets_dense_clouds_in_the_cameras_frame_by_best_effort(bench):
    test = bench(OneCar(), camera_timeout=60.0, **{
        name.replace('.', '__'): value for name, value in overrides().items()})
    for source in sources().values():
        test.graph.listen(PointCloud2, source['topic'], BEST_EFFORT)
    test.start()
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    test.calibrate(info(0.6 * WIDTH, HEIGHT, WIDTH))

    for seed in range(2):
        message = test.picture(height=HEIGHT, width=WIDTH, seed=seed)
        test.feed(message)
    test.spin_until(lambda: all(len(test.heard[source['topic']]) == 2
                                for source in sources().values()))
    for source in sources().values():
        cloud = test.heard[source['topic']][-1]
        fields = {field.name: field.datatype for field in cloud.fields}
        assert cloud.header == message.header
        assert cloud.is_dense
        assert cloud.width >= 1
        assert {fields[name] for name in 'xyz'} == {PointField.FLOAT32}
