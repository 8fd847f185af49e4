# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Image sources: folders of images, videos, cameras, and calibration files.

The robot, ``mtl predict`` and the data sets read them through the same functions, so that a file
means the same to all of them. OpenCV and PyAV are needed, neither torch nor ROS.
"""
