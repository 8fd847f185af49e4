# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures and accounts of a recording."""

import numpy as np
import pytest

pytest.importorskip('rosbags')

from mtl_perception.bags.reader import Moment
from mtl_perception.evaluation.bag_score import NOT_RECEIVED, Score, percentiles, settle
from mtl_perception.frames import Outputs
from mtl_perception.tasks import STREET_TASKS

CAR, ROAD, SKY = 8, 0, 11
RGB = np.zeros((2, 2, 3), np.uint8)


def moment(stamp_ns, logged_ns=None, **arrays):
    """Return a moment of an image and more arrays; the answers are logged at the given time."""
    arrays = {'image': RGB, **arrays}
    logged_ns = stamp_ns + 1_000_000 if logged_ns is None else logged_ns
    return Moment(stamp_ns, arrays, dict.fromkeys(arrays, logged_ns))


def scored(count, answered):
    """Return a score of so many images of which the first ones are answered."""
    score = Score(STREET_TASKS)
    for number in range(count):
        answers = {'semantic': np.zeros((2, 2), np.uint8)} if number < answered else {}
        score.update(moment(number, **answers))
    return score


def node(received, published, in_flight=0, **dropped):
    return {'received': str(received), 'published': str(published), 'in_flight': str(in_flight),
            'dropped': str(sum(dropped.values())),
            **{f'dropped.{reason}': str(count) for reason, count in dropped.items()}}


def test_an_account_that_adds_up():
    account = settle(scored(10, 7), {'semantic': 7}, node(9, 7, O01_superseded=2, I05_step=0),
                     {'published': '10'})
    assert (account.frames_in, account.published) == (10, 7)
    assert account.dropped == {'O01_superseded': 2, NOT_RECEIVED: 1}
    assert account.frames_in == account.published + sum(account.dropped.values())
    assert account.problems == []


@pytest.mark.parametrize(('counters', 'answers', 'camera', 'text'), [
    (node(10, 7, O01_superseded=2), 7, '10', 'received 10 frames, but published 7'),
    (node(10, 7, in_flight=1, O01_superseded=2), 7, '10', '1 frames were still in flight'),
    (node(11, 7, O01_superseded=4), 7, '10', 'received 11 frames, the recording has 10'),
    (node(10, 7, O01_superseded=3), 6, '10', 'the recording has 6 messages of semantic'),
    (node(10, 8, O01_superseded=2), 7, '10', '7 frames are answered in the recording'),
    (node(10, 7, O01_superseded=3), 7, '12', 'the camera published 12 frames')])
def test_each_way_not_to_add_up_is_found(counters, answers, camera, text):
    account = settle(scored(10, 7), {'semantic': answers}, counters, {'published': camera})
    assert any(text in problem for problem in account.problems), account.problems


def test_an_answer_to_no_image_is_found():
    score = scored(3, 3)
    score.update(Moment(99, {'semantic': np.zeros((2, 2), np.uint8)}, {'semantic': 100}))
    account = settle(score, {'semantic': 4}, node(3, 3), None)
    assert '1 answers carry the stamp of no image' in account.problems


def test_of_a_recording_that_began_later_the_counters_since_then_count():
    before, last = node(5000, 4700, O01_superseded=300), node(5009, 4707, O01_superseded=302)
    account = settle(scored(10, 7), {'semantic': 7}, last, None, 10, before)
    assert (account.frames_in, account.published) == (10, 7)
    assert account.dropped == {'O01_superseded': 2, 'unknown': 1}
    assert 'had received 5000 frames' in account.problems[0]


def test_images_that_nobody_can_read_are_frames_too():
    account = settle(scored(9, 9), {'semantic': 9}, node(10, 9, I07_size=1), None, 10)
    assert (account.frames_in, account.dropped, account.problems) == (10, {'I07_size': 1}, [])


def test_without_diagnostics_missing_answers_have_no_reason():
    account = settle(scored(3, 1), {}, None, None)
    assert (account.published, account.dropped) == (1, {'unknown': 2})
    assert account.problems


def test_the_last_answer_of_a_frame_decides_its_latency():
    score = Score(STREET_TASKS)
    semantic = np.zeros((2, 2), np.uint8)
    first = moment(0, semantic=semantic, motion=semantic)
    first.logged_ns |= {'semantic': 20_000_000, 'motion': 30_000_000, 'image': 90_000_000}
    score.update(first)
    assert score.compute()['latency_ms']['max'] == 30.0


