# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are images, and in which order."""

import pytest

from mtl_perception.errors import DataError
from mtl_perception.media.listing import find_image, list_images, survey


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def listed(folder, pattern='*'):
    return [str(path.relative_to(folder)) for path in list_images(folder, pattern)]


def test_numbers_in_names_are_sorted_as_numbers(tmp_path):
    touch(tmp_path, 'frame10.png', 'frame2.png', 'frame1.png', 'frame.png', '3.png', 'frame02.png')

    assert listed(tmp_path) == [
        '3.png', 'frame.png', 'frame1.png', 'frame02.png', 'frame2.png', 'frame10.png']


def test_folders_are_in_natural_order_as_well(tmp_path):
    touch(tmp_path, 'drive10/1.png', 'drive9/10.png', 'drive9/9.png')

    assert listed(tmp_path, '**/*') == ['drive9/9.png', 'drive9/10.png', 'drive10/1.png']
    assert listed(tmp_path, '*/1*') == ['drive9/10.png', 'drive10/1.png']


def test_files_of_systems_and_other_kinds_are_left_out(tmp_path):
    touch(tmp_path, 'a.PNG', 'b.jpeg', 'c.tif', '._a.png', 'notes.txt', '__MACOSX/a.png',
          '.thumbnails/a.png', 'd.webp')

    assert listed(tmp_path, '**/*') == ['a.PNG', 'b.jpeg', 'c.tif', 'd.webp']
    assert listed(tmp_path) == ['a.PNG', 'b.jpeg', 'c.tif', 'd.webp']


def test_what_is_left_out_is_counted_and_the_first_are_named(tmp_path):
    touch(tmp_path, '1.png', 'a.gif', 'b.heic', 'c.txt', 'd.mp4', '._1.png', 'Thumbs.db',
          'desktop.ini', '@eaDir/1.png', 'drive/1.png', 'odd.png/x')
    (tmp_path / 'lost.png').symlink_to(tmp_path / 'nowhere')

    found = survey(tmp_path)
    assert [path.name for path in found.images] == ['1.png']
    assert found.remarks() == [
        f'{tmp_path}: 5 files are left out, no image by the suffix: a.gif, b.heic, c.txt and 2 '
        'more']
    assert listed(tmp_path, '**/*') == ['1.png', 'drive/1.png']


def test_natural_order_is_said_where_it_differs_from_plain_sorting(tmp_path):
    touch(tmp_path, *(f'frame{number}.png' for number in range(1, 13)))

    assert survey(tmp_path).remarks() == [
        f'{tmp_path}: frame2.png comes before frame10.png, because numbers in names are compared '
        'as numbers']


def test_names_with_leading_zeros_have_one_order(tmp_path):
    touch(tmp_path, *(f'frame{number:02d}.png' for number in range(1, 13)))

    assert survey(tmp_path).remarks() == []


def test_a_folder_that_is_linked_into_itself_is_listed_once(tmp_path):
    touch(tmp_path, 'drive/1.png')
    (tmp_path / 'drive' / 'again').symlink_to(tmp_path)

    assert listed(tmp_path, '**/*') == ['drive/1.png']


def test_a_folder_without_images_names_itself(tmp_path):
    touch(tmp_path, 'notes.txt')
    with pytest.raises(DataError, match=f'{tmp_path}: no image'):
        list_images(tmp_path)


def test_a_folder_without_images_names_the_videos_and_folders_that_may_be_meant(tmp_path):
    touch(tmp_path, 'README.md', 'drive.mp4', 'b/image_02/1.jpg', 'b/image_02/2.jpg', 'a/1.png',
          '.cache/1.png')

    with pytest.raises(DataError) as error:
        list_images(tmp_path)
    assert str(error.value) == (
        f'{tmp_path}: no image in it (png, jpg, jpeg, bmp, tif, tiff, webp, pgm, ppm); it holds '
        f'README.md, drive.mp4; give what is in it: {tmp_path}/drive.mp4, {tmp_path}/a, '
        f'{tmp_path}/b/image_02')


def test_an_image_is_found_whatever_its_suffix(tmp_path):
    touch(tmp_path, '1694.1.JPG', '1694.2.webp')

    assert find_image(tmp_path / '1694.1') == tmp_path / '1694.1.JPG'
    assert find_image(tmp_path / '1694.2') == tmp_path / '1694.2.webp'
    assert find_image(tmp_path / '1694') is None
