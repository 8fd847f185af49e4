# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras of a node whose engine gains by batches."""

import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import FakeEngine
from sensor_msgs.msg import Image

from mtl_perception.errors import FrameError
from mtl_perception.image_codec import decode_array
from mtl_perception.inference.together import TogetherEngine

CAMERAS = ('front', 'rear', 'left')


class BatchEngine(FakeEngine):
    """Computes batches, and remembers their sizes."""

    gains_by_batches = True

    def __init__(self):
        super().__init__()
        self.sizes = []

    def steps(self, requests):
        self.sizes.append(len(requests))
        return [self.step(one.image, one.state, one.tasks) for one in requests]


@pytest.fixture
def test(bench):
    """Return a started bench whose worker is busy with a frame of the first camera."""
    test = bench(BatchEngine(), cameras=list(CAMERAS))
    test.start()
    for camera in CAMERAS:
        test.graph.listen(Image, f'{camera}/depth/image')
    test.spin_until(lambda: all(one.outputs.wanted() for one in test.node.cameras.values()))
    test.engine.hold.clear()
    test.node.on_image(test.node.cameras['front'], test.picture())
    test.spin_until(lambda: test.engine.asked)
    return test


def settle(test):
    test.engine.hold.set()
    cameras = test.node.cameras.values()
    deadline = time.monotonic() + 30
    while any(one.account.counts().in_flight for one in cameras):
        assert time.monotonic() < deadline
        test.spin(0.02)


def test_the_cameras_that_wait_are_one_batch_and_each_gets_its_own_answer(test):
    assert isinstance(test.node.cameras['front'].stream.engine, TogetherEngine)
    for place, camera in enumerate(CAMERAS):
        message = test.picture()
        message.data = np.full(len(message.data), 40 * place, np.uint8).tobytes()
        test.node.on_image(test.node.cameras[camera], message)
    settle(test)
    test.spin_until(lambda: len(test.heard['front/depth/image']) == 2 and all(
        test.heard[f'{camera}/depth/image'] for camera in CAMERAS))

    assert test.engine.sizes == [1, 3]
    for place, camera in enumerate(CAMERAS):
        depth = decode_array(test.heard[f'{camera}/depth/image'][-1])
        assert np.allclose(depth, 40 * place / 8 + 1)
    assert test.engine.with_state == [False, True, False, False]


def test_a_bad_image_and_a_batch_that_fails_cost_frames_and_nothing_else(test):
    for camera in CAMERAS:
        message = test.picture()
        if camera == 'rear':
            message.data = message.data[:-7]
        test.node.on_image(test.node.cameras[camera], message)
    settle(test)
    assert test.engine.sizes == [1, 2]

    test.engine.failure = FrameError('out of device memory', 'D02_oom')
    for camera in CAMERAS:
        test.node.on_image(test.node.cameras[camera], test.picture())
    settle(test)
    test.engine.failure = None
    for camera in CAMERAS:
        test.node.on_image(test.node.cameras[camera], test.picture())
    settle(test)

    counts = {name: one.account.counts() for name, one in test.node.cameras.items()}
    assert all(one.balanced for one in counts.values())
    assert counts['front'].dropped == counts['left'].dropped == {'D02_oom': 1}
    assert counts['rear'].dropped['D02_oom'] == 1
    assert sum(counts['rear'].dropped.values()) == 2
    assert counts['rear'].published == 1
