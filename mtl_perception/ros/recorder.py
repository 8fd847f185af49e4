# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Record topics into a rosbag2, where ``ros2 bag record`` is not installed.

``mtl record``, or
``python -m mtl_perception.ros.recorder --output DIR --topics image_raw TOPIC:TYPE ...``;
without ``--topics`` every topic of the node and its cameras, see :mod:`mtl_perception.topics`.

SIGINT or SIGTERM ends the recording. Exit codes: 0 everything was recorded, 2 usage, 5 the disk is
full or too slow; the file is readable then too.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rclpy.utilities import remove_ros_args
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from mtl_perception import topics as topic_names
from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.media.addresses import local_path
from mtl_perception.ros.bag_writer import BagWriter, Channel
from mtl_perception.ros.message_types import MessageTypes
from mtl_perception.ros.process import run_node
from mtl_perception.signals import StopRequest

DEPTH = 200
LOOK_PERIOD_S = 0.1
PROGRESS_PERIOD_S = 0.5
REPORT_PERIOD_S = 1.0
LINGER_NS = 500_000_000
"""How long the end waits for somebody to take the report of a failure, nanoseconds."""
FOREVER = (1 << 63) - 1


class Recorder(Node):  # type: ignore[misc]
    """
    Subscribe to topics as their publishers offer them, and write every message unchanged.

    A topic of a known type is subscribed to at once, so that no message is missed; one of an
    unknown type when its first publisher is found. Until then a reliable offer is assumed; the
    subscription is replaced when the offers differ.

    :param topics: name -> type, or None to take that of the first publisher; None for every topic
        of the node and its cameras, whenever it appears.
    :param types: the message types that are installed.
    :param writer: writes the messages.
    :param progress: print the counts as JSON twice a second.
    :param namespaces: without topics, only those below these; all if empty.
    """

    def __init__(
            self, topics: dict[str, str | None] | None, types: MessageTypes, writer: BagWriter,
            progress: bool = False, namespaces: Sequence[str] = ()) -> None:
        super().__init__('recorder')
        self.exit_code: int | None = None
        self.counts: Counter[str] = Counter()
        self._writer = writer
        self._types = types
        self._namespaces = None if topics is not None else tuple(namespaces)
        self._wanted = {self.resolve_topic_name(name): msgtype
                        for name, msgtype in (topics or {}).items()}
        self._refused: set[str] = set()

        self._subscriptions_of: dict[str, tuple[Subscription, Channel]] = {}
        self._last_ns = 0
        self._diagnostics = self.create_publisher(
            DiagnosticArray, topic_names.DIAGNOSTICS.name, 10)

        self._look()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_PERIOD_S, self._look, clock=steady)
        self.create_timer(REPORT_PERIOD_S, self._report, clock=steady)
        if progress:
            self.create_timer(PROGRESS_PERIOD_S, self._print_counts, clock=steady)

    def stop(self) -> bool:
        """Write the waiting messages and finish the file."""
        try:
            self._writer.close()
        except StorageError as error:
            self.get_logger().error(str(error))
            self.exit_code = error.exit_code
            self._report(str(error))
            self._diagnostics.wait_for_all_acked(Duration(nanoseconds=LINGER_NS))
        else:
            self.get_logger().info(
                f'{self._writer.written} messages recorded in {self._writer.folder}')
        return True

    def _report(self, failure: str = '') -> None:
        """Publish how the recording goes."""
        text = failure or f'{sum(self.counts.values())} messages in {self._writer.folder}'
        status = DiagnosticStatus(
            name='recorder', hardware_id=str(self._writer.folder), message=text,
            level=DiagnosticStatus.ERROR if failure else DiagnosticStatus.OK)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _print_counts(self) -> None:
        print(json.dumps(self.counts), flush=True)

    def _look(self) -> None:
        """Subscribe to the topics that have publishers; ask for the end if the disk failed."""
        if self._writer.error is not None:
            self.exit_code = StorageError.exit_code

        self._find()
        for topic in list(self._wanted):
            offers = self.get_publishers_info_by_topic(topic)
            msgtype = self._wanted[topic] or (offers[0].topic_type if offers else None)
            if msgtype is None:
                continue

            try:
                self._types.definition(msgtype)
                self._subscribe(topic, msgtype, offers)
            except ConfigurationError as error:
                self.get_logger().error(f'{topic} is not recorded: {error}')
                del self._wanted[topic]
                self._refused.add(topic)

    def _find(self) -> None:
        """Want the topics of the node that are new in the graph, if none were named."""
        if self._namespaces is None:
            return
        for name, kinds in self.get_topic_names_and_types():
            if name in self._wanted or name in self._refused:
                continue
            if not topic_names.is_below(name, self._namespaces) and (
                    name != topic_names.DIAGNOSTICS.name):
                continue

            # a subscriber makes a topic too; its type is that of the first publisher
            if any(topic_names.topic_of(name, kind) for kind in kinds):
                self._wanted[name] = None

    def _subscribe(self, topic: str, msgtype: str, offers: list[TopicEndpointInfo]) -> None:
        qos = matching_qos(offers)
        found = self._subscriptions_of.get(topic)
        if found is not None:
            subscription, channel = found
            if not offers or subscription.qos_profile == qos:
                return
            self.destroy_subscription(subscription)

        channel = Channel(topic, msgtype, tuple({offered_qos(offer): None for offer in offers}))

        def receive(data: bytes, info: dict[str, Any]) -> None:
            self._receive(channel, data, info)

        self._subscriptions_of[topic] = self.create_subscription(
            self._types.python_class(msgtype), topic, receive, qos, raw=True), channel

    def _receive(self, channel: Channel, data: bytes, info: dict[str, Any]) -> None:
        """Pass a message on; the times in the file never decrease, so that it can be scanned."""
        self._last_ns = max(self._last_ns, info['received_timestamp'] or time.time_ns())
        self._writer.write(channel, self._last_ns, data)
        self.counts[channel.name] += 1


