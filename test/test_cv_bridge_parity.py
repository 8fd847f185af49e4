# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images are decoded as cv_bridge decodes them, where that is installed."""

import numpy as np
import pytest

pytest.importorskip('cv_bridge', reason='cv_bridge is not on PyPI; a ROS 2 installation has it')

import cv_bridge
from sensor_msgs.msg import Image

from mtl_perception.image_codec import LAYOUTS, decode_array, decode_image

HEIGHT, WIDTH = 6, 8


def message(encoding):
    """Return an image of random bytes."""
    layout = LAYOUTS[encoding]
    shape = (HEIGHT, WIDTH, layout.channels)
    values = np.random.default_rng(0).integers(0, 256, shape).astype(layout.dtype)
    return Image(height=HEIGHT, width=WIDTH, encoding=encoding,
                 step=values.nbytes // HEIGHT, data=values.tobytes())


@pytest.mark.parametrize('encoding', [
    'rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8',
    'bayer_grbg8', 'yuv422', 'yuv422_yuy2'])
def test_colours_are_those_of_cv_bridge(encoding):
    msg = message(encoding)
    wanted = cv_bridge.CvBridge().imgmsg_to_cv2(msg, 'rgb8')
    assert np.array_equal(decode_image(msg), wanted)


@pytest.mark.parametrize('encoding', ['mono16', '16UC1', '32FC1', 'rgb16', '8UC4'])
def test_numbers_are_those_of_cv_bridge(encoding):
    msg = message(encoding)
    wanted = cv_bridge.CvBridge().imgmsg_to_cv2(msg)
    found = decode_array(msg)
    assert found.dtype == wanted.dtype
    assert np.array_equal(np.squeeze(found), np.squeeze(wanted))
