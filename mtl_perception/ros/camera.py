# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: its subscriptions, temporal state, topics and counters."""

import dataclasses
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from mtl_perception.errors import ConfigurationError, FrameError
from mtl_perception.frames import Frame, Perception
from mtl_perception.image_codec import decode_compressed, decode_image
from mtl_perception.image_range import ImageRange
from mtl_perception.inference.confidence import offered
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.fit import SQUEEZED, Fit, Layout
from mtl_perception.inference.stream import (
    MOTION_HEAD_TASKS,
    CameraStream,
    StreamSettings,
    assumed_focal_length,
)
from mtl_perception.media.calibration import CalibrationMemory
from mtl_perception.media.intrinsics import Intrinsics, is_rectified_topic
from mtl_perception.media.odometry import OdometryMemory
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.accounting import FrameAccount
from mtl_perception.ros.camera_inputs import CameraInputs
from mtl_perception.ros.image_checks import PictureWatch
from mtl_perception.ros.image_origin import ImageOrigin
from mtl_perception.ros.library_noise import LibraryNoise
from mtl_perception.ros.load import LoadWatch
from mtl_perception.ros.log_text import Throttle, printable
from mtl_perception.ros.mounting import Mounting
from mtl_perception.ros.outputs import CameraOutputs, Ready
from mtl_perception.ros.parameters import Settings
from mtl_perception.ros.robot_frames import RobotFrames

NANOSECONDS = 1_000_000_000
FUTURE_NS = NANOSECONDS // 10
"""A stamp may be this far ahead of the node's clock without a warning."""
KEPT_CALIBRATIONS = 16
METRIC = ('depth', 'objects', 'step')
"""Results in metres, and what their names begin with."""
ANEW = ('first', 'gap')
"""Reasons of unknown motion that the next frame removes if it comes soon."""


@dataclass(frozen=True)
class Arrival:
    """
    A message and when it came.

    :param message: ``sensor_msgs/Image`` or ``sensor_msgs/CompressedImage``, or the error why it
        cannot be read.
    :param generation: number of the activation that it belongs to.
    :param steady_s: steady time of the callback, seconds.
    :param ros_ns: time of the callback by the node's clock, nanoseconds.
    """

    message: Any
    generation: int
    steady_s: float
    ros_ns: int


@dataclass(frozen=True)
class Answer:
    """
    What is to be published for a frame.

    :param ready: the messages and their publishers.
    :param stamp_ns: of the frame.
    :param times_ms: how long each stage took.
    :param motion_known: whether it tells what moves; None if that was not asked for.
    :param starts_anew: whether motion is unknown because the frame before is too long ago.
    """

    ready: list[Ready]
    stamp_ns: int
    times_ms: dict[str, float]
    motion_known: bool | None = None
    starts_anew: bool = False


