# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets whose images have more than 8 bits."""

import cv2
import numpy as np
import pytest
from dataset_trees import check, write_text

from mtl_perception import cli
from mtl_perception.datasets.folder import Folder
from mtl_perception.errors import ConfigurationError

IDS = np.zeros((30, 40), np.uint8)
IDS[:15] = 1


def scene(low, high, seed):
    values = np.linspace(low, high, IDS.size).round().astype(np.uint16)
    return np.random.default_rng(seed).permutation(values).reshape(IDS.shape)


def write_set(root, pictures, text='', images='image'):
    """Write pictures of 16 bits with labels, and the description of the set."""
    for number, picture in enumerate(pictures):
        for folder, values in ((images, picture), ('label', IDS)):
            path = root / folder / f'{number:03d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), values)
    write_text(root / 'dataset.yaml', f"""
images: '{images}'
semantic: label/{{name}}.png
classes: {{road: [128, 64, 128], sky: [70, 130, 180]}}
{text}""")
    return root


def test_training_and_validation_of_a_thermal_set_have_one_range(tmp_path):
    drift = [scene(7000 + 150 * number, 8300 + 150 * number, number) for number in range(10)]
    root = write_set(tmp_path / 'set', drift)
    train, validation = (Folder(str(root), split) for split in ('train', 'validation'))

    train[0], validation[0]

    low, high = train.image_range.limits
    assert (low, high) == validation.image_range.limits
    assert low <= 7010
    assert high >= 9640


def test_every_image_is_read_alike_whatever_was_read_before(tmp_path):
    drift = [scene(7000 + 150 * number, 8300 + 150 * number, number) for number in range(10)]
    root = write_set(tmp_path / 'set', drift)
    forwards, backwards = Folder(str(root)), Folder(str(root))

    first = [forwards[number].image for number in range(10)]
    second = [backwards[number].image for number in reversed(range(10))][::-1]

    np.testing.assert_array_equal(first, second)


def test_the_description_may_set_the_range(tmp_path):
    root = write_set(tmp_path / 'set', [scene(0, 4000, 1)], 'image_range: [0, 1000]')
    image = Folder(str(root))[0].image

    assert (image == 255).mean() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize('given', ['some', '[5]', '[900, 5]', '[0, 70000]', '{low: 1}'])
def test_a_range_that_is_none_is_refused_by_name(tmp_path, given):
    root = write_set(tmp_path / 'set', [scene(0, 4000, 1)], f'image_range: {given}')

    with pytest.raises(ConfigurationError, match=r'dataset.yaml: image_range is .*, wanted auto'):
        Folder(str(root))


def test_the_check_counts_thermal_images_of_a_closed_shutter(tmp_path, capsys):
    pictures = [scene(7000, 8400, number) for number in range(6)]
    pictures[3] = np.full_like(pictures[3], 7300)
    root = write_set(tmp_path / 'set', pictures)

    code, out = check(root, capsys)

    assert code == 0
    assert f'almost no contrast in data: {root}/image/003.png' in out
    assert '6912,8448' in out


def test_the_check_says_nothing_of_contrast_where_all_images_have_8_bits(tmp_path, capsys):
    root = write_set(tmp_path / 'set', [np.uint8(scene(0, 250, number)) for number in range(3)])

    code, out = check(root, capsys)

    assert code == 0
    assert 'contrast' not in out
    assert '16 bits' not in out


def test_two_splits_that_would_be_read_by_two_ranges_are_a_problem(tmp_path, capsys):
    root = tmp_path / 'set'
    for split, low in (('day', 9000), ('night', 3000)):
        write_set(root, [scene(low, low + 1400, number) for number in range(3)],
                  images=f'{split}/image')
    write_text(root / 'dataset.yaml', """
images: '{split}/image'
semantic: label/{name}.png
classes: {road: [128, 64, 128], sky: [70, 130, 180]}
""")
    config = write_text(tmp_path / 'mine.yaml', """
train: {dataset: folder, root: set, split: day}
validation: {dataset: folder, root: set, split: night}
""")

    assert cli.main(['data', 'check', str(config), '--mosaic', str(tmp_path / 'm.png')]) == 3
    assert 'black and white of its 16-bit images are' in capsys.readouterr().out
