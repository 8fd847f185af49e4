# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of a recording, and where its frames went."""

import numpy as np
import pytest

pytest.importorskip('rosbags')

from mtl_perception.evaluation.bag_score import (
    NOT_RECEIVED,
    BagScore,
    balance_frames,
    percentiles,
)
from mtl_perception.frames import FrameRecord, Perception, Truth
from mtl_perception.tasks import STREET_TASKS

CAR, ROAD, SKY = 8, 0, 11
RGB = np.zeros((2, 2, 3), np.uint8)


def record(stamp_ns, semantic=None, truth=None):
    """Return the record of an image, with predicted and true semantics if they are given."""
    return FrameRecord(
        stamp_ns, RGB, None if semantic is None else Perception(semantic),
        None if truth is None else Truth(truth),
        None if semantic is None else stamp_ns + 1_000_000)


def scored(count, predicted):
    """Return the score of a number of images of which the first ones have a prediction."""
    score = BagScore(STREET_TASKS)
    for number in range(count):
        score.update(record(number, np.zeros((2, 2), np.uint8) if number < predicted else None))
    return score


def node(received, published, in_flight=0, **dropped):
    return {'received': str(received), 'published': str(published), 'in_flight': str(in_flight),
            'dropped': str(sum(dropped.values())),
            **{f'dropped.{reason}': str(count) for reason, count in dropped.items()}}


def test_a_balance_that_adds_up():
    balance = balance_frames(
        scored(10, 7), {'semantic': 7}, node(9, 7, O01_superseded=2, I05_step=0),
        {'published': '10'})
    assert (balance.frames_in, balance.published) == (10, 7)
    assert balance.dropped == {'O01_superseded': 2, NOT_RECEIVED: 1}
    assert balance.frames_in == balance.published + sum(balance.dropped.values())
    assert balance.problems == []


@pytest.mark.parametrize(('counters', 'answers', 'camera', 'text'), [
    (node(10, 7, O01_superseded=2), 7, '10', 'received 10 frames, but published 7'),
    (node(10, 7, in_flight=1, O01_superseded=2), 7, '10', '1 frames were still in flight'),
    (node(11, 7, O01_superseded=4), 7, '10', 'received 11 frames, the recording has 10'),
    (node(10, 7, O01_superseded=3), 6, '10', 'the recording has 6 messages of semantic'),
    (node(10, 8, O01_superseded=2), 7, '10', '7 frames have a prediction in the recording'),
    (node(10, 7, O01_superseded=3), 7, '12', 'the camera published 12 frames')])
def test_every_mismatch_of_the_counts_is_reported(counters, answers, camera, text):
    balance = balance_frames(scored(10, 7), {'semantic': answers}, counters, {'published': camera})
    assert any(text in problem for problem in balance.problems), balance.problems


def test_a_prediction_without_an_image_is_found():
    score = scored(3, 3)
    score.update(FrameRecord(99, None, Perception(np.zeros((2, 2), np.uint8)), None, 100))
    balance = balance_frames(score, {'semantic': 4}, node(3, 3), None)
    assert '1 predictions carry the stamp of no image' in balance.problems


def test_an_answer_to_an_image_that_cannot_be_decoded_is_no_orphan():
    score = BagScore(STREET_TASKS, stamps=[0, 1, 99])
    for number in (0, 1):
        score.update(record(number, np.zeros((2, 2), np.uint8)))
    score.update(FrameRecord(99, None, Perception(np.zeros((2, 2), np.uint8)), None, 100))
    assert (score.answered, score.undecoded, score.orphans) == (3, 1, 0)
    assert balance_frames(score, {'semantic': 3}, node(3, 3), None, 3).problems == []


def test_a_recording_that_started_later_uses_the_counts_since_then():
    before, last = node(5000, 4700, O01_superseded=300), node(5009, 4707, O01_superseded=302)
    balance = balance_frames(scored(10, 7), {'semantic': 7}, last, None, 10, before)
    assert (balance.frames_in, balance.published) == (10, 7)
    assert balance.dropped == {'O01_superseded': 2, 'unknown': 1}
    assert 'had received 5000 frames' in balance.problems[0]


def test_images_that_cannot_be_decoded_count_as_frames():
    balance = balance_frames(scored(9, 9), {'semantic': 9}, node(10, 9, I07_size=1), None, 10)
    assert (balance.frames_in, balance.dropped, balance.problems) == (10, {'I07_size': 1}, [])


