# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""In which frames of a camera motion is known, and the file of the motion head."""

import dataclasses
import shutil
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from mtl_perception.egomotion import RESIDUAL_CHANNELS
from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.frames import Frame, Outputs
from mtl_perception.inference.motion_head_file import (
    MotionHead,
    attach_motion_head,
    motion_head_of,
    read_motion_head,
    write_motion_head,
)
from mtl_perception.inference.moving_objects import MovingObjects, pinhole_of
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.manifest import Manifest, NetworkSpec, read_model, write_model
from mtl_perception.models.motion_head import ResidualMotionHead
from mtl_perception.tasks import STREET_SEMANTIC, STREET_TASKS

MANIFEST = types.SimpleNamespace(
    name='made', sha256='0' * 64, task={'semantic': STREET_SEMANTIC}.get)
CHANNELS = len(RESIDUAL_CHANNELS) + len(STREET_SEMANTIC.movable)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return MotionHead(ResidualMotionHead(CHANNELS, 4), {})


@pytest.fixture
def scene():
    """Return a textured wall 8 m away and what a network says about it."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 255, (14, 24, 3), np.uint8)
    image = np.kron(rough, np.ones((8, 8, 1), np.uint8))
    shape = image.shape[:2]
    return image, Outputs(semantic=np.full(shape, 3, np.uint8),
                          depth=np.full(shape, 8.0, np.float32))


class Recorder:
    """An engine that notes which tasks it was asked for."""

    def __init__(self, outputs, motion_head):
        self.manifest = Manifest(
            name='recorder', network=NetworkSpec(), tasks=STREET_TASKS, height=112, width=192,
            mean=(0, 0, 0), std=(1, 1, 1), focal_px=115.2)
        self.outputs = outputs
        self.motion_head = motion_head
        self.asked = []

    def step(self, image, state=None, tasks=None):
        self.asked.append(tasks)
        return self.outputs, 0


@pytest.fixture
def stream(head, scene):
    return CameraStream(Recorder(scene[1], head), StreamSettings(max_gap_s=0.5))


def feed(stream, image, milliseconds):
    """Return for each frame whether motion is known."""
    found = [stream.process(Frame('front', stamp * 1_000_000, image)) for stamp in milliseconds]
    return [one.motion.max() <= 1 for one in found]


def test_motion_is_unknown_on_the_first_frame_after_a_reset_and_after_a_gap(stream, scene):
    assert feed(stream, scene[0], [100, 200, 300]) == [False, True, True]

    stream.reset('time_jump')
    assert feed(stream, scene[0], [400, 500]) == [False, True]
    assert feed(stream, scene[0], [1100, 1200]) == [False, True]

    assert stream.moving.unknown == {'first': 1, 'time_jump': 1, 'gap': 1}
    assert stream.resets == stream.moving.unknown
    assert stream.warnings == {'I21_no_intrinsics': 7}


def test_a_late_stamp_leaves_no_trace_and_a_stamp_of_zero_starts_afresh(stream, scene):
    assert feed(stream, scene[0], [100, 200, 150, 300]) == [False, True, False, True]
    assert stream.moving.unknown == {'first': 1, 'T01_backwards': 1}

    assert feed(stream, scene[0], [0, 400, 500]) == [False, False, True]
    assert stream.moving.unknown['T04_zero_stamp'] == 2


def test_a_camera_that_restarted_has_motion_again_from_its_second_frame(stream, scene):
    """A recording that is played again: its stamps jump back to the start."""
    feed(stream, scene[0], [9800, 9900])
    assert feed(stream, scene[0], [100, 200, 300, 400]) == [False, False, False, True]
    assert stream.moving.unknown == {'first': 1, 'T01_backwards': 2, 'backwards': 1}


def test_another_resolution_resets_the_motion_head_too(stream, scene):
    feed(stream, scene[0], [100, 200])
    larger = np.kron(scene[0], np.ones((2, 2, 1), np.uint8))
    assert feed(stream, larger, [300, 400]) == [False, True]
    assert stream.moving.unknown == {'first': 1, 'resolution': 1}


def test_a_motion_head_that_was_not_used_for_a_while_forgets_its_old_frame(stream, scene):
    feed(stream, scene[0], [100])
    for stamp in (400, 700, 1000):
        stream.process(Frame('front', stamp * 1_000_000, scene[0]), ['semantic'])

    assert feed(stream, scene[0], [1300]) == [False]
    assert stream.resets == {'first': 1}
    assert stream.moving.unknown == {'first': 1, 'gap': 1}


def test_other_intrinsics_reset_the_motion_head(stream, scene):
    def motion(stamp_ms, focal_px):
        frame = Frame('front', stamp_ms * 1_000_000, scene[0])
        return stream.process(frame, focal_px=focal_px).motion.max()

    assert [motion(100, 100.0), motion(200, 100.0) <= 1, motion(300, 120.0)] == [255, True, 255]
    assert stream.moving.unknown == {'first': 1, 'camera': 1}


def test_without_a_calibration_motion_stands_on_an_assumed_focal_length(head, scene):
    def motion(focal_px):
        stream = CameraStream(Recorder(scene[1], head), StreamSettings(max_gap_s=0.5))
        frames = [Frame('front', stamp * 100_000_000, scene[0]) for stamp in (1, 2, 3)]
        return [stream.process(frame, focal_px=focal_px).motion for frame in frames]

    assumed = motion(None)
    assert [one.max() <= 1 for one in assumed] == [False, True, True]
    for one, other in zip(assumed, motion(0.6 * scene[0].shape[1])):
        np.testing.assert_array_equal(one, other)


def test_another_scene_is_poor_ego_motion(head, scene):
    objects = MovingObjects(head, MANIFEST)
    objects.process(scene[0], 100_000_000, scene[1])
    other = np.random.default_rng(1).integers(0, 255, scene[0].shape, np.uint8)
    assert objects.process(other, 200_000_000, scene[1]).reason == 'poor_ego_motion'


def test_without_depth_nothing_is_known(head, scene):
    objects = MovingObjects(head, MANIFEST)
    found = objects.process(scene[0], 1, Outputs(semantic=scene[1].semantic))
    assert found.reason == 'no_depth'
    assert found.outputs.motion.max() == 0


def test_a_motion_head_survives_the_round_trip(tmp_path, head):
    path = tmp_path / 'made.motion'
    write_motion_head(head.network, MANIFEST, path, {'steps': 3})
    again = read_motion_head(path, MANIFEST)
    features = np.random.default_rng(0).standard_normal((CHANNELS, 8, 12)).astype(np.float32)

    assert again.score(features) == pytest.approx(head.score(features), abs=1e-6)
    assert (again.notes['steps'], again.notes['width']) == (3, 4)


def test_a_head_for_other_features_or_a_damaged_one_is_refused(tmp_path, head):
    path = tmp_path / 'made.motion'
    write_motion_head(head.network, MANIFEST, path, {'channels': ['other']})
    with pytest.raises(CheckpointError, match='train it again'):
        read_motion_head(path, MANIFEST)

    path.write_bytes(b'\0' * 100)
    with pytest.raises(CheckpointError, match='not a motion head'):
        read_motion_head(path, MANIFEST)


def test_a_camera_resized_to_other_proportions_has_two_focal_lengths():
    camera = pinhole_of(700.0, (375, 1242, 3), (224, 384, 3))
    assert camera.fx == pytest.approx(700 * 384 / 1242)
    assert camera.fy == pytest.approx(700 * 224 / 375)
    assert pinhole_of(None, (4, 4), (4, 4)) is None
    assert pinhole_of(float('nan'), (4, 4), (4, 4)) is None


def test_a_stream_runs_the_motion_head_only_if_motion_is_requested(head, scene):
    engine = Recorder(scene[1], head)
    stream = CameraStream(engine)
    stream.process(Frame('front', 100_000_000, scene[0]), ['semantic'])

    assert stream.moving.unknown == {}
    assert set(engine.asked[-1]) == {'semantic'}

    first = stream.process(Frame('front', 200_000_000, scene[0]), ['motion'])
    assert set(engine.asked[-1]) == {'semantic', 'depth'}
    assert first.motion.min() == 255
    assert first.depth is None

    second = stream.process(Frame('front', 300_000_000, scene[0]), ['motion'])
    assert second.motion.max() <= 1
    assert np.isfinite(second.motion_score).all()

    stream.reset('asked')
    assert stream.process(Frame('front', 400_000_000, scene[0])).motion.min() == 255
    assert 'motion' not in engine.asked[-1]
    assert stream.moving.unknown == {'first': 1, 'asked': 1}


def test_a_manifest_names_its_head_and_another_is_refused(tmp_path, tiny_model, head):
    for file in (tiny_model, tiny_model.with_suffix('.json')):
        shutil.copy(file, tmp_path)
    model = tmp_path / tiny_model.name
    manifest, _ = read_model(model)

    assert motion_head_of(model, manifest) is None

    made = tmp_path / 'made.motion'
    write_motion_head(head.network, manifest, made, {})
    attached = attach_motion_head(made, model)
    manifest, _ = read_model(model)

    assert motion_head_of(model, manifest) is not None

    attached.write_bytes(attached.read_bytes() + b' ')
    with pytest.raises(CheckpointError, match='sha256'):
        motion_head_of(model, manifest)

    attached.unlink()
    with pytest.raises(CheckpointError, match='keep weights, manifest and motion head'):
        motion_head_of(model, manifest)


def test_a_network_without_a_decoder_for_motion_gets_it_from_its_head(
        tmp_path, tiny_single_frame_model, head):
    manifest, content = read_model(tiny_single_frame_model)
    channels = {'semantic': 12, 'depth': 1}
    weights = {
        name: value for name, value in load(content).items()
        if not name.startswith('decoders.motion.')}
    model = tmp_path / 'bare.safetensors'
    write_model(dataclasses.replace(
        manifest, tasks=manifest.tasks[:2],
        network=dataclasses.replace(manifest.network, channels=channels)), save(weights), model)
    made = tmp_path / 'made.motion'
    write_motion_head(head.network, manifest, made, {})

    attach_motion_head(made, model)

    engine = TorchEngine.load(model, 'cpu', threads=1)
    assert [task.name for task in engine.manifest.tasks] == ['semantic', 'depth', 'motion']
    assert engine.manifest.network.channels == channels

    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    stream = CameraStream(engine)
    stream.process(Frame('front', 100_000_000, image))
    found = stream.process(Frame('front', 200_000_000, image))

    assert found.motion is not None
    with pytest.raises(ConfigurationError, match='no decoder for motion'):
        CameraStream(engine, StreamSettings(motion_head='network'))
