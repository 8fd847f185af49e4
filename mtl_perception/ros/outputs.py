# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of one camera's perception; no message is made that has no subscriber."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String
from visualization_msgs.msg import ImageMarker, MarkerArray

from mtl_perception import topics
from mtl_perception.frames import Perception
from mtl_perception.inference.confidence import CONFIDENCES
from mtl_perception.inference.objects_in_time import OBJECTS, has_objects
from mtl_perception.inference.points import PixelRays, points_of
from mtl_perception.manifest import Manifest
from mtl_perception.postprocessing import (
    as_bytes,
    colourise_depth,
    colourise_semantic,
    draw_boxes,
    overlay,
    overlay_instance,
    overlay_motion,
)
from mtl_perception.preprocessing import resize
from mtl_perception.ros import box_messages, messages, object_messages
from mtl_perception.ros.camera_info import fit_info
from mtl_perception.ros.cloud_messages import cloud_message
from mtl_perception.ros.odometry import twist_message
from mtl_perception.ros.parameters import Settings, is_chosen
from mtl_perception.ros.qos_overrides import overridden
from mtl_perception.tasks import Task

FARTHEST_COLOURED_M = 80.0
"""Depth of the cold end of the colours where the model has no maximum, metres."""

IMAGES = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL)

REUSED = (Image, PointCloud2)
"""Messages whose memory is used again for the next frame."""

Ready = tuple[LifecyclePublisher, Any]
"""A publisher and the message that it is to publish."""


@dataclass(frozen=True, eq=False)
class View:
    """
    Everything that a message of one frame may be made from.

    :param header: of the frame, copied unchanged into every message.
    :param name: of the output's task.
    :param perception: of the frame.
    :param tasks: of the model by name.
    :param image: (H, W, 3) uint8 RGB, the frame at the camera's size.
    :param size: height and width of the outputs, pixels.
    :param rays: through the pixels of the camera.
    :param settings: the parameters that the frame follows.
    :param used: message of the frame before, which may be written over.
    """

    header: Header
    name: str
    perception: Perception
    tasks: Mapping[str, Task]
    image: NDArray[np.uint8]
    size: tuple[int, int]
    rays: PixelRays
    settings: Settings
    used: Any

    @property
    def result(self) -> Any:
        """What the perception says about the task."""
        return getattr(self.perception, self.name)

    @property
    def task(self) -> Task:
        """The task whose result it is, with classes and colours."""
        return self.tasks[self.name]

    @property
    def background(self) -> NDArray[np.uint8]:
        """The camera's image at the size of the outputs."""
        return resize(self.image, *self.size)


@dataclass(frozen=True)
class Output:
    """
    One topic that is published for each frame.

    :param task: whose result it shows.
    :param topic: its name and content.
    :param kind: class of its messages, None where that is not installed.
    :param message: makes a message.
    :param also: names of other results that it shows, where the model has them.
    """

    task: str
    topic: topics.Topic
    kind: Any
    message: Callable[[View], Any]
    also: tuple[str, ...] = ()


def _picture(task: str, topic: topics.Topic, draw: Callable[[View], NDArray[Any]]) -> Output:
    """Return an output of images."""
    return Output(task, topic, Image, lambda view: messages.image_message(
        view.header, topic.encoding, draw(view), view.used))


def _confidence(task: str, topic: topics.Topic) -> Output:
    """Return an output of probabilities."""
    return _picture(CONFIDENCES[task], topic, lambda view: as_bytes(view.result))


def _points(view: View) -> PointCloud2:
    """Return the cloud of a frame."""
    found = view.perception
    rays = view.rays.at(view.image.shape[:2], view.size)
    return cloud_message(view.header, points_of(
        view.result, rays, view.background, found.semantic, found.depth_confidence,
        view.settings.depth_organised), view.used)


