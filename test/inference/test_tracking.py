# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects cut from masks, ids that hold, and velocities: worked out by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from mtl_perception.egomotion import Pinhole
from mtl_perception.egomotion.pinhole import rigid_flow
from mtl_perception.frames import Outputs, Step
from mtl_perception.inference.moving_objects import Moving
from mtl_perception.inference.objects import cut_objects, kept
from mtl_perception.inference.tracking import (
    BELIEVED_ENOUGH_TO_TELL,
    KEPT_S,
    ObjectTracker,
    velocity_of,
)

HEIGHT, WIDTH = 60, 100
CAMERA = Pinhole(100.0, 100.0, 49.5, 29.5)
CAR = 8
STEP_NS = 100_000_000


def scene(*boxes):
    """Return semantics and depth with cars: left, top, right, bottom, metres."""
    semantic = np.zeros((HEIGHT, WIDTH), np.uint8)
    depth = np.full((HEIGHT, WIDTH), 50, np.float32)
    for left, top, right, bottom, metres in boxes:
        semantic[top:bottom, left:right] = CAR
        depth[top:bottom, left:right] = metres
    return semantic, depth


def follow(tracker, number, boxes, moving=None, confidence=None):
    """Give a tracker one frame, with the objects as the cut finds them."""
    semantic, depth = scene(*boxes)
    return tracker.update(
        number * STEP_NS, cut_objects(semantic, depth, (CAR,)), semantic, depth, CAMERA, moving,
        confidence)


def compared(flow, pose=None, seconds=0.1, score=1.0, reason=''):
    """Return what a motion head says: the flow to the frame before, the camera's way, a score."""
    pose = np.eye(4) if pose is None else pose
    ego = SimpleNamespace(flow=flow.astype(np.float32), pose=pose)
    comparison = SimpleNamespace(ego=ego, baseline=SimpleNamespace(seconds=seconds))
    scores = np.full((HEIGHT, WIDTH), score, np.float32)
    return Moving(Outputs(motion_score=scores), reason, comparison, Step(pose, seconds))


def test_a_mask_is_cut_where_depth_jumps_and_nowhere_else():
    semantic, depth = scene((10, 20, 40, 40, 20), (30, 25, 60, 45, 10))
    ids = cut_objects(semantic, depth, (CAR,))
    assert ids.max() == 2
    assert ids[22, 12] != ids[40, 50]
    np.testing.assert_array_equal(ids > 0, semantic == CAR)
    # every pixel of the front one, also where depth jumps, belongs to it but for its outline
    assert (ids[26:44, 31:59] == ids[40, 50]).all()

    semantic, depth = scene((10, 20, 40, 40, 10), (30, 25, 60, 45, 10))
    assert cut_objects(semantic, depth, (CAR,)).max() == 1
    assert not cut_objects(semantic, depth, (9, 10)).any()


def test_small_and_doubtful_objects_are_dropped():
    semantic, depth = scene((10, 20, 40, 40, 20), (60, 20, 64, 24, 20))  # 16 pixels
    assert cut_objects(semantic, depth, (CAR,)).max() == 1
    confidence = np.full((HEIGHT, WIDTH), 0.7, np.float32)
    assert cut_objects(semantic, depth, (CAR,), confidence).max() == 0
    confidence[:, :30] = 0.9  # two thirds of the car: 0.83 on average
    assert cut_objects(semantic, depth, (CAR,), confidence).max() == 1

    ids = np.zeros((8, 8), np.int32)
    ids[:4, :] = 3
    assert np.unique(kept(ids, None)).tolist() == [0, 1]


def test_an_object_is_told_from_its_second_frame_on_and_keeps_its_id():
    tracker = ObjectTracker()
    assert len(follow(tracker, 1, [(10, 20, 30, 40, 20)]).ids) == 0
    for number in range(2, 8):
        left = 10 + 5 * number
        found = follow(tracker, number, [(left, 20, left + 20, 40, 20)])
        assert found.ids.tolist() == [1]
        assert set(np.unique(found.mask)) <= {0, 1}
    assert found.classes.tolist() == [CAR]
    np.testing.assert_allclose(found.positions, [[(54.5 - 49.5) / 5, 0, 20]])
    assert np.isnan(found.scores).all()
    assert found.moving.tolist() == [255]  # there is no motion head
    assert np.isnan(found.velocities).all()


