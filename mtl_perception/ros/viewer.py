# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Show the topics of the node in a browser, through Rerun's viewer: ``mtl view``.

A server on this host alone keeps what was shown and serves the page of the viewer; nothing is
fetched from elsewhere.
"""

import argparse
import functools
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import ImageMarker

from mtl_perception import topics
from mtl_perception.errors import ConfigurationError, DeviceError
from mtl_perception.ros.error_guards import detail_of
from mtl_perception.ros.loading import StoppedError
from mtl_perception.ros.log_text import Throttle
from mtl_perception.ros.process import run_node
from mtl_perception.ros.qos_matching import MatchingSubscription, following
from mtl_perception.ros.viewer_scene import Scene
from mtl_perception.signals import StopRequest
from mtl_perception.topics import Topic

HOST = '127.0.0.1'
LOOK_PERIOD_S = 0.5
START_S = 30.0
END_S = 5.0
DEPTH = 10
CLASSES = (Image, CompressedImage, CameraInfo, PointCloud2, String, DiagnosticArray, ImageMarker)
KINDS: dict[str, Any] = {
    f'{one.__module__.split(".")[0]}/msg/{one.__name__}': one for one in CLASSES}
"""Type of a topic -> its class."""
LIMITED = (topics.IMAGE_TYPE, topics.COMPRESSED_IMAGE_TYPE, topics.CLOUD_TYPE, topics.MARKER_TYPE)
"""Types of which no more than the rate is shown."""


class Server:
    """
    Rerun's server as a process: it takes what is drawn, and serves it and the viewer's page.

    :param port: of the data.
    :param web_port: of the page.
    :param memory: most of what it keeps; the oldest goes first, such as ``1GiB``.
    :raises ConfigurationError: if a port is taken.
    """

    def __init__(self, port: int, web_port: int, memory: str) -> None:
        for name, number in (('port', port), ('web-port', web_port)):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, number))
                except (OSError, OverflowError) as error:
                    raise ConfigurationError(
                        f'port {number} of {HOST} cannot be used ({error}); choose another with '
                        f'--{name}') from error
        self.address = f'rerun+http://{HOST}:{port}/proxy'
        self.page = f'http://{HOST}:{web_port}?url={quote(self.address, safe="")}'
        self._ports = port, web_port

        # Rerun would count how it is used; in a folder of its own it is told not to
        self._home = tempfile.TemporaryDirectory(prefix='view')
        environment = {**os.environ, 'XDG_CONFIG_HOME': self._home.name,
                       'XDG_DATA_HOME': self._home.name}
        program = str(Path(str(library('rerun_cli').__file__)).with_name('rerun'))
        quiet: dict[str, Any] = {
            'env': environment, 'stdout': subprocess.DEVNULL,
            'stderr': subprocess.DEVNULL}
        subprocess.run([program, 'analytics', 'disable'], check=False, **quiet)

        # it ends with this process, however that ends, but not of Ctrl-C before the last drawing
        guard = ['setpriv', '--pdeathsig', 'TERM'] if shutil.which('setpriv') else []
        self._process = subprocess.Popen([
            *guard, program, '--serve-web', '--bind', HOST, '--port', str(port),
            '--web-viewer-port', str(web_port), '--server-memory-limit', memory],
            start_new_session=True, **quiet)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def wait(self, stopped: Callable[[], bool]) -> None:
        """
        Wait until the server answers.

        :raises DeviceError: if it ends, or does not answer in time.
        :raises StoppedError: if a signal came.
        """
        deadline = time.monotonic() + START_S
        while not all(_answers(port) for port in self._ports):
            if stopped():
                self.close()
                raise StoppedError("while Rerun's server started")
            if self.ended or time.monotonic() > deadline:
                code = self._process.poll()
                self.close()
                raise DeviceError(
                    f"Rerun's server did not answer within {START_S:.0f} s (exit code {code}); "
                    'is --memory a size such as 1GiB? "rerun --serve-web" tells more')
            time.sleep(0.05)

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._home.cleanup()


class Viewer(Node):  # type: ignore[misc]
    """
    Subscribe to the topics of the node and its cameras, whenever they appear, and draw them.

    :param server: that answers.
    :param rate: most messages of a topic that are shown in a second.
    :param namespaces: the only ones that are shown; all if empty.
    :param points: show the clouds too, which the node then has to make.
    """

    def __init__(
            self, server: Server, rate: float = 10.0, namespaces: Sequence[str] = (),
            points: bool = False) -> None:
        super().__init__('viewer')
        self.exit_code: int | None = None
        rerun = library('rerun')
        self._server = server
        self._recording = rerun.RecordingStream('mtl_perception')
        self._recording.connect_grpc(server.address)
        self._scene = Scene(rerun, self._recording)
        self._wanted = [topic for topic in self._scene.shown if points or topic != topics.POINTS]
        self._namespaces = namespaces
        self._period_s = 1 / rate

        self._found: dict[str, MatchingSubscription] = {}
        self._shown_at: dict[str, float] = {}
        self._throttle = Throttle()
        self._look()
        self.create_timer(LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self) -> bool:
        """Hand over what is left, and end the server."""
        if not self._server.ended:
            self._recording.flush(timeout_sec=END_S)
        self._recording.disconnect()
        self._server.close()
        return True

    def _look(self) -> None:
        """Subscribe to what is new in the graph, and follow the offers of the others."""
        if self._server.ended:
            self.get_logger().error("Rerun's server has ended; start again")
            self.exit_code = DeviceError.exit_code

        names = dict(self.get_topic_names_and_types())
        for name, kinds in names.items():
            found = next(filter(None, (topics.topic_of(name, kind) for kind in kinds)), None)
            if name in self._found or found is None or found[0] not in self._wanted:
                continue

            # a compressed image is shown where there is no other
            topic, namespace = found
            if topic is topics.COMPRESSED_IMAGE and topics.IMAGE.below(namespace) in names:
                continue
            if topic is topics.DIAGNOSTICS or topics.is_below(name, self._namespaces):
                self._found[name] = MatchingSubscription(
                    self, KINDS[topic.kind], name,
                    functools.partial(self._receive, name, topic, namespace),
                    following(DEPTH))
        for subscription in self._found.values():
            subscription.update()

    def _receive(self, name: str, topic: Topic, namespace: str, message: Any) -> None:
        """Draw a message, unless the last one is too near; a broken one is named."""
        now = time.monotonic()
        if topic.kind in LIMITED:
            if now - self._shown_at.get(name, -self._period_s) < self._period_s:
                return
            self._shown_at[name] = now
        try:
            self._scene.show(topic, namespace, message)
        except Exception as error:  # noqa: BLE001  (whatever a stranger publishes)
            if self._throttle.due(name):
                self.get_logger().warning(f'{name} cannot be shown: {detail_of(error)}')


def library(name: str) -> Any:
    """
    Return a module of the extra ``view``.

    :raises ConfigurationError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"pip install 'mtl_perception[view]' brings the Python module {name!r}, which cannot "
            f'be imported ({error})') from error


