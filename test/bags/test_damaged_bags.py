# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags that are cut, damaged, foreign or hostile: what is whole is read, nothing is made up."""

import sqlite3
import struct
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('rosbags')

from bag_files import STORE, arrays_of, diagnostics, image, info, write_bag
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from mtl_perception.bags import reader
from mtl_perception.bags.compression import LARGEST_UNPACKED, unpack
from mtl_perception.bags.reader import Bag
from mtl_perception.bags.stamps import match_stamps
from mtl_perception.errors import DataError

COUNT = 300
STORAGES = [StoragePlugin.MCAP, StoragePlugin.SQLITE3]


def pictures(count=COUNT, shape=(40, 60, 3)):
    return np.random.default_rng(3).integers(0, 256, (count, *shape), np.uint8)


def messages(count=COUNT):
    return [('/image_raw', image(picture, number), number)
            for number, picture in enumerate(pictures(count), 1)]


def read(path, **options):
    with Bag(path, **options) as bag:
        return {record.stamp_ns: np.array(record.image) for record in bag.records()}


@pytest.mark.parametrize('compress', [None, CompressionMode.STORAGE])
def test_a_bag_that_is_cut_anywhere_is_read_up_to_the_cut(tmp_path, compress):
    """At 200 places: only DataError, whole pictures, and more of them the later the cut."""
    content = (write_bag(tmp_path / 'bag', messages(), compress=compress) /
               'bag.mcap').read_bytes()
    wanted = pictures()
    found_before = 0
    cut = tmp_path / 'cut.mcap'
    for place in sorted(np.random.default_rng(5).integers(9, len(content), 200)):
        cut.write_bytes(content[:place])
        with pytest.raises(DataError) as refusal, Bag(cut):
            pass
        assert refusal.value.exit_code == 3
        found = read(cut, allow_damaged=True)
        assert list(found) == list(range(1, len(found) + 1))
        assert len(found) >= found_before
        for stamp in list(found)[-2:]:
            np.testing.assert_array_equal(found[stamp], wanted[stamp - 1])
        if compress is None:  # a message that lies wholly before the cut is read
            whole = content[:place].count(b'\x05rgb8'[1:])
            assert len(found) >= whole - 1
        found_before = len(found)

    assert found_before > COUNT // 2


@pytest.mark.parametrize('storage', STORAGES)
def test_both_storages_and_every_compression_give_the_same_records(tmp_path, storage):
    wanted = pictures(12)
    modes = [None, CompressionMode.MESSAGE, CompressionMode.FILE]
    if storage is StoragePlugin.MCAP:
        modes.append(CompressionMode.STORAGE)
    for number, mode in enumerate(modes):
        path = write_bag(tmp_path / f'bag{number}', messages(12), storage, mode)
        if mode is None:
            (path / 'metadata.yaml').unlink()  # B06: the file tells everything by itself
        found = read(path)
        assert list(found) == list(range(1, 13))
        np.testing.assert_array_equal(list(found.values()), wanted)


def with_checksums(content):
    """Return an mcap file of rosbags with the checksums that it leaves out."""
    content, place = bytearray(content), 8
    while place < len(content) - 8:
        code, length = struct.unpack_from('<BQ', content, place)
        start = place + 9
        if code == 6:
            first = start + 40 + struct.unpack_from('<I', content, start + 28)[0]
            struct.pack_into('<I', content, start + 24,
                             zlib.crc32(content[first:start + length]))
        place = start + length
    return bytes(content)


