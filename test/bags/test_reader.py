# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded bags: matching by stamp, and what is refused."""

import numpy as np
import pytest

pytest.importorskip('rosbags')

from bag_files import SECOND, arrays_of, diagnostics, image, write_bag

from mtl_perception.bags.reader import Bag
from mtl_perception.errors import DataError
from mtl_perception.evaluation.bag_score import BagScore
from mtl_perception.tasks import STREET_TASKS

RGB = np.zeros((1, 3, 3), np.uint8)


def ids(*values):
    return np.array([values], np.uint8)


def test_three_images_give_the_confusion_matrix_computed_by_hand(tmp_path):
    """Of nine pixels one is unlabelled, five are right and three wrong."""
    frames = [  # prediction, truth
        (ids(0, 0, 1), ids(0, 0, 0)),  # two roads, one road called marking
        (ids(1, 8, 8), ids(1, 8, 0)),  # a marking, a car, a road called car
        (ids(8, 3, 0), ids(8, 255, 1)),  # a car, unlabelled, a marking called road
    ]
    messages = []
    for number, (prediction, truth) in enumerate(frames):
        stamp = (number + 1) * SECOND
        messages += [('/image_raw', image(RGB, stamp), stamp),
                     ('/truth/semantic/image', image(truth, stamp), stamp + 1),
                     ('/semantic/image', image(prediction, stamp), stamp + 50_000_000)]
    score = BagScore(STREET_TASKS)
    with Bag(write_bag(tmp_path / 'bag', messages)) as bag:
        for record in bag.records():
            score.update(record)
    figures = score.compute()
    confusion = np.array(figures['semantic']['confusion'])

    assert {(row, column): confusion[row, column]
            for row, column in np.argwhere(confusion)} == {
        (0, 0): 2, (0, 1): 1, (0, 8): 1, (1, 0): 1, (1, 1): 1, (8, 8): 2}
    assert figures['semantic']['iou']['road'] == 2 / 5
    assert figures['semantic']['iou']['road_marking'] == 1 / 3
    assert figures['semantic']['iou']['car'] == 2 / 3
    assert figures['semantic']['miou'] == pytest.approx((2 / 5 + 1 / 3 + 2 / 3) / 3)
    assert figures['latency_ms'] == {'p50': 50.0, 'p95': 50.0, 'p99': 50.0, 'max': 50.0}
    assert (figures['rate'], figures['fps']) == (1.0, 1.0)
    assert 'motion' not in figures


def test_predictions_are_matched_with_images_by_stamp_in_any_order(tmp_path):
    stamps = [number * SECOND for number in range(1, 6)]
    messages = [('/image_raw', image(RGB + number, stamp), stamp)
                for number, stamp in enumerate(stamps)]
    answers = [('/semantic/image', image(ids(number, 0, 0), stamp), 6 * SECOND + 5 - number)
               for number, stamp in enumerate(stamps) if number != 2]
    with Bag(write_bag(tmp_path / 'bag', messages + answers[::-1])) as bag:
        records = list(bag.records())

    assert [record.stamp_ns for record in records] == stamps

    for record in records:
        assert (record.prediction is None) == (record.stamp_ns == stamps[2])
        if record.prediction is not None:
            assert record.image[0, 0, 0] == record.prediction.semantic[0, 0]

    assert records[2].latency_ms is None


def test_the_last_message_of_a_prediction_decides_its_latency(tmp_path):
    path = write_bag(tmp_path / 'bag', [
        ('/semantic/image', image(ids(0), SECOND), SECOND + 20_000_000),
        ('/motion/image', image(ids(0), SECOND), SECOND + 30_000_000),
        ('/image_raw', image(RGB, SECOND), SECOND + 90_000_000)])

    with Bag(path) as bag:
        record, = bag.records()

    assert record.latency_ms == 30.0


