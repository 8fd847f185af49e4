# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Signals to the programs of the nodes, from the first line of their scripts on."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from campaign import EXAMPLES, SEED
from ros_graph import ROOT, parameters

LONGEST_S = 4.0
"""Start of the perception node with a tiny model, on a machine with other work."""


class Program:
    """
    A script of the package that tells when it has run its first statement.

    That one keeps signals until they can be answered; before it the interpreter owns them.

    :param name: of the script.
    """

    def __init__(self, graph, tmp_path, name, *arguments):
        script = tmp_path / name
        lines = (ROOT / 'scripts' / name).read_text().splitlines()
        first = 1 + next(at for at, line in enumerate(lines) if 'pthread_sigmask' in line)
        lines.insert(first, "print('first line', flush=True)")
        script.write_text('\n'.join(lines))
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(graph.domain), 'PYTHONPATH': str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, str(script), *arguments], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        assert self.process.stdout.readline() == 'first line\n'

    def end(self, number):
        """Send a signal; return the exit code, what was printed, and how long it took, seconds."""
        begin = time.monotonic()
        self.process.send_signal(number)
        try:
            _, errors = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        return self.process.returncode, errors, time.monotonic() - begin

    @property
    def left(self):
        """
        Return the command lines of processes of its group that still run after two seconds.

        One in 300 ends while ``import torch`` asks ``ldconfig`` for its libraries. That has ended
        too by then, but stays in the group, with an empty command line, until the init process
        collects it.
        """
        end = time.monotonic() + 2.0
        while (found := self._running()) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def _running(self):
        found = []
        for folder in Path('/proc').glob('[0-9]*'):
            with suppress(OSError):
                if os.getpgid(int(folder.name)) == self.process.pid:
                    found.append((folder / 'cmdline').read_bytes().decode())
        return [line for line in found if line]


@pytest.mark.parametrize('name', ['perception_node', 'camera_source'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize('delay_s', [0.0, 0.3])
def test_a_signal_at_the_start_ends_a_program(graph, tmp_path, name, number, delay_s):
    program = Program(graph, tmp_path, name)
    time.sleep(delay_s)
    code, errors, _ = program.end(number)
    assert code == 0, errors
    # a camera that had begun says how many frames it published, nothing else
    assert all(line.startswith('[INFO] ') and 'published' in line
               for line in errors.splitlines()), errors


def test_a_signal_does_not_wait_for_a_network_that_loads(graph, monkeypatch):
    monkeypatch.setenv('LOAD_S', '60')
    process = graph.start('fake_node', *parameters(autostart=True))
    assert process.stdout.readline() == 'loading\n'

    begin = time.monotonic()
    code, errors = graph.finish(process, signal.SIGTERM)
    assert code == 0, errors
    assert time.monotonic() - begin < 10


def test_a_signal_does_not_wait_for_a_camera_that_is_opened(graph, tmp_path):
    """The camera takes the connection and never says a word."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        server.settimeout(30)
        address = f'rtsp://127.0.0.1:{server.getsockname()[1]}/stream'
        program = Program(graph, tmp_path, 'camera_source', *parameters(source=address))
        connection, _ = server.accept()
        with connection:
            code, errors, seconds = program.end(signal.SIGINT)

    assert code == 0, errors
    assert seconds < 4


@pytest.mark.campaign
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_from_the_first_line_on(graph, tmp_path, tiny_model, number):
    """
    With a small model an inference is short, so the end is due within 2 s and a bit.

    Where more processes want to run than there are cores, it is due so much later.
    """
    source = random.Random(SEED + number)
    slow = []
    for turn in range(max(3, round(0.15 * EXAMPLES))):
        program = Program(
            graph, tmp_path, 'perception_node',
            *parameters(model=tiny_model, autostart=True, threads=1))
        # half of them in the first second, where modules are imported
        delay_s = source.uniform(0, (1.0, LONGEST_S)[turn % 2])
        time.sleep(delay_s)

        code, errors, seconds = program.end(number)
        assert code == 0, (turn, delay_s, code, errors)
        assert 'Traceback' not in errors, (turn, delay_s, errors)
        left = program.left
        assert not left, (turn, delay_s, left)
        if seconds > 2.5 * max(1.0, os.getloadavg()[0] / os.cpu_count()):
            slow.append((delay_s, seconds))
    assert not slow
