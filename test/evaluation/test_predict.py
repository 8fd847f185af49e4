# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl predict``: every frame, in order, the same every time."""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media_inputs import cut_by_edit_list
from video_files import film

from mtl_perception import cli
from mtl_perception.bags.reader import Bag
from mtl_perception.errors import DataError, StorageError
from mtl_perception.evaluation.image_inputs import InputImage, open_input
from mtl_perception.evaluation.pictures import Painter
from mtl_perception.evaluation.predict import FolderWriter
from mtl_perception.evaluation.video_writer import VideoWriter
from mtl_perception.frames import Detections, Perception
from mtl_perception.media.video import Video
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_TASKS


@pytest.fixture(scope='module')
def frames():
    street = Street(20004, 96, 64)
    return [street.render(number).image for number in range(6)]


@pytest.fixture
def folder(tmp_path, frames):
    (tmp_path / 'images').mkdir()
    for number, image in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'images/frame{number}.png'), image[..., ::-1])
    return tmp_path / 'images'


@pytest.fixture
def video(tmp_path, frames):
    with VideoWriter(tmp_path / 'drive.mp4', 5.0) as video:
        for image in frames:
            video.add(image)
    return tmp_path / 'drive.mp4'


def written(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


def test_a_folder_becomes_a_folder_of_masks_with_the_same_bytes_every_time(
        tmp_path, folder, tiny_model):
    results = []
    for name in ('first', 'second'):
        assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--output',
                         str(tmp_path / name), '--threads', '1']) == 0
        results.append(written(tmp_path / name))

    assert results[0] == results[1]
    assert sorted(results[0]) == sorted(
        f'{task}/frame{number}.png' for task in ('semantic', 'depth', 'motion')
        for number in range(6))

    motion = cv2.imread(str(tmp_path / 'first/motion/frame0.png'), cv2.IMREAD_UNCHANGED)
    assert motion.shape == (64, 96)
    assert (motion == 255).all()  # the first frame has none before it

    depth = cv2.imread(str(tmp_path / 'first/depth/frame3.png'), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16


def test_a_crop_is_unknown_outside_and_told(tmp_path, folder, tiny_model, capsys):
    given = ['predict', str(folder), '--model', str(tiny_model), '--threads', '1', '--fit', 'crop']
    assert cli.main([*given, '--roi', '16,8,48,32', '--output', str(tmp_path / 'part')]) == 0

    said = capsys.readouterr().err
    assert said.count('images of 96 x 64 pixels, of them 48 x 32 at (16, 8); outside of it') == 1
    semantic = cv2.imread(str(tmp_path / 'part/semantic/frame1.png'), cv2.IMREAD_UNCHANGED)
    depth = cv2.imread(str(tmp_path / 'part/depth/frame1.png'), cv2.IMREAD_UNCHANGED)
    known = np.zeros((64, 96), bool)
    known[8:40, 16:64] = True
    np.testing.assert_array_equal(semantic != 255, known)
    assert (depth[~known] == 0).all()

    assert cli.main([*given, '--roi', '60,8,48,32', '--output', str(tmp_path / 'not')]) == 3
    assert 'I25_fit' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*given, '--roi', '1,2,3'])
    assert 'wanted x, y, width and height' in capsys.readouterr().err


def test_a_video_becomes_a_video_of_as_many_frames(tmp_path, video, tiny_model, capsys):
    output = tmp_path / 'deep' / 'shown.mp4'

    assert cli.main(['predict', str(video), '--model', str(tiny_model), '--output',
                     str(output)]) == 0
    said = capsys.readouterr()
    metres = 'depth stands on: assumed focal length of 57.6 pixels (there is no calibration)'
    assert said.out == f'6 frames: {output}\n{metres}\n'
    assert f'mtl predict: {metres}\n' in said.err  # at once

    with av.open(str(output)) as container:
        shown = list(container.decode(video=0))
        assert float(container.streams.video[0].average_rate) == 5.0

    assert len(shown) == 6
    assert shown[0].width == 4 * 384  # camera, semantic, depth, motion

    legend = Painter(STREET_TASKS).legend(shown[0].width)
    below = shown[-1].to_ndarray(format='rgb24')[256:]
    assert below.shape == legend.shape
    assert np.abs(below.astype(int) - legend).mean() < 6  # what the film's compression changes