OUTPUTS = (
    _picture('semantic', topics.SEMANTIC, lambda view: view.result),
    _picture('semantic', topics.SEMANTIC_COLOR,
             lambda view: colourise_semantic(view.result, view.task)),
    _picture('semantic', topics.SEMANTIC_OVERLAY,
             lambda view: overlay(
                 view.background, colourise_semantic(view.result, view.task),
                 view.settings.overlay_opacity)),
    _picture('depth', topics.DEPTH, lambda view: view.result),
    _picture('depth', topics.DEPTH_RAW, lambda view: messages.millimetres(view.result)),
    _confidence('semantic', topics.SEMANTIC_CONFIDENCE),
    _confidence('depth', topics.DEPTH_CONFIDENCE),
    _picture('depth', topics.DEPTH_COLOR,
             lambda view: colourise_depth(view.result, view.task.maximum or FARTHEST_COLOURED_M)),
    Output('depth', topics.POINTS, PointCloud2, _points, ('semantic', CONFIDENCES['depth'])),
    _picture('motion', topics.MOTION, lambda view: view.result),
    _picture('motion', topics.MOTION_OVERLAY,
             lambda view: overlay_motion(
                 view.background, view.result, view.task, view.settings.overlay_opacity,
                 view.perception.residual)),
    _picture('instance', topics.INSTANCE, lambda view: view.result),
    _picture('instance', topics.INSTANCE_OVERLAY,
             lambda view: overlay_instance(
                 view.background, view.result, view.settings.overlay_opacity)),
    _picture('detection', topics.DETECTION_OVERLAY,
             lambda view: draw_boxes(view.background, view.result, view.task)),
    Output('detection', topics.DETECTION, box_messages.DETECTIONS,
           lambda view: box_messages.detections_message(view.header, view.result, view.task)),
    Output('detection', topics.MARKERS, ImageMarker,
           lambda view: box_messages.markers_message(view.header, view.result, view.task)),
    Output(OBJECTS, topics.OBJECT_STATE, PointCloud2,
           lambda view: object_messages.state_message(view.header, view.result)),
    Output(OBJECTS, topics.OBJECT_MARKERS, MarkerArray,
           lambda view: object_messages.marker_array(
               view.header, view.result, view.tasks['semantic'])),
)
"""What is published for each frame."""

EGO_MOTION = Output(
    'step', topics.EGO_MOTION, TwistStamped, lambda view: twist_message(view.header, view.result))


Wanted = Mapping[Output, LifecyclePublisher]
"""Outputs and their publishers."""


