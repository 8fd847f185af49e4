# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of id at labelled points, worked out by hand."""

import numpy as np
import pytest

from mtl_perception.metrics.point_tracks import PointTracks


def frames(tracks, *rows, drive='a'):
    for row in rows:
        tracks.update(drive, {name: np.array(ids, np.uint32) for name, ids in row.items()})


def test_changes_and_frames_by_hand():
    tracks = PointTracks()
    frames(tracks,
           {'car': [0, 0, 0], 'bus': [4, 4, 4, 4]},
           {'car': [7, 7, 0], 'bus': [4, 4, 9, 9]},   # of equals the smaller id
           {'car': [0, 0, 0], 'bus': [9, 9, 9, 4]},   # a change of the bus
           {'car': [7, 7, 7]},                        # not found in between: no change
           {'car': [8, 8, 7]})                        # a change of the car
    found = tracks.compute()
    assert found == {'objects': 2, 'seen': 2, 'frames': 8, 'found': 6, 'changes': 2,
                     'kept': pytest.approx(4 / 6)}


def test_an_id_needs_a_third_of_the_points():
    tracks = PointTracks()
    frames(tracks, {'car': [5, 0, 0]}, {'car': [6, 0, 0, 0]})
    assert tracks.compute()['found'] == 1


def test_an_id_is_that_of_one_object_in_a_frame():
    tracks = PointTracks()
    frames(tracks, {'near': [3, 3, 3], 'behind': [3, 3]}, {'near': [3, 3, 3], 'behind': [4, 4]})
    found = tracks.compute()
    assert (found['found'], found['changes']) == (3, 0)


def test_the_largest_objects_of_each_drive_count():
    tracks = PointTracks(largest=1)
    frames(tracks, {'large': [1] * 9, 'small': [2]}, {'large': [1], 'small': [3] * 5})
    frames(tracks, {'small': [2] * 2, 'empty': []}, drive='b')
    found = tracks.compute()
    assert (found['objects'], found['changes'], found['frames']) == (2, 0, 3)


def test_without_objects_there_is_no_share():
    assert PointTracks().compute() == {
        'objects': 0, 'seen': 0, 'frames': 0, 'found': 0, 'changes': 0, 'kept': None}
