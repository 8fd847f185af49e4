# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a camera is mounted: by the parameters, else by the frames of the robot."""

import numpy as np
from numpy.typing import NDArray

from mtl_perception.inference.stream import CameraStream
from mtl_perception.media.odometry import OdometryMemory
from mtl_perception.ros.parameters import LOOKING_AHEAD, Settings
from mtl_perception.ros.robot_frames import RobotFrames

LOWEST_M, HIGHEST_M = 0.05, 10.0
"""A camera of a robot on the ground is not lower or higher; the parameter allows more."""
SMALL_CHANGE = 0.05
"""Up to this share the height may change, as on springs, and motion stays known."""

Matrix = NDArray[np.float64]


class Mounting:
    """
    The height of one camera above the ground and its pose on the robot, and who says so.

    :param settings: the parameters; what they say is not asked of anybody else.
    :param stream: is told the height.
    :param odometry: is told the pose.
    """

    def __init__(
        self, settings: Settings, stream: CameraStream, odometry: OdometryMemory,
    ) -> None:
        self._stream = stream
        self._odometry = odometry
        self._ground = settings.depth_ground_frame
        self.height = settings.depth_camera_height
        """``depth.camera_height``; 0 = by the robot's frames, else as in the training."""
        self.height_source = 'parameter' if self.height else 'training'
        """``parameter``, ``tf``, ``robot_description`` or ``training``."""
        set_pose = settings.motion_camera_pose != LOOKING_AHEAD
        self.pose_source = 'parameter' if set_pose else 'default'
        """``parameter``, ``tf``, ``robot_description`` or ``default``."""
        self.problem = ''
        """Why a height that somebody told is not believed; empty if it is."""

        manifest = stream.engine.manifest
        usable = bool(manifest.camera_height) or settings.depth_scale == 'height'
        self._asks_height = bool(self._ground) and usable
        self._asks_pose = not set_pose and bool(settings.motion_odometry_topic)

    def update(self, frames: RobotFrames, frame_id: str) -> bool:
        """
        Ask the robot's frames; what they do not know stays as it was.

        :param frames: of the robot.
        :param frame_id: optical frame of the image.
        :return: whether depth is on another scale than before.
        """
        if self._asks_pose and (found := frames.pose(self._odometry.child_frame, frame_id)):
            self._odometry.use_camera(found[0])
            self.pose_source = found[1]
        if self.height:
            self.problem = ''
            return self._use(self.height, 'parameter')

        # what the parameter said before counts no more; what the robot said does
        told = frames.pose(self._ground, frame_id) if self._asks_height else None
        stays = self.height_source != 'parameter'
        if told is None:
            return not stays and self._use(0.0, 'training')

        pose, source = told
        height = float(pose[2, 3])
        if not LOWEST_M <= height <= HIGHEST_M:
            self.problem = (
                f'{source} puts {frame_id!r} {height:.3g} m above {self._ground!r}, wanted '
                f'{LOWEST_M:g} to {HIGHEST_M:g}; its height is not used')
            return not stays and self._use(0.0, 'training')
        self.problem = ''
        return self._use(height, source)

    def _use(self, height: float, source: str) -> bool:
        """Take a height, and return whether depth is on another scale than before."""
        self.height_source = source
        before = self._stream.settings.camera_height
        if height == before:
            return False
        self._stream.use_camera_height(height)
        return abs(height - before) > SMALL_CHANGE * before
