# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of a camera motion is known about, and the file of the head."""

import shutil
import types

import numpy as np
import pytest
import torch

from mtl_perception.egomotion import RESIDUAL_CHANNELS
from mtl_perception.errors import CheckpointError
from mtl_perception.frames import Frame, Outputs
from mtl_perception.inference.motion_head_file import (
    MotionHead,
    attach_motion_head,
    motion_head_of,
    read_motion_head,
    write_motion_head,
)
from mtl_perception.inference.moving_objects import MovingObjects, pinhole_of
from mtl_perception.inference.stream import CameraStream
from mtl_perception.manifest import Manifest, NetworkSpec, read_model
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


def feed(objects, scene, milliseconds):
    """Return the reasons of some frames."""
    image, outputs = scene
    return [objects.process(image, stamp * 1_000_000, outputs).reason for stamp in milliseconds]


def test_motion_is_unknown_on_the_first_frame_after_a_reset_and_after_a_gap(head, scene):
    objects = MovingObjects(head, MANIFEST, max_gap_s=0.5)
    assert feed(objects, scene, [100, 200, 300]) == ['first', '', '']
    objects.reset()
    assert feed(objects, scene, [400, 500]) == ['reset', '']
    assert feed(objects, scene, [1100, 1200]) == ['gap', '']
    assert objects.unknown == {'first': 1, 'reset': 1, 'gap': 1}
    assert objects.assumed == 7


def test_a_late_or_untrusted_stamp_leaves_no_trace(head, scene):
    objects = MovingObjects(head, MANIFEST)
    assert feed(objects, scene, [100, 200, 150, 0, 300]) == ['first', '', 'stamp', 'stamp', '']


def test_another_scene_is_poor_ego_motion(head, scene):
    objects = MovingObjects(head, MANIFEST)
    feed(objects, scene, [100])
    other = np.random.default_rng(1).integers(0, 255, scene[0].shape, np.uint8)
    assert objects.process(other, 200_000_000, scene[1]).reason == 'poor_ego_motion'


def test_without_depth_nothing_is_known(head, scene):
    objects = MovingObjects(head, MANIFEST)
    found = objects.process(scene[0], 1, Outputs(semantic=scene[1].semantic))
    assert found.reason == 'no_depth'
    assert found.outputs.motion.max() == 0


def test_a_head_is_read_as_it_was_written(tmp_path, head):
    path = tmp_path / 'made.motion'
    write_motion_head(head.network, MANIFEST, path, {'steps': 3})
    again = read_motion_head(path, MANIFEST)
    features = np.random.default_rng(0).standard_normal((CHANNELS, 8, 12)).astype(np.float32)
    assert again.score(features) == pytest.approx(head.score(features), abs=1e-6)
    assert (again.notes['steps'], again.notes['width']) == (3, 4)


def test_a_head_for_other_channels_or_a_damaged_one_is_refused(tmp_path, head):
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


class Recorder:
    """An engine that notes which tasks it was asked for."""

    def __init__(self, outputs):
        self.manifest = Manifest(
            name='recorder', network=NetworkSpec(), tasks=STREET_TASKS, height=112, width=192,
            mean=(0, 0, 0), std=(1, 1, 1), focal_px=115.2)
        self.outputs, self.asked = outputs, []

    def step(self, image, state=None, tasks=None):
        self.asked.append(tasks)
        return self.outputs, 0


def test_a_stream_runs_the_head_only_if_motion_is_wanted(head, scene):
    engine = Recorder(scene[1])
    stream = CameraStream(engine, motion_head=head)
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
    assert stream.moving.unknown == {'first': 1, 'reset': 1}


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
    with pytest.raises(CheckpointError, match='three files together'):
        motion_head_of(model, manifest)
