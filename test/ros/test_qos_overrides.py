# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters ``qos_overrides`` of both nodes, as the graph sees what they do."""

import pytest

pytest.importorskip('rclpy')

from nav_msgs.msg import Odometry
from node_bench import FAILURE, SUCCESS
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from ros_graph import parameters
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String

from mtl_perception.errors import ConfigurationError
from mtl_perception.ros.camera_source import CameraSource
from mtl_perception.ros.qos_overrides import overridden

STREET = {'source': 'street', 'width': 96, 'height': 56, 'rate': 20.0}


def override(topic, policy, value, side='publisher'):
    return {f'qos_overrides.{topic}.{side}.{policy}': value}


def publishers(test, topic):
    """Return the offers of the node on a topic, when the graph has told them."""
    test.spin_until(lambda: test.graph.node.get_publishers_info_by_topic(topic))
    return [one.qos_profile for one in test.graph.node.get_publishers_info_by_topic(topic)
            if one.node_name == 'perception_node']


def subscriptions(test, topic):
    test.spin_until(lambda: test.graph.node.get_subscriptions_info_by_topic(topic))
    return [one.qos_profile for one in test.graph.node.get_subscriptions_info_by_topic(topic)]


PUBLISHED = ('/semantic/image', '/depth/camera_info', '/semantic/labels', '/points',
             '/objects/state', '/diagnostics', '/perception_node/timing')


@pytest.mark.parametrize('topic', PUBLISHED)
def test_an_override_of_a_publisher_is_what_the_graph_sees(bench, topic):
    test = bench(**override(topic, 'reliability', 'best_effort'),
                 **override(topic, 'durability', 'volatile'))
    for _ in range(2):  # a second configuration reads them again
        test.start()
        assert {(one.reliability, one.durability) for one in publishers(test, topic)} == {
            (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)}
        other = '/depth/image'
        assert {one.reliability for one in publishers(test, other)} == {
            ReliabilityPolicy.RELIABLE}
        test.node.trigger_deactivate()
        test.node.trigger_cleanup()


def test_an_override_of_depth_and_history_reaches_the_publisher(bench):
    """DDS does not tell these to the graph; the handle of rcl has them."""
    test = bench(**override('/depth/image', 'depth', 1),
                 **override('/points', 'history', 'keep_all'))
    test.start()
    made = {publisher.topic_name: publisher.qos_profile
            for publisher in test.node.publishers if hasattr(publisher, 'qos_profile')}
    assert made['/depth/image'].depth == 1
    assert made['/points'].history == HistoryPolicy.KEEP_ALL
    assert (made['/semantic/image'].depth, made['/semantic/image'].history) == (
        5, HistoryPolicy.KEEP_LAST)


