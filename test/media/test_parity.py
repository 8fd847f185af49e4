# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
One list of inputs through all doors: ``camera_source``, ``mtl predict``, the data sets.

Each input is made by a function below, gets the same frames, times and sizes through every door
that takes it, and these are right. What differs on purpose is in the table of docs/inputs.md and
in :data:`DIFFERENT`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media_inputs import (
    cut_by_edit_list,
    save,
    scene,
    turn_film,
    turn_jpeg,
    turn_png,
    upright,
)
from video_files import film

pytest.importorskip('rosbags')

from mtl_perception.datasets.folder import Folder
from mtl_perception.errors import DataError
from mtl_perception.evaluation.image_inputs import open_input
from mtl_perception.ros.image_sources import open_image_source
from mtl_perception.ros.source_settings import SourceSettings

SUFFIXES = ('png', 'jpg', 'jpeg', 'bmp', 'tif', 'tiff', 'webp', 'pgm', 'ppm')
INPUTS: dict[str, Any] = {}
"""Name of an input -> function that makes it in a folder and returns what is :class:`Wanted`."""


@dataclass
class Wanted:
    """
    What is right.

    :param path: of the input.
    :param images: (H, W, 3) uint8 each.
    :param times: of the frames, seconds; 10 frames per second without them.
    :param lossy: whether the format changes pixels.
    :param tolerance: largest difference of a pixel otherwise.
    :param left_out: number of frames that cannot be read.
    """

    path: Path
    images: list[np.ndarray]
    times: list[float] = field(default_factory=list)
    lossy: bool = False
    tolerance: int = 0
    left_out: int = 0


def made(make):
    """Add an input; the name of the function is its name."""
    INPUTS[make.__name__] = make
    return make


def of_suffix(suffix):
    def make(folder):
        images = [scene(number) for number in range(3)]
        if suffix == 'pgm':
            images = [np.repeat(image[..., :1], 3, axis=2) for image in images]
        for number, image in enumerate(images):
            values = image[..., 0] if suffix == 'pgm' else image
            save(folder / f'{number}.{suffix}', values)
        return Wanted(folder, images, lossy=suffix.startswith('jp'))
    return make


INPUTS.update({f'a_folder_of_{suffix}': of_suffix(suffix) for suffix in SUFFIXES})


@made
def suffixes_in_capitals(folder):
    save(folder / 'a.PNG', scene(1))
    save(folder / 'b.Bmp', scene(2))
    return Wanted(folder, [scene(1), scene(2)])


@made
def numbers_without_leading_zeros(folder):
    for number in range(1, 13):
        save(folder / f'frame{number}.png', scene(number))
    return Wanted(folder, [scene(number) for number in range(1, 13)])


@made
def files_of_systems_and_of_other_kinds(folder):
    for number in range(3):
        save(folder / f'{number}.png', scene(number))
    for name in ('._1.png', '.DS_Store', 'Thumbs.db', 'desktop.ini', 'notes.txt', 'a.heic'):
        (folder / name).write_bytes(b'no image')
    save(folder / '@eaDir' / '1.png', scene(9))
    (folder / 'lost.png').symlink_to(folder / 'nowhere.png')
    return Wanted(folder, [scene(number) for number in range(3)])


@made
def strange_names(folder):
    names = ('1 a.png', '2024-11-14T22:57:44.png', '2024-11-14T22:57:45.png', 'strasse-ä.png',
             "it's.png", '%d.png')
    for name in names:
        save(folder / name, scene(len(name)))
    order = [names[0], names[1], names[2], names[5], names[4], names[3]]
    return Wanted(folder, [scene(len(name)) for name in order])


@made
def jpegs_with_exif_orientations_1_to_8(folder):
    for orientation in range(1, 9):
        turn_jpeg(save(folder / f'{orientation}.jpg', scene(3), cv2.IMWRITE_JPEG_QUALITY, 100),
                  orientation)
    return Wanted(folder, [upright(scene(3), number) for number in range(1, 9)], lossy=True)


@made
def pngs_with_exif_orientations_1_to_8(folder):
    for orientation in range(1, 9):
        turn_png(save(folder / f'{orientation}.png', scene(3)), orientation)
    return Wanted(folder, [upright(scene(3), number) for number in range(1, 9)])


@made
def grey_pictures(folder):
    for number in range(3):
        save(folder / f'{number}.png', scene(number)[..., 1])
    return Wanted(folder, [np.repeat(scene(number)[..., 1:2], 3, axis=2) for number in range(3)])


@made
def grey_pictures_of_16_bits(folder):
    values = np.linspace(0, 65535, 24 * 40).astype(np.uint16).reshape(24, 40)
    for number in range(3):
        save(folder / f'{number}.png', np.roll(values, 10 * number, axis=1))
    eight = [np.roll(values, 10 * number, axis=1) / 257 for number in range(3)]
    return Wanted(folder, [np.repeat(np.rint(one)[..., None], 3, axis=2) for one in eight],
                  tolerance=1)