def test_a_file_that_is_not_a_video_is_refused(tmp_path, tiny_model, capsys):
    (tmp_path / 'text.mp4').write_text('no video')

    with pytest.raises(DataError, match=r'text.mp4: cannot be opened as a video'):
        open_input(tmp_path / 'text.mp4')
    with pytest.raises(DataError, match=r'none.mp4: does not exist'):
        open_input(tmp_path / 'none.mp4')

    (tmp_path / 'empty').mkdir()
    assert cli.main(['predict', str(tmp_path / 'empty'), '--model', str(tiny_model)]) == 3
    assert 'no image' in capsys.readouterr().err
    assert cli.main(['predict', str(tmp_path), '--rate', '-1']) == 2


def test_depth_is_millimetres_and_boxes_are_lines(tmp_path):
    depth = np.float32([[1.2345, np.nan], [np.inf, 70.0]])
    found = Perception(depth=depth, detection=Detections(
        np.float32([[1, 2, 3.5, 4]]), np.float32([0.75]), np.uint8([1])))
    writer = FolderWriter(tmp_path, ('car', 'person'))
    writer.take(InputImage('one', 1, np.zeros((2, 2, 3), np.uint8)), found)
    stored = cv2.imread(str(tmp_path / 'depth/one.png'), cv2.IMREAD_UNCHANGED)

    assert stored.tolist() == [[1234, 0], [65535, 65535]]

    line = json.loads((tmp_path / 'detections.jsonl').read_text())
    assert line == {'name': 'one', 'boxes': [
        {'class': 'person', 'score': 0.75, 'corners': [1.0, 2.0, 3.5, 4.0]}]}


def test_the_number_of_frames_with_unknown_motion_is_printed_with_a_remedy(tmp_path, capsys):
    street = Street(20004, 384, 224)
    random = np.random.default_rng(0)
    scenes = {
        'drive': [street.render(number).image for number in range(4)],
        'noise': random.integers(0, 256, (4, 224, 384, 3), np.uint8)}
    said = {}
    for name, images in scenes.items():
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            cv2.imwrite(str(tmp_path / name / f'{number}.png'), image[..., ::-1])
        assert cli.main(['predict', str(tmp_path / name), '--threads', '1', '--output',
                         str(tmp_path / f'{name} masks')]) == 0
        said[name] = capsys.readouterr().out

    assert 'motion is unknown in 3 frames (3 poor_ego_motion)' in said['noise']
    assert '--focal-length' in said['noise']
    assert 'motion is unknown' not in said['drive']


def test_a_video_is_read_with_its_colours_and_its_own_times(tmp_path):
    red = np.zeros((64, 96, 3), np.uint8)
    red[..., 0] = 200
    times = [0, 100, 200, 1200, 1300, 1400]
    path = film(tmp_path / 'gap.mkv', [red] * 6, times)
    images = list(open_input(path).images)

    assert np.abs(images[0].image.astype(int) - red).max() < 20
    assert [round((image.stamp_ns - images[0].stamp_ns) / 1e6) for image in images] == times

    stamps = [image.stamp_ns for image in open_input(path, rate=4.0).images]
    assert stamps == [250_000_000 * number for number in range(1, 7)]  # a rate that is given


