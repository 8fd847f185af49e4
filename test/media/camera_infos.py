# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Doubles of ``sensor_msgs/CameraInfo``."""

from types import SimpleNamespace

EYE = [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]
EQUIDISTANT_100 = 366.69
"""Focal length of a lens that sees 100 degrees over 640 pixels, pixels per radian."""


def matrix(focal, width=640, height=480):
    return [focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1.0]


def projection(focal, width=640, height=480):
    k = matrix(focal, width, height)
    return [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]


def camera_info(focal=500.0, width=640, height=480, **fields):
    """Return a message for 640 x 480 pixels, with other fields in place of the usual ones."""
    usual = {
        'height': height, 'width': width, 'distortion_model': 'plumb_bob', 'd': [0.0] * 5,
        'k': matrix(focal, width, height), 'r': EYE, 'p': projection(focal, width, height),
        'binning_x': 0, 'binning_y': 0, 'roi': window(),
        'header': SimpleNamespace(frame_id='', stamp=SimpleNamespace(sec=1, nanosec=0))}
    return SimpleNamespace(**{**usual, **fields})


def window(height=0, width=0, x_offset=0, y_offset=0):
    return SimpleNamespace(height=height, width=width, x_offset=x_offset, y_offset=y_offset)
