# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PandaSet: a tiny sequence that the test writes, and two recorded frames."""

import json
import math

import numpy as np
import pytest
from dataset_trees import write_image, write_text

from mtl_perception.datasets.build import build_dataset
from mtl_perception.datasets.pandaset import PandaSet
from mtl_perception.errors import DataError

META = {
    'intrinsics_1920x1080': {'fx': 1970.0, 'fy': 1960.0, 'cx': 970.0, 'cy': 483.0},
    'image_size': [8, 6],
    'classes': {'7': 'Road', '8': 'Lane Line Marking', '13': 'Car', '15': 'Medium-sized Truck',
                '26': 'Bicycle', '40': 'Temporary Construction Barriers'},
    'movable': [13, 15, 26],
    'frames': {'01': {'stamp_s': 0.1, 'position': [1.0, 2.0, 3.0],
                      'heading_wxyz': [math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]}}}
POINTS = {
    'u': np.array([0.2, 3.6, 4.4, 7.9, 2.0], np.float32),
    'v': np.array([0.0, 2.0, 2.4, 5.9, 4.0], np.float32),
    'depth': np.array([9.0, 30.0, 5.0, 90.0, 12.0], np.float32),
    'semantic': np.array([7, 8, 15, 40, 26], np.uint8),
    'object': np.array([-1, -1, 0, -1, 4], np.int16),
    'moving': np.array([0, 0, 1, 0, 255], np.uint8)}


@pytest.fixture
def root(tmp_path):
    camera = tmp_path / '002/front_camera'
    for number in range(3):
        write_image(camera / f'image/{number:02d}.png', number)
        (camera / 'points').mkdir(exist_ok=True)
        np.savez(camera / f'points/{number:02d}.npz', **POINTS)
    write_text(camera / 'meta.json', json.dumps(META))
    return tmp_path


def test_points_label_their_pixels_and_everything_else_is_unknown(root):
    data = PandaSet(str(root))
    sample = data[0]

    # (0, 0) road; (2, 4) a marking at 30 m behind a truck at 5 m; (5, 7) a barrier; (4, 2) bicycle
    known = {(0, 0): (0, 9, 0, 0), (2, 4): (5, 5, 1, 1), (5, 7): (255, 90, 0, 0),
             (4, 2): (6, 12, 255, 5)}
    for (row, column), wanted in known.items():
        found = [getattr(sample, task)[0, row, column]
                 for task in ('semantic', 'depth', 'motion', 'instance')]
        assert tuple(found) == wanted

    assert (sample.semantic < 255).sum() == 3
    assert np.isfinite(sample.depth).sum() == 4
    assert (sample.motion < 255).sum() == 3
    assert (sample.instance >= 0).sum() == 4


def test_focal_length_and_pose_are_those_of_the_image(root):
    data = PandaSet(str(root), frames=2)
    image = data.clips[0][-1]

    assert image.stem == '01'
    assert data.focal_length(image) == pytest.approx(1960 * 8 / 1920)
    np.testing.assert_allclose(
        data.pose(image), [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-9)
    with pytest.raises(DataError, match='frame 02 has no position'):
        data.pose(data.clips[1][-1])


def test_objects_have_the_names_that_hold_over_the_frames(root):
    data = PandaSet(str(root))
    meta = json.loads(json.dumps(META))
    meta['frames']['01']['objects'] = [{'uuid': 'b2', 'label': 'Car'}, {'uuid': 'a1'}]
    write_text(root / '002/front_camera/meta.json', json.dumps(meta))
    assert data.object_names(data.clips[1][-1]) == ('b2', 'a1')
    with pytest.raises(DataError, match='frame 02 has no objects with a uuid each'):
        data.object_names(data.clips[2][-1])


def test_a_part_is_selected_by_the_numbers_of_the_images(root):
    def selected(frames, **part):
        data = build_dataset({'dataset': 'pandaset', 'root': str(root), 'frames': frames,
                              'select': part})
        return [clip[-1].stem for clip in data.clips], len(data.incomplete)

    assert selected(1, start=1) == (['01', '02'], 0)
    assert selected(1, step=2) == (['00', '02'], 0)
    assert selected(2, start=1, stop=2) == (['01'], 0)  # the one before is not lost
    assert selected(2, stop=2) == (['01'], 1)
    with pytest.raises(DataError, match='select: none of 3 clips ends with one of the images 7'):
        selected(1, start=7)


@pytest.mark.parametrize(('breakage', 'message'), [
    (lambda camera: (camera / 'points/00.npz').write_bytes(b'PK'), r'00\.npz: cannot be read'),
    (lambda camera: (camera / 'points/00.npz').unlink(), r'00\.npz: cannot be read'),
    (lambda camera: np.savez(camera / 'points/00.npz', u=POINTS['u']), 'wanted arrays u, v'),
    (lambda camera: np.savez(camera / 'points/00.npz', **POINTS | {'u': np.zeros(2)}),
     r'wanted \(N,\) each'),
    (lambda camera: (camera / 'meta.json').write_text('{}'), 'no description of a PandaSet'),
])
def test_a_broken_file_is_named(root, breakage, message):
    breakage(root / '002/front_camera')
    with pytest.raises(DataError, match=message):
        PandaSet(str(root))[0]


def test_a_sequence_that_is_not_there_is_refused(root):
    with pytest.raises(DataError, match=r"no sequence '003'; there are \['002'\]"):
        PandaSet(str(root), sequences=['003'])


@pytest.mark.real_data
def test_recorded_pandaset(real_data):
    data = PandaSet(str(real_data('pandaset')))
    sample = data[30]

    assert len(data) == 52
    assert sample.image.shape == (1, 540, 960, 3)
    assert data.focal_length(data.clips[30][-1]) == pytest.approx(985.0, abs=0.1)

    # A tenth of the pixels has a point; nearly all are of one of the classes.
    known = np.isfinite(sample.depth)
    assert 0.1 < known.mean() < 0.15
    assert (sample.semantic[known] < 7).mean() > 0.9
    assert 10 < np.unique(sample.instance[sample.motion == 1]).size < 60