def test_the_flow_tells_two_objects_apart_that_overlap_alone_would_swap():
    # two cars one behind the other move by their own length: each is where the other one was
    tracker = ObjectTracker()
    follow(tracker, 1, [(10, 20, 30, 40, 20), (34, 20, 54, 40, 20)])
    follow(tracker, 2, [(10, 20, 30, 40, 20), (34, 20, 54, 40, 20)])
    flow = np.zeros((HEIGHT, WIDTH, 2))
    flow[..., 0] = -24
    found = follow(tracker, 3, [(34, 20, 54, 40, 20), (58, 20, 78, 40, 20)], compared(flow))
    assert found.mask[30, 40] == 1
    assert found.mask[30, 70] == 2


def test_the_flow_over_a_longer_baseline_counts_by_its_share():
    tracker = ObjectTracker()
    for number in (1, 2):
        follow(tracker, number, [(10, 20, 30, 40, 20), (34, 20, 54, 40, 20)])
    flow = np.zeros((HEIGHT, WIDTH, 2))
    flow[..., 0] = -72  # over three frames
    found = follow(tracker, 3, [(34, 20, 54, 40, 20), (58, 20, 78, 40, 20)],
                   compared(flow, seconds=0.3))
    assert found.ids.tolist() == [1, 2]
    assert found.mask[30, 40] == 1


@pytest.mark.parametrize(('frames', 'same'), [(3, True), (round(KEPT_S * 10) + 2, False)])
def test_a_hidden_object_has_its_id_again_but_not_for_ever(frames, same):
    tracker = ObjectTracker()
    car = [(40, 20, 60, 40, 20)]
    for number in (1, 2):
        follow(tracker, number, car)
    for number in range(3, 3 + frames):
        assert len(follow(tracker, number, []).ids) == 0
    follow(tracker, 3 + frames, car)
    found = follow(tracker, 4 + frames, car)
    assert found.ids.tolist() == ([1] if same else [2])


def test_an_id_is_never_used_again():
    tracker = ObjectTracker()
    for number in (1, 2):
        follow(tracker, number, [(10, 20, 30, 40, 20)])
    tracker.forget()
    for number in (3, 4):
        found = follow(tracker, number, [(10, 20, 30, 40, 20)])
    assert found.ids.tolist() == [2]


def rigid(shift, box, metres):
    """Return flow, position and pixels of a box that stands while the camera moved by a shift."""
    _, depth = scene((*box, metres))
    pose = np.eye(4)
    pose[:3, 3] = shift
    rows, columns = (one.ravel() for one in np.mgrid[box[1]:box[3], box[0]:box[2]])
    middle = [(columns.mean() - 49.5) / 100, (rows.mean() - 29.5) / 100, 1]
    return rigid_flow(depth, pose, CAMERA), pose, np.array(middle) * metres, rows, columns


@pytest.mark.parametrize('shift', [(0, 0, 0), (0, 0, 1.0), (0.5, -0.1, 0.8)])
def test_what_stands_has_no_velocity_however_the_camera_moves(shift):
    flow, pose, position, rows, columns = rigid(shift, (20, 15, 50, 45), 20)
    velocity, noise = velocity_of(rows, columns, position, CAMERA, compared(flow, pose))
    np.testing.assert_allclose(velocity, 0, atol=1e-2)
    # at 20 m and f = 100, half a pixel in 0.1 s is 1 m/s across and more along the ray
    assert noise[0, 0] < noise[2, 2]


@pytest.mark.parametrize('velocity', [(2, 0, 0), (0, 0, -5), (1, 0.5, 4)])
def test_a_velocity_over_the_world_by_hand(velocity):
    # the object moved by v dt and the camera by s: for the flow, the camera moved by s - v dt
    way = np.array([0.1, 0, 0.9])
    flow, _, position, rows, columns = rigid(way - 0.1 * np.array(velocity), (20, 15, 50, 45), 20)
    pose = np.eye(4)
    pose[:3, 3] = way
    found, _ = velocity_of(rows, columns, position, CAMERA, compared(flow, pose))
    np.testing.assert_allclose(found, velocity, atol=0.02)