def test_a_depth_of_two_keeps_two_messages_for_a_latecomer(graph):
    """What the graph cannot show, a latecomer sees."""
    from rclpy.node import Node
    node = Node('keeper', context=graph.context, parameter_overrides=[Parameter(name, value=value)
                for name, value in {**override('/kept', 'depth', 2),
                                    **override('/kept', 'durability', 'transient_local')}.items()])
    publisher = node.create_publisher(
        String, 'kept', overridden(node, 'kept', 'publisher', QoSProfile(depth=7)))
    for text in 'abcd':
        publisher.publish(String(data=text))
    graph.listen(String, 'kept', QoSProfile(
        depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    graph.spin_until(lambda: graph.heard['kept'])
    for _ in range(10):
        graph.executor.spin_once(timeout_sec=0.02)

    assert [one.data for one in graph.heard['kept']] == ['c', 'd']
    node.destroy_node()


@pytest.mark.parametrize('topic', ['/image_raw', '/camera_info', '/odom', '/robot_description'])
def test_an_override_of_a_subscription_does_not_follow_the_publishers(bench, topic):
    test = bench(
        motion__odometry_topic='/odom', depth__scale='odometry',
        **override(topic, 'reliability', 'best_effort', 'subscription'),
        **override(topic, 'durability', 'volatile', 'subscription'))
    test.start()
    assert {one.reliability for one in subscriptions(test, topic)} == {
        ReliabilityPolicy.BEST_EFFORT}

    plain = bench(motion__odometry_topic='/odom', depth__scale='odometry')
    plain.start()
    plain.spin_until(lambda: len(subscriptions(plain, topic)) == 2)
    assert {one.reliability for one in subscriptions(plain, topic)} == {
        ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE}


@pytest.mark.parametrize(('topic', 'policy', 'value', 'kind'), [
    ('/camera_info', 'durability', 'transient_local', CameraInfo),
    ('/camera_info', 'reliability', 'reliable', CameraInfo),
    ('/odom', 'durability', 'transient_local', Odometry)])
def test_a_publisher_that_an_override_does_not_hear_is_said(
        bench, capfd, topic, policy, value, kind):
    test = bench(motion__odometry_topic='/odom', depth__scale='odometry',
                 **override(topic, policy, value, 'subscription'))
    test.start()
    heard = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    test.graph.node.create_publisher(kind, topic, heard)
    said = ''

    def warned():
        nonlocal said
        said += capfd.readouterr().err
        return f'[G03] {topic}: the publisher offers' in said

    test.spin_until(warned)
    assert value in said


def test_a_remapped_topic_of_a_camera_has_its_full_name(bench):
    test = bench(cameras=['front'], **override('/front/points', 'depth', 1),
                 **override('/front/image_raw', 'depth', 3, 'subscription'))
    test.start()
    assert test.node._declared.unknown == {}
    image, = [one for one in test.node.subscriptions if one.topic_name == '/front/image_raw']
    assert image.qos_profile.depth == 3


MISSPELT = [
    ('qos_overrides./semantic/imag.publisher.depth', 1,
     "did you mean 'qos_overrides./semantic/image.publisher.depth'?"),
    ('qos_overrides.semantic/image.publisher.reliability', 'best_effort',
     "did you mean 'qos_overrides./semantic/image.publisher.reliability'?"),
    ('qos_overrides./semantic/image.publisher.reliabilty', 'best_effort',
     "the policies of this topic are ['history', 'depth', 'reliability', 'durability']"),
    ('qos_overrides./image_raw.publisher.depth', 3,
     "did you mean 'qos_overrides./image_raw.subscription.depth'?"),
    ('qos_overrides.nonsense', 3, 'did you mean')]


@pytest.mark.parametrize(('name', 'value', 'hint'), MISSPELT)
def test_a_misspelt_override_is_named_with_the_nearest(bench, capfd, name, value, hint):
    test = bench(**{name: value})
    assert test.node.trigger_configure() == SUCCESS, test.node.last_error
    assert f"parameter '{name}' does not exist and is ignored; {hint}" in (
        capfd.readouterr().err.replace('\n', ' '))
    assert f'unknown_parameter.{name}' in test.node.facts()

    strict = bench(strict_parameters=True, **{name: value})
    assert strict.node.trigger_configure() == FAILURE
    assert hint in strict.node.last_error


def test_an_override_that_is_right_is_not_reported(bench, capfd):
    bench(strict_parameters=True, **override('/points', 'depth', 1)).start()
    assert 'does not exist' not in capfd.readouterr().err


WRONG = [
    (override('/depth/image', 'reliability', 'perfect'),
     "is 'perfect', wanted one of ['reliable', 'best_effort']"),
    (override('/depth/image', 'reliability', 'best_available'), 'wanted one of'),
    (override('/depth/image', 'depth', 0), 'is 0, wanted 1 to 10000'),
    (override('/depth/image', 'depth', 'deep'), "is 'deep' of type string, wanted integer"),
    (override('/diagnostics', 'history', 'keep_some'), "wanted one of ['keep_last', 'keep_all']"),
    (override('/semantic/labels', 'reliability', 'best_effort'),
     "durability 'transient_local' needs reliability 'reliable'"),
    (override('/semantic/labels', 'history', 'keep_all'), 'keep every message for ever'),
    (override('/image_raw', 'durability', 'latched', 'subscription'),
     "wanted one of ['best_available', 'volatile', 'transient_local']")]


@pytest.mark.parametrize(('wrong', 'text'), WRONG)
def test_a_wrong_override_is_refused_in_plain_words(bench, wrong, text):
    test = bench(**wrong)
    assert test.node.trigger_configure() == FAILURE
    name, = wrong
    assert name.rpartition('.')[0] in test.node.last_error
    assert text in test.node.last_error
    assert 'read at the start of the node' in test.node.last_error
    assert test.node.trigger_configure() == FAILURE  # still, and the process lives


def test_all_wrong_overrides_are_named_at_once(bench):
    test = bench(**WRONG[0][0], **WRONG[2][0], **WRONG[4][0])
    assert test.node.trigger_configure() == FAILURE
    for _, text in (WRONG[0], WRONG[2], WRONG[4]):
        assert text in test.node.last_error


def test_the_reliability_of_images_is_said_in_one_place(bench):
    name = override('/image_raw', 'reliability', 'best_effort', 'subscription')
    test = bench(image_reliability='reliable', **name)
    assert test.node.trigger_configure() == FAILURE
    assert "image_reliability is 'reliable', but qos_overrides./image_raw.subscription" in (
        test.node.last_error)
    test.node.set_parameters([Parameter('image_reliability', value='auto')])
    assert test.node.trigger_configure() == SUCCESS, test.node.last_error


def test_the_camera_source_offers_what_the_overrides_say(graph):
    topics = ('image_raw', 'camera_info', 'truth/depth/image', 'diagnostics')
    graph.start('mtl_perception.ros.camera_source', *parameters(**STREET, **{
        name: value for topic in topics
        for name, value in override(f'/{topic}', 'reliability', 'best_effort').items()}))
    offers = {}

    def found():
        for topic in (*topics, 'truth/motion/image'):
            for one in graph.node.get_publishers_info_by_topic(topic):
                offers[topic] = one.qos_profile.reliability
        return len(offers) == 5

    graph.spin_until(found)
    assert offers == {**dict.fromkeys(topics, ReliabilityPolicy.BEST_EFFORT),
                      'truth/motion/image': ReliabilityPolicy.RELIABLE}


def test_the_camera_source_names_wrong_and_misspelt_overrides(graph, capfd):
    wrong = override('/image_raw', 'reliability', 'perfect')
    with pytest.raises(ConfigurationError, match="is 'perfect', wanted one of"):
        CameraSource([Parameter(name, value=value) for name, value in {
            **STREET, **wrong}.items()], context=graph.context)

    misspelt = override('/image_row', 'depth', 1)
    source = CameraSource([Parameter(name, value=value) for name, value in {
        **STREET, **misspelt}.items()], context=graph.context)
    assert "did you mean 'qos_overrides./image_raw.publisher.depth'?" in capfd.readouterr().err
    source.stop()
    source.destroy_node()