def test_a_chunk_with_a_wrong_checksum_is_left_out_and_counted(tmp_path):
    """1000 flips inside pixels, each found."""
    content = with_checksums((write_bag(
        tmp_path / 'bag', messages()) / 'bag.mcap').read_bytes())
    file = tmp_path / 'flipped.mcap'
    file.write_bytes(content)

    assert len(read(file)) == COUNT

    random = np.random.default_rng(9)
    for _ in range(1000 // 25):
        damaged = bytearray(content)
        for place in random.integers(3000, len(content) * 2 // 3, 25):
            damaged[place] ^= 1 << int(random.integers(8))
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r'damaged|cut short'):
            read(file)
        with Bag(file, allow_damaged=True) as bag:
            assert 'damaged' in bag.damage or 'cut short' in bag.damage
            assert bag.count('image') < COUNT
            for record in bag.records():
                np.testing.assert_array_equal(
                    record.image, pictures()[record.stamp_ns - 1])


@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_damaged_sqlite_file_is_a_data_error(tmp_path, share):
    folder = write_bag(tmp_path / 'bag', messages(30), StoragePlugin.SQLITE3)
    file = folder / 'bag.db3'
    content = file.read_bytes()
    file.write_bytes(content[:int(len(content) * share)])

    with pytest.raises(DataError) as refusal:
        read(folder)
    assert refusal.value.exit_code == 3
    assert '/image_raw' in str(refusal.value)

    try:
        found = read(folder, allow_damaged=True)
    except DataError:
        return
    for stamp, picture in found.items():
        np.testing.assert_array_equal(picture, pictures(30)[stamp - 1])


@pytest.mark.parametrize('change', [
    "UPDATE message_definitions SET encoded_message_definition = CAST(x'd4d4' AS TEXT)",
    "UPDATE message_definitions SET encoded_message_definition = x'd4'",
    "INSERT INTO topics SELECT 99, CAST(x'2fd4' AS TEXT), type, 'cdr', '', '' FROM topics",
    "INSERT INTO topics SELECT 99, x'2fd4', type, 'cdr', '', '' FROM topics",
    "INSERT INTO messages SELECT 99, topic_id, 'soon', data FROM messages LIMIT 1",
    "INSERT INTO messages SELECT 99, 'x', timestamp, data FROM messages LIMIT 1"])
def test_a_sqlite_file_with_values_of_another_kind_gives_all_whole_images(tmp_path, change):
    folder = write_bag(tmp_path / 'bag', messages(5), StoragePlugin.SQLITE3)
    with sqlite3.connect(next(folder.glob('*.db3'))) as database:
        database.execute(change)
    assert list(read(folder, allow_damaged=True)) == [1, 2, 3, 4, 5]


def test_a_sqlite_file_without_messages_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / 'other.db3') as database:
        database.execute('CREATE TABLE things (id INTEGER)')
    with pytest.raises(DataError, match='cannot be read as a rosbag2'):
        Bag(tmp_path / 'other.db3')


def test_a_file_that_the_metadata_list_but_is_missing_is_named(tmp_path):
    folder = write_bag(tmp_path / 'bag', messages(2))
    (folder / 'bag.mcap').rename(tmp_path / 'elsewhere.mcap')
    with pytest.raises(DataError, match=r'lists bag.mcap, which is not there'):
        Bag(folder)


def test_a_missing_topic_names_the_nearest_ones(tmp_path):
    path = write_bag(tmp_path / 'bag', [
        ('/depth/image_raw', image(np.zeros((2, 2), np.float32), 1), 1), *messages(1)])
    with Bag(path) as bag, pytest.raises(DataError, match=r'\[B03\].*did you mean ./depth/image_'):
        bag.require(['depth'])


def test_other_types_and_encodings_are_skipped_counted_and_named(tmp_path):
    strange = image(np.zeros((2, 2), np.uint8), 1)
    strange.encoding = 'strange'
    path = write_bag(tmp_path / 'bag', [
        ('/semantic/image', strange, 1), ('/depth/image', diagnostics({}, 1), 1), *messages(2)])
    with Bag(path) as bag:
        records = list(bag.records())
        assert [sorted(arrays_of(record)) for record in records] == [['image']] * 2
        (text, count), = bag.skipped['/semantic/image'].items()
        assert 'strange' in text
        assert count == 1
        assert bag.skipped['/depth/image'] == {
            "its type is 'diagnostic_msgs/msg/DiagnosticArray', wanted sensor_msgs/msg/Image": 1}
        with pytest.raises(DataError, match=r'/depth/image can be read \(its type is'):
            bag.require(['depth'])


def test_a_damaged_calibration_or_report_costs_itself_alone(tmp_path, monkeypatch):
    """It is counted once, however often it is asked for; a bag that must be whole is refused."""
    path = write_bag(tmp_path / 'bag', [
        ('/camera_info', info(80.0, 1), 1), ('/diagnostics', diagnostics({'node': {}}), 1),
        *messages(2)])

    def broken(content, kind):
        raise DataError('a part cannot be unpacked')

    monkeypatch.setattr(reader, 'deserialise', broken)
    with Bag(path, allow_damaged=True) as bag:
        for _ in range(2):
            assert (bag.infos, bag.statuses, bag.last_statuses()) == ({}, {}, {})
        for topic in ('/camera_info', '/diagnostics'):
            assert bag.skipped[topic] == {'a part cannot be unpacked': 1}
    with Bag(path) as bag, pytest.raises(
            DataError, match='bag: /camera_info: a part cannot be unpacked'):
        bag.infos  # noqa: B018


def test_shuffled_messages_are_sorted_and_duplicates_are_counted(tmp_path):
    order = np.random.default_rng(1).permutation(40)
    written = [('/image_raw', image(picture, int(number) + 1), 100 + place)
               for place, (number, picture) in enumerate(zip(order, pictures(40)[order]))]
    written += [('/image_raw', image(pictures(1)[0], 7), 200 + place) for place in range(3)]
    with Bag(write_bag(tmp_path / 'bag', written)) as bag:
        records = list(bag.records())
        assert bag.duplicates == 3

    assert [record.stamp_ns for record in records] == list(range(1, 41))
    np.testing.assert_array_equal(records[6].image, pictures(40)[6])  # the first counts


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 60), unique=True), st.lists(st.integers(0, 60), unique=True),
       st.integers(0, 10))
