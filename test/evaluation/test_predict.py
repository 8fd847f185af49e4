# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl predict``: every frame, in order, the same every time."""

import json

import av
import cv2
import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.errors import DataError
from mtl_perception.evaluation.film import Film
from mtl_perception.evaluation.predict import FolderWriter
from mtl_perception.evaluation.shots import Shot, open_source
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
    with Film(tmp_path / 'drive.mp4', 5.0) as film:
        for image in frames:
            film.add(image)
    return tmp_path / 'drive.mp4'


def written(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


def test_a_folder_becomes_a_folder_of_masks_and_the_same_again(tmp_path, folder, tiny_model):
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


def test_what_is_no_video_is_refused(tmp_path, tiny_model, capsys):
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(DataError, match=r'text.mp4: is neither a folder nor a recording'):
        open_source(tmp_path / 'text.mp4')
    (tmp_path / 'empty').mkdir()
    assert cli.main(['predict', str(tmp_path / 'empty'), '--model', str(tiny_model)]) == 3
    assert 'no image' in capsys.readouterr().err
    assert cli.main(['predict', str(tmp_path), '--rate', '-1']) == 2


def test_depth_is_millimetres_and_boxes_are_lines(tmp_path):
    depth = np.float32([[1.2345, np.nan], [np.inf, 70.0]])
    found = Perception(depth=depth, detections=Detections(
        np.float32([[1, 2, 3.5, 4]]), np.float32([0.75]), np.uint8([1])))
    writer = FolderWriter(tmp_path, ('car', 'person'))
    writer.take(Shot('one', 1, np.zeros((2, 2, 3), np.uint8)), found)
    writer.finish()
    stored = cv2.imread(str(tmp_path / 'depth/one.png'), cv2.IMREAD_UNCHANGED)
    assert stored.tolist() == [[1234, 0], [65535, 65535]]
    line = json.loads((tmp_path / 'detections.jsonl').read_text())
    assert line == {'name': 'one', 'boxes': [
        {'class': 'person', 'score': 0.75, 'corners': [1.0, 2.0, 3.5, 4.0]}]}


def test_where_motion_is_unknown_is_said_and_what_may_help(tmp_path, capsys):
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