def test_velocity_settles_and_is_unknown_where_the_ego_motion_is_not_believed():
    flow, pose, *_ = rigid((-0.2, 0, 0), (20, 15, 50, 45), 20)  # 2 m/s to the right
    box = [(20, 15, 50, 45, 20)]
    tracker = ObjectTracker()
    for number in range(1, 12):
        found = follow(tracker, number, box, compared(flow, np.eye(4)))
    assert found.moving.tolist() == [1]
    np.testing.assert_allclose(found.velocities[0], [2, 0, 0], atol=0.3)

    doubtful = follow(tracker, 12, box, compared(flow, pose, reason='poor_ego_motion'))
    assert doubtful.ids.tolist() == found.ids.tolist()
    assert doubtful.moving.tolist() == [255]
    assert np.isnan(doubtful.velocities).all()
    for number in range(13, 16):
        still = follow(tracker, number, box, compared(flow, score=0.0))
    assert still.moving.tolist() == [0]
    assert still.velocities.tolist() == [[0, 0, 0]]


def test_scores_are_means_over_the_pixels():
    tracker = ObjectTracker()
    confidence = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    confidence[:, :20] = 1.0
    for number in (1, 2):
        found = follow(tracker, number, [(10, 20, 30, 40, 20)], None, confidence)
    assert found.scores.tolist() == [0.75]


def test_an_object_moves_from_the_score_on_that_was_asked_for():
    box, flow = [(30, 20, 50, 40, 20)], np.zeros((HEIGHT, WIDTH, 2))
    tracker, moves = ObjectTracker(), []
    for number, minimum_score in enumerate((0.5, 0.5, 0.6, 0.2), 1):
        said = dataclasses.replace(compared(flow, score=0.55), minimum_score=minimum_score)
        moves += follow(tracker, number, box, said).moving.tolist()
    assert moves == [1, 0, 1]  # told from the second frame on


def believed(tracker, number, boxes, *belief):
    """Give a tracker one frame with a belief in each object."""
    semantic, depth = scene(*boxes)
    return tracker.update(
        number * STEP_NS, cut_objects(semantic, depth, (CAR,)), semantic, depth, CAMERA,
        belief=np.array(belief, np.float32))


def test_a_track_is_told_while_it_is_believed_on_average_and_keeps_its_id():
    tracker, box = ObjectTracker(), [(10, 20, 30, 40, 20)]
    told = []
    for number, belief in enumerate((0.8, 0.8, 0.2, 0.2, 0.2, 0.9), 1):
        told.append(believed(tracker, number, box, belief).ids.tolist())
    # averages 0.8, 0.8, 0.5, 0.35, 0.275, 0.59
    assert 0.35 < BELIEVED_ENOUGH_TO_TELL < 0.5
    assert told == [[], [1], [1], [], [], [1]]


def test_an_object_without_belief_in_numbers_is_told_as_before():
    tracker, box = ObjectTracker(), [(10, 20, 30, 40, 20)]
    assert [len(follow(tracker, number, box).ids) for number in (1, 2)] == [0, 1]


def test_parts_that_become_one_again_have_the_older_id():
    tracker, whole = ObjectTracker(), (20, 20, 50, 40, 20)
    for number in range(1, 17):
        assert set(follow(tracker, number, [whole]).ids) <= {1}
    # it falls apart: the older id stays with the larger part
    for number in (17, 18):
        found = follow(tracker, number, [(20, 20, 36, 40, 20), (36, 20, 50, 40, 40)])
    assert sorted(found.ids) == [1, 2]
    # the younger part grows, and then takes all
    for number in (19, 20):
        follow(tracker, number, [(20, 20, 33, 40, 20), (33, 20, 50, 40, 40)])
    assert follow(tracker, 21, [whole]).ids.tolist() == [1]
