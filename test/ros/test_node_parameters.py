# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the perception node."""

import pytest
import yaml

pytest.importorskip('rclpy')

from node_bench import FAILURE, SUCCESS
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from mtl_perception.ros.parameters import PARAMETERS

SAMPLES = {bool: True, int: 7, float: 0.7, str: 'text', 'strings': ['a', 'b'], 'ints': [1, 2],
           'floats': [0.5]}


@pytest.mark.parametrize('declaration', PARAMETERS, ids=lambda one: one.name)
def test_a_wrong_type_is_refused_by_name_and_can_be_corrected(bench, declaration):
    wrong = [value for value in SAMPLES.values()
             if Parameter.Type.from_parameter_value(value)
             != Parameter.Type.from_parameter_value(declaration.default)]
    for value in wrong[:3]:
        test = bench(**{declaration.name.replace('.', '__'): value})
        assert test.node.trigger_configure() == FAILURE
        assert f"parameter '{declaration.name}'" in test.node.last_error

        valid = Parameter(declaration.name, value=declaration.default)
        result, = test.node.set_parameters([valid])
        if declaration.read_only:
            assert not result.successful
        else:
            assert test.node.trigger_configure() == SUCCESS, test.node.last_error


@pytest.mark.parametrize(('name', 'value', 'text'), [
    ('threads', -1, 'wanted 0 to 256'), ('max_age', float('nan'), 'wanted 0 to 3600'),
    ('depth.camera_height', -1.0, 'wanted 0 to 100'),
    ('camera_timeout', 0.0, 'wanted 0.05 to 3600'), ('max_pixels', 0, 'wanted 1 to'),
    ('image_transport', 'compresed', "did you mean 'compressed'?"),
    ('precision', 'int3', "wanted one of ['auto', 'fp32', 'bf16', 'fp16', 'int8']"),
    ('device', 'gpu', 'wanted auto, cpu, cuda, cuda:N'), ('output.size', '', 'wanted one of'),
    ('cameras', ['a', 'a'], 'names one twice'), ('cameras', ['a b'], 'cannot be part'),
    ('cameras', ['', 'a'], 'cannot be part'),
    ('cameras', [f'c{i}' for i in range(17)], 'at most 16'),
    ('model', '', 'wanted the name of a shipped model')])
def test_a_wrong_value_is_refused_with_the_allowed_ones(bench, name, value, text):
    test = bench(**{name.replace('.', '__'): value})
    assert test.node.trigger_configure() == FAILURE
    assert f"parameter '{name}'" in test.node.last_error
    assert text in test.node.last_error
    assert not test.node.set_parameters([Parameter(name, value=value)])[0].successful


def test_all_wrong_parameters_are_named_at_once(bench):
    test = bench(engine='abacus', device='gpu', threads='two', precision='fp8')
    assert test.node.trigger_configure() == FAILURE
    for name in ('engine', 'device', 'threads', 'precision'):
        assert f"'{name}'" in test.node.last_error


def test_an_unknown_parameter_is_reported_with_the_nearest_name(bench, capfd):
    test = bench(max_gapp=1.0, strict_parameters=False)
    assert "'max_gapp' does not exist and is ignored; did you mean 'max_gap'?" in (
        capfd.readouterr().err)
    assert test.node.trigger_configure() == SUCCESS
    assert 'unknown_parameter.max_gapp' in test.node.facts()

    strict = bench(max_gapp=1.0, strict_parameters=True)
    assert strict.node.trigger_configure() == FAILURE
    assert "did you mean 'max_gap'?" in strict.node.last_error


def test_only_dynamic_parameters_change_while_configured(bench):
    test = bench()
    test.start()
    for declaration in PARAMETERS:
        result = test.node.set_parameters(
            [Parameter(declaration.name, value=declaration.default)])[0]
        assert result.successful == declaration.dynamic, declaration.name
        if not declaration.dynamic and not declaration.read_only:
            assert 'clean up' in result.reason
    mixed = test.node.set_parameters_atomically(
        [Parameter('max_age', value=0.5), Parameter('model', value='other')])

    assert not mixed.successful
    assert test.node.get_parameter('max_age').value == 0.0  # all or nothing
    assert test.node.set_parameters([Parameter('max_age', value=0.5)])[0].successful

    test.spin_until(lambda: test.node.settings.max_age == 0.5)
    test.node.trigger_deactivate()
    test.node.trigger_cleanup()

    assert test.node.set_parameters([Parameter('model', value='other')])[0].successful


def test_a_validator_that_fails_refuses_and_does_not_raise(bench, monkeypatch):
    test = bench()
    monkeypatch.setattr(test.node._declared, '_change_problem', lambda one: 1 / 0)
    result = test.node.set_parameters([Parameter('max_age', value=0.5)])[0]

    assert not result.successful
    assert 'ZeroDivisionError' in result.reason


def test_a_peer_cannot_end_the_node_with_a_parameter(bench):
    test = bench()
    test.start('semantic/image')
    client = test.graph.node.create_client(SetParameters, '/perception_node/set_parameters')

    assert client.wait_for_service(5.0)

    values = [ParameterValue(type=ParameterType.PARAMETER_STRING, string_value='x' * 100_000),
              ParameterValue(type=ParameterType.PARAMETER_NOT_SET),
              ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=float('inf'))]
    for value in values:
        for name in ('max_age', 'cameras', 'no_such_parameter', ''):
            request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=value)])
            future = client.call_async(request)
            test.spin_until(future.done)
            assert not future.result().results[0].successful, (value, name)
            assert len(future.result().results[0].reason) < 500
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['semantic/image'])




def test_dumped_parameters_load_again(bench):
    """As ros2 param dump writes them: all that the node has declared."""
    first = bench(cameras=['front'], motion__burst=2, max_gap=0.75, image__range=[7000, 8600])
    first.start()
    names = sorted(first.node._parameters)
    dumped = yaml.safe_load(yaml.safe_dump(
        {name: plain(first.node.get_parameter(name).value) for name in names}))

    second = bench(**dumped)
    second.start()
    assert second.node.settings == first.node.settings
    assert second.node._declared.unknown == {}


def plain(value):
    """Return a value as YAML has it."""
    return value if isinstance(value, (str, bool, int, float)) else list(value)
