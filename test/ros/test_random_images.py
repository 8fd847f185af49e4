# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random image messages at the node: published, or dropped under a reason code."""

import array

import numpy as np
import pytest

pytest.importorskip('rclpy')

from campaign import campaign
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mtl_perception.image_codec import LAYOUTS

ENCODINGS = [*LAYOUTS, '', 'RGB8', '16SC1', '64FC1', 'yuv', 'bayer_rggb12', 'x' * 300]
BYTES = np.random.default_rng(0).integers(0, 256, 8192, np.uint8)


@st.composite
def messages(draw):
    encoding = draw(st.sampled_from(ENCODINGS))
    height, width = draw(st.sampled_from([0, 1, 2, 3, 7, 12])), draw(st.integers(0, 14))
    layout = LAYOUTS.get(encoding)
    row = width * (np.dtype(layout.dtype).itemsize * layout.channels if layout else 3)
    step = max(0, row + draw(st.sampled_from([0, 0, 0, 5, -1])))
    size = max(0, step * (height * (layout.planes if layout else 2) // 2)
               + draw(st.sampled_from([0, 0, 0, -1, 2000])))
    scale = draw(st.sampled_from([1, 16, 0]))
    data = (BYTES[:size] // 16 * scale if scale != 1 else BYTES[:size]).astype(np.uint8)

    if draw(st.integers(0, 19)) == 0:
        height, width = draw(st.sampled_from(
            [(2 ** 31, 2 ** 31), (2 ** 32 - 1, 1), (1, 2 ** 32 - 1)]))
    message = Image(
        height=height, width=width, encoding=encoding, step=step,
        is_bigendian=draw(st.sampled_from([0, 1, 255])))
    message.data = array.array('B', data.tobytes())
    return message


@pytest.mark.slow
@campaign(50)
@given(drawn=messages(), stamp=st.sampled_from(['now', 'zero', 'same', 'past', 'invalid']))
def test_every_random_image_is_published_or_dropped_for_a_reason(bench, drawn, stamp):
    one = _node(bench)
    now = one.node.get_clock().now().to_msg()
    if stamp == 'zero':
        now.sec = now.nanosec = 0
    elif stamp == 'past':
        now.sec -= 5
    elif stamp == 'invalid':
        now.nanosec = 2 * 10 ** 9
    elif stamp == 'same' and _LAST:
        now = _LAST[-1]
    _LAST[:] = [now]
    drawn.header = Header(stamp=now, frame_id='camera')
    before = one.counts

    one.feed(drawn)

    counts = one.counts
    assert counts.balanced
    assert counts.received == before.received + 1
    assert 'E00_internal' not in counts.dropped, one.health(': camera')
    assert 'E00_internal' not in counts.warnings


_LAST = []
_BENCHES = {}


def _node(bench):
    """Return one active node for all examples of a test."""
    if id(bench) not in _BENCHES:
        _BENCHES.clear()
        _BENCHES[id(bench)] = bench()
        _BENCHES[id(bench)].start('semantic/image')
    return _BENCHES[id(bench)]
