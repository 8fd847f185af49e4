# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Play a rosbag2, where ``ros2 bag play`` is not installed.

``mtl play BAG``, or ``python -m mtl_perception.ros.player BAG``. Every message is published as
it was recorded, byte for byte, with the quality of service that its publishers had offered.
"""

import argparse
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rclpy.utilities import remove_ros_args
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosReliability
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock

from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.media.addresses import local_path
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.error_guards import detail_of
from mtl_perception.ros.message_types import MessageTypes
from mtl_perception.ros.process import run_node
from mtl_perception.signals import StopRequest

CLOCK = '/clock'
DEPTH = 10
"""Of the queue of a topic whose depth was not recorded; Fast DDS tells nobody its own."""
LINGER = Duration(seconds=2)
"""How long the end waits for subscribers that have not got everything."""
JOIN_S = 5.0


class Player(Node):  # type: ignore[misc]
    """
    Publish the messages of a recording in the order and with the pauses of their reception.

    :param path: the bag's folder, or its file.
    :param topics: the only ones that are played; all if empty.
    :param rate: how much faster than recorded.
    :param loop: start again at the end.
    :param clock_hz: publish ``/clock`` this often, by the machine's time; 0 = never.
    :param delay_s: before the first message: subscribers need some time to find a publisher.
    :raises ConfigurationError: for a wrong rate, clock or delay, or a topic that is not there.
    :raises DataError: if the bag cannot be read, or none of it be played.
    """

    def __init__(
            self, path: Path, topics: Sequence[str] = (), rate: float = 1.0, loop: bool = False,
            clock_hz: float = 0.0, delay_s: float = 1.0) -> None:
        if not (math.isfinite(rate) and rate > 0):
            raise ConfigurationError(f'rate is {rate}; wanted a number above 0, such as 0.5')
        if not (math.isfinite(clock_hz + delay_s) and min(clock_hz, delay_s) >= 0):
            raise ConfigurationError(
                f'clock is {clock_hz} and delay {delay_s}; wanted numbers that are not negative')
        self._reader = open_bag(path)
        chosen = chosen_connections(self._reader, topics, path)
        super().__init__('player')

        self.exit_code: int | None = None
        self.played = 0
        self._path = path
        self._rate = rate
        self._loop = loop
        self._delay_s = delay_s
        self._pause_s = 1 / clock_hz if clock_hz else math.inf
        self._first_ns = self._reader.start_time
        self._quit = threading.Event()

        # a recorded /clock would contradict ours
        self._clock_publisher = self.create_publisher(Clock, CLOCK, 1) if clock_hz else None
        if self._clock_publisher:
            chosen = [one for one in chosen if one.topic != CLOCK]
        self._publishers_of = self._advertise(chosen)
        self._chosen = [one for one in chosen if one.topic in self._publishers_of]
        if not self._chosen:
            self._reader.close()
            raise DataError(
                f'{path}: none of its message types is installed here; source the workspace that '
                'has them', ReasonCode.BAG_MESSAGE)

        self._thread = threading.Thread(target=self._run, name='player', daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """End the playing; return False if its thread hangs."""
        self._quit.set()
        self._thread.join(JOIN_S)
        self.get_logger().info(f'{self.played} messages of {self._path} played')
        return not self._thread.is_alive()

    def _advertise(self, connections: Sequence[Connection]) -> dict[str, Publisher]:
        """Make a publisher for each topic whose type is installed; name the others."""
        offers: dict[str, list[Qos]] = {}
        for one in connections:
            offers.setdefault(one.topic, []).extend(
                getattr(one.ext, 'offered_qos_profiles', ()))

        publishers: dict[str, Publisher] = {}
        for one in connections:
            if one.topic in publishers:
                continue
            try:
                kind = MessageTypes.python_class(one.msgtype)
                publishers[one.topic] = self.create_publisher(
                    kind, one.topic, replay_qos(offers[one.topic]))
            except ConfigurationError as error:
                self.get_logger().warning(f'{one.topic} is not played: {error}')
        return publishers

    def _run(self) -> None:
        """Play, once or again and again, and ask for the end."""
        code = 0
        try:
            self._tick(self._first_ns)
            self._quit.wait(self._delay_s)
            while not self._quit.is_set():
                self._play_once()
                if not self._loop:
                    break
            for publisher in () if self._quit.is_set() else self._publishers_of.values():
                publisher.wait_for_all_acked(LINGER)

        except Exception as error:  # noqa: BLE001  (a damaged file raises whatever its reader raises)
            self.get_logger().error(
                f'[{ReasonCode.BAG_DAMAGED}] {self._path}: ended after {self.played} messages: '
                f'{detail_of(error)}')
            code = DataError.exit_code
        finally:
            self._reader.close()
            self.exit_code = code

    def _play_once(self) -> None:
        started = time.monotonic()
        for connection, logged_ns, content in self._reader.messages(self._chosen):
            if not self._wait(started, logged_ns):
                return
            self._publishers_of[connection.topic].publish(bytes(content))
            self.played += 1

    def _wait(self, started: float, logged_ns: int) -> bool:
        """Wait until a message is due, with the clock going on; return False at the end."""
        due = started + (logged_ns - self._first_ns) / 1e9 / self._rate
        while (left := due - time.monotonic()) > 0:
            if self._quit.wait(min(left, self._pause_s)):
                return False
            passed = min(time.monotonic(), due) - started
            self._tick(self._first_ns + round(passed * self._rate * 1e9))
        return not self._quit.is_set()

    def _tick(self, now_ns: int) -> None:
        """Publish the time of the recording, if somebody asked for it."""
        if self._clock_publisher:
            now = Time(nanoseconds=now_ns, clock_type=ClockType.ROS_TIME)
            self._clock_publisher.publish(Clock(clock=now.to_msg()))


def open_bag(path: Path) -> Reader:
    """
    Return an open bag.

    :raises DataError: ``B01`` or ``B03``, if it cannot be read or is empty.
    """
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:
        raise DataError(
            f'{path}: cannot be read as a rosbag2 ({detail_of(error)}); one that was cut short '
            'can be mended by "ros2 bag reindex"', ReasonCode.BAG_UNREADABLE) from error
    if not reader.message_count:
        reader.close()
        raise DataError(f'{path}: it holds no messages', ReasonCode.BAG_TOPIC_MISSING)
    return reader


def chosen_connections(reader: Reader, topics: Sequence[str], path: Path) -> list[Connection]:
    """
    Return the connections of the topics; all if none is named.

    :raises ConfigurationError: if the bag lacks one; the message lists what it has.
    """
    wanted = {f'/{name.strip("/")}' for name in topics}
    there = {one.topic for one in reader.connections}
    if missing := sorted(wanted - there):
        reader.close()
        raise ConfigurationError(
            f'{path}: no topic {", ".join(missing)}; it has {", ".join(sorted(there))}')
    return [one for one in reader.connections if not wanted or one.topic in wanted]


def replay_qos(offers: Sequence[Qos]) -> QoSProfile:
    """
    Return an offer that satisfies every subscription that one of the recorded offers satisfied.

    :param offers: of the publishers of a topic; none for a bag that does not tell them.
    """
    best_effort = bool(offers) and all(
        one.reliability == QosReliability.BEST_EFFORT for one in offers)
    latched = any(one.durability == QosDurability.TRANSIENT_LOCAL for one in offers)
    everything = any(one.history == QosHistory.KEEP_ALL for one in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_ALL if everything else HistoryPolicy.KEEP_LAST,
        depth=max([one.depth for one in offers if one.depth > 0], default=DEPTH),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)


def main(arguments: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """
    Play from the command line; see the module.

    :param arguments: the command line; ``sys.argv`` by default.
    :param stop: listens since the start of the process.
    :return: the exit code.
    """
    words = list(sys.argv if arguments is None else ['player', *arguments])
    parser = argparse.ArgumentParser(prog='player', description='Play a rosbag2.')
    parser.add_argument('bag', type=local_path, help='its folder, or its file')
    parser.add_argument('--topics', nargs='+', default=[], metavar='NAME')
    parser.add_argument('--rate', type=float, default=1.0)
    parser.add_argument('--loop', action='store_true')
    parser.add_argument('--clock', type=float, default=0.0, metavar='HZ')
    parser.add_argument('--delay', type=float, default=1.0, metavar='SECONDS')
    parsed = parser.parse_args(remove_ros_args(words)[1:])

    def start(stopped: Callable[[], bool]) -> Player:
        return Player(
            parsed.bag, parsed.topics, parsed.rate, parsed.loop, parsed.clock, parsed.delay)
    return run_node(start, words, stop)


if __name__ == '__main__':
    raise SystemExit(main())