class Camera:
    """
    Everything that belongs to one camera.

    :meth:`process` runs in the worker, everything else in the executor's thread.

    :param node: whose topics they are.
    :param name: empty for the camera in the node's own namespace.
    :param engine: the network, shared by all cameras.
    :param settings: the parameters.
    :param frames: of the robot.
    :raises ConfigurationError: if they contradict one another or the model.
    """

    def __init__(
        self, node: LifecycleNode, name: str, engine: Engine, settings: Settings,
        frames: RobotFrames,
    ) -> None:
        self._node = node
        self._frames = frames
        self.name = name or 'camera'
        self._prefix = f'{name}/' if name else ''
        self._settings = settings

        if settings.depth_scale == 'odometry' and not settings.motion_odometry_topic:
            raise ConfigurationError(
                "depth.scale is 'odometry', but no odometry is named; set motion.odometry_topic")
        self.account = FrameAccount()
        self.load = LoadWatch()

        self.stream = CameraStream(engine, StreamSettings(
            settings.max_gap, settings.depth_camera_height, settings.motion_head,
            settings.rectify, Fit(settings.input_fit, settings.input_roi),
            settings.depth_scale, height_follows=bool(settings.depth_ground_frame)))
        self._reset_reasons: list[str] = []
        self._forget_range = False

        # what is noticed about the images
        self._watch = PictureWatch()
        self._origin = ImageOrigin()
        self.image_range = ImageRange(settings.image_range)
        """What is black and white in images of more than 8 bits."""
        self._throttle = Throttle()
        self.noise = LibraryNoise()
        """What libraries print about damaged images; to be closed."""

        self._decode = (
            decode_compressed if settings.image_transport == 'compressed' else decode_image)

        self._follows_odometry = bool(settings.motion_odometry_topic) and (
            self.stream.moving is not None or settings.depth_scale == 'odometry')
        self._odometry = OdometryMemory(settings.motion_camera_pose)
        self.inputs = CameraInputs(node, self._prefix, settings, self._follows_odometry)
        """The subscriptions."""
        self.topic = self.inputs.topic
        """Full name of the image topic, after remapping."""

        self._infos = CalibrationMemory(KEPT_CALIBRATIONS, is_rectified_topic(self.topic))
        self.intrinsics: Intrinsics | None = None
        """What is known of the camera of the last image; None before the first one."""
        self.focal_px = 0.0
        """Focal length that the metres stand on, pixels; 0 before the first image."""
        self._layout: Layout | None = None

        self.outputs = CameraOutputs(
            node, self._prefix, engine.manifest, settings, self.stream.moving is not None,
            offered(engine))
        self.mounting = Mounting(settings, self.stream, self._odometry)

    def open(
        self, on_image: Callable[[Any], None], guard: Callable[[Any], Callable[[Any], None]],
    ) -> None:
        """Subscribe."""
        self.inputs.open(on_image, guard(self._infos.put), guard(self._odometry.put))

    def close(self) -> None:
        """End the subscriptions; what comes after them is another stream."""
        if self.inputs.close():
            self.request_reset('deactivated')
        self._infos.clear()
        self._origin.forget()
        self.intrinsics = None
        self.load.clear()
        self._odometry.clear()
        self._forget_range = True

    def update_subscriptions(self) -> None:
        """Follow the publishers; the images of a new one are another stream."""
        self.inputs.update()
        if self._origin.is_new(self.inputs.offer.endpoints):
            self.request_reset('publisher')

    def request_reset(self, reason: str) -> None:
        """Drop the temporal state before the next frame; the state belongs to the worker."""
        self._reset_reasons.append(reason)

    def problem(self, settings: Settings) -> str:
        """Return why parameters cannot be followed while configured, empty if they can."""
        height = settings.depth_camera_height
        if settings.depth_scale == 'height' and not height and not settings.depth_ground_frame:
            return ("depth.camera_height cannot be 0 with depth.scale 'height' and without "
                    'depth.ground_frame: nobody would tell the height')
        try:
            self.stream.check_camera_height(height)
        except ConfigurationError as error:
            return str(error)
        return ''

    def process(self, arrival: Arrival, settings: Settings) -> Answer:
        """
        Turn a message into the messages to publish.

        :raises FrameError: if the frame is unusable.
        """
        # Check before decoding: an old stamp costs nothing.
        times = [time.monotonic()]
        self._follow(settings)
        if isinstance(arrival.message, FrameError):
            raise arrival.message
        header: Header = arrival.message.header
        stamp_ns = self._stamp_ns(header, arrival.ros_ns, settings.max_age)
        image = self._decoded(arrival.message, settings.max_pixels)
        if change := self._origin.change_of(arrival.message):
            self.request_reset(change)
        times.append(time.monotonic())

        # Compute only for subscribers. A calibration of another size cannot scale depth.
        wanted = self.outputs.wanted(settings)
        known, info = self._infos.intrinsics(stamp_ns, image.shape, header.frame_id)
        self._note(known, image.shape[1], self.outputs.tasks(wanted))
        self.outputs.rays.use(known, self.focal_px)
        self._ask_robot(header.frame_id)

        if known.is_of_another_size:
            # with an odometry, the step of the camera does not stand on depth
            metric = METRIC[:-1] if self._follows_odometry else METRIC
            wanted = {output: publisher for output, publisher in wanted.items()
                      if not output.task.startswith(metric)}
        # also where nobody listens: requests must not pile up
        while self._reset_reasons:
            self.stream.reset(self._reset_reasons.pop(0))
        perception = Perception()
        if wanted:
            perception = self._perceive(
                Frame(self.name, stamp_ns, image), self.outputs.tasks(wanted), known, settings)
        times.append(time.monotonic())

        # Too late to be of use; several in a row deactivate the node, see the watchdog.
        if times[-1] - times[0] > settings.inference_timeout:
            raise FrameError(
                f'took {times[-1] - times[0]:.1f} s, inference_timeout is '
                f'{settings.inference_timeout:g} s', ReasonCode.TIMEOUT)

        layout = self.stream.layout
        size = image.shape[:2] if layout is None else layout.size(settings.output_size)
        ready = self.outputs.messages(
            wanted, perception, image, header, info, size, settings)
        times.append(time.monotonic())

        spans = [1000 * (later - earlier) for earlier, later in itertools.pairwise(times)]
        return Answer(ready, stamp_ns, {
            'wait': 1000 * (times[0] - arrival.steady_s),
            **dict(zip(('decode', 'network', 'messages'), spans))},
            None if perception.motion is None else not self.stream.motion_unknown,
            perception.motion is not None and self.stream.motion_unknown in ANEW)

    def _follow(self, settings: Settings) -> None:
        """Take the parameters that have changed since the frame before."""
        before = self._settings
        if self.stream.moving is not None:
            self.stream.moving.minimum_score = settings.motion_min_score
        if settings is before:
            return
        self._settings = settings
        self.stream.use_max_gap(settings.max_gap)
        self.mounting.height = settings.depth_camera_height
        # Another brightness is no motion.
        if settings.image_range != before.image_range and self.image_range.use(
                settings.image_range):
            self.request_reset('image_range')

    def _decoded(self, message: Any, max_pixels: int) -> NDArray[np.uint8]:
        """Return the image in a message, after a look at what it shows."""
        if self._forget_range:  # the range belongs to the worker
            self._forget_range = False
            self.image_range.forget()
        faint, changes = self.image_range.faint, self.image_range.changes
        with self.noise as noise:
            image = self._decode(message, max_pixels=max_pixels, image_range=self.image_range)
        if noise.line:
            count = self.account.warned(ReasonCode.IMAGE_DAMAGED)
            if self._throttle.due(ReasonCode.IMAGE_DAMAGED):
                self._node.get_logger().warning(
                    f'[{ReasonCode.IMAGE_DAMAGED}] camera {self.name!r} ({self.topic}): '
                    f'{printable(noise.line)} ({count} images so far)')

        if fault := self._watch.check(image):
            self.account.warned(fault)
        if self.image_range.faint > faint:
            self.account.warned(ReasonCode.IMAGE_CONTRAST)
        # Another brightness is no motion.
        if self.image_range.changes > changes:
            self.request_reset('image_range')
        return image

    def _stamp_ns(self, header: Header, arrived_ns: int, max_age: float) -> int:
        """
        Return the stamp of a message, nanoseconds.

        :raises FrameError: if it is not a time, or older than ``max_age``.
        """
        stamp = header.stamp
        if stamp.sec < 0 or not 0 <= stamp.nanosec < NANOSECONDS:
            raise FrameError(
                f'the stamp is {stamp.sec} s {stamp.nanosec} ns, wanted seconds from 0 and '
                'nanoseconds below 1000000000', ReasonCode.TIME_INVALID)

        stamp_ns = int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)
        if stamp_ns > arrived_ns + FUTURE_NS:
            self.account.warned(ReasonCode.TIME_FUTURE)

        # Two codes for one age: it came too late, or it waited too long in the mailbox.
        if max_age > 0:
            for now, reason in ((arrived_ns, ReasonCode.TIME_STALE),
                                (self._node.get_clock().now().nanoseconds, ReasonCode.EXPIRED)):
                if now - stamp_ns > max_age * NANOSECONDS:
                    raise FrameError(
                        f'is {(now - stamp_ns) / NANOSECONDS:.3f} s old, max_age is {max_age:g} s',
                        reason)
        return stamp_ns

    @property
    def metres_problem(self) -> str:
        """Why the metres of this camera are not those of its lens; empty if they are."""
        known = self.intrinsics
        if not self._measures:
            return ''
        if self.mounting.problem:
            return f'[{ReasonCode.HEIGHT_ODD}] {self.mounting.problem}'
        if known is None or known.code is None:
            return ''
        text = known.text(self.focal_px)
        return f'[{known.code}] ' + (
            f'depth is withheld: {known.reason}' if known.is_of_another_size
            else f'depth stands on a {text}' if known.focal_px
            else f'depth stands on an {text}')

    @property
    def _measures(self) -> bool:
        """Whether the model gives anything in metres."""
        manifest = self.stream.engine.manifest
        return manifest.task('depth') is not None or self.stream.moving is not None

    def _ask_robot(self, frame_id: str) -> None:
        """Take height and pose of the camera from the robot's frames, and log what is new."""
        mounting, problem = self.mounting, self.mounting.problem
        if mounting.update(self._frames, frame_id):
            # flow and depth of the frame before stand on another scale
            self.request_reset('camera_height')
            height = self.stream.settings.camera_height
            self._node.get_logger().info(f'camera {self.name!r}: ' + (
                f'{height:.3f} m above the ground by {mounting.height_source}' if height
                else 'as high as in training'))
        if mounting.problem:
            self.account.warned(ReasonCode.HEIGHT_ODD, lasting=True)
            if mounting.problem != problem and self._throttle.due(ReasonCode.HEIGHT_ODD):
                self._node.get_logger().warning(
                    f'camera {self.name!r}: [{ReasonCode.HEIGHT_ODD}] '
                    f'{printable(mounting.problem)}')

    def _note(self, known: Intrinsics, width: int, tasks: set[str]) -> None:
        """Count what is odd about the intrinsics of a frame, and log what is new about them."""
        metric = {*METRIC} | (MOTION_HEAD_TASKS if self.stream.moving is not None else set())
        if known.code is not None and (tasks & metric or known.is_of_another_size):
            self.account.warned(known.code, lasting=True)

        focal_px = known.focal_px or assumed_focal_length(self.stream.engine.manifest, width)
        before = self.intrinsics, self.focal_px
        if before == (known, focal_px):
            return
        self.intrinsics = known
        self.focal_px = focal_px
        # A camera that changes its size with every image must not flood the log.
        if not self._throttle.due(('intrinsics', known.code)):
            return
        if problem := self.metres_problem:
            self._node.get_logger().warning(f'camera {self.name!r}: {printable(problem)}')
        elif before[0] is not None and before[0].code is not None and self._measures:
            self._node.get_logger().info(
                f'camera {self.name!r}: depth now stands on a {known.text(focal_px)}')

    def _perceive(
        self, frame: Frame, tasks: set[str], known: Intrinsics, settings: Settings,
    ) -> Perception:
        """Run the network on a frame."""
        before = self.stream.warnings.copy()
        try:
            found = self.stream.process(
                frame, tasks=tasks, output_size=settings.output_size, intrinsics=known,
                odometry=self._odometry.between if self._follows_odometry else None)
            self._tell_layout()
            boxes = found.detection
            return found if boxes is None else dataclasses.replace(
                found, detection=boxes.likely(settings.detection_min_score))
        finally:
            for fault in self.stream.warnings - before:
                if fault != known.code:
                    self.account.warned(fault)

    def _tell_layout(self) -> None:
        """Log what the network sees of the images and what that costs, when that changes."""
        layout = self.stream.layout
        if layout is None or layout == self._layout:
            return
        self._layout = layout
        if self.stream.settings.fit != SQUEEZED and self._throttle.due(('layout', None)):
            self._node.get_logger().info(f'camera {self.name!r}: {layout.text()}')