@pytest.mark.parametrize('name', ['cut.mp4', 'cut.mkv'])
def test_a_video_that_is_cut_short_gives_what_is_there_and_says_so(
        tmp_path, frames, tiny_model, capsys, name):
    options = {'movflags': 'faststart'} if name.endswith('mp4') else {}
    random = np.random.default_rng(0)
    path = film(tmp_path / name, list(
        random.integers(0, 256, (40, 64, 96, 3), np.uint8)), **options)

    assert len(list(open_input(path).images)) == 40  # the control

    source = open_input(path)
    assert source.count == 40

    path.write_bytes(path.read_bytes()[:path.stat().st_size * 6 // 10])
    words = ['predict', str(path), '--model', str(tiny_model), '--output']
    assert cli.main([*words, str(tmp_path / 'masks')]) == 0
    said = capsys.readouterr().out.replace(str(path), '')
    assert 'cut short' in said
    assert 15 < len(list((tmp_path / 'masks/depth').iterdir())) < 30

    assert cli.main([*words, str(tmp_path / 'strict'), '--strict']) == 3
    said = capsys.readouterr().err
    assert any(words in said for words in ('cut short', 'cannot be decoded', 'is damaged'))
    assert f'the frames before it are kept in {tmp_path / "strict"}' in said
    assert 15 < len(list((tmp_path / 'strict/depth').iterdir())) < 30


def test_the_input_is_never_overwritten(tmp_path, video, folder, tiny_model, capsys):
    before = video.read_bytes()
    for source, output in ((video, video), (folder, folder), (folder, folder.parent)):
        if source == folder and output == folder.parent:
            masks = folder.parent / 'semantic'
            folder.rename(masks)
            source = masks
        assert cli.main(['predict', str(source), '--model', str(tiny_model), '--output',
                         str(output)]) == 2

    assert video.read_bytes() == before
    assert len(list((folder.parent / 'semantic').iterdir())) == 6


def test_predictions_are_not_mixed_with_earlier_ones(tmp_path, folder, tiny_model, capsys):
    words = ['predict', str(folder), '--model', str(tiny_model), '--output', str(tmp_path / 'out')]
    assert cli.main(words) == 0
    assert cli.main(words) == 2
    assert 'holds earlier predictions' in capsys.readouterr().err


def test_earlier_boxes_are_not_overwritten(tmp_path, folder, tiny_model, capsys):
    boxes = tmp_path / 'out/detections.jsonl'
    boxes.parent.mkdir()
    boxes.write_text('earlier')

    assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--output',
                     str(boxes.parent)]) == 2
    assert f'{boxes} holds earlier predictions' in capsys.readouterr().err
    assert [path.read_text() for path in boxes.parent.iterdir()] == ['earlier']


@pytest.mark.parametrize('words', [
    ['--rate', 'nan'], ['--rate', 'inf'], ['--focal-length', 'nan'], ['--output', 'x.avi'],
    ['--camera-height', '-1'], ['--output', 'x.MKV'], ['--output', 'x.db3']])
def test_impossible_options_are_refused(tmp_path, folder, tiny_model, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['predict', str(folder), '--model', str(tiny_model), *words]) == 2
    assert not any((tmp_path / name).exists() for name in ('x.avi', 'x.MKV', 'x.db3'))


def test_images_of_every_kind_come_in_natural_order(tmp_path):
    for number, suffix in ((9, 'bmp'), (10, 'tif'), (11, 'png')):
        image = np.full((8, 8, 3), number, np.uint8)
        cv2.imwrite(str(tmp_path / f'frame{number}.{suffix}'), image)
    (tmp_path / '._frame1.png').write_bytes(b'left by a system')

    source = open_input(tmp_path)

    assert source.count == 3
    assert [(image.name, int(image.image[0, 0, 0])) for image in source.images] == [
        ('frame9', 9), ('frame10', 10), ('frame11', 11)]


def test_two_images_of_one_name_are_refused(folder):
    (folder / 'frame0.jpg').write_bytes((folder / 'frame0.png').read_bytes())
    with pytest.raises(DataError, match=r'frame0\.jpg and frame0\.png have the same name'):
        open_input(folder)


def frames_of(path):
    with av.open(str(path)) as container:
        return len(list(container.decode(video=0)))


def test_a_cut_picture_in_a_folder_is_left_out_and_counted(tmp_path, folder, tiny_model, capsys):
    (folder / 'frame4.png').write_bytes((folder / 'frame4.png').read_bytes()[:-9])

    for output in ('shown.mp4', 'new.mcap', 'masks'):
        assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--output',
                         str(tmp_path / output)]) == 0
        said = capsys.readouterr().out
        assert said.startswith('5 frames: ')
        assert f'1 frame is left out: {folder / "frame4.png"}: ' in said
        assert 'truncated' in said

    assert frames_of(tmp_path / 'shown.mp4') == 5
    assert {path.stem for path in (tmp_path / 'masks/depth').iterdir()} == {
        'frame0', 'frame1', 'frame2', 'frame3', 'frame5'}


PART = '--fit', 'crop', '--roi', '48,8,48,32'
"""A part of the images; smaller ones do not have it."""