def test_without_diagnostics_dropped_frames_have_no_reason():
    balance = balance_frames(scored(3, 1), {}, None, None)
    assert (balance.published, balance.dropped) == (1, {'unknown': 2})
    assert balance.problems


@pytest.mark.parametrize(('values', 'wanted'), [
    ([], (None, None, None, None)), ([3.0], (3.0, 3.0, 3.0, 3.0)),
    (list(range(1, 101)), (50, 95, 99, 100)), ([2.0, 1.0], (1.0, 2.0, 2.0, 2.0))])
def test_percentiles_are_values_that_occurred(values, wanted):
    assert tuple(percentiles(values).values()) == wanted


def test_baselines_and_motion_of_a_tiny_recording():
    """Depth: 10 m and 30 m at one pixel, so the mean misses by 20 / 10 and 20 / 30 of half."""
    score = BagScore(STREET_TASKS, 1, 2)
    semantic = np.array([[CAR, ROAD]], np.uint8)
    for depth in (10.0, 30.0):
        motion = np.array([[1, 0]], np.uint8)
        score.update(FrameRecord(
            int(depth), RGB[:1], Perception(semantic, np.full((1, 2), depth, np.float32), motion),
            Truth(semantic, np.array([[depth, np.inf]], np.float32), motion)))

    figures = score.compute()
    base = figures['baseline']

    assert figures['semantic']['miou'] == base['semantic']['miou'] == 1.0
    assert figures['depth']['abs_rel'] == 0.0
    assert base['depth']['abs_rel'] == pytest.approx((10 / 10 + 10 / 30) / 2)
    assert base['depth']['delta1'] == 0.0
    assert base['depth']['inverse']['abs_err'] == pytest.approx((1 / 20 + 1 / 60) / 2)
    assert figures['motion']['iou_moving'] == figures['motion']['iou_all_movable'] == 1.0
    assert figures['motion']['identical_frames_moving'] is None


def test_frames_within_five_seconds_are_one_group():
    score = BagScore(STREET_TASKS, 2, 2)
    for number in range(30):
        semantic = np.full((2, 2), ROAD, np.uint8)
        truth = semantic.copy()
        truth.flat[:number % 4] = SKY
        score.update(record(10 ** 9 * (100 + number), semantic, truth))
    figures = score.compute()

    assert figures['intervals']['groups'] == 6

    low, high = figures['intervals']['semantic']['pixel_accuracy']
    assert low < figures['semantic']['pixel_accuracy'] < high


def test_objects_are_ranked_by_probabilities_and_identical_frames_by_their_masks():
    """A mask that finds nothing has no AUC worth the name; its probabilities may well have."""
    semantic = np.full((10, 30), CAR, np.uint8)
    instance = np.repeat(np.array([[1, 2, 3]], np.uint16), 100).reshape(3, 100)
    instance = np.hstack([part.reshape(10, 10) for part in instance])
    truth = (instance == 2).astype(np.uint8)
    nothing = np.zeros_like(semantic)
    shown = FrameRecord(
        1, np.zeros((10, 30, 3), np.uint8), Perception(motion=nothing),
        Truth(semantic, None, truth, instance))
    score = BagScore(STREET_TASKS)
    score.update(shown)

    assert score.compute()['motion']['auc'] == 0.5

    probability = np.where(instance == 2, 0.4, np.where(instance == 3, 0.3, 0.1))
    all_moves = np.ones_like(semantic)
    score.update_objects(
        shown, Perception(motion=nothing, motion_score=probability.astype(np.float32)),
        Perception(motion=np.where(instance == 1, all_moves, nothing).astype(np.uint8)))
    found = score.compute()['motion']

    assert (found['auc'], found['objects'], found['objects_moving']) == (1.0, 3, 1)
    assert found['identical_frames_moving'] == pytest.approx(1 / 3)
    assert found['iou_moving'] == 0.0


def test_a_prediction_of_another_size_is_compared_at_the_nearest_pixel():
    score = BagScore(STREET_TASKS)
    truth = np.array([[ROAD, ROAD, SKY, SKY]] * 2, np.uint8)
    score.update(record(1, np.array([[ROAD, SKY]], np.uint8), truth))
    assert score.compute()['semantic']['pixel_accuracy'] == 1.0
