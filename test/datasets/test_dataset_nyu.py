# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""NYU Depth v2, without a file of the set."""

import numpy as np
import pytest

from mtl_perception.datasets.nyu import NyuV2
from mtl_perception.errors import ConfigurationError, DataError


@pytest.fixture
def arrays(tmp_path):
    """Write the layout of .npy files: images 0, 2 and 10 to train, 0 to test."""
    for folder, numbers in (('train', (0, 2, 10)), ('val', (0,))):
        for kind in ('image', 'label', 'depth'):
            (tmp_path / folder / kind).mkdir(parents=True)
        for number in numbers:
            image, labels = np.full((4, 6, 3), number / 20), np.full((4, 6), 11.0)
            image[0, 0], labels[0, :2] = (0, 0.5, 1), (-1, 0)
            np.save(tmp_path / folder / f'image/{number}.npy', image)
            np.save(tmp_path / folder / f'label/{number}.npy', labels)
            np.save(tmp_path / folder / f'depth/{number}.npy', np.full((4, 6, 1), 2.5))
    return tmp_path


@pytest.fixture
def official(tmp_path):
    """Write the official file with three images, and the metadata beside it."""
    h5py, io = pytest.importorskip('h5py'), pytest.importorskip('scipy.io')

    images = np.zeros((3, 3, 6, 4), np.uint8)  # MATLAB's order: channel, column, row
    images[2, 0, 5, 1] = 200
    labels = np.zeros((3, 6, 4), np.uint16)
    labels[2, 5, 1], labels[2, 0, 0] = 894, 1
    depths = np.full((3, 6, 4), 1.5, np.float32)
    depths[2, 5, 1] = 4
    with h5py.File(tmp_path / 'nyu_depth_v2_labeled.mat', 'w') as file:
        for name, values in (('images', images), ('labels', labels), ('depths', depths)):
            file[name] = values

    names = np.array([f'class {number}' for number in range(1, 14)], object)[None]
    io.savemat(tmp_path / 'splits.mat', {'trainNdxs': [[3], [1]], 'testNdxs': [[2]]})
    to_40 = np.full((1, 894), 40)
    to_40[0, 893] = 5
    io.savemat(tmp_path / 'classMapping40.mat', {'mapClass': to_40})
    to_13 = np.arange(1, 41) % 14
    io.savemat(tmp_path / 'class13Mapping.mat', {
        'classMapping13': {'labels1': to_13[None], 'className': names}})
    return tmp_path


def test_arrays_are_read_as_images_classes_and_metres(arrays):
    data = NyuV2(str(arrays), 'train')
    assert [path.stem for path, in data.clips] == ['0', '2', '10']

    sample = data[2]
    assert sample.image[0, 0, 0].tolist() == [0, 128, 255]
    assert sample.image[0, 1, 1].tolist() == [128, 128, 128]
    assert sample.semantic[0, 0, :3].tolist() == [255, 0, 11]
    assert (sample.depth == 2.5).all()
    assert len(NyuV2(str(arrays), 'test')) == 1
    # 518.86 px at a width of 640
    assert data.focal_length(data.clips[0][0]) == pytest.approx(518.8579 * 6 / 640)


def test_the_official_file_is_read_through_the_published_mappings(official):
    data = NyuV2(str(official), 'train')
    assert [path.name for path, in data.clips] == ['0001', '0003']

    sample = data[1]
    assert sample.image.shape == (1, 4, 6, 3)
    assert sample.image[0, 1, 5].tolist() == [200, 0, 0]
    assert sample.depth[0, 1, 5] == 4
    # 894 -> 5 of 40 -> 5 of 13, counted from 1; 1 -> 40 -> 40 % 14 = 12; 0 is unlabelled
    assert sample.semantic[0, 1, 5] == 4
    assert sample.semantic[0, 0, 0] == 11
    assert sample.semantic[0, 2, 2] == 255
    assert [path.name for path, in NyuV2(str(official), 'test').clips] == ['0002']


def test_an_official_file_without_its_metadata_says_what_is_missing(official):
    (official / 'class13Mapping.mat').unlink()
    with pytest.raises(DataError, match=r'class13Mapping.mat: classMapping13 cannot be read'):
        NyuV2(str(official), 'train')


@pytest.mark.parametrize(('name', 'values', 'message'), [
    ('label', np.full((4, 6), 13.0), 'labels go from 13 to 13, wanted -1 to 12'),
    ('label', np.zeros((2, 6)), 'its label 2 x 6'),
    ('depth', np.zeros((4, 6)), r'has the shape \(4, 6\), wanted 3 dimensions'),
    ('image', np.zeros((4, 6, 2)), r'has the shape \(4, 6, 2\)'),
])
def test_a_faulty_array_is_refused_by_name(arrays, name, values, message):
    np.save(arrays / f'train/{name}/0.npy', values)
    with pytest.raises(DataError, match=rf'0.npy: .*{message}'):
        NyuV2(str(arrays), 'train')[0]


def test_missing_files_and_unknown_splits_are_refused(arrays):
    with pytest.raises(ConfigurationError, match="no split 'val'"):
        NyuV2(str(arrays), 'val')

    (arrays / 'train/depth/0.npy').write_bytes(b'\x93NUMPY')
    with pytest.raises(DataError, match=r'depth/0.npy: cannot be read'):
        NyuV2(str(arrays), 'train')[0]
    with pytest.raises(DataError, match='no such folder'):
        NyuV2(str(arrays / 'train'), 'train')
