# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
A subscription whose reliability and durability follow what the publishers offer.

A reliable subscription gets nothing from a best-effort publisher; a best-effort one loses large
images of a reliable publisher between processes. A volatile one misses what a publisher latched
before it came; a transient-local one gets nothing from a volatile publisher. And no event reports
that a topic carries another type. So the graph is polled a few times per second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from mtl_perception.errors import FrameError
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.deserialising import deserialised
from mtl_perception.ros.log_text import printable

WARN_EVERY_S = 5.0
"""A topic with damaged messages is named once in so many seconds."""


def following(depth: int = 1) -> QoSProfile:
    """Return a profile that follows the publishers; the newest messages count."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth,
        reliability=ReliabilityPolicy.BEST_AVAILABLE,
        durability=DurabilityPolicy.BEST_AVAILABLE)


@dataclass(frozen=True)
class Offer:
    """
    Who publishes on a topic.

    :param publishers: full names of the nodes that publish the right type, each once.
    :param foreign: other types on the topic, such as ``std_msgs/msg/Header by node /c``.
    :param unmatched: why no message of the right type arrives; empty if all do.
    :param endpoints: identifiers of the publishers of the right type.
    """

    publishers: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    unmatched: str = ''
    endpoints: frozenset[bytes] = frozenset()


class MatchingSubscription:
    """
    A subscription that is replaced whenever another quality of service fits better.

    What the profile calls "best available" follows the publishers; anything else is fixed.

    :param node: whose subscription it is.
    :param kind: message type.
    :param topic: as given to ``create_subscription``.
    :param callback: called with each message.
    :param profile: its quality of service; :func:`following` if None.
    :param on_damaged: called with the reason in place of a message that cannot be read; if None,
        that is a warning.
    """

    def __init__(
        self, node: Node, kind: type[Any], topic: str, callback: Callable[[Any], None],
        profile: QoSProfile | None = None,
        on_damaged: Callable[[FrameError], None] | None = None,
    ) -> None:
        self._node = node
        self._kind = kind
        self._topic = topic
        self._callback = callback
        self._on_damaged = on_damaged or self._warn
        self._type_name = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
        self._subscription: Subscription | None = None

        self._profile = profile = profile or following()
        self._fixed_reliability = profile.reliability != ReliabilityPolicy.BEST_AVAILABLE
        self._fixed_durability = profile.durability != DurabilityPolicy.BEST_AVAILABLE
        self.reliability = (
            profile.reliability if self._fixed_reliability else ReliabilityPolicy.RELIABLE)
        self.durability = (
            profile.durability if self._fixed_durability else DurabilityPolicy.VOLATILE)
        self.offer = Offer()
        self.update()

    @property
    def topic(self) -> str:
        """Return the resolved name of the topic."""
        return str(self._node.resolve_topic_name(self._topic))

    def update(self) -> Offer:
        """Read the graph, and subscribe again if another quality of service fits better."""
        found = self._node.get_publishers_info_by_topic(self._topic)
        fitting = [one for one in found if one.topic_type == self._type_name]
        offered = {one.qos_profile.reliability for one in fitting}

        # One best-effort publisher is enough: a reliable subscription would not hear it.
        wanted = self.reliability
        if not self._fixed_reliability and offered:
            wanted = ReliabilityPolicy.RELIABLE
            if ReliabilityPolicy.BEST_EFFORT in offered:
                wanted = ReliabilityPolicy.BEST_EFFORT

        # Only if all are latched: a latched subscription would not hear a volatile publisher.
        durability = self.durability
        if not self._fixed_durability and fitting:
            latched = {one.qos_profile.durability for one in fitting} == {
                DurabilityPolicy.TRANSIENT_LOCAL}
            durability = (
                DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)
        if self._subscription is None or (wanted, durability) != (
                self.reliability, self.durability):
            self._subscribe(wanted, durability)

        unmatched = _unmatched(wanted, durability, fitting)
        if unmatched and unmatched != self.offer.unmatched:
            self._node.get_logger().warning(
                f'[{ReasonCode.QOS_MISMATCH}] {self.topic}: {unmatched}')
        self.offer = Offer(
            publishers=tuple(sorted({_full_name(one) for one in fitting})),
            foreign=tuple(sorted({f'{one.topic_type} by node {_full_name(one)}'
                                  for one in found if one.topic_type != self._type_name})),
            unmatched=unmatched,
            endpoints=frozenset(bytes(one.endpoint_gid) for one in fitting))
        return self.offer

    def destroy(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> None:
        self.destroy()
        self.reliability = reliability
        self.durability = durability
        profile = QoSProfile(
            history=self._profile.history, depth=self._profile.depth, reliability=reliability,
            durability=durability)
        quiet = SubscriptionEventCallbacks(incompatible_qos=_ignore)
        self._subscription = self._node.create_subscription(
            self._kind, self._topic, self._receive, profile, event_callbacks=quiet, raw=True)

    def _receive(self, data: bytes) -> None:
        """Pass a message on."""
        try:
            message = deserialised(data, self._kind)
        except FrameError as error:
            self._on_damaged(error)
            return
        self._callback(message)

    def _warn(self, error: FrameError) -> None:
        """Say that a message is left out, at most once in a while."""
        self._node.get_logger().warning(
            f'[{error.code}] {self.topic}: {printable(str(error))}; left out',
            throttle_duration_sec=WARN_EVERY_S)


def _unmatched(
    reliability: ReliabilityPolicy, durability: DurabilityPolicy, publishers: Sequence[Any],
) -> str:
    """Return why a subscription does not hear one of its publishers, with the cure."""
    offered = [one.qos_profile for one in publishers]
    if reliability == ReliabilityPolicy.RELIABLE and any(
            one.reliability == ReliabilityPolicy.BEST_EFFORT for one in offered):
        return ('the publisher offers best_effort, the subscription asks for reliable; set '
                'image_reliability (of an image) to auto or best_effort, or qos_overrides')
    if durability == DurabilityPolicy.TRANSIENT_LOCAL and any(
            one.durability == DurabilityPolicy.VOLATILE for one in offered):
        return ('the publisher offers volatile, the subscription asks for transient_local; set '
                'durability in qos_overrides to volatile')
    return ''


def _ignore(event: Any) -> None:
    """Keep rclpy from logging this: :class:`Offer` says it with the cure."""


def _full_name(endpoint: Any) -> str:
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'