@made
def grey_pictures_of_12_bits_one_darker_than_the_other(folder):
    values = np.linspace(0, 4095, 24 * 40).astype(np.uint16).reshape(24, 40)
    for number in range(3):
        save(folder / f'{number}.tif', values // (number + 1))
    eight = [values // (number + 1) * (255 / 4095) for number in range(3)]
    return Wanted(folder, [np.repeat(np.rint(one)[..., None], 3, axis=2) for one in eight],
                  tolerance=2)


@made
def colours_of_16_bits(folder):
    save(folder / '1.png', scene(1).astype(np.uint16) * 257)
    return Wanted(folder, [scene(1)], tolerance=2)


@made
def pictures_with_alpha(folder):
    for number in range(3):
        alpha = np.full((24, 40, 1), 100, np.uint8)
        save(folder / f'{number}.png', np.concatenate([scene(number), alpha], axis=2))
    return Wanted(folder, [scene(number) for number in range(3)])


@made
def pictures_with_a_palette(folder):
    pillow = pytest.importorskip('PIL.Image')
    image = scene(1) // 128 * 255
    pillow.fromarray(image).quantize(16).save(folder / '1.png')
    return Wanted(folder, [image])


@made
def a_jpeg_of_cyan_magenta_yellow_black(folder):
    pillow = pytest.importorskip('PIL.Image')
    pillow.fromarray(scene(1)).convert('CMYK').save(folder / '1.jpg', quality=100)
    return Wanted(folder, [scene(1)], lossy=True)


@made
def pictures_of_two_sizes(folder):
    save(folder / '1.png', scene(1))
    save(folder / '2.png', scene(2, 40, 24))
    save(folder / '3.png', scene(3, 1, 1))
    return Wanted(folder, [scene(1), scene(2, 40, 24), scene(3, 1, 1)])


@made
def broken_pictures_among_good_ones(folder):
    for number in range(6):
        save(folder / f'{number}.png', scene(number))
    (folder / '1.png').write_bytes((folder / '1.png').read_bytes()[:-20])
    (folder / '3.png').write_bytes(b'')
    (folder / '5.png').write_text('<html>not found</html>')
    return Wanted(folder, [scene(0), scene(2), scene(4)], [0, 0.2, 0.4], left_out=3)


@made
def names_that_differ_in_the_suffix_alone(folder):
    save(folder / '1.png', scene(1))
    save(folder / '1.bmp', scene(2))
    return Wanted(folder, [scene(2), scene(1)])


@made
def a_single_picture(folder):
    return Wanted(turn_jpeg(save(folder / 'photo.jpg', scene(1)), 6),
                  [upright(scene(1), 6)], lossy=True)


@made
def a_link_to_a_folder(folder):
    save(folder / 'real' / '1.png', scene(1))
    (folder / 'link').symlink_to(folder / 'real')
    return Wanted(folder / 'link', [scene(1)])


def scenes(count, **size):
    return [scene(number, **size) for number in range(count)]


@made
def a_video_of_constant_rate(folder):
    return Wanted(film(folder / 'a.mkv', scenes(12)), scenes(12))


@made
def a_video_of_variable_rate(folder):
    times = [0, 33, 66, 700, 733, 2000]
    return Wanted(film(folder / 'a.mkv', scenes(6), times), scenes(6), [t / 1000 for t in times])


@made
def a_video_that_starts_late(folder):
    times = [5000, 5100, 5250]
    return Wanted(film(folder / 'a.mkv', scenes(3), times), scenes(3), [0, 0.1, 0.25])


@made
def a_video_cut_by_an_edit_list(folder):
    images = scenes(30, height=64, width=96)
    film(folder / 'whole.mp4', images, codec='libx264', pixels='yuv420p')
    path = cut_by_edit_list(folder / 'whole.mp4', folder / 'cut.mp4', 1.5)
    return Wanted(path, images[15:], lossy=True)


def turned_film(folder, matrix):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:16, :32, 0] = 255
    path = film(folder / 'a.mp4', [image] * 3, codec='mpeg4', pixels='yuv420p')
    return turn_film(path, matrix), image


@made
def a_video_turned_to_the_right(folder):
    path, image = turned_film(folder, (0, 1, -1, 0))
    return Wanted(path, [np.rot90(image, -1)] * 3, lossy=True)


@made
def a_video_turned_upside_down(folder):
    path, image = turned_film(folder, (-1, 0, 0, -1))
    return Wanted(path, [image[::-1, ::-1]] * 3, lossy=True)


@made
def a_mirrored_video(folder):
    path, image = turned_film(folder, (-1, 0, 0, 1))
    return Wanted(path, [image[:, ::-1]] * 3, lossy=True)


@made
def a_video_of_odd_size(folder):
    images = scenes(4, height=33, width=51)
    return Wanted(film(folder / 'a.mkv', images), images)


@made
def a_video_of_one_frame(folder):
    return Wanted(film(folder / 'a.mkv', scenes(1)), scenes(1))


@made
def a_grey_video(folder):
    images = [np.full((24, 40, 3), 20 * number, np.uint8) for number in range(1, 5)]
    return Wanted(film(folder / 'a.mkv', images, pixels='gray'), images, tolerance=2)


@made
def a_time_of_day_as_the_name_of_a_video(folder):
    path = film(folder / 'a.mkv', scenes(3)).rename(folder / '2024-11-14T22:57:44.mkv')
    return Wanted(path, scenes(3))


@made
def a_video_with_a_damaged_part(folder):
    images = scenes(8)
    path = film(folder / 'a.mkv', images, codec='mjpeg')
    content = bytearray(path.read_bytes())
    starts = [place for place in range(len(content)) if content.startswith(b'\xff\xd8\xff', place)]
    content[starts[3]:starts[4] - 40] = bytes(starts[4] - 40 - starts[3])
    path.write_bytes(content)
    return Wanted(path, images[:3] + images[4:], [0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.7], True,
                  left_out=1)


@made
def a_video_with_empty_packets_between_its_frames(folder):
    images = scenes(6)
    path = film(folder / 'a.avi', images, [0, 5, 10, 25, 30, 60], codec='mjpeg')
    assert path.read_bytes().count(b'00dc\0\0\0\0') > 40  # one for each millisecond without one
    return Wanted(path, images, [0, 0.005, 0.01, 0.025, 0.03, 0.06], lossy=True)


# Calibrations and recordings have inputs of their own: focal lengths, sizes, bags. They belong
# here, each a function that is ``made``, with ``Wanted`` widened by what they add.


@pytest.fixture(params=sorted(INPUTS))
def wanted(request, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    wanted = INPUTS[request.param](folder)
    wanted.times = wanted.times or [number / 10 for number in range(len(wanted.images))]
    return wanted


def through_camera_source(path):
    """Return the frames as the node publishes them, and how many are left out."""
    rate = 0.0 if Path(path).suffix in ('.mkv', '.mp4', '.avi') else 10.0
    source = open_image_source(SourceSettings(str(path), rate=rate))
    pictures = []
    while (picture := source.read()) is not None:
        pictures.append((picture.seconds, picture.image))
    source.close()
    return pictures, source.omissions.count


def through_predict(path):
    """Return the frames as the network gets them, and how many are left out."""
    source = open_input(path)
    images = list(source.images)
    first = round(1e9 / source.rate)
    return [((one.stamp_ns - first) / 1e9, one.image) for one in images], source.omissions.count


def through_a_data_set(path):
    """Return the images as training gets them, and how many are refused."""
    data = Folder(str(path.parent), description={'images': path.name})
    images = []
    refused = 0
    for clip in data.clips:
        try:
            images.append(data.read_image(clip[-1]))
        except DataError:
            refused += 1
    return images, refused


DIFFERENT = {
    'names_that_differ_in_the_suffix_alone': 'mtl predict refuses: two outputs of one name'}
"""Input -> what is different on purpose between camera_source and mtl predict."""


def check(found, wanted):
    """Compare frames with what is right."""
    assert [image.shape for image in found] == [image.shape for image in wanted.images]
    for image, right in zip(found, wanted.images):
        difference = np.abs(image.astype(int) - right)
        assert difference.mean() <= (8 if wanted.lossy else wanted.tolerance)
        assert difference.max() <= (255 if wanted.lossy else wanted.tolerance)


def test_every_door_gives_the_same_frames_times_and_sizes(request, wanted):
    frames, left_out = through_camera_source(wanted.path)
    check([image for _, image in frames], wanted)
    np.testing.assert_allclose([time for time, _ in frames], wanted.times, atol=1e-6)
    assert left_out == wanted.left_out

    if request.node.callspec.params['wanted'] in DIFFERENT:
        with pytest.raises(DataError, match='have the same name'):
            open_input(wanted.path)
    else:
        predicted, left_out = through_predict(wanted.path)
        np.testing.assert_allclose(
            [time for time, _ in predicted], [time for time, _ in frames], atol=2e-9)
        for (_, found), (_, image) in zip(predicted, frames, strict=True):
            np.testing.assert_array_equal(found, image)
        assert left_out == wanted.left_out

    if wanted.path.is_dir():
        images, refused = through_a_data_set(wanted.path)
        for found, (_, image) in zip(images, frames, strict=True):
            np.testing.assert_array_equal(found, image)
        assert refused == wanted.left_out


def test_there_are_inputs_enough():
    assert len(INPUTS) >= 25


@pytest.mark.parametrize(('name', 'content'), [
    ('empty.mp4', b''), ('text.mp4', b'no video'), ('cut.mp4', b'\0\0\0\x18ftypmp42'),
    ('broken.png', b'no image'), ('nothing.png', b'')])
def test_every_door_refuses_what_holds_no_frame(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(DataError, match=name.replace('.', r'\.')):
        through_camera_source(path)
    if name.endswith('.png'):
        assert through_predict(path) == ([], 1)  # mtl predict refuses it once it has looked
    else:
        with pytest.raises(DataError, match=name.replace('.', r'\.')):
            through_predict(path)


def test_every_door_refuses_a_folder_without_images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    (folder / 'notes.txt').write_text('no image')

    for door in (through_camera_source, through_predict, through_a_data_set):
        with pytest.raises(DataError, match=r'no image.*it holds notes\.txt'):
            door(folder)
