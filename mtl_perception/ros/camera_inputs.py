# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What one camera of the node subscribes to: images, calibration, odometry."""

from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mtl_perception import topics
from mtl_perception.errors import ConfigurationError
from mtl_perception.ros.destroyed import forget_destroyed
from mtl_perception.ros.parameters import Settings
from mtl_perception.ros.qos_matching import MatchingSubscription, Offer, following
from mtl_perception.ros.qos_overrides import PREFIX, overridden

INFO_DEPTH, ODOMETRY_DEPTH = 5, 50


class CameraInputs:
    """
    The subscriptions of one camera.

    :param node: whose subscriptions they are.
    :param prefix: of the topics, such as ``front/``.
    :param settings: the parameters.
    :param with_odometry: whether ``motion.odometry_topic`` is of use.
    :raises ConfigurationError: if two parameters ask for another reliability.
    """

    def __init__(
        self, node: LifecycleNode, prefix: str, settings: Settings, with_odometry: bool,
    ) -> None:
        self._node = node
        compressed = settings.image_transport == 'compressed'
        self._kind = CompressedImage if compressed else Image
        self._image_topic = prefix + (
            topics.COMPRESSED_IMAGE if compressed else topics.IMAGE).name
        self._info_topic = prefix + topics.CAMERA_INFO.name
        self._odometry_topic = settings.motion_odometry_topic if with_odometry else ''
        self.topic = str(node.resolve_topic_name(self._image_topic))
        """Full name of the image topic, after remapping."""

        # Declared here, although it is subscribed later: the parameters are checked in between.
        self._profiles = {
            topic: overridden(node, topic, 'subscription', following(depth))
            for topic, depth in ((self._image_topic, 1), (self._info_topic, INFO_DEPTH),
                                 (self._odometry_topic, ODOMETRY_DEPTH)) if topic}
        self._fix_reliability(settings.image_reliability)
        self._image: MatchingSubscription | None = None
        self._others: list[MatchingSubscription] = []

    def open(
        self, on_image: Callable[[Any], None], on_info: Callable[[Any], None],
        on_odometry: Callable[[Any], None],
    ) -> None:
        """Subscribe; in place of an image that cannot be read, ``on_image`` gets the error."""
        forget_destroyed(self._node)
        self._image = MatchingSubscription(
            self._node, self._kind, self._image_topic, on_image,
            self._profiles[self._image_topic], on_damaged=on_image)
        self._others = [self._subscribe(CameraInfo, self._info_topic, on_info)]
        if self._odometry_topic:
            self._others.append(self._subscribe(Odometry, self._odometry_topic, on_odometry))

    def close(self) -> bool:
        """End the subscriptions; return whether there were any."""
        was_open = self._image is not None
        for subscription in self._subscriptions():
            subscription.destroy()
        self._image = None
        self._others.clear()
        return was_open

    def update(self) -> None:
        """Follow the quality of service that the publishers offer."""
        for subscription in self._subscriptions():
            subscription.update()

    @property
    def offer(self) -> Offer:
        """Who publishes the images."""
        return Offer() if self._image is None else self._image.offer

    def _subscriptions(self) -> list[MatchingSubscription]:
        """Return the subscriptions that are open."""
        return ([] if self._image is None else [self._image]) + self._others

    def _subscribe(
        self, kind: type[Any], topic: str, callback: Callable[[Any], None],
    ) -> MatchingSubscription:
        return MatchingSubscription(self._node, kind, topic, callback, self._profiles[topic])

    def _fix_reliability(self, choice: str) -> None:
        """Take the reliability of the images from ``image_reliability`` if that tells one."""
        profile: QoSProfile = self._profiles[self._image_topic]
        if choice == 'auto':
            return
        wanted = ReliabilityPolicy[choice.upper()]
        if profile.reliability not in (ReliabilityPolicy.BEST_AVAILABLE, wanted):
            raise ConfigurationError(
                f'image_reliability is {choice!r}, but '
                f'{PREFIX}{self.topic}.subscription.reliability is '
                f'{profile.reliability.name.lower()!r}; leave one of them out')
        profile.reliability = wanted
