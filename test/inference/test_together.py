# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras on one engine: batches give what the cameras get in turn."""

import threading

import numpy as np
import pytest

pytest.importorskip('torch')

import torch

from mtl_perception.errors import FrameError
from mtl_perception.frames import Frame
from mtl_perception.inference.device_copies import pack, to_device, to_host, unpack
from mtl_perception.inference.mailbox import Mailbox
from mtl_perception.inference.stream import CameraStream
from mtl_perception.inference.together import Request, TogetherEngine, shared_by
from mtl_perception.inference.torch_engine import TorchEngine


@pytest.fixture(scope='module')
def engine(tiny_model):
    return TorchEngine.load(tiny_model, device='cpu', threads=1)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)


def assert_same(found, wanted):
    """A batch may sum in another order: floats differ in their last digits."""
    assert (found.semantic == wanted.semantic).mean() > 0.999
    assert (found.motion == wanted.motion).mean() > 0.999
    np.testing.assert_allclose(found.depth, wanted.depth, rtol=1e-3)
    np.testing.assert_allclose(found.motion_score, wanted.motion_score, atol=1e-3)


@pytest.mark.parametrize('begun', [(False, False), (True, True), (True, False), (False, True)])
def test_a_batch_gives_what_the_cameras_get_in_turn(engine, begun):
    states = [engine.step(picture(9 + place))[1] if has else None
              for place, has in enumerate(begun)]
    asked = [Request(picture(place), state, None) for place, state in enumerate(states)]
    together = engine.steps(asked)

    for (found, state), one in zip(together, asked, strict=True):
        wanted, following = engine.step(one.image, one.state)
        assert_same(found, wanted)
        for stage, other in zip(state, following, strict=True):
            assert stage.shape == other.shape
            torch.testing.assert_close(stage, other, rtol=1e-3, atol=1e-4)


def test_a_batch_of_one_is_the_step_itself(engine):
    (found, state), = engine.steps([Request(picture(), None, frozenset({'depth'}))])
    wanted, following = engine.step(picture(), None, ['depth'])
    assert np.array_equal(found.depth, wanted.depth)
    assert found.semantic is None
    assert all(torch.equal(one, other) for one, other in zip(state, following, strict=True))


class Watched:
    """An engine that remembers the sizes of its batches."""

    gains_by_batches = True

    def __init__(self, engine):
        self.manifest, self.setup, self.motion_head = engine.manifest, engine.setup, None
        self.sizes = []
        self.failure = None
        self._engine = engine

    def steps(self, requests):
        self.sizes.append(len(requests))
        if self.failure is not None:
            raise self.failure
        return self._engine.steps(requests)


def run_group(together, works):
    """Run functions as the threads of a group; return what they returned or raised."""
    results = [None] * len(works)

    def run(place):
        try:
            results[place] = works[place]()
        except FrameError as error:
            results[place] = error
        finally:
            together.leave()

    together.form_group(len(works))
    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results


def test_streams_in_a_group_predict_what_they_predict_in_turn(engine):
    watched = Watched(engine)
    together = TogetherEngine(watched)
    streams = [CameraStream(together) for _ in range(3)]
    alone = [CameraStream(engine) for _ in range(3)]
    for number in range(1, 3):
        frames = [Frame(str(camera), number * 10**8, picture(10 * camera + number))
                  for camera in range(3)]
        found = run_group(together, [
            lambda stream=stream, frame=frame: stream.process(frame)
            for stream, frame in zip(streams, frames)])
        for one, stream, frame in zip(found, alone, frames):
            assert_same(one, stream.process(frame))
    assert watched.sizes == [3, 3]


def test_one_that_leaves_without_asking_and_one_with_other_tasks_hold_nobody_up(engine):
    watched = Watched(engine)
    together = TogetherEngine(watched)
    first, second, third, nothing = run_group(together, [
        lambda: together.step(picture(1)), lambda: together.step(picture(2)),
        lambda: together.step(picture(3), None, ['depth']), lambda: None])
    assert sorted(watched.sizes) == [1, 2]
    assert nothing is None
    assert third[0].semantic is None
    assert_same(first[0], engine.step(picture(1))[0])
    assert_same(second[0], engine.step(picture(2))[0])

    together.step(picture(1))  # outside of a group nobody is waited for
    assert watched.sizes[-1] == 1


def test_a_batch_that_fails_costs_each_camera_one_frame(engine):
    watched = Watched(engine)
    together = TogetherEngine(watched)
    watched.failure = FrameError('out of device memory', 'D02_oom')
    works = [lambda: together.step(picture(1))] * 2
    assert run_group(together, works) == [watched.failure] * 2
    watched.failure = None
    assert_same(run_group(together, works)[0][0], engine.step(picture(1))[0])


def test_batches_are_for_several_cameras_on_a_gpu(engine):
    assert shared_by(engine, 4) is engine  # on a CPU a batch takes as long as its frames
    assert shared_by(Watched(engine), 1).__class__ is Watched
    assert isinstance(shared_by(Watched(engine), 2), TogetherEngine)


def test_the_other_cameras_are_taken_in_their_order_and_each_once():
    mailbox = Mailbox()
    for camera in ('front', 'rear', 'left', 'right'):
        mailbox.put(camera, camera.upper())
    assert mailbox.take() == ('front', 'FRONT')
    mailbox.put('front', 'NEXT')
    assert mailbox.take_others('front', 2) == [('rear', 'REAR'), ('left', 'LEFT')]
    assert mailbox.take_others('front', 2) == [('right', 'RIGHT')]
    assert mailbox.take_others('front', 2) == []
    assert mailbox.take() == ('front', 'NEXT')


# --- copies ----------------------------------------------------------------------------------

def test_bytes_of_all_outputs_come_back_as_they_were():
    tensors = {
        'ids': torch.arange(15, dtype=torch.uint8).reshape(1, 3, 5), 'sky': torch.eye(3) > 0,
        'depth': torch.linspace(-1, 9, 15).reshape(1, 3, 5).transpose(1, 2),
        'half': torch.linspace(0, 1, 7).half(), 'count': torch.tensor([2**40])}
    found = unpack(pack(tensors), tensors)
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
    assert to_host(tensors) == tensors  # on the host nothing is copied


def test_an_image_goes_to_a_gpu_from_pinned_memory_without_a_wait():
    calls = []

    class Images:
        """Stands for a tensor where there is no GPU."""

        def pin_memory(self):
            calls.append('pinned')
            return self

        def to(self, device, non_blocking):
            calls.append((str(device), non_blocking))
            return self

    to_device(Images(), torch.device('cuda:1'))
    assert calls == ['pinned', ('cuda:1', True)]
    images = torch.zeros(1)
    assert to_device(images, torch.device('cpu')) is images


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives_alone_and_in_batches(tiny_model, engine):
    on_gpu = TorchEngine.load(tiny_model, device='cuda', threads=1)
    assert on_gpu.gains_by_batches
    asked = [Request(picture(place), None, None) for place in range(3)]
    for (found, _), one in zip(on_gpu.steps(asked), asked, strict=True):
        wanted = engine.step(one.image)[0]
        assert (found.semantic == wanted.semantic).mean() > 0.99
        np.testing.assert_allclose(found.depth, wanted.depth, rtol=0.02)
        assert (on_gpu.step(one.image)[0].semantic == found.semantic).mean() > 0.99
