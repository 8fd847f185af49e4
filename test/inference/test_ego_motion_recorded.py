# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ego-motion with the shipped model's own depth on a recorded drive whose poses are known."""

import cv2
import numpy as np
import pytest

from mtl_perception.egomotion import MotionTracker
from mtl_perception.egomotion.estimate import BELIEVABLE
from mtl_perception.egomotion.pinhole import inverse
from mtl_perception.inference.moving_objects import pinhole_of
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.preprocessing import resize


def drift(root, sequence='01', frames=None):
    """Return (error of the length, error of the direction in degrees, believed) per step."""
    poses = np.loadtxt(root / 'poses' / f'{sequence}.txt').reshape(-1, 3, 4)
    folder = root / 'sequences' / sequence
    numbers = (folder / 'calib.txt').read_text().split('\n')[0].split()
    focal = float(next(word for word in numbers if not word.endswith(':')))

    engine = TorchEngine.load('street', 'cpu', threads=1)
    manifest = engine.manifest
    semantic = manifest.task('semantic')

    found = []
    tracker = None
    for number, path in enumerate(sorted((folder / 'image_0').iterdir())[:frames]):
        picture = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), cv2.COLOR_GRAY2RGB)
        image = resize(picture, manifest.height, manifest.width)
        camera = pinhole_of(focal, picture.shape, image.shape)
        tracker = tracker or MotionTracker(camera, semantic.movable, semantic.sky)

        outputs, _ = engine.step(image, None, ('semantic', 'depth'))
        tracker.add((number + 1) * 100_000_000, image,
                    outputs.depth * np.float32(camera.fy / manifest.focal_px), outputs.semantic)

        if number:
            pose = np.eye(4)
            pose[:3] = poses[number]
            before = np.eye(4)
            before[:3] = poses[number - 1]
            true = (inverse(before) @ pose)[:3, 3]
            step = tracker.step.pose[:3, 3]

            lengths = np.linalg.norm(step), np.linalg.norm(true)
            angle = np.degrees(np.arccos(np.clip(step @ true / lengths[0] / lengths[1], -1, 1)))
            found.append((lengths[0] / lengths[1] - 1, angle, tracker.step.quality >= BELIEVABLE))
    return np.array(found)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_direction_holds_on_a_recorded_drive(real_data):
    found = drift(real_data('kitti_odometry'))
    believed = found[:, 2] > 0

    assert believed.mean() > 0.9
    assert np.median(found[believed, 1]) < 2
    assert abs(np.median(found[believed, 0])) < 0.2  # metres, from a network that saw a street