def test_matching_by_stamp_agrees_with_brute_force(images, others, slop):
    images, others = sorted(images), sorted(others)
    wanted, left, right = {}, set(images), set(others)
    while pairs := [(abs(one - other), one, other) for one in left for other in right
                    if abs(one - other) <= slop]:
        _, one, other = min(pairs)
        wanted[other] = one
        left.remove(one)
        right.remove(other)

    assert match_stamps(images, others, slop) == wanted


def test_truth_that_is_a_little_late_belongs_to_the_nearest_image(tmp_path):
    labels = np.zeros((2, 3), np.uint8)
    path = write_bag(tmp_path / 'bag', [
        *messages(1), ('/image_raw', image(pictures(2)[1], 1000), 2),
        *[('/truth/semantic/image', image(labels + stamp % 256, stamp), 3)
          for stamp in (12, 990, 5000)]])
    with Bag(path) as bag:
        assert (bag.matched['true_semantic'], bag.unmatched['true_semantic']) == (0, 3)
    with Bag(path, slop_ns=11) as bag:
        assert (bag.matched['true_semantic'], bag.unmatched['true_semantic']) == (2, 1)
        first, second, third = bag.records()

    assert first.truth.semantic[0, 0] == 12
    assert second.truth.semantic[0, 0] == 990 % 256
    assert third.image is None


def mcap(records):
    """Return an mcap file of records of (code, content)."""
    def record(code, content):
        return struct.pack('<BQ', code, len(content)) + content
    magic = b'\x89MCAP0\r\n'
    head = record(1, struct.pack('<I4sI', 4, b'ros2', 0))
    return magic + head + b''.join(record(*one) for one in records) + record(
        15, bytes(4)) + record(2, bytes(20)) + magic


def chunk(form, size, content):
    return 6, (struct.pack('<QQQII', 0, 0, size, 0, len(form)) + form.encode()
               + struct.pack('<Q', len(content)) + content)


def bomb():
    return zstandard.ZstdCompressor().compress(bytes(64 << 20))


@pytest.mark.parametrize('claim', [64 << 20, 1 << 40])
def test_a_bomb_is_refused_without_being_unpacked(tmp_path, claim):
    """64 MiB of zeros in 6 kB, and a head that claims a terabyte."""
    file = tmp_path / 'bomb.mcap'
    file.write_bytes(mcap([chunk('zstd', claim, bomb())]))
    with pytest.raises(DataError, match=r'\[B09\].*would unpack to') as refusal:
        Bag(file, allow_damaged=True)
    assert refusal.value.exit_code == 3


def test_a_part_that_unpacks_to_more_than_its_head_says_is_damaged(tmp_path):
    file = tmp_path / 'liar.mcap'
    file.write_bytes(mcap([chunk('zstd', 1000, bomb())]))
    with Bag(file, allow_damaged=True) as bag:
        assert '1 damaged part(s)' in bag.damage

    with pytest.raises(DataError, match='B09'):
        unpack(memoryview(bomb()), 'zstd', None)
    with pytest.raises(DataError, match='B09'):
        unpack(memoryview(bytes(9)), 'lz4', LARGEST_UNPACKED + 1)


@pytest.mark.parametrize('length', [1 << 20, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_record_that_claims_to_be_huge_takes_no_memory(tmp_path, length):
    file = tmp_path / 'huge.mcap'
    content = mcap([])
    file.write_bytes(content[:29] + struct.pack('<BQ', 5, length) + content[29:])
    with pytest.raises(DataError, match=f'claims {length} bytes'):
        Bag(file)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_after_the_head_are_a_data_error(tmp_path_factory, content):
    file = tmp_path_factory.mktemp('any') / 'any.mcap'
    file.write_bytes(mcap([])[:29] + content)
    with Bag(file, allow_damaged=True) as bag:
        list(bag.records())


def test_compressed_images_are_read_where_there_are_no_raw_ones(tmp_path):
    import cv2
    picture = pictures(1)[0]
    kind = 'sensor_msgs/msg/CompressedImage'
    message = STORE.types[kind](
        image(picture, 5).header, 'png',
        cv2.imencode('.png', picture[..., ::-1])[1].reshape(-1))
    path = write_bag(tmp_path / 'bag', [('/image_raw/compressed', message, 6)])

    np.testing.assert_array_equal(read(path)[5], picture)
