# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics that one camera's perception goes to; nothing is made that nobody listens to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String
from visualization_msgs.msg import ImageMarker

from mtl_perception import topics
from mtl_perception.frames import Detections, Perception
from mtl_perception.manifest import Manifest
from mtl_perception.postprocessing import (
    colourise_depth,
    colourise_semantic,
    draw_boxes,
    overlay,
    overlay_instance,
    overlay_motion,
)
from mtl_perception.preprocessing import resize
from mtl_perception.ros import box_messages, messages
from mtl_perception.ros.camera_info import fit_info
from mtl_perception.ros.odometry import twist_message
from mtl_perception.ros.parameters import Settings
from mtl_perception.tasks import Task

IMAGES = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL)

Ready = tuple[LifecyclePublisher, Any]
"""A publisher and the message that it is to publish."""

Draw = Callable[[Any, NDArray[np.uint8], Task], NDArray[Any]]
"""From a task's result, the camera image at the same size and the task to the picture."""


@dataclass(frozen=True)
class ImageTopic:
    """
    One image topic.

    :param task: whose result it shows.
    :param topic: its name and encoding.
    :param draw: makes the picture.
    :param over_image: whether the picture is drawn over the camera's image.
    """

    task: str
    topic: topics.Topic
    draw: Draw
    over_image: bool = False


@dataclass(frozen=True)
class BoxTopic:
    """
    One topic of boxes.

    :param topic: its name.
    :param kind: class of its messages, None where that is not installed.
    :param make: makes a message from header, boxes and task.
    """

    topic: topics.Topic
    kind: Any
    make: Callable[[Header, Detections, Task], Any]
    task: str = 'detection'


@dataclass(frozen=True)
class StepTopic:
    """
    The topic of the camera's own motion.

    :param topic: its name, below the node's.
    """

    topic: str
    task: str = 'step'


Topic = ImageTopic | BoxTopic | StepTopic


def _as_it_is(result: NDArray[Any], image: NDArray[np.uint8], task: Task) -> NDArray[Any]:
    return result


def _millimetres(result: NDArray[Any], image: NDArray[np.uint8], task: Task) -> NDArray[Any]:
    return messages.millimetres(result)


def _colours(result: NDArray[Any], image: NDArray[np.uint8], task: Task) -> NDArray[Any]:
    return colourise_semantic(result, task)


def _overlay(result: NDArray[Any], image: NDArray[np.uint8], task: Task) -> NDArray[Any]:
    return overlay(image, colourise_semantic(result, task))


def _depth_colours(result: NDArray[Any], image: NDArray[np.uint8], task: Task) -> NDArray[Any]:
    return colourise_depth(result, task.maximum or 80.0)


def _motion_overlay(result: NDArray[Any], image: NDArray[np.uint8], task: Task) -> NDArray[Any]:
    return overlay_motion(image, result, task)


def _instances(result: NDArray[Any], image: NDArray[np.uint8], task: Task) -> NDArray[Any]:
    return overlay_instance(image, result)


def _boxes(result: Detections, image: NDArray[np.uint8], task: Task) -> NDArray[Any]:
    return draw_boxes(image, result, task)


MOTION_OVERLAY = ImageTopic('motion', topics.MOTION_OVERLAY, _motion_overlay, over_image=True)

IMAGE_TOPICS = (
    ImageTopic('semantic', topics.SEMANTIC, _as_it_is),
    ImageTopic('semantic', topics.SEMANTIC_COLOR, _colours),
    ImageTopic('semantic', topics.SEMANTIC_OVERLAY, _overlay, over_image=True),
    ImageTopic('depth', topics.DEPTH, _as_it_is),
    ImageTopic('depth', topics.DEPTH_RAW, _millimetres),
    ImageTopic('depth', topics.DEPTH_COLOR, _depth_colours),
    ImageTopic('motion', topics.MOTION, _as_it_is),
    MOTION_OVERLAY,
    ImageTopic('instance', topics.INSTANCE, _as_it_is),
    ImageTopic('instance', topics.INSTANCE_OVERLAY, _instances, over_image=True),
    ImageTopic('detection', topics.DETECTION_OVERLAY, _boxes, over_image=True),
)

BOX_TOPICS = (
    BoxTopic(topics.DETECTION, box_messages.DETECTIONS, box_messages.detections_message),
    BoxTopic(topics.MARKERS, ImageMarker, box_messages.markers_message),
)


