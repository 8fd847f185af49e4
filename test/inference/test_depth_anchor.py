# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth that stands on the height of the camera or on the odometry."""

import dataclasses

import numpy as np
import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.frames import Frame, Outputs
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_DEPTH, STREET_SEMANTIC

SEED, FIRST, COUNT, RATE = 20000, 100, 5, 10.0
HEIGHT, WIDTH = 120, 192
STEP_NS = 100_000_000


@pytest.fixture(scope='module')
def street():
    return Street(SEED, width=WIDTH, height=HEIGHT, rate=RATE, camera_height=0.8)


@pytest.fixture(scope='module')
def frames(street):
    return [street.render(number) for number in range(FIRST, FIRST + COUNT)]


class TrueAnswers:
    """An engine that says the truth, but for a factor on depth."""

    def __init__(self, street, frames, factor=1.0, camera_height=1.5, road=True):
        self.manifest = Manifest(
            name='true', network=NetworkSpec(frames=1), tasks=(STREET_SEMANTIC, STREET_DEPTH),
            height=HEIGHT, width=WIDTH, mean=(0, 0, 0), std=(1, 1, 1),
            focal_px=float(street.focal_px), camera_height=camera_height)
        self.motion_head = None
        self.factor = factor
        self.road = road
        self._frames = {frame.image.tobytes(): frame for frame in frames}
        self.asked = None

    def step(self, image, state=None, tasks=None):
        self.asked = tasks
        frame = self._frames[image.tobytes()]
        semantic = frame.semantic if self.road else np.full_like(frame.semantic, 3)
        return Outputs(semantic, frame.depth * np.float32(self.factor)), None


def drive(engine, street, frames, start=1, step_ns=STEP_NS, odometry=None, **settings):
    """Return the stream after some frames, and the factor that the last depth is wrong by."""
    stream = CameraStream(engine, StreamSettings(**settings))
    for number, frame in enumerate(frames, start):
        found = stream.process(
            Frame('front', number * step_ns, frame.image), {'depth'},
            focal_px=float(street.focal_px), odometry=odometry)
    known = np.isfinite(found.depth) & np.isfinite(frames[-1].depth)
    return stream, float(np.median(found.depth[known] / frames[-1].depth[known]))


