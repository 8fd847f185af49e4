# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SYNTHIA, without a file of the set."""

import numpy as np
import pytest
from dataset_trees import HEIGHT, WIDTH, write_image, write_map

from mtl_perception.datasets.synthia import Synthia
from mtl_perception.errors import ConfigurationError, DataError

CAMERA = 'Stereo_Left/Omni_F'
SUMMER, DAWN = 'SYNTHIA-SEQS-02-SUMMER', 'SYNTHIA-SEQS-05-DAWN'


def label(classes, objects):
    """Return a BGR image for OpenCV: red has the class, green the object."""
    blue = np.zeros_like(classes)
    return np.stack([blue, objects, classes], axis=-1).astype(np.uint16)


@pytest.fixture
def root(tmp_path):
    """Write two sequences of five frames."""
    for sequence in (SUMMER, DAWN):
        for frame in range(5):
            folder = tmp_path / sequence
            write_image(folder / f'RGB/{CAMERA}/{frame:06d}.png', frame)
            classes, objects = np.full((HEIGHT, WIDTH), 3), np.zeros((HEIGHT, WIDTH))
            classes[0], classes[1, :3], classes[2, :3] = 1, (8, 15, 13), 12
            objects[1, 0] = 7
            write_map(folder / f'GT/LABELS/{CAMERA}/{frame:06d}.png', label(classes, objects))
            depth = np.full((HEIGHT, WIDTH), 1234 + frame, np.uint16)
            depth[0] = 65535
            write_map(folder / f'Depth/{CAMERA}/{frame:06d}.png', depth)
    return tmp_path


def test_classes_objects_and_depth_of_a_frame(root):
    data = Synthia(str(root))
    sample = data[0]  # dawn comes after summer in the alphabet of the numbers

    assert data.clips[0][0].parents[3].name == SUMMER
    assert sample.semantic[0, :3, 0].tolist() == [1, 8, 12]  # sky, car, lane marking
    assert sample.semantic[0, 1, :3].tolist() == [8, 9, 255]  # a light is a sign, 13 is reserved
    assert sample.instance[0, 1, 0] == 7
    assert (sample.instance > 0).sum() == 1
    assert sample.depth[0, 1, 0] == pytest.approx(12.34)
    assert np.isinf(sample.depth[0, 0]).all()


def test_the_last_fifth_of_each_sequence_is_held_out(root):
    def names(split):
        return [(path.parents[3].name, path.stem) for path, in Synthia(str(root), split).clips]
    assert names('validation') == [(SUMMER, '000004'), (DAWN, '000004')]
    assert names('train') == [
        (sequence, f'{frame:06d}') for sequence in (SUMMER, DAWN) for frame in range(4)]


def test_neighbours_of_a_sequence_make_a_clip(root):
    data = Synthia(str(root), sequences=[DAWN], frames=2)
    assert len(data) == 4
    assert data[0].image[:, 0, 0, 0].tolist() == [0, 1]
    np.testing.assert_allclose(data[0].depth[:, 1, 0], [12.34, 12.35])


def test_errors_name_the_faulty_file(root):
    with pytest.raises(DataError, match=f"no sequence 'SYNTHIA-SEQS-99'; there are .*{SUMMER}"):
        Synthia(str(root), sequences=['SYNTHIA-SEQS-99'])
    with pytest.raises(ConfigurationError, match="no split 'test'"):
        Synthia(str(root), 'test')
    with pytest.raises(DataError, match=r'Omni_X: no such folder'):
        Synthia(str(root), camera='Stereo_Left/Omni_X')

    path = root / SUMMER / f'GT/LABELS/{CAMERA}/000000.png'
    write_map(path, np.zeros((HEIGHT, WIDTH), np.uint16))

    with pytest.raises(DataError, match=r'000000.png: has the shape \(6, 8\), wanted \(6, 8, 3\)'):
        Synthia(str(root))[0]

    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r'000000.png: .*the PNG is truncated'):
        Synthia(str(root))[0]