class CameraOutputs:
    """
    The publishers of one camera.

    :param node: whose publishers they are.
    :param prefix: of the topics, such as ``front/``.
    :param manifest: of the network; a task that it lacks has no topics.
    :param settings: the parameters.
    :param steps: whether the camera's own motion is known.
    """

    def __init__(
        self, node: LifecycleNode, prefix: str, manifest: Manifest, settings: Settings,
        steps: bool = False,
    ) -> None:
        self._node = node
        self._prefix = prefix
        self._size_of = (
            (manifest.height, manifest.width) if settings.output_size == 'network' else None)
        self._tasks = {task.name: task for task in manifest.tasks}
        self._images: dict[ImageTopic, LifecyclePublisher] = {}
        self._boxes: dict[BoxTopic, LifecyclePublisher] = {}
        self._steps: dict[StepTopic, LifecyclePublisher] = {}
        self._used: dict[ImageTopic, Image] = {}
        self._labels: list[tuple[LifecyclePublisher, Task]] = []
        self._infos: list[tuple[LifecyclePublisher, Task]] = []
        self._depth_info: LifecyclePublisher | None = None
        try:
            self._create(settings)
            if steps:
                topic = StepTopic(f'~/{prefix}{topics.EGO_MOTION.name}')
                self._steps[topic] = node.create_lifecycle_publisher(
                    TwistStamped, topic.topic, IMAGES)
        except BaseException:
            self.destroy()
            raise

    def wanted(self) -> list[Topic]:
        """Return the topics that somebody has subscribed to, but for labels and calibrations."""
        every: list[tuple[Topic, LifecyclePublisher]] = [
            *self._images.items(), *self._boxes.items(), *self._steps.items()]
        return [topic for topic, publisher in every if publisher.get_subscription_count() > 0]

    def messages(
        self, wanted: Sequence[Topic], perception: Perception, image: NDArray[np.uint8],
        header: Header, info: CameraInfo | None,
    ) -> list[Ready]:
        """
        Return the messages for one frame; to be published before the next call.

        :param wanted: the topics.
        :param perception: of the frame.
        :param image: (H, W, 3) uint8 RGB, the frame at the camera's size.
        :param header: of the frame; goes into every message as it is.
        :param info: the camera's calibration, None if unknown.
        """
        ready: list[Ready] = []
        for topic in wanted:
            result: Any = getattr(perception, topic.task)
            if result is None:
                continue
            if isinstance(topic, StepTopic):
                ready.append((self._steps[topic], twist_message(header, result)))
                continue
            if isinstance(topic, BoxTopic):
                ready.append((
                    self._boxes[topic], topic.make(header, result, self._tasks[topic.task])))
                continue
            height, width = self._size(result, image)
            background = resize(image, height, width) if topic.over_image else image
            if topic is MOTION_OVERLAY:
                picture = overlay_motion(
                    background, result, self._tasks[topic.task], residual=perception.residual)
            else:
                picture = topic.draw(result, background, self._tasks[topic.task])
            message = messages.image_message(
                header, topic.topic.encoding, picture, self._used.get(topic))
            self._used[topic] = message
            ready.append((self._images[topic], message))
        depth, publisher = perception.depth, self._depth_info
        if (info is not None and depth is not None and publisher is not None
                and publisher.get_subscription_count() > 0):
            ready.append((publisher, fit_info(info, header, *depth.shape)))
        return ready

    def _size(self, result: Any, image: NDArray[np.uint8]) -> tuple[int, int]:
        """Return height and width of the pictures of a result."""
        if not isinstance(result, Detections):
            return result.shape[0], result.shape[1]
        return image.shape[:2] if self._size_of is None else self._size_of

    def publish_labels(self) -> None:
        """Publish what the ids of the masks mean, for whoever listens now or later."""
        for publisher, task in self._labels:
            publisher.publish(messages.labels_message(task))
        header = Header(stamp=self._node.get_clock().now().to_msg())
        for publisher, task in self._infos:
            publisher.publish(messages.label_info_message(task, header))

    def destroy(self) -> None:
        """Take the publishers away."""
        publishers = [*self._images.values(), *self._boxes.values(), *self._steps.values()]
        if self._depth_info:
            publishers.append(self._depth_info)
        for publisher in publishers + [one for one, _ in self._labels + self._infos]:
            self._node.destroy_lifecycle_publisher(publisher)
        self._images.clear()
        self._boxes.clear()
        self._steps.clear()
        self._labels.clear()
        self._infos.clear()
        self._depth_info = None

    def _create(self, settings: Settings) -> None:
        for topic in IMAGE_TOPICS:
            if topic.task in self._tasks and (
                    topic.topic is not topics.DEPTH_RAW or settings.depth_raw_16u):
                self._images[topic] = self._publisher(Image, topic.topic, IMAGES)
        for box_topic in BOX_TOPICS:
            if box_topic.task in self._tasks and box_topic.kind is not None:
                self._boxes[box_topic] = self._publisher(
                    box_topic.kind, box_topic.topic, IMAGES)
        if 'depth' in self._tasks:
            self._depth_info = self._publisher(CameraInfo, topics.DEPTH_INFO, IMAGES)
        for task in self._tasks.values():
            if task.name in topics.LABELS:
                labels = self._publisher(String, topics.LABELS[task.name], LATCHED)
                self._labels.append((labels, task))
                if messages.LABEL_INFO is not None:
                    info = self._publisher(
                        messages.LABEL_INFO, topics.LABEL_INFO[task.name], LATCHED)
                    self._infos.append((info, task))

    def _publisher(
        self, kind: type[Any], topic: topics.Topic, profile: QoSProfile,
    ) -> LifecyclePublisher:
        return self._node.create_lifecycle_publisher(kind, self._prefix + topic.name, profile)
