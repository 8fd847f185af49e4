# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Folders and videos with random oddities through all doors.

Whatever is in them: right frames, or a named refusal, or counted omissions; never another error,
never silence.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from campaign import campaign
from hypothesis import given
from hypothesis import strategies as st
from media_inputs import save, scene, turn_film, turn_jpeg, turn_png
from video_files import film

pytest.importorskip('rosbags')

from mtl_perception.datasets.folder import Folder
from mtl_perception.errors import DataError
from mtl_perception.evaluation.image_inputs import open_input
from mtl_perception.media.listing import natural_order
from mtl_perception.ros.image_sources import open_image_source
from mtl_perception.ros.source_settings import SourceSettings

STEMS = st.one_of(
    st.integers(0, 120).map(str), st.integers(0, 120).map('frame{}'.format),
    st.integers(0, 99).map('{:04d}'.format),
    st.sampled_from(['22:57:44', 'a b', "it's", 'ä', '%d', '1e5', '²', '-', 'a.b', 'CON', '~x']))
SUFFIXES = st.sampled_from(
    ['.png', '.jpg', '.JPG', '.bmp', '.tif', '.webp', '.pgm', '.ppm', '.jpeg', '.TIFF'])
SIDES = st.integers(1, 40)


def of_kind(kind, path, number, height, width):
    """Write one file and return whether it is a picture that can be read."""
    image = scene(number, height, width)
    if path.suffix.lower() == '.pgm':
        image = image[..., 0]
    if kind == 'grey':
        image = image if image.ndim == 2 else image[..., 1]
        if path.suffix.lower() == '.ppm':
            image = np.repeat(image[..., None], 3, axis=2)
    save(path, image)

    content = path.read_bytes()
    if kind == 'cut':
        path.write_bytes(content[:len(content) // 2])
    elif kind == 'empty':
        path.write_bytes(b'')
    elif kind == 'text':
        path.write_bytes(b'<html>')
    elif kind == 'gone':
        path.unlink()
        path.symlink_to(path.with_name('nowhere'))
    elif kind == 'turned' and path.suffix.lower() in ('.jpg', '.jpeg'):
        turn_jpeg(path, 1 + number % 8)
    elif kind == 'turned' and path.suffix.lower() == '.png':
        turn_png(path, 1 + number % 8)
    return kind in ('plain', 'grey', 'turned')


ENTRY = st.tuples(
    STEMS, SUFFIXES, SIDES, SIDES, st.sampled_from(
        ['plain', 'plain', 'plain', 'grey', 'turned', 'cut', 'empty', 'text', 'gone']))
LITTER = st.lists(st.sampled_from(
    ['._1.png', '.DS_Store', 'Thumbs.db', 'notes.txt', 'a.gif', 'b.HEIC', 'folder.png/1.png']),
    max_size=3, unique=True)


def frames_of(source):
    """Return what a source gives until its end."""
    frames = []
    while (picture := source.read()) is not None:
        frames.append((picture.seconds, picture.image))
    source.close()
    return frames


@campaign()
@given(entries=st.lists(ENTRY, max_size=6, unique_by=lambda entry: entry[0] + entry[1].lower()),
       litter=LITTER)
def test_a_folder_of_anything_gives_its_good_pictures_and_counts_the_others(entries, litter):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / 'images'
        folder.mkdir()
        good = {}
        for number, (stem, suffix, height, width, kind) in enumerate(entries):
            path = folder / f'{stem}{suffix}'
            readable = of_kind(kind, path, number, height, width)
            if kind != 'gone':
                good[path] = readable
        for name in litter:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b'left by somebody')

        paths = sorted(good, key=natural_order)
        check_camera(folder, paths, good)
        check_predict(folder, paths, good)
        check_data_set(folder, paths, good)


def check_camera(folder, paths, good):
    wanted = [path for path in paths if good[path]]
    if not wanted:
        with pytest.raises(DataError, match=r'no image|no picture can be read'):
            frames_of(open_image_source(SourceSettings(str(folder))))
        return

    source = open_image_source(SourceSettings(str(folder)))
    frames = frames_of(source)
    assert [round(seconds * 10) for seconds, _ in frames] == [
        number for number, path in enumerate(paths) if good[path]]
    assert source.omissions.count == len(paths) - len(wanted)
    for path, (_, image) in zip(wanted, frames):
        stored = cv2.imread(str(path), cv2.IMREAD_COLOR)  # turned by EXIF, as here
        assert np.array_equal(image, stored[..., ::-1])

    # whatever is visible and no image is named
    visible = [path for path in folder.iterdir() if path.name[0] != '.' and not path.is_dir()
               and path.name != 'Thumbs.db' and path not in good]
    remarks = ' '.join(source.remarks)
    assert ('left out, no image by the suffix' in remarks) == bool(visible)


def check_predict(folder, paths, good):
    stems = [path.stem for path in paths]
    if not paths or len(set(stems)) < len(stems):
        with pytest.raises(DataError, match=r'no image|have the same name'):
            open_input(folder)
        return

    source = open_input(folder)
    images = list(source.images)
    assert [image.name for image in images] == [path.stem for path in paths if good[path]]
    assert source.omissions.count == len(paths) - len(images)
    if all(good.values()) or not any(good.values()):
        return
    with pytest.raises(DataError):
        list(open_input(folder, strict=True).images)
    camera = frames_of(open_image_source(SourceSettings(str(folder))))
    for one, (seconds, image) in zip(images, camera, strict=True):
        assert np.array_equal(one.image, image)
        assert one.stamp_ns == round((seconds + 0.1) * 1e9)


def check_data_set(folder, paths, good):
    def opened():
        return Folder(str(folder.parent), description={'images': folder.name})

    # a data set looks into folders below it as well
    if not paths and not (folder / 'folder.png').is_dir():
        with pytest.raises(DataError, match='no image'):
            opened()
        return
    clips = opened().clips
    assert sorted((clip[-1] for clip in clips if clip[-1].parent == folder),
                  key=natural_order) == paths
    for path in paths:
        if good[path]:
            opened().read_image(path)
        else:
            with pytest.raises(DataError):
                opened().read_image(path)


STEPS = st.lists(st.sampled_from([0, 1, 20, 33, 40, 100, 900]), min_size=1, max_size=10)
MATRIX = st.sampled_from(
    [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1)])
