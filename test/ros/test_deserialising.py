# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages from their bytes: as rclpy reads them, and never the end of the process."""

import random

import pytest

pytest.importorskip('rclpy')

from builtin_interfaces.msg import Time
from campaign import EXAMPLES, SEED
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String

from mtl_perception.errors import FrameError
from mtl_perception.ros.deserialising import deserialised

HEAD = Header(stamp=Time(sec=-3, nanosec=4_000_000_000), frame_id='käme/ra')
MESSAGES = [
    Image(header=HEAD, height=2, width=3, encoding='rgb8', is_bigendian=1, step=9,
          data=bytes(range(18))),
    Image(),
    CompressedImage(header=HEAD, format='bayer_rggb8; jpeg compressed', data=bytes(range(99))),
    CompressedImage(),
    CameraInfo(header=HEAD, height=4, width=5, distortion_model='plumb_bob', d=[0.1] * 5),
    Odometry(header=HEAD, child_frame_id='base'),
    String(data='<robot/>')]


@pytest.mark.parametrize('message', MESSAGES, ids=lambda one: type(one).__name__)
def test_a_message_is_read_as_rclpy_reads_it(message):
    data = serialize_message(message)
    found, wanted = (read(data, type(message)) for read in (deserialised, deserialize_message))
    for name in wanted.get_fields_and_field_types():
        own, other = getattr(found, name), getattr(wanted, name)
        assert bytes(own) == bytes(other) if name == 'data' and not isinstance(
            other, str) else str(own) == str(other)


def test_pixels_are_not_copied():
    data = serialize_message(MESSAGES[0])
    assert deserialised(data, Image).data.obj is data


def test_an_image_of_the_other_byte_order_is_read():
    text = (b'\0\0\0\0' + (7).to_bytes(4, 'big') + (8).to_bytes(4, 'big') +
            (2).to_bytes(4, 'big') + b'c\0\0\0' + (1).to_bytes(4, 'big') +
            (1).to_bytes(4, 'big') + (6).to_bytes(4, 'big') + b'mono8\0' + b'\0' + b'\0' +
            (1).to_bytes(4, 'big') + (1).to_bytes(4, 'big') + b'x')
    found = deserialised(text, Image)
    assert (found.header.stamp.sec, found.header.stamp.nanosec, found.header.frame_id) == (
        7, 8, 'c')
    assert (found.height, found.width, found.encoding, found.step, bytes(found.data)) == (
        1, 1, 'mono8', 1, b'x')


@pytest.mark.parametrize('kind', [Image, CompressedImage, CameraInfo, Odometry, String])
@pytest.mark.parametrize('data', [
    b'', b'\0', b'\0\1\0', b'\0\1\0\0', b'\0\1\0\3', b'\0\1\0_', b'\0\1\0\3xx', b'\0\7\0\3',
    b'\xff\xff\xff\xff'])
def test_bytes_that_end_the_process_of_other_nodes_are_refused(kind, data):
    """Fast CDR subtracts the padding of the fourth byte from what is there."""
    with pytest.raises(FrameError, match=r'\[I20_message\].*' + kind.__name__):
        deserialised(data, kind)


@pytest.mark.campaign
@pytest.mark.parametrize('message', MESSAGES, ids=lambda one: type(one).__name__)
def test_damaged_bytes_give_a_message_or_an_error(message):
    """In CI 1 000 of each, in ``make campaign`` 50 000."""
    source, seed = random.Random(SEED), serialize_message(message)
    refused = 0
    for _ in range(25 * EXAMPLES):
        data = bytearray(seed)
        for _ in range(source.randint(1, 8)):
            data[source.randrange(len(data))] = source.randrange(256)
        cut = source.choice([len(data), source.randrange(len(data) + 1)])
        try:
            deserialised(bytes(data[:cut]), type(message))
        except FrameError:
            refused += 1
    assert refused > 5 * EXAMPLES
