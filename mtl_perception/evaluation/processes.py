# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Programs of this package as separate processes on a private ROS graph."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_perception.errors import PerceptionError

DOMAINS = (1, 101)
"""Domain ids whose ports lie outside of the ephemeral range of Linux."""

PACKAGE = 'mtl_perception'
PROFILE = 'FASTDDS_DEFAULT_PROFILES_FILE'


class ProgramError(PerceptionError):
    """A program ended when it should not, or with an error."""

    exit_code = 1


def graph_environment() -> dict[str, str]:
    """
    Return the environment for programs that only see each other.

    ``ROS_DOMAIN_ID``, ``ROS_AUTOMATIC_DISCOVERY_RANGE`` and ``FASTDDS_DEFAULT_PROFILES_FILE`` are
    kept if the user set them.
    """
    environment = dict(os.environ)
    environment.setdefault('ROS_DOMAIN_ID', str(random.SystemRandom().randint(*DOMAINS)))
    environment.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    environment.setdefault('PYTHONUNBUFFERED', '1')

    # with the default profile, large images are lost between processes
    profile = share_file('config/fastdds.xml')
    if profile is not None:
        environment.setdefault(PROFILE, str(profile))
    return environment


def share_file(name: str) -> Path | None:
    """
    Return a file of the package's share folder, wherever the package is installed.

    :param name: such as ``config/fastdds.xml``.
    :return: None if it is not there.
    """
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    folders = [Path(__file__).resolve().parents[2]]
    folders += [Path(prefix) / 'share' / PACKAGE for prefix in prefixes if prefix]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


class Program:
    """
    A Python module that runs as a process.

    It does not receive the terminal's Ctrl-C; the caller stops the programs in the right order.

    :param name: for messages, and of its log file.
    :param module: such as ``mtl_perception.ros.recorder``.
    :param arguments: its command line.
    :param logs: folder for its standard error; must exist.
    :param environment: of the process.
    :param listens: whether it reads what :meth:`say` tells it.
    """

    def __init__(
            self, name: str, module: str, arguments: Sequence[str], logs: Path,
            environment: Mapping[str, str], listens: bool = False) -> None:
        self.name = name
        self.log = logs / f'{name}.log'
        self.counts: dict[str, Any] = {}
        """The last line of JSON that it printed."""

        self.log.write_bytes(b'')
        with self.log.open('ab') as log:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments], env=dict(environment),
                stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self._reader = threading.Thread(target=self._read, name=f'{name} output', daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def say(self, line: str) -> None:
        """Write a line to its standard input; one that has ended does not read it."""
        given = self._process.stdin
        assert given is not None
        with contextlib.suppress(BrokenPipeError):
            given.write(f'{line}\n'.encode())
            given.flush()

    def stop(self, timeout_s: float = 30.0) -> int:
        """
        Ask the program to end by SIGINT and wait for it; kill it if it does not.

        :return: its exit code.
        """
        if self.running:
            self._process.send_signal(signal.SIGINT)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end, kill it after the timeout, and return the exit code."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join(5.0)
        return self._process.returncode

    def kill(self) -> None:
        """Kill it."""
        if self.running:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """
        Refuse to go on if it has failed.

        :raises ProgramError: with the end of its log.
        """
        if not self.running and self._process.returncode != 0:
            raise self.failure()

    def failure(self, what: str = '') -> ProgramError:
        """Return an error that shows the end of the log; its exit code is the program's."""
        code = self._process.poll()
        tail = ''.join(f'\n    {line}' for line in self.last_lines())
        error = ProgramError(
            f'{self.name} {what or f"ended with exit code {code}"}; its log {self.log} ends with'
            f'{tail or " nothing"}')
        error.exit_code = code if code is not None and 0 < code < 126 else 1
        return error

    def last_lines(self, count: int = 12) -> list[str]:
        """Return the last lines of its log."""
        return self.log.read_text(encoding='utf-8', errors='replace').splitlines()[-count:]

    def _read(self) -> None:
        """Read its output: counts as JSON; anything else goes to the log."""
        output = self._process.stdout
        assert output is not None
        with output, self.log.open('ab', buffering=0) as log:
            for line in output:
                try:
                    self.counts = dict(json.loads(line))
                except ValueError:
                    log.write(line)


def stop_all(programs: Sequence[Program], timeout_s: float = 30.0) -> None:
    """Stop programs one after the other, in this order; kill them if that fails."""
    deadline = time.monotonic() + timeout_s * len(programs)
    try:
        for program in programs:
            program.stop(max(0.1, min(timeout_s, deadline - time.monotonic())))
    finally:
        for program in programs:
            program.kill()
