# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of a camera motion is known about, and the file of the head."""

import types

import numpy as np
import pytest
import torch

from mtl_perception.egomotion import RESIDUAL_CHANNELS
from mtl_perception.errors import CheckpointError
from mtl_perception.frames import Outputs
from mtl_perception.inference.motion_head import MotionHead, read_motion_head, write_motion_head
from mtl_perception.inference.moving import MovingObjects, pinhole_of
from mtl_perception.models.motion_head import ResidualMotionHead
from mtl_perception.tasks import STREET_SEMANTIC

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
    path = tmp_path / 'made.motion.safetensors'
    write_motion_head(head.network, MANIFEST, path, {'steps': 3})
    again = read_motion_head(path, MANIFEST)
    features = np.random.default_rng(0).standard_normal((CHANNELS, 8, 12)).astype(np.float32)
    assert again.score(features) == pytest.approx(head.score(features), abs=1e-6)
    assert (again.notes['steps'], again.notes['width']) == (3, 4)


def test_a_head_for_other_channels_or_a_damaged_one_is_refused(tmp_path, head):
    path = tmp_path / 'made.motion.safetensors'
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
