# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy allows what the programs use on a graph, and nothing else."""

import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip('rclpy')

from ros_graph import ROOT, parameters
from test_node_objects import ObjectEngine

from mtl_perception import topics

POLICY = ROOT / 'deploy' / 'mtl-perception.policy.xml'
NODE, SOURCE, OPERATOR = 'perception_node', 'camera_source', 'operator'
NOT_HERE = {f'/{topic.name}' for topic in (topics.DETECTION, *topics.LABEL_INFO.values())}
"""Messages of vision_msgs, which has no wheel."""
TF = {'/tf', '/tf_static'}
"""Heard where tf2_ros is installed, which has no wheel."""


def allowed(node):
    """Return the names that a program may use: rule -> absolute names."""
    enclave, = [one for one in ElementTree.parse(POLICY).iter('enclave')
                if one.get('path') == f'/mtl_perception/{node}']
    profile, = enclave.iter('profile')
    assert (profile.get('ns'), profile.get('node')) == ('/', node)
    found = {}
    for group in profile:
        (rule, qualifier), = group.attrib.items()
        assert qualifier == 'ALLOW'
        assert rule not in found
        names = [name.text for name in group]
        assert len(set(names)) == len(names)
        found[rule] = {
            name if name.startswith('/') else f'/{node}{name[1:]}' if name.startswith('~')
            else f'/{name}' for name in names}
    return found


def used(graph, node):
    """Return what a program on the graph uses: rule -> names."""
    listener = graph.node
    return {
        rule: {name for name, _ in ask(node, '/')} for rule, ask in (
            ('publish', listener.get_publisher_names_and_types_by_node),
            ('subscribe', listener.get_subscriber_names_and_types_by_node),
            ('reply', listener.get_service_names_and_types_by_node),
            ('request', listener.get_client_names_and_types_by_node))}


def settled(graph, node, *names):
    """Wait until a program has these topics, and return what it uses."""
    def ready():
        try:
            found = used(graph, node)
        except RuntimeError:  # nobody has that name yet
            return False
        return found['publish'] | found['subscribe'] >= {f'/{name}' for name in names}
    graph.spin_until(ready, 60)
    return used(graph, node)


def start(graph, program, **values):
    """Start a program with the parameters that add topics."""
    return graph.start('mtl_perception.programs', program, *parameters(**values))


def test_the_node_may_do_what_it_does_and_nothing_else(bench, graph):
    # one has every task, the other a motion head and every option
    objects = bench(ObjectEngine())
    objects.start()
    start(graph, NODE, autostart=True, threads=1, image_transport='compressed',
          **{'depth.raw_16u': True})
    found = [settled(objects.graph, NODE, 'image_raw', 'camera_info', 'instances/overlay'),
             settled(graph, NODE, 'image_raw/compressed', 'depth/image_raw', 'motion/overlay',
                     'perception_node/ego_motion')]

    both = {rule: found[0][rule] | found[1][rule] for rule in found[0]}
    assert both.pop('request') == set()
    both['publish'] |= NOT_HERE
    both['subscribe'] |= TF
    assert allowed(NODE) == both


def test_the_camera_source_may_do_what_it_does_and_nothing_else(graph):
    start(graph, SOURCE, source='street', compressed=True)
    found = settled(graph, SOURCE, 'image_raw/compressed', 'camera_info', 'truth/depth/image')

    raw = {f'/{topics.IMAGE.name}'}
    assert (found.pop('subscribe'), found.pop('request')) == (set(), set())
    assert allowed(SOURCE) == {**found, 'publish': found['publish'] | raw}


def test_an_operator_hears_and_asks_the_node_and_changes_no_parameter():
    operator, node = allowed(OPERATOR), allowed(NODE)
    assert operator['subscribe'] <= node['publish']
    assert operator['request'] <= node['reply']
    assert not any('set_parameters' in name for name in operator['request'])
    assert operator['publish'] == {'/rosout', '/parameter_events'}
    assert not operator['reply'] & node['reply']


def test_nobody_may_publish_what_another_one_answers():
    node, source = allowed(NODE), allowed(SOURCE)
    everybody = {'/rosout', '/parameter_events', '/diagnostics'}
    assert node['publish'] & source['publish'] == everybody
    assert not any('*' in name for rules in (node, source, allowed(OPERATOR))
                   for names in rules.values() for name in names)