class CameraOutputs:
    """
    The publishers of one camera.

    :param node: whose publishers they are.
    :param prefix: of the topics, such as ``front/``.
    :param manifest: of the network; a task that it lacks has no topics.
    :param settings: the parameters.
    :param steps: whether the camera's own motion is known.
    :param confidences: names of those that the engine gives.
    """

    def __init__(
        self, node: LifecycleNode, prefix: str, manifest: Manifest, settings: Settings,
        steps: bool = False, confidences: Sequence[str] = (),
    ) -> None:
        self._node = node
        self._prefix = prefix
        self._tasks = {task.name: task for task in manifest.tasks}
        self._offered = {*self._tasks, *confidences}
        if has_objects(manifest):
            self._offered.add(OBJECTS)
        # replaced as a whole, because another thread reads it
        self._publishers: Wanted = {}
        self._profiles: dict[Output, tuple[str, QoSProfile]] = {}
        self._used: dict[Output, Any] = {}

        self.rays = PixelRays()
        """Through the pixels of the camera; whoever knows its calibration keeps it up to date."""
        self.made: Counter[str] = Counter()
        """How many messages were made, by the name of the topic."""

        self._labels: list[tuple[LifecyclePublisher, Task]] = []
        self._infos: list[tuple[LifecyclePublisher, Task]] = []
        self._depth_info: LifecyclePublisher | None = None
        try:
            self._create(steps)
            self.choose(settings)
        except BaseException:
            self.destroy()
            raise

    def choose(self, settings: Settings, active: bool = False) -> None:
        """
        Create the topics that the parameters choose; those that exist stay for now.

        :param active: whether the node publishes already.
        """
        for output, (topic, profile) in self._profiles.items():
            if output in self._publishers or not _is_chosen(output, settings):
                continue
            publisher = self._node.create_lifecycle_publisher(output.kind, topic, profile)
            if active:
                publisher.on_activate(None)
            self._publishers = {**self._publishers, output: publisher}

    def destroy_others(self, settings: Settings) -> None:
        """End the topics that the parameters do not choose, when no frame follows others."""
        before = self._publishers
        self._publishers = {output: publisher for output, publisher in before.items()
                            if _is_chosen(output, settings)}
        for output in before.keys() - self._publishers.keys():
            self._node.destroy_lifecycle_publisher(before[output])

    def wanted(self, settings: Settings | None = None) -> Wanted:
        """
        Return the outputs that somebody has subscribed to, with their publishers.

        :param settings: of the frame; None for all topics there are.
        """
        # one that is not chosen may be destroyed at this moment: it is not even asked
        return {output: publisher for output, publisher in self._publishers.items()
                if (settings is None or _is_chosen(output, settings))
                and publisher.get_subscription_count() > 0}

    def tasks(self, wanted: Wanted) -> set[str]:
        """Return the names of the results that outputs are made from."""
        return {name for output in wanted for name in (
            output.task, *(name for name in output.also if name in self._offered))}

    def messages(
        self, wanted: Wanted, perception: Perception, image: NDArray[np.uint8],
        header: Header, info: CameraInfo | None, size: tuple[int, int], settings: Settings,
    ) -> list[Ready]:
        """
        Return the messages for one frame; to be published before the next call.

        :param wanted: the outputs.
        :param perception: of the frame.
        :param image: (H, W, 3) uint8 RGB, the frame at the camera's size.
        :param header: of the frame, copied unchanged into every message.
        :param info: the camera's calibration, None if unknown.
        :param size: height and width of the perception, pixels.
        :param settings: the parameters that the frame follows.
        """
        ready: list[Ready] = []
        for output, publisher in wanted.items():
            if getattr(perception, output.task) is None:
                continue
            message = output.message(View(
                header, output.task, perception, self._tasks, image, size, self.rays,
                settings, self._used.get(output)))
            self.made[output.topic.name] += 1
            if output.kind in REUSED:
                self._used[output] = message
            ready.append((publisher, message))

        # the calibration of the depth image goes with it
        depth, depth_info = perception.depth, self._depth_info
        if (info is not None and depth is not None and depth_info is not None
                and depth_info.get_subscription_count() > 0):
            ready.append((depth_info, fit_info(
                info, header, depth.shape[0], depth.shape[1], (image.shape[0], image.shape[1]))))
        return ready

    def publish_labels(self) -> None:
        """Publish what the ids of the masks mean; the topics are latched."""
        for publisher, task in self._labels:
            publisher.publish(messages.labels_message(task))
        header = Header(stamp=self._node.get_clock().now().to_msg())
        for publisher, task in self._infos:
            publisher.publish(messages.label_info_message(task, header))

    def destroy(self) -> None:
        """Take the publishers away."""
        publishers = [*self._publishers.values(),
                      *(publisher for publisher, _ in self._labels + self._infos)]
        if self._depth_info:
            publishers.append(self._depth_info)
        for publisher in publishers:
            self._node.destroy_lifecycle_publisher(publisher)

        self._publishers = {}
        self._labels.clear()
        self._infos.clear()
        self._depth_info = None

    def _create(self, steps: bool) -> None:
        """Note the outputs of the model's tasks, and create the publishers of the rest."""
        possible = [output for output in OUTPUTS
                    if output.task in self._offered and output.kind is not None]
        for output in possible + [EGO_MOTION] * steps:
            # ego-motion is below the node's own name, not the camera's
            start = '~/' if output is EGO_MOTION else ''
            topic = start + self._prefix + output.topic.name
            self._profiles[output] = topic, overridden(self._node, topic, 'publisher', IMAGES)
            self.made[output.topic.name] = 0

        if 'depth' in self._tasks:
            self._depth_info = self._publisher(
                CameraInfo, self._prefix + topics.DEPTH_INFO.name, IMAGES)

        for task in self._tasks.values():
            if task.name in topics.LABELS:
                labels = self._publisher(
                    String, self._prefix + topics.LABELS[task.name].name, LATCHED)
                self._labels.append((labels, task))
                if messages.LABEL_INFO is not None:
                    info = self._publisher(
                        messages.LABEL_INFO, self._prefix + topics.LABEL_INFO[task.name].name,
                        LATCHED)
                    self._infos.append((info, task))

    def _publisher(self, kind: type[Any], topic: str, profile: QoSProfile) -> LifecyclePublisher:
        return self._node.create_lifecycle_publisher(
            kind, topic, overridden(self._node, topic, 'publisher', profile))


def _is_chosen(output: Output, settings: Settings) -> bool:
    """Return whether the parameters choose an output."""
    if output.topic is topics.DEPTH_RAW and not settings.depth_raw_16u:
        return False
    return is_chosen(output.topic, settings.outputs)