def way(street, scale=1.0):
    def between(earlier_ns, later_ns):
        first, second = (street.pose(FIRST + stamp // STEP_NS - 1)
                         for stamp in (earlier_ns, later_ns))
        pose = np.linalg.inv(first) @ second
        pose[:3, 3] *= scale
        return pose
    return between


@pytest.mark.parametrize('factor', [0.5, 1.0, 1.8])
def test_the_height_anchors_whatever_the_network_thinks(street, frames, factor):
    engine = TrueAnswers(street, frames, factor)
    stream, ratio = drive(engine, street, frames, camera_height=0.8, depth_scale='height')

    assert ratio == pytest.approx(1, rel=0.04)
    assert stream.anchor.anchored
    assert not stream.warnings
    assert engine.asked == {'depth', 'semantic'}  # nobody asked for semantics but the anchor


def test_the_network_alone_keeps_its_factor(street, frames):
    _, ratio = drive(TrueAnswers(street, frames, 1.8), street, frames)
    assert ratio == pytest.approx(1.8, rel=0.01)


@pytest.mark.parametrize('factor', [0.7, 1.5])
def test_the_odometry_anchors_whatever_the_network_thinks(street, frames, factor):
    stream, ratio = drive(
        TrueAnswers(street, frames, factor), street, frames, odometry=way(street),
        depth_scale='odometry')
    assert ratio == pytest.approx(1, rel=0.1)
    assert stream.anchor.anchored
    assert stream.warnings == {'I26_not_anchored': 1}  # the first frame has no way behind it


@pytest.mark.parametrize('given', [None, 'standing'])
def test_without_a_way_the_depth_is_that_of_the_network_and_says_so(street, frames, given):
    stream, ratio = drive(
        TrueAnswers(street, frames, 1.5), street, frames,
        odometry=None if given is None else way(street, 0.0), depth_scale='odometry')
    assert ratio == pytest.approx(1.5, rel=0.01)
    assert stream.warnings == {'I26_not_anchored': COUNT}


def test_slow_motion_adds_up_until_it_can_be_seen(street, frames):
    slow = TrueAnswers(street, frames, 1.5)
    stream = CameraStream(slow, StreamSettings(depth_scale='odometry'))
    drive_on = [frames[0]] * 4 + [frames[1]] + [frames[1]] * 3
    places = [FIRST] * 4 + [FIRST + 1] * 4

    def between(earlier_ns, later_ns):
        first, second = (street.pose(places[stamp // STEP_NS - 1])
                         for stamp in (earlier_ns, later_ns))
        return np.linalg.inv(first) @ second

    anchored = []
    for number, frame in enumerate(drive_on, 1):
        image = frame.image.copy()
        image[0, 0, 0] ^= number  # no camera gives the same image twice
        slow._frames[image.tobytes()] = frame
        stream.process(Frame('front', number * STEP_NS, image), {'depth'},
                       focal_px=float(street.focal_px), odometry=between)
        anchored.append(stream.anchor.anchored)
    assert anchored == [False] * 4 + [True] * 4  # standing before, moved, standing after
    assert stream.anchor.factor == pytest.approx(1 / 1.5, rel=0.1)


def test_without_a_road_the_told_height_counts_as_by_the_network_and_it_says_so(street, frames):
    stream, ratio = drive(
        TrueAnswers(street, frames, road=False), street, frames, camera_height=3.0,
        depth_scale='height')
    assert ratio == pytest.approx(2 ** 0.7, rel=0.01)
    assert stream.warnings == {'I26_not_anchored': COUNT}


def test_the_last_factor_counts_on_and_after_a_while_it_says_that_it_is_old(street, frames):
    engine = TrueAnswers(street, frames, 1.8)
    stream = CameraStream(engine, StreamSettings(camera_height=0.8, depth_scale='height'))
    ratios = []
    for seconds in (1.0, 1.1, 5.9, 6.5, 6.6):
        engine.road = seconds in (1.0, 6.6)
        found = stream.process(
            Frame('front', round(seconds * 1e9), frames[0].image), {'depth'},
            focal_px=float(street.focal_px))
        known = np.isfinite(found.depth) & np.isfinite(frames[0].depth)
        ratios.append(float(np.median(found.depth[known] / frames[0].depth[known])))
        if seconds == 5.9:
            assert not stream.warnings
        if seconds == 6.5:
            assert not stream.anchor.anchored

    assert ratios == pytest.approx([1] * 5, rel=0.04)
    assert stream.anchor.anchored
    assert stream.warnings == {'I26_not_anchored': 1}


def ratios_at(stamps, engine, street, frames, odometry=None, **settings):
    """Return the stream, and the factor that the depth is wrong by at each stamp in steps."""
    stream, ratios = CameraStream(engine, StreamSettings(**settings)), []
    for number, stamp in enumerate(stamps):
        frame = frames[number % len(frames)]
        found = stream.process(Frame('front', round(stamp * STEP_NS), frame.image), {'depth'},
                               focal_px=float(street.focal_px), odometry=odometry)
        known = np.isfinite(found.depth) & np.isfinite(frame.depth)
        ratios.append(float(np.median(found.depth[known] / frame.depth[known])))
    return stream, ratios


@pytest.mark.parametrize('settings', [
    {'depth_scale': 'height', 'camera_height': 0.8}, {'depth_scale': 'odometry'}])
def test_the_factor_counts_on_in_frames_with_an_odd_stamp(street, frames, settings):
    stream, ratios = ratios_at(
        [1, 2, 3, 2.5, 3], TrueAnswers(street, frames, 1.5), street, frames, way(street),
        **settings)
    assert stream.warnings['T01_backwards'] == stream.warnings['T02_duplicate'] == 1
    assert ratios[2:] == pytest.approx([1] * 3, rel=0.1)
    assert stream.anchor.anchored
    assert stream.warnings['I26_not_anchored'] == (settings['depth_scale'] == 'odometry')


def test_without_stamps_the_height_anchors_and_the_odometry_does_not(street, frames):
    stream, ratios = ratios_at([0] * COUNT, TrueAnswers(street, frames, 1.8), street, frames,
                               depth_scale='height', camera_height=0.8)
    assert ratios == pytest.approx([1] * COUNT, rel=0.04)
    assert stream.warnings == {'T04_zero_stamp': COUNT}

    stream, ratios = ratios_at([0] * COUNT, TrueAnswers(street, frames, 1.8), street, frames,
                               way(street), depth_scale='odometry')
    assert ratios == pytest.approx([1.8] * COUNT, rel=0.01)
    assert stream.warnings == {'T04_zero_stamp': COUNT, 'I26_not_anchored': COUNT}


def test_without_stamps_a_frame_without_a_road_is_not_anchored(street, frames):
    engine = TrueAnswers(street, frames, 1.8)
    stream, _ = ratios_at([0] * 2, engine, street, frames,
                          depth_scale='height', camera_height=0.8)
    measured = stream.anchor.factor
    engine.road = False
    stream.process(Frame('front', 0, frames[2].image), {'depth'}, focal_px=float(street.focal_px))
    assert stream.anchor.factor == measured != 1
    assert stream.warnings == {'T04_zero_stamp': 3, 'I26_not_anchored': 1}


def test_an_absurd_height_is_not_believed(street, frames):
    stream, ratio = drive(
        TrueAnswers(street, frames, 0.05, camera_height=0.0), street, frames, camera_height=0.8,
        depth_scale='height')
    assert ratio == pytest.approx(0.05, rel=0.01)
    assert stream.warnings == {'I26_not_anchored': COUNT}


def test_another_drive_starts_anew(street, frames):
    stream, _ = drive(
        TrueAnswers(street, frames), street, frames, camera_height=0.8, depth_scale='height')
    stream.reset('time_jump')
    assert not stream.anchor.anchored
    assert stream.anchor.factor == 1


def test_a_recording_that_starts_again_is_anchored_again(street, frames):
    engine = TrueAnswers(street, frames, 1.5)
    stream, _ = drive(engine, street, frames, odometry=way(street), depth_scale='odometry')
    stream.reset('time_jump')
    for number, frame in enumerate(frames, 1):
        stream.process(Frame('front', number * STEP_NS, frame.image), {'depth'},
                       focal_px=float(street.focal_px), odometry=way(street))
    assert stream.anchor.anchored
    assert stream.anchor.factor == pytest.approx(1 / 1.5, rel=0.1)


def test_frames_that_are_far_apart_in_time_are_not_compared(street, frames):
    """Nobody asked for depth in between, and the camera went a long way."""
    eight_metres = np.eye(4)
    eight_metres[2, 3] = 8
    stream = CameraStream(
        TrueAnswers(street, frames, 1.5), StreamSettings(depth_scale='odometry'))
    for seconds, frame in ((1, frames[0]), (9, frames[-1])):
        stream.process(Frame('front', seconds * 10 ** 9, frame.image), {'depth'},
                       focal_px=float(street.focal_px), odometry=lambda *_: eight_metres)
    assert stream.anchor.factor == 1


def test_a_height_that_nobody_tells_any_more_anchors_nothing(street, frames):
    stream, _ = drive(
        TrueAnswers(street, frames), street, frames, camera_height=0.8, depth_scale='height')
    stream.use_camera_height(0.0)
    found = stream.process(Frame('front', (COUNT + 1) * STEP_NS, frames[-1].image), {'depth'},
                           focal_px=float(street.focal_px))

    known = np.isfinite(found.depth)
    np.testing.assert_allclose(found.depth[known], frames[-1].depth[known], rtol=1e-5)
    assert not stream.anchor.anchored
    assert stream.warnings == {'I26_not_anchored': 1}


def test_what_cannot_be_anchored_is_refused(street, frames):
    engine = TrueAnswers(street, frames)
    with pytest.raises(ConfigurationError, match=r'set depth\.camera_height'):
        CameraStream(engine, StreamSettings(depth_scale='height'))
    with pytest.raises(ValueError, match="must be one of \\['network', 'height', 'odometry'\\]"):
        StreamSettings(depth_scale='heigth')

    other = dataclasses.replace(STREET_SEMANTIC, classes=('floor', *STREET_SEMANTIC.classes[2:]),
                                palette=STREET_SEMANTIC.palette[1:])
    engine.manifest = dataclasses.replace(engine.manifest, tasks=(other, STREET_DEPTH))
    with pytest.raises(ConfigurationError, match='no class for the road'):
        CameraStream(engine, StreamSettings(camera_height=1.0, depth_scale='height'))

    engine.manifest = dataclasses.replace(engine.manifest, tasks=(STREET_DEPTH,))
    with pytest.raises(ConfigurationError, match='takes semantics and depth'):
        CameraStream(engine, StreamSettings(depth_scale='odometry'))