def test_a_picture_that_the_stream_refuses_is_left_out_and_counted(
        tmp_path, folder, frames, tiny_model, capsys):
    cv2.imwrite(str(folder / 'frame3.png'), frames[3][:, :40, ::-1])
    for output in ('shown.mp4', 'new.mcap', 'masks'):
        assert cli.main(['predict', str(folder), '--model', str(tiny_model), *PART, '--output',
                         str(tmp_path / output)]) == 0
        said = capsys.readouterr().out
        assert said.startswith('5 frames: ')
        assert '1 frame is left out: frame frame3: [I25_fit] the roi is 48 x 32' in said

    assert frames_of(tmp_path / 'shown.mp4') == 5
    assert {path.stem for path in (tmp_path / 'masks/depth').iterdir()} == {
        'frame0', 'frame1', 'frame2', 'frame4', 'frame5'}


def test_strict_ends_at_a_picture_that_the_stream_refuses_and_keeps_the_frames_before_it(
        tmp_path, folder, frames, tiny_model, capsys):
    cv2.imwrite(str(folder / 'frame3.png'), frames[3][:, :40, ::-1])
    assert cli.main(['predict', str(folder), '--model', str(tiny_model), *PART, '--strict',
                     '--output', str(tmp_path / 'masks')]) == 3

    said = capsys.readouterr().err
    assert f'are kept in {tmp_path / "masks"}' in said
    assert '[I25_fit] the roi is' in said
    assert len(list((tmp_path / 'masks/depth').iterdir())) == 3


def test_where_the_stream_refuses_every_picture_the_first_reason_is_told(
        tmp_path, folder, tiny_model, capsys):
    assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--roi', '60,8,48,32',
                     '--output', str(tmp_path / 'shown.mp4')]) == 3

    said = capsys.readouterr().err
    assert ('there is not a single frame that can be used: 6 frames are left out: frame frame0: '
            '[I25_fit] the roi is') in said
    assert [path.name for path in tmp_path.iterdir()] == ['images']


def test_strict_ends_at_a_cut_picture_and_keeps_the_frames_before_it(
        tmp_path, folder, tiny_model, capsys):
    output = tmp_path / 'shown.mp4'
    words = ['predict', str(folder), '--model', str(tiny_model), '--strict', '--output']
    assert cli.main([*words, str(output)]) == 0
    before = output.read_bytes()
    (folder / 'frame4.png').write_bytes(b'no image')

    assert cli.main([*words, str(output)]) == 3
    said = capsys.readouterr().err
    assert f'the frames before it are kept in {tmp_path / "shown.partial.mp4"}' in said
    assert 'frame4.png: cannot be read' in said
    assert output.read_bytes() == before  # an earlier film is never replaced by part of one
    assert {path.name for path in tmp_path.iterdir()} == {
        'images', 'shown.mp4', 'shown.partial.mp4'}
    assert frames_of(tmp_path / 'shown.partial.mp4') == 4

    for name in ('new.mcap', 'masks'):
        assert cli.main([*words, str(tmp_path / name)]) == 3
        assert f'are kept in {tmp_path / name.removesuffix(".mcap")}' in capsys.readouterr().err
    with Bag(tmp_path / 'new') as bag:
        assert len(bag.stamps) == 4
    assert len(list((tmp_path / 'masks/depth').iterdir())) == 4


def test_where_the_first_picture_is_broken_strict_leaves_nothing(
        tmp_path, folder, tiny_model, capsys):
    (folder / 'frame0.png').write_bytes(b'no image')
    for name in ('shown.mp4', 'new.mcap', 'masks'):
        assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--strict',
                         '--output', str(tmp_path / name)]) == 3

    assert 'are kept' not in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['images']


def test_a_folder_of_broken_pictures_is_refused_with_their_names(tmp_path, tiny_model, capsys):
    (tmp_path / 'images').mkdir()
    for number in range(5):
        (tmp_path / f'images/{number}.jpg').write_bytes(b'no image')

    assert cli.main(['predict', str(tmp_path / 'images'), '--model', str(tiny_model),
                     '--output', str(tmp_path / 'shown.mp4')]) == 3

    said = capsys.readouterr().err
    assert 'not a single frame that can be used: 5 frames are left out: ' in said
    assert '0.jpg: cannot be read' in said
    assert 'and 2 more' in said


