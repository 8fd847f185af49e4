# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""In how many frames of recorded drives motion is known."""

import itertools

import cv2
import pytest

from mtl_perception.frames import Frame
from mtl_perception.inference.stream import CameraStream
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.media.video import Video
from mtl_perception.tasks import UNKNOWN_MOTION

KITTI = 'kitti_raw/2011_09_26/2011_09_26_drive_{}_sync/image_02/data'
FOCAL_PX = 721.5377
SKIPPED = 10
"""Frames at the start that do not count, as one may be needed for each speed that is tried."""


def share_known(images, rate, focal_px=None):
    stream = CameraStream(TorchEngine.load('street', 'cpu', threads=1))
    known = [
        stream.process(Frame('front', round((number + 1) * 1e9 / rate), image), ['motion'],
                       focal_px=focal_px).motion.min() != UNKNOWN_MOTION
        for number, image in enumerate(images)]
    return sum(known[SKIPPED:]) / len(known[SKIPPED:])


def pictures(folder):
    for path in sorted(folder.iterdir()):
        yield cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.real_data
@pytest.mark.slow
def test_motion_is_known_on_a_highway_whose_focal_length_is_not(real_data):
    video = Video(real_data('udacity_highway') / 'solidWhiteRight.mp4')
    images = (frame.read() for frame in itertools.islice(video.frames(), 80))
    assert share_known(images, 25) >= 0.8


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(('drive', 'least'), [('demoslam', 0.95), ('sfnd', 0.5)])
def test_motion_is_known_on_a_free_road_and_in_most_frames_of_a_queue(real_data, drive, least):
    folder = real_data('kitti_raw').parent / KITTI.format(drive)
    assert share_known(pictures(folder), 10, FOCAL_PX) >= least
