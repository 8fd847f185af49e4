# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The programs under the SROS2 policy, with a middleware that enforces it."""

import random
import subprocess

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('sros2', reason='sros2 is not on PyPI; a ROS 2 installation has it')

from ros_graph import ROOT, Graph, parameters
from sensor_msgs.msg import Image

POLICY = ROOT / 'deploy' / 'mtl-perception.policy.xml'


def enclave(program):
    return ['--ros-args', '--enclave', f'/mtl_perception/{program}']


@pytest.fixture
def domain(tmp_path, monkeypatch):
    """Return a domain with a keystore of its own, in which the policy is enforced."""
    number = random.SystemRandom().randint(1, 101)
    monkeypatch.setenv('ROS_DOMAIN_ID', str(number))  # the keys are those of one domain
    for words in (['create_keystore', tmp_path],
                  ['generate_artifacts', '-k', tmp_path, '-p', POLICY]):
        done = subprocess.run(
            ['ros2', 'security', *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    monkeypatch.setenv('ROS_SECURITY_KEYSTORE', str(tmp_path))
    monkeypatch.setenv('ROS_SECURITY_STRATEGY', 'Enforce')
    monkeypatch.setenv('ROS_SECURITY_ENABLE', 'true')
    return number


@pytest.fixture
def operator(domain, monkeypatch, tiny_model):
    """Return the graph of an operator, on which the programs run in their enclaves."""
    graph = Graph(monkeypatch, 'operator', domain, enclave('operator'))
    graph.start('mtl_perception.programs', 'camera_source', *enclave('camera_source'),
                *parameters(source='street')[1:])
    graph.start('mtl_perception.programs', 'perception_node', *enclave('perception_node'),
                *parameters(model=tiny_model, autostart=True)[1:])
    yield graph
    graph.close()


@pytest.mark.slow
def test_the_policy_lets_the_programs_work_and_an_operator_see_it(operator):
    operator.listen(Image, 'semantic/image')
    operator.spin_until(lambda: len(operator.heard['semantic/image']) >= 3, 120)


@pytest.mark.slow
def test_a_stranger_without_keys_sees_nothing(operator, monkeypatch):
    operator.listen(Image, 'semantic/image')
    operator.spin_until(lambda: operator.heard['semantic/image'], 120)

    monkeypatch.delenv('ROS_SECURITY_ENABLE')
    stranger = Graph(monkeypatch, 'stranger', operator.domain)
    try:
        stranger.listen(Image, 'semantic/image')
        before = len(operator.heard['semantic/image'])
        operator.spin_until(lambda: len(operator.heard['semantic/image']) >= before + 20, 120)
        for _ in range(20):
            stranger.executor.spin_once(timeout_sec=0.05)
        assert not stranger.heard['semantic/image']
        assert 'perception_node' not in stranger.node.get_node_names()
    finally:
        stranger.close()
