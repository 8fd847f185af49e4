# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags are finished properly, even on a full disk."""

import resource
import struct
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from rosbags.highlevel import AnyReader

from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.ros.bag_writer import BagWriter, Channel, seal
from mtl_perception.ros.message_types import MessageTypes

STRING = Channel('/text', 'std_msgs/msg/String')


def cdr(text):
    """Return a std_msgs/String as it is on the wire, little-endian."""
    content = text.encode() + b'\0'
    return b'\0\1\0\0' + struct.pack('<I', len(content)) + content


def texts(path):
    with AnyReader([path]) as reader:
        return [reader.deserialize(raw, connection.msgtype).data
                for connection, _, raw in reader.messages()]


def fill(folder, count=50):
    """Write messages of 100 kB, numbered from 0, and close the bag."""
    writer = BagWriter(folder, MessageTypes())
    for number in range(count):
        writer.write(STRING, 1000 + number, cdr(f'{number} ' + 'x' * 100_000))
    writer.close()


@pytest.mark.parametrize('compress', [False, True])
def test_a_written_bag_is_read_by_rosbags_and_by_mcap(tmp_path, compress):
    writer = BagWriter(tmp_path / 'bag', MessageTypes(), compress=compress)
    for number in range(3):
        assert writer.write(STRING, 1000 + number, cdr(f'text {number}'))

    writer.close()
    assert (writer.received, writer.written) == (3, 3)
    assert texts(tmp_path / 'bag') == ['text 0', 'text 1', 'text 2']
    assert 'version: 9' in (tmp_path / 'bag' / 'metadata.yaml').read_text()

    reader = pytest.importorskip('mcap_ros2.reader')
    messages = list(reader.read_ros2_messages(str(tmp_path / 'bag' / 'bag.mcap')))
    assert [message.ros_msg.data for message in messages] == ['text 0', 'text 1', 'text 2']
    assert [message.log_time_ns for message in messages] == [1000, 1001, 1002]


def test_an_existing_folder_is_left_alone(tmp_path):
    with pytest.raises(ConfigurationError, match='exists already'):
        BagWriter(tmp_path, MessageTypes())


def test_a_folder_that_cannot_be_made_is_a_storage_error():
    with pytest.raises(StorageError, match='cannot be made'):
        BagWriter(Path('/proc/bag'), MessageTypes())


# The file of 50 messages has 5 004 892 bytes; the chunks end at about each 1.1 MB, the last one
# and the index are written when the bag is closed.
@pytest.mark.skipif(sys.platform != 'linux', reason='limits the size of files as Linux does it')
@pytest.mark.parametrize(('limit', 'count'), [
    (10_000, 0), (1_099_999, 0), (1_101_000, 11), (3_000_000, 22), (5_001_000, 44),
    (5_004_000, 50), (5_004_890, 50)])
def test_a_full_disk_leaves_a_readable_file_and_reports_its_messages(tmp_path, limit, count):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StorageError, match=f'recorded {count} of 50 messages') as refusal:
            fill(tmp_path / 'bag')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert refusal.value.exit_code == 5

    path = tmp_path / 'bag' / 'bag.mcap'
    numbers = [int(text.split()[0]) for text in texts(path)]
    assert numbers == list(range(count))
    assert path.stat().st_size <= limit


def test_after_a_disk_error_messages_are_refused_at_once(tmp_path):
    writer = BagWriter(tmp_path / 'bag', MessageTypes())
    writer.error = OSError('full')
    assert not writer.write(STRING, 1, cdr('a'))
    with pytest.raises(StorageError, match='recorded 0 of 1'):
        writer.close()


@pytest.mark.parametrize('cut', [1, 9, 60, 3000, 900_000, 1_200_000, 2_500_000])
def test_sealing_keeps_every_whole_chunk_of_a_cut_file(tmp_path, cut):
    fill(tmp_path / 'bag')
    path = tmp_path / 'bag' / 'bag.mcap'
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    count = seal(path)
    numbers = [int(text.split()[0]) for text in texts(path)]

    assert numbers == list(range(count))
    assert count >= 11 * ((len(content) - cut) // 1_102_000)


def test_a_type_of_an_installed_package_is_found_with_its_parts(tmp_path, monkeypatch):
    folder = tmp_path / 'share' / 'strange_msgs' / 'msg'
    folder.mkdir(parents=True)
    (folder / 'Outer.msg').write_text('std_msgs/Header header\nInner[] parts\n')
    (folder / 'Inner.msg').write_text('float32 value\n')
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'strange_msgs').write_text('')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    text, digest = MessageTypes().definition('strange_msgs/msg/Outer')

    assert 'MSG: strange_msgs/Inner' in text
    assert 'MSG: builtin_interfaces/Time' in text
    assert digest.startswith('RIHS01_')


@pytest.mark.parametrize('name', [
    'nonsense', 'no_such_msgs/msg/Thing', 'std_msgs/msg/Nothing', '', 'a/../msg/b'])
def test_an_unknown_type_is_refused_by_name(name):
    with pytest.raises(ConfigurationError, match=repr(name)):
        MessageTypes().python_class(name)
    with pytest.raises(ConfigurationError, match=repr(name)):
        MessageTypes().definition(name)
