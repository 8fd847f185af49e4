# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle of the perception node: its states and transitions."""

import gc
import random
import shutil
import threading
import time

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_bench import ERROR, FAILURE, RESULTS, SUCCESS, Bench, FakeEngine
from std_msgs.msg import Header as WrongType

from mtl_perception.errors import CheckpointError


def state_of(test):
    return test.node._state_machine.current_state[1]


def test_the_full_lifecycle_works_twice(bench):
    test = bench()
    for _ in range(2):
        test.start(*(RESULTS if not test.heard['semantic/image'] else ()))
        test.spin_until(lambda: len(test.camera.outputs.wanted()) == len(RESULTS))
        before = len(test.heard['semantic/image'])
        test.feed(test.picture())
        test.spin_until(lambda: len(test.heard['semantic/image']) == before + 1)  # noqa: B023
        assert test.node.trigger_deactivate() == SUCCESS
        assert state_of(test) == 'inactive'
        assert test.node.trigger_cleanup() == SUCCESS
        assert state_of(test) == 'unconfigured'
        assert test.node.cameras == {}

    assert test.node.trigger_shutdown() == SUCCESS
    assert state_of(test) == 'finalized'


def test_a_destroyed_node_leaves_the_graph_at_once(graph):
    test = Bench(graph)
    test.start()
    names = graph.node.get_node_names
    graph.spin_until(lambda: 'perception_node' in names())

    gc.disable()  # it would free the node sooner or later
    try:
        test.close()
        graph.spin_until(lambda: 'perception_node' not in names(), 10)
    finally:
        gc.enable()


def test_cycles_leave_nothing_behind(bench):
    test = bench()

    def left():
        node = test.node
        return (len(list(node.publishers)), len(list(node.subscriptions)),
                len(node._managed_entities), len(node.default_callback_group.entities),
                threading.active_count())

    for number in range(60):
        test.start()
        test.feed(test.picture())
        assert test.node.trigger_deactivate() == SUCCESS
        active_again = left()
        assert test.node.trigger_activate() == SUCCESS
        assert test.node.trigger_deactivate() == SUCCESS
        assert left() == active_again

        assert test.node.trigger_cleanup() == SUCCESS
        if number == 5:
            before = left()
    assert left() == before


def test_nothing_is_published_while_inactive(bench):
    test = bench()
    test.start('semantic/image')
    camera = test.camera
    test.publish()
    test.spin_until(lambda: test.heard['semantic/image'])
    for _ in range(20):
        assert test.node.trigger_deactivate() == SUCCESS
        heard = len(test.heard['semantic/image'])
        test.publish()
        test.node.on_image(camera, test.picture())  # as if a callback came late
        test.spin(0.03)
        assert len(test.heard['semantic/image']) == heard
        assert test.node.trigger_activate() == SUCCESS

    assert test.counts.dropped['L11_inactive'] == 20
    assert test.counts.balanced


def test_a_frame_in_progress_at_deactivation_is_not_published(bench):
    test = bench()
    test.start('semantic/image')
    camera = test.camera
    test.engine.hold.clear()
    for _ in range(2):
        test.node.on_image(camera, test.picture())
        while len(test.engine.asked) < 1:
            time.sleep(0.001)
    begin = time.monotonic()

    assert test.node.trigger_deactivate() == SUCCESS
    assert time.monotonic() - begin < 0.1  # does not wait for the network
    assert test.counts.dropped == {'L11_inactive': 1}  # the one that waited

    test.engine.hold.set()
    test.settle()
    assert test.counts.dropped == {'L11_inactive': 2}

    test.spin(0.2)
    assert not test.heard['semantic/image']
    assert test.node.trigger_activate() == SUCCESS

    test.feed(test.picture())
    test.spin_until(lambda: test.heard['semantic/image'])
    assert test.engine.with_state == [False, False]  # the state ended with the deactivation


