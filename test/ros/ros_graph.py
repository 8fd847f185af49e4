# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node of the tests on a separate graph, and programs as processes on the same graph."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import rclpy
import yaml
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSProfile

ROOT = Path(__file__).parents[2]


class Graph:
    """
    A domain of its own on this host.

    :param monkeypatch: of pytest; the environment stays as it is here until the test ends.
    :param name: of the node that listens.
    :param domain: a free one by default.
    :param arguments: for rcl, such as an enclave.
    """

    def __init__(self, monkeypatch, name='listener', domain=None, arguments=()):
        monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', str(ROOT / 'config' / 'fastdds.xml'))
        self._lock = None if domain else free_domain()
        self.domain = domain or self._lock[0]
        self.context = Context()
        rclpy.init(args=list(arguments), context=self.context, domain_id=self.domain)
        self.node = Node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard = defaultdict(list)
        self.processes = []

    def listen(self, kind, topic, qos=None):
        """Collect the messages of a topic in ``heard[topic]``."""
        self.node.create_subscription(
            kind, topic, self.heard[topic].append, qos or QoSProfile(depth=100))

    def spin_until(self, condition, timeout_s=30.0):
        """Spin until the condition holds; fail if it never does."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self._state()
            self.executor.spin_once(timeout_sec=0.05)

    def _state(self):
        """Return what a test that waited in vain wants to know; ends the programs."""
        lines = [
            'heard: ' + str({topic: len(messages) for topic, messages in self.heard.items()}),
            'nodes: ' + ', '.join(self.node.get_node_names()),
            'topics: ' + ', '.join(name for name, _ in self.node.get_topic_names_and_types()),
            f'free in /dev/shm: {shutil.disk_usage("/dev/shm").free >> 20} MiB']
        for process in self.processes:
            code = process.poll()
            if code is None:  # the fault handler of Python prints where every thread stands
                process.send_signal(signal.SIGABRT)
            output, errors = process.communicate(timeout=10.0)
            lines += [f'{process.args[2:]} ' + ('still ran' if code is None else f'exit {code}'),
                      output[-3000:], errors[-12000:]]
        return '\n'.join(lines)

    def start(self, module, *arguments):
        """Start a program on this graph."""
        paths = [str(ROOT), str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(self.domain),
                       'PYTHONPATH': os.pathsep.join(paths), 'PYTHONFAULTHANDLER': '1'}
        process = subprocess.Popen(
            [sys.executable, '-m', module, *arguments], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process

    def finish(self, process, number=signal.SIGINT, timeout_s=15.0):
        """Send a signal, if the program still runs, and return its exit code and its errors."""
        if process.poll() is None and number is not None:
            process.send_signal(number)
        _, errors = process.communicate(timeout=timeout_s)
        return process.returncode, errors

    def dump(self, node):
        """Return what ``ros2 param dump`` prints: by services of the node, nested at the dots."""
        def call(kind, name, request):
            client = self.node.create_client(kind, f'{node}/{name}')
            assert client.wait_for_service(10.0)
            future = client.call_async(request)
            self.spin_until(future.done)
            return future.result()

        names = call(ListParameters, 'list_parameters', ListParameters.Request()).result.names
        values = call(GetParameters, 'get_parameters', GetParameters.Request(names=names)).values
        tree = {}
        for name, value in zip(names, values):
            *path, leaf = name.split('.')
            branch = tree
            for part in path:
                branch = branch.setdefault(part, {})
            found = parameter_value_to_python(value)
            branch[leaf] = found if isinstance(found, (str, bool, int, float)) else list(found)
        return yaml.dump({node: {'ros__parameters': tree}}, default_flow_style=False)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                end(process)
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        if self._lock is not None:
            self._lock[1].close()


def end(process, timeout_s=10.0):
    """
    End a program, and return its output and errors.

    One that is killed at once leaves 70 MB of shared memory of the middleware behind.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


def free_domain():
    """Return a domain, and the file whose lock keeps other tests on this host out of it."""
    for domain in random.SystemRandom().sample(range(1, 102), 101):
        path = Path(tempfile.gettempdir()) / f'mtl_perception_test_domain_{domain}'
        try:
            file = path.open('a')
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another test has it
            continue
        return domain, file
    raise AssertionError('all 101 domains of this host are in use by tests')


def parameters(**values):
    """Return the arguments that set parameters of a node."""
    words = ['--ros-args']
    for name, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += ['-p', f'{name}:={text}']
    return words


def stamp_ns(message):
    return message.header.stamp.sec * 10 ** 9 + message.header.stamp.nanosec
