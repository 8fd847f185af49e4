# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The variables of ROS 2: a middleware that is not installed, a domain that is none."""

import os
import subprocess
import sys

import pytest

from mtl_perception.middleware import environment_remarks, lack_of


@pytest.fixture
def prefix(tmp_path):
    """Return a prefix in which one middleware is installed."""
    (tmp_path / 'lib').mkdir()
    for name in ('rmw', 'rmw_implementation', 'rmw_fastrtps_cpp', 'rmw_fastrtps_shared_cpp'):
        (tmp_path / f'lib/lib{name}.so').touch()
    return str(tmp_path)


def remarks(monkeypatch, prefix='', **environment):
    monkeypatch.setattr(sys, 'prefix', '/nowhere')
    return environment_remarks({'AMENT_PREFIX_PATH': prefix, **environment})


def run(words, **environment):
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment})
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize('name', ['', 'rmw_fastrtps_cpp'])
def test_the_default_and_an_installed_middleware_are_fine(monkeypatch, prefix, name):
    assert remarks(monkeypatch, prefix, RMW_IMPLEMENTATION=name, ROS_DOMAIN_ID='7') == []


def test_a_middleware_that_is_not_installed_is_named_with_its_package(monkeypatch, prefix):
    (wrong, text), = remarks(
        monkeypatch, prefix, RMW_IMPLEMENTATION='rmw_cyclonedds_cpp', ROS_DISTRO='jazzy')

    assert wrong
    assert 'sudo apt install ros-jazzy-rmw-cyclonedds-cpp' in text
    assert 'export RMW_IMPLEMENTATION=rmw_fastrtps_cpp' in text


@pytest.mark.parametrize('name', ['fastrtps', 'rmw_fastrtps_cpp ', 'rmw_fastrtps_shared_cpp'])
def test_a_middleware_that_does_not_exist_is_named(monkeypatch, prefix, name):
    (wrong, text), = remarks(monkeypatch, prefix, RMW_IMPLEMENTATION=name)

    assert wrong
    assert text == (
        f'RMW_IMPLEMENTATION is {name!r}, which is not installed here; take what is: '
        'export RMW_IMPLEMENTATION=rmw_fastrtps_cpp')


def test_nothing_is_said_where_ros_is_in_an_unknown_place(monkeypatch):
    assert remarks(monkeypatch, RMW_IMPLEMENTATION='rmw_cyclonedds_cpp') == []


@pytest.mark.parametrize(
    'domain', ['300', '233', '-1', '1.5', 'abc', '0x10', '010', '9' * 40, '٣'])
def test_a_domain_that_is_none_is_refused(monkeypatch, domain):
    (wrong, text), = remarks(monkeypatch, ROS_DOMAIN_ID=domain)

    assert wrong
    assert 'wanted a whole number from 0 to 232' in text


@pytest.mark.parametrize('domain', ['', '0', '101', ' 5'])
def test_domains_that_are_fine(monkeypatch, domain):
    assert remarks(monkeypatch, ROS_DOMAIN_ID=domain) == []


@pytest.mark.parametrize(('name', 'value', 'said'), [
    ('ROS_DOMAIN_ID', '150', 'above 101'), ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'subnet', 'wanted'),
    ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF', 'no node finds another'),
    ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST', 'other machines'),
    ('ROS_LOCALHOST_ONLY', 'yes', 'wanted 0 or 1'), ('ROS_LOCALHOST_ONLY', '1', 'other machines')])
def test_what_keeps_nodes_apart_is_a_note(monkeypatch, name, value, said):
    (wrong, text), = remarks(monkeypatch, **{name: value})

    assert not wrong
    assert said in text


@pytest.mark.parametrize('environment', [
    {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}, {'ROS_DOMAIN_ID': '300'}],
    ids=lambda one: ' '.join(one.values()))
def test_doctor_and_the_nodes_say_what_is_wrong_with_the_environment(environment):
    pytest.importorskip('rclpy')
    name, value = next(iter(environment.items()))
    wanted = f'{name} is {value!r}'

    code, output = run(['-m', 'mtl_perception.cli', 'doctor'], **environment)
    assert code == 2
    assert f'FAIL ROS environment   {wanted}' in output
    assert 'model street' in output
    assert 'exiting with 102' not in output

    for module in ('perception_node', 'camera_source', 'recorder'):
        code, output = run(['-m', f'mtl_perception.ros.{module}'], **environment)
        assert code == 2
        assert output.startswith(f'cannot start: {wanted}')
        assert 'Traceback' not in output


def test_doctor_survives_ros_libraries_that_end_the_process(tmp_path):
    (tmp_path / 'rclpy.py').write_text('import os; print("no shared memory", flush=True)\n'
                                       'import sys; sys.stderr.write("rcl: gone\\n"); '
                                       'sys.stderr.flush(); os._exit(102)')
    code, output = run(
        ['-m', 'mtl_perception.cli', 'doctor'],
        PYTHONPATH=f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}')

    assert code == 2
    assert 'ends the process that imports it, code 102: rcl: gone' in output
    assert 'model street' in output


def test_a_missing_library_is_told_with_what_brings_it():
    assert "pip install 'mtl_perception[ros-wheels]'" in lack_of('rclpy', {})
    text = lack_of('std_srvs', {'ROS_DISTRO': 'jazzy'})
    assert text.startswith('sudo apt install ros-jazzy-std-srvs brings')
    assert 'pip' not in text
