# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The motion of a camera by the odometry of its robot."""

import bisect
import threading
from collections import deque
from operator import itemgetter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import rotation_of_quaternion

Matrix = NDArray[np.float64]

KEPT = 400
"""Number of messages in the memory: 2 s at 200 Hz."""
LATE_NS = 100_000_000
"""A pose is extrapolated at the last speed up to this time after the newest message."""
APART_NS = 500_000_000
"""No pose is interpolated between messages that are farther apart than this."""


class OdometryMemory:
    """
    The last messages of a ``nav_msgs/Odometry``; may be used from any thread.

    :param camera_pose: x, y, z in metres and the quaternion x, y, z, w of the camera's optical
        frame (x right, y down, z ahead) in the message's child frame.
    :param kept: number of messages that are remembered, None for all of a recording.
    """

    def __init__(self, camera_pose: tuple[float, ...], kept: int | None = KEPT) -> None:
        self._lock = threading.Lock()
        self._poses: deque[tuple[int, Matrix]] = deque(maxlen=kept)
        self._camera = _matrix(camera_pose[:3], camera_pose[3:])
        self.child_frame = ''
        """Frame of the robot by the newest message; empty before the first one."""

    def put(self, message: Any) -> None:
        """
        Keep a message. An older one than the last clears the memory.

        One of the same time, which a relay or a second publisher repeats, and one of an invalid
        pose are ignored.

        :param message: ``nav_msgs/Odometry``.
        """
        place, turn = message.pose.pose.position, message.pose.pose.orientation
        numbers = np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w])
        if not np.isfinite(numbers).all() or np.linalg.norm(numbers[3:]) < 1e-6:
            return

        # the camera's pose in the world: that of the robot, then that of the camera on the robot
        stamp = message.header.stamp
        stamp_ns = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
        with self._lock:
            self.child_frame = str(getattr(message, 'child_frame_id', ''))
            if self._poses and stamp_ns == self._poses[-1][0]:
                return
            if self._poses and stamp_ns < self._poses[-1][0]:
                self._poses.clear()
            self._poses.append((stamp_ns, _matrix(numbers[:3], numbers[3:]) @ self._camera))

    def use_camera(self, pose: Matrix) -> None:
        """
        Take another pose of the camera, also for the messages that are here already.

        :param pose: (4, 4) float64, the optical frame in the message's child frame.
        """
        with self._lock:
            if np.array_equal(pose, self._camera):
                return
            change = np.linalg.inv(self._camera) @ pose
            moved = [(stamp_ns, before @ change) for stamp_ns, before in self._poses]
            self._poses = deque(moved, maxlen=self._poses.maxlen)
            self._camera = np.asarray(pose, np.float64)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._poses.clear()

    def between(self, earlier_ns: int, later_ns: int) -> Matrix | None:
        """
        Return how the camera moved.

        :param earlier_ns: a time, nanoseconds.
        :param later_ns: a later one.
        :return: (4, 4) float64, the camera at the later time in its frame at the earlier one;
            None if there are no messages around one of the times.
        """
        with self._lock:
            poses = list(self._poses)
        earlier, later = (_pose_at(poses, stamp_ns) for stamp_ns in (earlier_ns, later_ns))
        if earlier is None or later is None:
            return None
        return np.asarray(np.linalg.inv(earlier) @ later)


def _pose_at(poses: list[tuple[int, Matrix]], stamp_ns: int) -> Matrix | None:
    """Return the pose at a time, between two messages or shortly after the last."""
    if len(poses) < 2 or stamp_ns < poses[0][0] or stamp_ns > poses[-1][0] + LATE_NS:
        return None

    place = bisect.bisect_left(poses, stamp_ns, key=itemgetter(0))
    place = min(max(place, 1), len(poses) - 1)
    (before_ns, before), (after_ns, after) = poses[place - 1], poses[place]
    if after_ns - before_ns > APART_NS:
        return None
    return _interpolated(before, after, (stamp_ns - before_ns) / (after_ns - before_ns))


def _interpolated(before: Matrix, after: Matrix, share: float) -> Matrix:
    """
    Return the pose a share of the way from one to another; a share above 1 extrapolates.

    R = R0 exp(share log(R0^T R1)),  t = t0 + share (t1 - t0)
    """
    turn = np.asarray(cv2.Rodrigues(before[:3, :3].T @ after[:3, :3])[0], np.float64)
    result = np.eye(4)
    result[:3, :3] = before[:3, :3] @ cv2.Rodrigues(turn * share)[0]
    result[:3, 3] = before[:3, 3] + share * (after[:3, 3] - before[:3, 3])
    return result


def _matrix(place: Any, quaternion: Any) -> Matrix:
    """Return the (4, 4) pose of a place and a quaternion x, y, z, w."""
    result = np.eye(4)
    result[:3, :3] = rotation_of_quaternion(quaternion)
    result[:3, 3] = place
    return result