def _answers(port: int) -> bool:
    """Return whether somebody listens on a port of this host."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def main(arguments: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """
    Show topics until a signal comes.

    :param arguments: the command line; ``sys.argv`` by default.
    :param stop: listens since the start of the process.
    :return: the exit code.
    """
    words = list(sys.argv if arguments is None else ['viewer', *arguments])
    parser = argparse.ArgumentParser(prog='viewer', description='Show topics in a browser.')
    parser.add_argument('--namespaces', nargs='+', default=[], metavar='NAMESPACE')
    parser.add_argument('--points', action='store_true')
    parser.add_argument('--rate', type=float, default=10.0)
    parser.add_argument('--port', type=int, default=9876)
    parser.add_argument('--web-port', type=int, default=9090)
    parser.add_argument('--memory', default='1GiB')
    parser.add_argument('--open', action='store_true')
    parsed = parser.parse_args(remove_ros_args(words)[1:])


    def start(stopped: Callable[[], bool]) -> Viewer:
        if not parsed.rate > 0:
            raise ConfigurationError(f'rate is {parsed.rate}; wanted a number above 0')
        library('rerun')
        server = Server(parsed.port, parsed.web_port, parsed.memory)
        server.wait(stopped)
        viewer = Viewer(server, parsed.rate, parsed.namespaces, parsed.points)
        print(f'open {server.page} (Ctrl-C ends it)', flush=True)
        if parsed.open:
            webbrowser.open(server.page)
        return viewer
    return run_node(start, words, stop)


if __name__ == '__main__':
    raise SystemExit(main())