DAMAGES = {
    'missing': lambda path: path.unlink(),
    'truncated': lambda path: path.write_bytes(path.read_bytes()[:1000]),
    'empty': lambda path: path.write_bytes(b''),
    'flipped': lambda path: path.write_bytes(
        path.read_bytes()[:-9] + bytes([path.read_bytes()[-9] ^ 1]) + path.read_bytes()[-8:]),
    'foreign': lambda path: path.write_bytes(b'<!doctype html><html>not found</html>'),
    'manifest': lambda path: path.with_suffix('.json').write_text('{}'),
    'alone': lambda path: path.with_suffix('.json').unlink(),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_bad_weights_are_refused_and_good_ones_work_afterwards(
        bench, tiny_model, tmp_path, damage):
    path = tmp_path / 'model.safetensors'

    def restore():
        shutil.copy(tiny_model, path)
        shutil.copy(tiny_model.with_suffix('.json'), path.with_suffix('.json'))

    restore()
    DAMAGES[damage](path)
    test = bench(model=str(path), threads=1)

    for _ in range(2):
        assert test.node.trigger_configure() == FAILURE
        assert state_of(test) == 'unconfigured'
        assert str(path.with_suffix('')) in test.node.last_error  # the file or its manifest
        assert '[M0' in test.node.last_error

    test.spin_until(lambda: test.health('node')[0] == DiagnosticStatus.ERROR)
    assert str(path.with_suffix('')) in test.health('node')[1]

    restore()
    test.start('semantic/image')
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['semantic/image'])
    test.spin_until(lambda: test.health('node')[0] == DiagnosticStatus.OK)


def test_an_unexpected_error_while_configuring_is_logged_and_survived(bench):
    test = bench()
    failures = [ZeroDivisionError('a bug'), KeyboardInterrupt(), CheckpointError('no', 'M01')]

    def load(settings):
        if failures:
            raise failures.pop(0)
        return FakeEngine()

    test.node._load_engine = load
    for answer in (ERROR, ERROR, FAILURE):
        assert test.node.trigger_configure() == answer
        assert state_of(test) == 'unconfigured'
        assert test.node.last_error
    assert test.node.exit_code == 130  # the interrupt was not swallowed
    assert test.node.trigger_configure() == SUCCESS


def test_an_activation_that_fails_leaves_the_node_inactive(bench):
    test = bench()
    test.node.create_publisher(WrongType, 'image_raw', 5)  # in one process, rcl refuses this
    assert test.node.trigger_configure() == SUCCESS
    assert test.node.trigger_activate() == FAILURE
    assert state_of(test) == 'inactive'
    assert 'G06' in test.node.last_error
    assert test.node.busy() is None


def test_an_invalid_topic_name_fails_the_configuration_without_a_trace(bench, monkeypatch):
    test = bench()
    before = len(list(test.node.publishers))
    create = test.node.create_lifecycle_publisher

    def refuse(kind, topic, profile, **options):
        if topic == 'motion/labels':
            raise ValueError('bad name')
        return create(kind, topic, profile, **options)

    monkeypatch.setattr(test.node, 'create_lifecycle_publisher', refuse)
    assert test.node.trigger_configure() == FAILURE
    assert 'bad name' in test.node.last_error
    assert len(list(test.node.publishers)) == before


def test_transitions_in_any_order_follow_the_state_machine(bench):
    test, source = bench(), random.Random(3)
    follows = {
        ('unconfigured', 'configure'): 'inactive', ('inactive', 'activate'): 'active',
        ('active', 'deactivate'): 'inactive', ('inactive', 'cleanup'): 'unconfigured'}
    state = 'unconfigured'
    for _ in range(300):
        wanted = source.choice(['configure', 'activate', 'deactivate', 'cleanup'])
        answer = getattr(test.node, f'trigger_{wanted}')()
        assert (answer == SUCCESS) == ((state, wanted) in follows)
        state = follows.get((state, wanted), state)
        assert state_of(test) == state
        if state == 'active':
            test.node.on_image(test.camera, test.picture())


def test_services_answer_while_the_network_works(bench):
    test = bench()
    test.engine.delay_s = 0.05
    test.start('semantic/image')
    test.publish()
    client = test.graph.node.create_client(GetState, '/perception_node/get_state')

    assert client.wait_for_service(5.0)

    rounds = []
    while len(rounds) < 3 and (not rounds or rounds[-1] > 0.1):  # the machine has its moments
        waits = []
        for _ in range(100):
            test.publish()
            begin = time.monotonic()
            future = client.call_async(GetState.Request())
            test.spin_until(future.done)
            waits.append(time.monotonic() - begin)
            assert future.result().current_state.label == 'active'
            time.sleep(0.005)
        rounds.append(sorted(waits)[98])

    assert min(rounds) < 0.1
    assert test.counts.dropped['O01_superseded'] > 0

    change = test.graph.node.create_client(ChangeState, '/perception_node/change_state')
    future = change.call_async(
        ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
    test.spin_until(future.done)

    assert not future.result().success  # the wrong order is refused


def test_autostart_configures_and_activates(bench):
    test = bench(autostart=True)
    test.spin_until(lambda: state_of(test) == 'active')
    test.node.trigger_deactivate()
    test.spin(0.5)

    assert state_of(test) == 'inactive'  # once only
