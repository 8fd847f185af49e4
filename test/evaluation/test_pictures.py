# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mosaics and videos."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('av')

import av

from mtl_perception.errors import StorageError
from mtl_perception.evaluation.pictures import Painter, evenly_spread
from mtl_perception.evaluation.video_writer import ENCODERS, VideoWriter
from mtl_perception.frames import FrameRecord, Perception, Truth
from mtl_perception.tasks import STREET_SEMANTIC, STREET_TASKS

CAR = 8


def record(height=56, width=96, truth=True):
    """Return a grey image; prediction: a car that moves, truth: the sky, which does not."""
    def full(value, dtype=np.uint8):
        return np.full((height, width), value, dtype)

    return FrameRecord(
        5, np.full((height, width, 3), 100, np.uint8),
        Perception(full(CAR), full(10.0, np.float32), full(1)),
        Truth(full(11), full(np.inf, np.float32), full(0)) if truth else None)


def tile(picture, row, column, width=96, height=56):
    """Return a tile without its caption."""
    return picture[row * height:(row + 1) * height, column * width:(column + 1) * width][25:]


def test_prediction_stands_over_truth_in_four_columns():
    picture = Painter(STREET_TASKS, tile_width=96).draw(record())

    assert picture.shape == (2 * 56, 4 * 96, 3)
    assert (tile(picture, 0, 0) == 100).all()

    blue = 0.65 * np.array(STREET_SEMANTIC.palette[CAR]) + 0.35 * 100
    np.testing.assert_allclose(tile(picture, 0, 1)[0, 0], blue, atol=1)
    assert (tile(picture, 1, 2) == 225).all()  # beyond range is light grey
    assert (tile(picture, 0, 3)[..., 0] > 150).all()  # all of it is called moving
    assert (tile(picture, 1, 3) == 100).all()  # in truth nothing is


def test_unknown_motion_does_not_look_as_if_nothing_moved():
    whole = record(truth=False)
    unknown = dataclasses.replace(whole, prediction=dataclasses.replace(
        whole.prediction, motion=np.full((56, 96), 255, np.uint8)))
    painter = Painter(STREET_TASKS, tile_width=96)
    faded = tile(painter.draw(unknown), 0, 3)
    np.testing.assert_allclose(faded, 0.7 * 235 + 0.3 * 100, atol=1)


def test_without_truth_there_is_one_row():
    picture = Painter(STREET_TASKS, tile_width=96).draw(record(truth=False), ['t = 1 s'])
    assert picture.shape == (56, 4 * 96, 3)


def test_a_task_without_a_prediction_has_a_dark_tile():
    whole = record()
    incomplete = dataclasses.replace(
        whole, prediction=dataclasses.replace(whole.prediction, depth=None))

    picture = Painter(STREET_TASKS, tile_width=96).draw(incomplete)

    assert (tile(picture, 0, 2) == 24).all()


@pytest.mark.parametrize('size', [(55, 97), (720, 1280), (100, 50)])
def test_every_picture_has_even_sides_for_any_camera(size):
    picture = Painter(STREET_TASKS, tile_width=95).draw(record(*size))
    assert picture.shape[0] % 2 == 0
    assert picture.shape[1] == 4 * 94


def test_the_legend_shows_every_class_in_its_colour():
    legend = Painter(STREET_TASKS).legend(1536)
    colours = {tuple(colour) for colour in legend.reshape(-1, 3)}
    assert set(STREET_SEMANTIC.palette) <= colours
    assert (255, 64, 64) in colours


def test_a_mosaic_holds_all_frames():
    painter = Painter(STREET_TASKS, tile_width=96)
    drawn = [painter.draw(record()) for _ in range(3)]
    mosaic = painter.mosaic(drawn, 'title')
    legend = painter.legend(4 * 96)
    assert mosaic.shape == (40 + 3 * 112 + 2 * 6 + len(legend), 4 * 96, 3)
    np.testing.assert_array_equal(mosaic[40:152], drawn[0])


@pytest.mark.parametrize(('count', 'total', 'wanted'), [
    (5, 100, [10, 30, 50, 70, 90]), (5, 3, [0, 1, 2]), (1, 1, [0]), (2, 5, [1, 3])])
def test_indices_are_spread_evenly(count, total, wanted):
    assert evenly_spread(count, total) == wanted


def test_a_video_holds_every_picture_at_its_rate(tmp_path):
    path = tmp_path / 'video.mp4'
    with VideoWriter(path, 10.0) as video:
        for level in (0, 60, 120, 180, 240):
            video.add(np.full((64, 128, 3), level, np.uint8))

    assert video.encoder in ENCODERS

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        means = [frame.to_ndarray(format='rgb24').mean() for frame in container.decode(stream)]
        assert float(stream.average_rate) == 10.0

    np.testing.assert_allclose(means, (0, 60, 120, 180, 240), atol=6)


def test_mpeg4_is_used_where_no_other_encoder_is_built_in(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, 'mpeg4', ENCODERS['mpeg4'])
    for name in ('libx264', 'libopenh264'):
        monkeypatch.delitem(ENCODERS, name)
    with VideoWriter(tmp_path / 'video.mp4', 10.0) as video:
        video.add(np.zeros((64, 128, 3), np.uint8))
    assert video.encoder == 'mpeg4'


def write_black(path):
    with VideoWriter(path, 10.0) as video:
        for _ in range(50):  # encoders hold some pictures back
            video.add(np.zeros((64, 128, 3), np.uint8))


def test_a_video_fits_other_sizes_and_refuses_a_missing_folder(tmp_path):
    with VideoWriter(tmp_path / 'video.mp4', 10.0) as video:
        video.add(np.zeros((64, 128, 3), np.uint8))
        video.add(np.full((64, 32, 3), 200, np.uint8))
    assert video.fitted == 1
    with av.open(str(tmp_path / 'video.mp4')) as container:
        shown = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert shown[1].shape == (64, 128, 3)
    assert shown[1][:, :40].mean() < 3
    assert shown[1][:, 52:76].mean() > 190
    with pytest.raises(StorageError, match='nowhere'):
        write_black(tmp_path / 'nowhere' / 'video.mp4')