def test_pictures_of_another_size_are_fitted_into_the_film(
        tmp_path, folder, frames, tiny_model, capsys):
    cv2.imwrite(str(folder / 'frame3.png'), frames[3][:, :40, ::-1])  # portrait
    assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--output',
                     str(tmp_path / 'shown.mp4')]) == 0

    assert 'fitted into its frame with black bars: 1' in capsys.readouterr().out
    with av.open(str(tmp_path / 'shown.mp4')) as container:
        shown = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert {image.shape for image in shown} == {(256 + 72, 4 * 384, 3)}  # a legend below
    assert shown[3][:, :100].mean() < 3  # a black bar
    assert shown[3][:, 700:800].mean() > 20


def test_a_film_has_the_times_of_its_input(tmp_path, tiny_model):
    grey = np.full((64, 96, 3), 90, np.uint8)
    times = [0, 30, 60, 1060, 1560, 9000]
    source = film(tmp_path / 'gap.mkv', [grey] * 6, times)
    assert cli.main(['predict', str(source), '--model', str(tiny_model), '--output',
                     str(tmp_path / 'shown.mp4')]) == 0

    with av.open(str(tmp_path / 'shown.mp4')) as container:
        found = [round(1000 * frame.time) for frame in container.decode(video=0)]
    assert found == [0, 30, 60, 1060, 1560, 3560]  # a pause of more than 2 s lasts 2 s


def write(video, pictures):
    with video:
        for picture in pictures:
            video.add(picture)