@pytest.mark.parametrize(('values', 'wanted'), [
    ([], (None, None, None, None)), ([3.0], (3.0, 3.0, 3.0, 3.0)),
    (list(range(1, 101)), (50, 95, 99, 100)), ([2.0, 1.0], (1.0, 2.0, 2.0, 2.0))])
def test_percentiles_are_values_that_occurred(values, wanted):
    assert tuple(percentiles(values).values()) == wanted


def test_baselines_and_motion_of_a_tiny_recording():
    """Depth: 10 m and 30 m at one pixel, so the mean misses by 20 / 10 and 20 / 30 of half."""
    score = Score(STREET_TASKS, 1, 2)
    semantic = np.array([[CAR, ROAD]], np.uint8)
    for depth in (10.0, 30.0):
        score.update(Moment(int(depth), {
            'image': RGB[:1], 'semantic': semantic, 'true_semantic': semantic,
            'depth': np.full((1, 2), depth, np.float32),
            'true_depth': np.array([[depth, np.inf]], np.float32),
            'motion': np.array([[1, 0]], np.uint8), 'true_motion': np.array([[1, 0]], np.uint8),
        }, {}))
    figures = score.compute()
    base = figures['baseline']
    assert figures['semantic']['miou'] == base['semantic']['miou'] == 1.0
    assert figures['depth']['abs_rel'] == 0.0
    assert base['depth']['abs_rel'] == pytest.approx((10 / 10 + 10 / 30) / 2)
    assert base['depth']['delta1'] == 0.0
    assert base['depth']['inverse']['abs_err'] == pytest.approx((1 / 20 + 1 / 60) / 2)
    assert figures['motion']['iou_moving'] == figures['motion']['iou_all_movable'] == 1.0
    assert figures['motion']['identical_frames_moving'] is None


def test_frames_of_five_seconds_are_drawn_together():
    score = Score(STREET_TASKS, 2, 2)
    for number in range(30):
        semantic = np.full((2, 2), ROAD, np.uint8)
        truth = semantic.copy()
        truth.flat[:number % 4] = SKY
        score.update(moment(10 ** 9 * (100 + number), semantic=semantic, true_semantic=truth))
    figures = score.compute()
    assert figures['intervals']['groups'] == 6
    low, high = figures['intervals']['semantic']['pixel_accuracy']
    assert low < figures['semantic']['pixel_accuracy'] < high


def test_objects_are_judged_by_probabilities_and_identical_frames_by_their_masks():
    """A mask that finds nothing has no AUC worth the name; its probabilities may well have."""
    semantic = np.full((10, 30), CAR, np.uint8)
    instance = np.repeat(np.array([[1, 2, 3]], np.uint16), 100).reshape(3, 100)
    instance = np.hstack([part.reshape(10, 10) for part in instance])
    truth = (instance == 2).astype(np.uint8)
    nothing = np.zeros_like(semantic)
    arrays = {'image': np.zeros((10, 30, 3), np.uint8), 'motion': nothing, 'true_motion': truth,
              'true_semantic': semantic, 'true_instance': instance}
    score = Score(STREET_TASKS)
    score.update(Moment(1, arrays, {}))
    assert score.compute()['motion']['auc'] == 0.5
    probability = np.where(instance == 2, 0.4, np.where(instance == 3, 0.3, 0.1))
    all_moves = np.ones_like(semantic)
    score.update_offline(
        Outputs(motion=nothing, motion_score=probability.astype(np.float32)),
        Outputs(motion=np.where(instance == 1, all_moves, nothing).astype(np.uint8)),
        Moment(1, arrays, {}))
    found = score.compute()['motion']
    assert (found['auc'], found['objects'], found['objects_moving']) == (1.0, 3, 1)
    assert found['identical_frames_moving'] == pytest.approx(1 / 3)
    assert found['iou_moving'] == 0.0


def test_answers_at_another_size_are_compared_at_the_nearest_pixel():
    score = Score(STREET_TASKS)
    truth = np.array([[ROAD, ROAD, SKY, SKY]] * 2, np.uint8)
    score.update(moment(1, semantic=np.array([[ROAD, SKY]], np.uint8), true_semantic=truth))
    assert score.compute()['semantic']['pixel_accuracy'] == 1.0