def matching_qos(offers: Sequence[TopicEndpointInfo]) -> QoSProfile:
    """Return the strictest quality of service that every publisher satisfies."""
    profiles = [offer.qos_profile for offer in offers]
    best_effort = any(profile.reliability != ReliabilityPolicy.RELIABLE for profile in profiles)
    latched = bool(profiles) and all(
        profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)


def offered_qos(offer: TopicEndpointInfo) -> Qos:
    """Return a publisher's offer in the words of a bag's metadata."""
    profile = offer.qos_profile
    return Qos(
        QosHistory(int(profile.history)), profile.depth, QosReliability(int(profile.reliability)),
        QosDurability(int(profile.durability)), _time(profile.deadline), _time(profile.lifespan),
        QosLiveliness(int(profile.liveliness)), _time(profile.liveliness_lease_duration), False)


def _time(duration: Any) -> QosTime:
    seconds, nanoseconds = divmod(min(int(duration.nanoseconds), FOREVER), 10 ** 9)
    return QosTime(seconds, nanoseconds)


def parse_topics(words: Sequence[str], types: MessageTypes) -> dict[str, str | None]:
    """
    Return name -> type of the topics of a command line.

    :param words: ``NAME`` or ``NAME:TYPE``.
    :raises ConfigurationError: if a topic is named twice or a type cannot be used.
    """
    topics: dict[str, str | None] = {}
    for word in words:
        name, _, msgtype = word.partition(':')
        if name in topics:
            raise ConfigurationError(f'topic {name!r} is named twice')

        if msgtype:
            types.python_class(msgtype)
            types.definition(msgtype)
        topics[name] = msgtype or None
    return topics


def main(arguments: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """
    Record from the command line; see the module.

    :param arguments: the command line; ``sys.argv`` by default.
    :param stop: listens since the start of the process.
    :return: the exit code.
    """
    words = list(sys.argv if arguments is None else ['recorder', *arguments])
    parser = argparse.ArgumentParser(prog='recorder', description='Record topics into a rosbag2.')
    parser.add_argument('--output', type=local_path, required=True, help='folder of the new bag')
    parser.add_argument('--topics', nargs='+', metavar='NAME[:TYPE]')
    parser.add_argument('--namespaces', nargs='+', default=[], metavar='NAMESPACE')

    parser.add_argument('--compress', action='store_true', help='compress the file with zstd')
    parser.add_argument('--progress', action='store_true',
                        help='print the counts as JSON twice a second')
    # the node reads the arguments of ROS itself
    parsed = parser.parse_args(remove_ros_args(words)[1:])

    def start(stopped: Callable[[], bool]) -> Recorder:
        types = MessageTypes()
        topics = None if parsed.topics is None else parse_topics(parsed.topics, types)
        writer = BagWriter(parsed.output, types, parsed.compress)
        return Recorder(topics, types, writer, parsed.progress, parsed.namespaces)
    return run_node(start, words, stop)


if __name__ == '__main__':
    raise SystemExit(main())