def test_every_kind_of_image_is_read_unchanged(tmp_path):
    arrays = {
        '/image_raw': np.arange(18, dtype=np.uint8).reshape(2, 3, 3),
        '/depth/image': np.array([[1.5, np.inf, np.nan]] * 2, np.float32),
        '/truth/instances/image': np.array([[0, 1, 65535]] * 2, np.uint16),
        '/motion/image': np.array([[0, 1, 255]] * 2, np.uint8)}
    path = write_bag(tmp_path / 'bag', [
        (topic, image(array, 7), 8) for topic, array in arrays.items()])
    with Bag(path) as bag:
        record, = bag.records()
    for role, topic in (('image', '/image_raw'), ('depth', '/depth/image'),
                        ('true_instance', '/truth/instances/image'), ('motion', '/motion/image')):
        np.testing.assert_array_equal(arrays_of(record)[role], arrays[topic])


def test_a_camera_in_a_namespace(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/front/image_raw', image(RGB, 1), 1)])
    with Bag(path, namespace='front') as bag:
        bag.require(['image'])
        assert len(list(bag.records())) == 1
    with Bag(path) as bag:  # it is the only camera
        bag.require(['image'])


def test_a_missing_topic_is_refused_with_the_topics_that_are_there(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/image_raw', image(RGB, 1), 1)])
    with Bag(path) as bag, pytest.raises(DataError) as refusal:
        bag.require(['image', 'depth'])
    assert '[B03]' in str(refusal.value)
    assert 'no message on /depth/image' in str(refusal.value)
    assert '/image_raw (1)' in str(refusal.value)
    assert refusal.value.exit_code == 3


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    images = np.random.default_rng(1).integers(0, 256, (20, 100, 200, 3), np.uint8)
    return write_bag(tmp_path_factory.mktemp('whole') / 'bag', [
        ('/image_raw', image(picture, number + 1), number + 1)
        for number, picture in enumerate(images)])


@pytest.mark.parametrize('share', [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_a_bag_that_is_cut_short_is_refused_and_named(tmp_path, whole, share):
    content = (whole / 'bag.mcap').read_bytes()
    folder = tmp_path / 'bag'
    folder.mkdir()
    (folder / 'metadata.yaml').write_bytes((whole / 'metadata.yaml').read_bytes())
    (folder / 'bag.mcap').write_bytes(content[:int(len(content) * share)])

    with pytest.raises(DataError) as refusal, Bag(folder) as bag:
        list(bag.records())
    assert str(folder) in str(refusal.value)
    assert '/image_raw' in str(refusal.value)  # what the metadata promise


def test_flipped_bytes_raise_data_errors_only(tmp_path, whole):
    content = (whole / 'bag.mcap').read_bytes()
    metadata = (whole / 'metadata.yaml').read_bytes()
    random = np.random.default_rng(7)
    folder = tmp_path / 'bag'
    folder.mkdir()
    (folder / 'metadata.yaml').write_bytes(metadata)
    refused = 0
    # the first and the last bytes hold the structure, the rest are pixels
    places = [*random.integers(0, 120, 8), *(len(content) - random.integers(1, 1200, 16))]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        (folder / 'bag.mcap').write_bytes(damaged)
        try:
            with Bag(folder) as bag:
                bag.require(['image'])
                list(bag.records())
        except DataError:
            refused += 1

    assert refused >= 4


@pytest.mark.parametrize('make', [
    lambda path: None, lambda path: path.mkdir(),
    lambda path: (path.mkdir(), (path / 'metadata.yaml').write_text('rosbag2: [')),
    lambda path: path.write_text('not a bag')])
def test_a_path_that_is_not_a_bag_is_refused(tmp_path, make):
    path = tmp_path / 'thing'
    make(path)
    with pytest.raises(DataError, match='thing: cannot be read as a rosbag2'):
        Bag(path)


def test_the_last_diagnostics_count(tmp_path):
    path = write_bag(tmp_path / 'bag', [
        ('/diagnostics', diagnostics({'camera': {'received': 1}}), 1),
        ('/node/timing', diagnostics({'camera': {'age_ms.p99': 5}}), 2),
        ('/diagnostics', diagnostics({'camera': {'received': 2}, 'other': {}}), 3)])
    with Bag(path) as bag:
        assert bag.last_statuses() == {
            'camera': {'received': '2'}, 'other': {},
            '/node/timing: camera': {'age_ms.p99': '5'}}
