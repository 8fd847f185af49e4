# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node and the camera source: a thin ROS 2 shell around :mod:`mtl_perception.inference`."""

from mtl_perception.middleware import check_environment

# Before anything imports rclpy, with which rcl would end the process.
check_environment()