def test_on_a_full_disk_the_film_so_far_can_be_played(tmp_path, frames):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    random = np.random.default_rng(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    video = VideoWriter(tmp_path / 'full.mp4', 10.0)
    try:
        with pytest.raises(StorageError, match='cannot be written'):
            write(video, [random.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(400)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    assert list(tmp_path.iterdir()) == ([video.kept] if video.kept else [])
    if av.library_versions['libavformat'] >= (61, 7, 100):
        assert video.kept == tmp_path / 'full.partial.mp4'
        assert len(list(Video(video.kept).frames(strict=False))) >= 12


def test_a_video_is_read_with_its_rotation(tmp_path):
    """Turned by 90 degrees to the right, as a telephone says it: what is left on top is right."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:16, :16, 0] = 255
    path = film(tmp_path / 'portrait.mp4', [image] * 3)
    content = bytearray(path.read_bytes())
    matrix = content.index(b'tkhd') + 44  # of ISO 14496-12, 8.3.2

    assert content[matrix:matrix + 4] == b'\0\1\0\0'  # 1.0: not turned

    one, minus = 0x10000, -0x10000
    content[matrix:matrix + 36] = struct.pack('>9i', 0, one, 0, minus, 0, 0, 64 * one, 0, 1 << 30)
    path.write_bytes(content)
    shown = next(iter(open_input(path).images)).image

    assert shown.shape == (96, 64, 3)
    assert shown[4, 60, 0] > 200
    assert shown[4, 4, 0] < 50


def test_a_video_cut_by_an_edit_list_gets_an_answer_for_each_frame_that_is_shown(
        tmp_path, tiny_model, capsys):
    random = np.random.default_rng(0)
    film(tmp_path / 'whole.mp4', list(random.integers(0, 256, (30, 64, 96, 3), np.uint8)))
    path = cut_by_edit_list(tmp_path / 'whole.mp4', tmp_path / 'cut.mp4', 1.5)

    assert cli.main(['predict', str(path), '--model', str(tiny_model), '--strict', '--output',
                     str(tmp_path / 'shown.mp4')]) == 0
    assert capsys.readouterr().out.startswith('15 frames: ')
    assert frames_of(tmp_path / 'shown.mp4') == 15


def test_a_time_of_day_is_a_name_of_the_input_and_of_the_film(
        tmp_path, video, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video.rename(tmp_path / '2024-11-14T22:57:44.mp4')

    assert cli.main(['predict', '2024-11-14T22:57:44.mp4', '--model', str(tiny_model), '--output',
                     '22:58.mp4']) == 0
    assert len(list(Video(tmp_path / '22:58.mp4').frames())) == 6


def test_what_is_left_out_of_a_folder_and_its_order_are_said_before_the_work(
        tmp_path, folder, tiny_model, capsys):
    (folder / 'frame10.png').write_bytes((folder / 'frame0.png').read_bytes())
    (folder / 'a.heic').write_bytes(b'no image')
    assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--output',
                     str(tmp_path / 'masks')]) == 0

    said = capsys.readouterr().err
    assert '1 file is left out, no image by the suffix: a.heic' in said
    assert 'frame2.png comes before frame10.png' in said


def test_a_full_disk_keeps_the_frames_before_it(tmp_path, folder, tiny_model, capsys, monkeypatch):
    written = []

    def write_bytes(path, content):
        if len(written) == 7:
            raise OSError(28, 'No space left on device')
        written.append(path)
        with path.open('wb') as file:
            return file.write(content)

    monkeypatch.setattr(Path, 'write_bytes', write_bytes)
    assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--output',
                     str(tmp_path / 'masks')]) == 5

    said = capsys.readouterr().err
    assert f'the frames before it are kept in {tmp_path / "masks"}' in said
    assert 'No space left' in said
    found = list((tmp_path / 'masks').rglob('*.png'))
    assert sorted(found) == sorted(written)
    assert all(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None for path in found)


@pytest.mark.parametrize('source', ['shown.partial.mp4', '.shown.mp4.part'])
def test_an_interruption_keeps_the_input_and_earlier_parts(
        tmp_path, video, tiny_model, capsys, monkeypatch, source):
    for name in {'shown.partial.mp4', source}:
        (tmp_path / name).write_bytes(video.read_bytes())

    def interrupted(images, *_):
        yield from list(images)[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr('mtl_perception.commands.predict.progress', interrupted)
    for number in (2, 3):
        assert cli.main(['predict', str(tmp_path / source), '--model', str(tiny_model),
                         '--output', str(tmp_path / 'shown.mp4')]) == 130
        kept = tmp_path / f'shown.partial{number}.mp4'
        assert f'the frames before it are kept in {kept}' in capsys.readouterr().err
        assert frames_of(kept) == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        video.name, source, 'shown.partial.mp4', 'shown.partial2.mp4', 'shown.partial3.mp4'}
    assert (tmp_path / source).read_bytes() == video.read_bytes()


@pytest.mark.parametrize('name', ['shown.mp4', 'new.mcap', 'masks'])
def test_an_interruption_keeps_the_frames_before_it(
        tmp_path, folder, tiny_model, capsys, monkeypatch, name):
    def interrupted(images, *_):
        for number, image in enumerate(images):
            if number == 4:
                raise KeyboardInterrupt
            yield image

    monkeypatch.setattr('mtl_perception.commands.predict.progress', interrupted)
    assert cli.main(['predict', str(folder), '--model', str(tiny_model), '--output',
                     str(tmp_path / name)]) == 130

    said = capsys.readouterr().err
    if name == 'shown.mp4':
        assert f'are kept in {tmp_path / "shown.partial.mp4"}' in said
        assert frames_of(tmp_path / 'shown.partial.mp4') == 4
    elif name == 'new.mcap':
        with Bag(tmp_path / 'new') as bag:
            assert len(bag.stamps) == 4
    else:
        assert len(list((tmp_path / 'masks/depth').iterdir())) == 4


def test_a_name_that_is_no_text_is_printed(tmp_path, folder, tiny_model):
    (folder / os.fsdecode(b'\xff.png')).write_bytes(b'no image')
    done = subprocess.run(
        [sys.executable, '-m', 'mtl_perception.cli', 'predict', str(folder), '--model',
         str(tiny_model), '--output', str(tmp_path / 'masks')], capture_output=True, check=False,
        env={**os.environ, 'PYTHONIOENCODING': 'utf-8:strict'})

    assert done.returncode == 0
    assert b'1 frame is left out' in done.stdout
    assert b'Traceback' not in done.stderr


def test_a_hidden_recording_beside_pictures_is_none(folder):
    (folder / '._drive.mcap').write_bytes(b'left by a system')

    assert open_input(folder).count == 6
