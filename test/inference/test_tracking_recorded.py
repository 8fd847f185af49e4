# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How often ids change on a recorded drive."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest

from mtl_perception.frames import Frame
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.media.intrinsics import Intrinsics, IntrinsicsState

LARGEST = 20
SHARE = 1 / 3
"""An object has the id that most of its points have, if that is at least this share of them."""


@pytest.mark.real_data
@pytest.mark.slow
def test_ids_of_the_largest_objects_of_a_street_hold(real_data):
    folder = real_data('pandaset') / '002' / 'front_camera'
    meta = json.loads((folder / 'meta.json').read_text())
    camera = Intrinsics(
        IntrinsicsState.CALIBRATED,
        *(meta['intrinsics_1920x1080'][name] / 2 for name in ('fx', 'fy')),
        centre=tuple((meta['intrinsics_1920x1080'][name] + 0.5) / 2 - 0.5
                     for name in ('cx', 'cy')))
    points = Counter()
    for frame in meta['frames'].values():
        for one in frame['objects']:
            points[one['uuid']] += one['points']
    wanted = {uuid for uuid, _ in points.most_common(LARGEST)}

    stream = CameraStream(
        TorchEngine.load('street', 'cpu', threads=1), StreamSettings(camera_height=2.08))
    ids, changes, seen = {}, 0, 0
    for name, frame in sorted(meta['frames'].items()):
        image = cv2.imread(str(folder / 'image' / f'{name}.jpg'))[..., ::-1]
        mask = stream.process(
            Frame('front', round(frame['stamp_s'] * 1e9), np.ascontiguousarray(image)),
            ['objects'], 'network', intrinsics=camera).objects.mask

        labels = np.load(folder / 'points' / f'{name}.npz')
        column, row = (
            np.clip(np.rint((labels[axis] + 0.5) * size / whole - 0.5).astype(int), 0, size - 1)
            for axis, size, whole in (('u', mask.shape[1], 960), ('v', mask.shape[0], 540)))
        found = mask[row, column]
        for number, one in enumerate(frame['objects']):
            if one['uuid'] not in wanted:
                continue
            own = found[labels['object'] == number]
            counts = Counter(own[own > 0].tolist())
            if not counts or max(counts.values()) < SHARE * len(own):
                continue
            chosen = counts.most_common(1)[0][0]
            changes += ids.get(one['uuid'], chosen) != chosen
            ids[one['uuid']] = chosen
            seen += 1

    print(f'{changes} changes of id, {len(ids)} of {LARGEST} objects seen {seen} times')
    assert len(ids) >= LARGEST // 4
    assert changes <= 10
