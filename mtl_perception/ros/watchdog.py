# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The watchdog of the node: silent cameras, hangs, repeated failures, and the diagnostics.

Everything here uses steady time, so that neither a recording's clock nor a change of the system's
clock disturbs it.
"""

import time
from collections.abc import Callable
from typing import Protocol

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile

from mtl_perception import topics
from mtl_perception.inference.fit import roi_text
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.camera import Camera
from mtl_perception.ros.diagnostics import (
    ERROR,
    OK,
    STALE,
    WARN,
    Health,
    assess,
    camera_values,
    diagnostic_array,
    status,
    timing_values,
)
from mtl_perception.ros.load import overload
from mtl_perception.ros.parameters import Settings
from mtl_perception.ros.qos_overrides import overridden

REPORT_PERIOD_S = 1.0
CLOCK_PATIENCE_S = 5.0

LONGEST_STREAKS: dict[str, int] = {
    ReasonCode.DEVICE_MEMORY: 3, ReasonCode.OUTPUT_NOT_FINITE: 10, ReasonCode.TIMEOUT: 3}
"""The node deactivates itself after this many frames in a row were dropped for a reason."""

HANGS = 3
"""The process ends when a frame takes this many times ``inference_timeout``."""


class WatchedNode(Protocol):
    """The part of the perception node that the watchdog reads and calls."""

    last_error: str
    activated_at: float | None
    settings: Settings | None
    cameras: dict[str, Camera]

    def busy(self) -> tuple[str, float] | None:
        """Return the camera whose frame is being processed and for how many seconds."""

    def give_up(self, reason: str) -> None:
        """Deactivate, and remember why."""

    def request_exit(self, code: int, reason: str) -> None:
        """Ask the program to end."""

    def facts(self) -> dict[str, str]:
        """Return what is loaded and where it runs."""


class Watchdog:
    """
    Check the node a few times per second, and publish the diagnostics.

    :param watched: the perception node.
    :param node: the same node, for its publishers and its clock.
    :param clock: steady time in seconds.
    """

    def __init__(
        self, watched: WatchedNode, node: Node, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        self._node = node
        self._clock = clock
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._diagnostics, self._timing = (
            node.create_publisher(DiagnosticArray, name, overridden(
                node, name, 'publisher', QoSProfile(depth=10)))
            for name in (topics.DIAGNOSTICS.name, f'~/{topics.TIMING.name}'))
        self._reported_at = -REPORT_PERIOD_S
        self._levels: dict[str, bytes] = {}
        self._silent: set[str] = set()
        self._labels_at = clock()
        self._started_at = clock()
        self._namesakes = 1
        self._counted_at = clock()

    def tick(self) -> None:
        """Check everything; report at once if a level changed, else once per second."""
        watched = self._watched
        now = self._clock()
        if watched.settings is not None and watched.activated_at is not None:
            for camera in watched.cameras.values():
                camera.update_subscriptions()
                age_ms = camera.account.newest('age')
                camera.load.add(
                    now, camera.account.counts(), None if age_ms is None else age_ms / 1000)
                self._notice_silence(camera, watched.settings)
            self._repeat_labels(now, watched.settings)
            self._stop_failing(watched.settings)

        if now - self._counted_at >= REPORT_PERIOD_S:
            self._counted_at = now
            self._namesakes = sum(
                f'{space.rstrip("/")}/{name}' == f'/{self._name}'
                for name, space in self._node.get_node_names_and_namespaces())

        healths = self._healths(now)
        levels = {name: health.level for name, health in healths.items()}
        if levels != self._levels or now - self._reported_at >= REPORT_PERIOD_S:
            self._levels = levels
            self._reported_at = now
            self._report(healths)

    def _notice_silence(self, camera: Camera, settings: Settings) -> None:
        """Drop the temporal state of a camera that fell silent, once."""
        silence = camera.account.silence()
        if silence is None or silence <= settings.camera_timeout:
            self._silent.discard(camera.name)
        elif camera.name not in self._silent:
            self._silent.add(camera.name)
            camera.request_reset('silence')

    def _repeat_labels(self, now: float, settings: Settings) -> None:
        """Publish the labels again after ``labels.period``."""
        if 0 < settings.labels_period <= now - self._labels_at:
            self._labels_at = now
            for camera in self._watched.cameras.values():
                camera.outputs.publish_labels()

    def _stop_failing(self, settings: Settings) -> None:
        """Deactivate after too many failures in a row; end the process if the network hangs."""
        busy = self._watched.busy()
        if busy is not None and busy[1] > HANGS * settings.inference_timeout:
            self._watched.request_exit(
                7, f'[{ReasonCode.TIMEOUT}] the network has not returned for {busy[1]:.0f} s')

        for camera in self._watched.cameras.values():
            reason, count = camera.account.streak
            if count >= LONGEST_STREAKS.get(reason, count + 1):
                self._watched.give_up(
                    f'[{reason}] camera {camera.name!r}: {count} frames in a row were dropped; '
                    'activate again once the cause is removed')
                return

    def _healths(self, now: float) -> dict[str, Health]:
        """Return the health of the node and of each camera, by the name of its entry."""
        watched = self._watched
        healths = {f'{self._name}: node': self._node_health(now)}
        for camera in watched.cameras.values():
            health = Health(STALE, 'inactive')
            if watched.settings is not None and watched.activated_at is not None:
                health = self._camera_health(camera, watched.settings, now - watched.activated_at)
            healths[f'{self._name}: {camera.name}'] = health
        return healths

    def _camera_health(self, camera: Camera, settings: Settings, active_s: float) -> Health:
        busy = self._watched.busy()
        if busy is not None and busy[1] > settings.inference_timeout:
            return Health(
                ERROR, f'[{ReasonCode.TIMEOUT}] the network has not returned for {busy[1]:.0f} s')
        return assess(
            camera.account, camera.inputs.offer, camera.topic, settings.camera_timeout, active_s,
            self._clock(), camera.metres_problem, overload(camera.load.load(), settings))

    def _node_health(self, now: float) -> Health:
        watched = self._watched
        if watched.last_error:
            return Health(ERROR, watched.last_error)

        # time stands still at zero: every timer and stamp of the node waits for /clock
        clock = self._node.get_clock()
        if (clock.ros_time_is_active and clock.now().nanoseconds == 0
                and now - self._started_at > CLOCK_PATIENCE_S):
            return Health(WARN, f'[{ReasonCode.TIME_NO_CLOCK}] use_sim_time is true but /clock '
                                'has not been received')
        if self._namesakes > 1:
            return Health(WARN, f'[{ReasonCode.NODE_NAME}] {self._namesakes} nodes are called '
                                f'/{self._name}')
        if watched.activated_at is not None:
            return Health(OK, 'active')
        return Health(OK, 'unconfigured' if watched.settings is None else 'inactive')

    def _report(self, healths: dict[str, Health]) -> None:
        """Publish the diagnostics, and those of the cameras once more as timing."""
        statuses: list[DiagnosticStatus] = []
        timings: list[DiagnosticStatus] = []
        cameras = {f'{self._name}: {one.name}': one for one in self._watched.cameras.values()}

        for name, health in healths.items():
            camera = cameras.get(name)
            if camera is None:
                statuses.append(status(name, self._name, health, self._watched.facts()))
                continue

            moving = camera.stream.moving
            values = camera_values(
                camera.account, dict(camera.stream.resets),
                {} if moving is None else dict(moving.unknown))
            arrived, published = camera.account.rates()
            load = camera.load.load()
            if load is not None:
                values['superseded_share'] = f'{load.superseded:.3f}'
                if load.motion_unknown is not None:
                    values['motion_unknown_share'] = f'{load.motion_unknown:.3f}'

            values |= {f'messages.{topic}': str(count)
                       for topic, count in sorted(camera.outputs.made.items())}
            settings = camera.stream.settings
            values |= {'topic': camera.topic, 'received_hz': f'{arrived:.2f}',
                       'published_hz': f'{published:.2f}',
                       # mtl evaluate --bag --rerun repeats the node with these
                       'max_gap': str(settings.max_gap_s),
                       'image.range': camera.image_range.text(),
                       'depth.camera_height': str(settings.camera_height),
                       'depth.camera_height.source': camera.mounting.height_source,
                       'motion.camera_pose.source': camera.mounting.pose_source,
                       'depth.scale': settings.depth_scale,
                       'motion.head': settings.motion_head, 'rectify': settings.rectify,
                       'input.fit': settings.fit.how,
                       'input.roi': roi_text(settings.fit.roi)}

            if moving is not None:
                values['motion.min_score'] = str(moving.minimum_score)
            if self._watched.settings is not None:
                values['detection.min_score'] = str(self._watched.settings.detection_min_score)

            if (layout := camera.stream.layout) is not None:
                values['tiles'] = str(len(layout.tiles))
            if camera.stream.anchor is not None:
                values |= {'depth.anchored': str(camera.stream.anchor.anchored).lower(),
                           'depth.scale.factor': f'{camera.stream.anchor.factor:.3f}'}
            if camera.intrinsics is not None:
                values |= {'intrinsics': str(camera.intrinsics.state),
                           'intrinsics.reason': camera.intrinsics.reason,
                           'focal_px': f'{camera.focal_px:.2f}'}
            times = timing_values(camera.account)

            statuses.append(status(name, camera.name, health, values | times))
            timings.append(status(name, camera.name, health, values | times))

        stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_array(stamp, statuses))
        self._timing.publish(diagnostic_array(stamp, timings))
