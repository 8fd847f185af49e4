# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-task perception for ROS 2: semantics, depth and motion from one network."""

__version__ = '0.1.0'
