# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: mcap and sqlite3 files of rosbag2, read without ROS, whatever is wrong with them."""
