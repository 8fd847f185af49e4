# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl predict``: every frame, in order, the same every time."""

import json
import resource
import signal
import struct

import av
import cv2
import numpy as np
import pytest
from video_files import film

from mtl_perception import cli
from mtl_perception.errors import DataError, StorageError
from mtl_perception.evaluation.image_inputs import InputImage, open_input
from mtl_perception.evaluation.predict import FolderWriter
from mtl_perception.evaluation.video_writer import VideoWriter
from mtl_perception.frames import Detections, Perception
from mtl_perception.synthetic import Street


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


def test_a_video_becomes_a_video_of_as_many_frames(tmp_path, video, tiny_model, capsys):
    output = tmp_path / 'deep' / 'shown.mp4'

    assert cli.main(['predict', str(video), '--model', str(tiny_model), '--output',
                     str(output)]) == 0
    assert capsys.readouterr().out == f'6 frames: {output}\n'

    with av.open(str(output)) as container:
        shown = list(container.decode(video=0))
        assert float(container.streams.video[0].average_rate) == 5.0

    assert len(shown) == 6
    assert shown[0].width == 4 * 384  # camera, semantic, depth, motion


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
    writer.finish()
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
def test_a_video_that_is_cut_short_is_refused(tmp_path, frames, tiny_model, capsys, name):
    options = {'movflags': 'faststart'} if name.endswith('mp4') else {}
    random = np.random.default_rng(0)
    path = film(tmp_path / name, list(
        random.integers(0, 256, (40, 64, 96, 3), np.uint8)), **options)

    assert len(list(open_input(path).images)) == 40  # the control

    source = open_input(path)
    assert source.count == 40

    path.write_bytes(path.read_bytes()[:path.stat().st_size * 6 // 10])
    assert cli.main(['predict', str(path), '--model', str(tiny_model), '--output',
                     str(tmp_path / 'masks')]) == 3

    said = capsys.readouterr().err.replace(str(path), '')
    assert 'cut short' in said or 'cannot be decoded to its end' in said


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


def test_a_video_that_fails_keeps_the_earlier_one(tmp_path, folder, tiny_model):
    output = tmp_path / 'shown.mp4'
    words = ['predict', str(folder), '--model', str(tiny_model), '--output', str(output)]

    assert cli.main(words) == 0

    before = output.read_bytes()
    (folder / 'frame4.png').write_bytes(b'no image')

    assert cli.main(words) == 3
    assert output.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {'images', 'shown.mp4'}


def write(video, pictures):
    with video:
        for picture in pictures:
            video.add(picture)


def test_a_full_disk_is_a_storage_error(tmp_path, frames):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    random = np.random.default_rng(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(StorageError, match='cannot be written'):
            write(VideoWriter(tmp_path / 'full.mp4', 10.0), [
                random.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(40)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    assert list(tmp_path.iterdir()) == []


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