DAMAGE = st.sampled_from(['none', 'none', 'cut', 'bytes', 'header'])


@campaign()
@given(steps=STEPS, start=st.integers(0, 5000), height=st.integers(8, 40),
       width=st.integers(8, 40),
       kind=st.sampled_from(['mkv', 'mp4', 'avi', 'colour.mp4']), matrix=MATRIX, damage=DAMAGE,
       where=st.floats(0.05, 0.95), rate=st.sampled_from([0.0, 0.0, 5.0, 30.0]))
def test_a_video_of_anything_gives_its_frames_at_their_times_or_says_what_is_missing(
        steps, start, height, width, kind, matrix, damage, where, rate):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f'22:57:44.{kind}'
        start = 0 if kind == 'avi' else start  # an AVI has no time before its first frame
        times = [start + sum(steps[:number]) for number in range(len(steps))]
        times = sorted({max(time, start + number) for number, time in enumerate(times)})
        images = [scene(number, height, width) for number in range(len(times))]
        codec = 'ffv1' if kind == 'mkv' else 'mjpeg'
        film(f'file:{path}', images, times, codec=codec)
        if kind.endswith('mp4'):
            turn_film(path, matrix)
        damaged = harmed(path, damage, where)

        try:
            source = open_image_source(SourceSettings(str(path), rate=rate))
            frames = frames_of(source)
        except DataError as error:
            refusal = str(error)
        else:
            check_frames(path, frames, source, rate, times, damaged)
            return
        assert damaged
        assert path.name in refusal


def harmed(path, damage, where):
    """Damage a file and return whether it is."""
    content = bytearray(path.read_bytes())
    place = 8 + int(where * (len(content) - 8))
    if damage == 'cut':
        content = content[:place]
    elif damage == 'bytes':
        content[place:place + 64] = bytes(len(content[place:place + 64]))
    elif damage == 'header':
        content[:8] = bytes(8)
    path.write_bytes(content)
    return damage != 'none'


def check_frames(path, frames, source, rate, times, damaged):
    seconds = [time for time, _ in frames]
    assert seconds == sorted(seconds)
    assert seconds[0] == 0

    # every other door gives the same
    given = open_input(path)
    predicted = list(given.images)
    if not rate:
        assert len(predicted) == len(frames)
        for one, (time, image) in zip(predicted, frames):
            assert np.array_equal(one.image, image)
            assert abs((one.stamp_ns - predicted[0].stamp_ns) / 1e9 - time) < 1e-8
        assert str(given.omissions) == str(source.omissions)
    if not damaged:
        assert not given.omissions
        assert len(predicted) == len(times)
        found = [(one.stamp_ns - predicted[0].stamp_ns) / 1e6 for one in predicted]
        np.testing.assert_allclose(found, np.subtract(times, times[0]), atol=1.01)
    elif len(predicted) < len(times) and path.suffix == '.mp4':
        assert given.omissions  # never silence
