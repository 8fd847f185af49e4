# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A double of OpenCV's camera driver."""

import numpy as np


class FakeCapture:
    """Stands in for cv2.VideoCapture: a camera that is unplugged after three pictures."""

    def __init__(self, height=48, width=64):
        self.asked = {}
        self.size = (height, width)
        self.pictures = 0

    def open(self, number, backend):
        self.number, self.backend = number, backend
        return True

    def set(self, name, value):
        self.asked[name] = value

    def read(self):
        self.pictures += 1
        blue_green_red = np.full((*self.size, 3), (0, 0, self.pictures), np.uint8)
        return (True, blue_green_red) if self.pictures <= 3 else (False, None)

    def release(self):
        self.pictures = -1
