# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The temporal state of a camera: a stream equals a batch, and when the state is reset."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_perception.errors import ConfigurationError, FrameError
from mtl_perception.frames import Frame, Outputs
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.models.streaming import task_outputs
from mtl_perception.postprocessing import to_perception
from mtl_perception.preprocessing import resize
from mtl_perception.tasks import STREET_TASKS

MS = 10 ** 6
SKY = STREET_TASKS[0].sky


class Recorder:
    """An engine that says which frame it was given as the previous one."""

    def __init__(self, frames=2):
        self.manifest = Manifest(
            name='recorder', network=NetworkSpec(frames=frames), tasks=STREET_TASKS, height=32,
            width=64, mean=(0, 0, 0), std=(1, 1, 1), focal_px=40.0)
        self.motion_head = None
        self.calls = []
        self.outputs = {}

    def step(self, image, state=None, tasks=None):
        self.calls.append((int(image[0, 0, 0]), state, tasks))
        plain = {
            'semantic': np.zeros((32, 64), np.uint8), 'depth': np.ones((32, 64), np.float32),
            'motion': np.zeros((32, 64), np.uint8),
            'motion_score': np.zeros((32, 64), np.float32)}
        return Outputs(**{**plain, **self.outputs}), int(image[0, 0, 0])


def frame(number, stamp_ns, height=32, width=64):
    return Frame('front', stamp_ns, np.full((height, width, 3), number, np.uint8))


def known(perception):
    assert (perception.motion == 255).all() == np.isnan(perception.motion_score).all()
    return not (perception.motion == 255).any()


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def stream(recorder):
    return CameraStream(recorder, StreamSettings(max_gap_s=0.5))


@pytest.fixture(scope='module')
def engine(tiny_model):
    return TorchEngine.load(tiny_model, device='cpu', threads=1)


def pictures(count, height=64, width=96, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


# --- a stream is a batch ---------------------------------------------------------------------

@pytest.mark.parametrize('size', [(64, 96), (120, 200)])
def test_a_stream_equals_the_network_on_pairs_of_frames(tiny_model, engine, size):
    manifest, network = load_network(tiny_model)
    network.eval()
    stream = CameraStream(engine)
    images = pictures(4, *size)

    def normalised(image):
        values = (resize(image, 64, 96).astype(np.float32) - manifest.mean) / manifest.std
        return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)

    batch = torch.stack([normalised(image) for image in images])
    with torch.inference_mode():
        logits = network(batch, batch[[0, 0, 1, 2]])

    for index, image in enumerate(images):
        found = stream.process(Frame('front', (index + 1) * 100 * MS, image))
        wanted = to_perception(
            Outputs(
                semantic=logits['semantic'][index].argmax(0).numpy().astype(np.uint8),
                depth=logits['depth'][index, 0].exp().numpy(),
                motion=logits['motion'][index].argmax(0).numpy().astype(np.uint8),
                motion_score=logits['motion'][index].softmax(0)[1].numpy(),
                sky=task_outputs('semantic', logits['semantic'][[index]], SKY)['sky'][0].numpy()),
            manifest, *size, motion_known=index > 0)

        for task in ('semantic', 'motion'):
            same = getattr(found, task) == getattr(wanted, task)
            assert same.mean() > 0.999
        np.testing.assert_allclose(found.motion_score, wanted.motion_score, atol=1e-4)
        both = (found.semantic == SKY) == (wanted.semantic == SKY)
        np.testing.assert_allclose(found.depth[both], wanted.depth[both], rtol=1e-3)
        assert found.semantic.shape == found.depth.shape == found.motion.shape == size


def test_two_cameras_do_not_leak_into_each_other(engine):
    front, rear = pictures(3, seed=1), pictures(3, seed=2)

    def run(stream, index, images):
        return stream.process(Frame('any', (index + 1) * 100 * MS, images[index]))

    alone = CameraStream(engine)
    wanted = [run(alone, index, front) for index in range(3)]
    first, second = CameraStream(engine), CameraStream(engine)
    for index in range(3):
        found = run(first, index, front)
        run(second, index, rear)
        np.testing.assert_array_equal(found.depth, wanted[index].depth)
        np.testing.assert_array_equal(found.motion, wanted[index].motion)


def test_a_camera_after_a_reset_is_a_new_camera(engine):
    images = pictures(3)
    used = CameraStream(engine)
    for index in range(2):
        used.process(Frame('front', (index + 1) * 100 * MS, images[index]))
    used.reset('time_jump')
    fresh = CameraStream(engine)
    for index in (2, 0):
        one, other = (stream.process(Frame('front', (5 - index) * 100 * MS, images[index]))
                      for stream in (used, fresh))
        np.testing.assert_array_equal(one.depth, other.depth)
        np.testing.assert_array_equal(one.motion_score, other.motion_score)

    assert used.resets == {'first': 1, 'time_jump': 1}


def test_a_network_of_one_frame_knows_motion_from_the_start(tiny_single_frame_model):
    single = TorchEngine.load(tiny_single_frame_model, device='cpu', threads=1)
    assert known(CameraStream(single).process(Frame('front', 0, pictures(1)[0])))


# --- when the state is reset -------------------------------------------------------------------

def test_the_first_frame_has_no_motion_and_the_second_compares_with_it(stream, recorder):
    assert not known(stream.process(frame(1, 100 * MS)))
    assert known(stream.process(frame(2, 200 * MS)))
    assert [call[:2] for call in recorder.calls] == [(1, None), (2, 1)]
    assert stream.resets == {'first': 1}


def test_a_gap_above_the_longest_allowed_resets_the_state(stream):
    stream.process(frame(1, 100 * MS))
    assert known(stream.process(frame(2, 600 * MS)))
    assert not known(stream.process(frame(3, 1100 * MS + 1)))
    assert known(stream.process(frame(4, 1200 * MS)))
    assert stream.resets == {'first': 1, 'gap': 1}


def test_another_resolution_resets_the_state_and_the_output_has_it(stream):
    stream.process(frame(1, 100 * MS))
    larger = stream.process(frame(2, 200 * MS, 48, 80))
    assert not known(larger)
    assert larger.semantic.shape == larger.motion.shape == (48, 80)
    assert known(stream.process(frame(3, 300 * MS, 48, 80)))
    assert stream.resets == {'first': 1, 'resolution': 1}


def test_a_late_stamp_does_not_change_the_state(stream, recorder):
    stream.process(frame(1, 100 * MS))
    stream.process(frame(2, 200 * MS))
    late = stream.process(frame(3, 150 * MS))

    assert not known(late)
    assert late.semantic is not None
    assert known(stream.process(frame(4, 300 * MS)))
    assert recorder.calls[-2:] == [(3, None, None), (4, 2, None)]
    assert stream.warnings == {'T01_backwards': 1}
    assert stream.resets == {'first': 1}


def test_three_late_stamps_in_a_row_are_a_restart(stream):
    for index in range(3):
        stream.process(frame(index, (100 + index) * 1000 * MS))
    restarted = [
        known(stream.process(frame(index, (index + 1) * 100 * MS))) for index in range(5)]

    assert restarted == [False, False, False, True, True]
    assert stream.resets['backwards'] == 1
    assert stream.warnings == {'T01_backwards': 2}


def test_a_frame_in_order_resets_the_count_of_late_frames(stream):
    stamps = [100, 200, 150, 160, 300, 250, 260, 400]
    found = [known(stream.process(frame(number, stamp * MS)))
             for number, stamp in enumerate(stamps)]

    assert found == [False, True, False, False, True, False, False, True]
    assert stream.resets == {'first': 1}


def test_a_repeated_frame_is_dropped_and_changes_nothing(stream, recorder):
    stream.process(frame(1, 100 * MS))
    with pytest.raises(FrameError) as caught:
        stream.process(frame(1, 100 * MS))
    assert caught.value.code == 'T02_duplicate'
    assert known(stream.process(frame(2, 200 * MS)))
    assert len(recorder.calls) == 2


def test_another_image_with_the_same_stamp_is_processed_without_motion(stream, recorder):
    stream.process(frame(1, 100 * MS))
    assert not known(stream.process(frame(2, 100 * MS)))
    assert known(stream.process(frame(3, 200 * MS)))
    assert recorder.calls[-1][:2] == (3, 1)
    assert stream.warnings == {'T02_duplicate': 1}


def test_without_a_clock_there_is_no_motion(stream):
    for number in range(3):
        assert not known(stream.process(frame(number, 0)))
    assert stream.warnings == {'T04_zero_stamp': 3}

    stream.process(frame(4, 100 * MS))
    assert known(stream.process(frame(5, 200 * MS)))
    assert not known(stream.process(frame(6, 0)))
    assert not known(stream.process(frame(7, 300 * MS)))


def test_a_dropped_frame_does_not_change_the_state(stream, recorder):
    stream.process(frame(1, 100 * MS))
    recorder.outputs = {'depth': np.full((32, 64), np.nan, np.float32)}
    with pytest.raises(FrameError, match='M09_nonfinite'):
        stream.process(frame(2, 200 * MS))

    recorder.outputs = {}
    assert known(stream.process(frame(3, 300 * MS)))
    assert recorder.calls[-1][:2] == (3, 1)
    assert stream.resets == {'first': 1}


class Model:
    """The rules of the temporal state in their plainest form."""

    def __init__(self):
        self.previous = None
        self.backwards = 0

    def __call__(self, stamp, number, size):
        """Return the number of the previous frame, None if motion is unknown, or 'dropped'."""
        last = self.previous
        if stamp == 0:
            self.previous = None
            return None
        if last is not None and stamp == last[0]:
            return 'dropped' if number == last[1] else None
        if last is not None and stamp < last[0]:
            self.backwards += 1
            if self.backwards < 3:
                return None
        self.backwards = 0
        self.previous = (stamp, number, size)
        fits = last is not None and stamp > last[0] and size == last[2] and stamp - last[0] <= 5
        return last[1] if fits else None


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2), st.sampled_from([32, 48]))))
@settings(deadline=None, max_examples=300)
def test_any_sequence_of_stamps_images_and_sizes_follows_the_rules(sequence):
    recorder, model = Recorder(), Model()
    stream = CameraStream(recorder, StreamSettings(max_gap_s=0.5))
    for stamp, number, size in sequence:
        wanted = model(stamp, number, size)
        if wanted == 'dropped':
            with pytest.raises(FrameError, match='T02'):
                stream.process(frame(number, stamp * 100 * MS, size))
            continue
        perception = stream.process(frame(number, stamp * 100 * MS, size))
        assert known(perception) == (wanted is not None)
        assert recorder.calls[-1][:2] == (number, wanted)
        assert perception.semantic.shape == (size, 64)


# --- tasks, sizes, depth ---------------------------------------------------------------------

def test_depth_alone_still_knows_the_sky(stream, recorder):
    recorder.outputs = {'semantic': np.full((32, 64), SKY, np.uint8)}
    perception = stream.process(frame(1, 100 * MS), tasks=['depth'])
    assert set(recorder.calls[0][2]) == {'depth', 'semantic'}
    assert np.isposinf(perception.depth).all()
    assert perception.semantic is None


def test_the_engine_computes_only_the_requested_tasks(stream, recorder):
    stream.process(frame(1, 100 * MS), tasks=['motion'])
    stream.process(frame(2, 200 * MS), tasks=[])
    stream.process(frame(3, 300 * MS))
    assert [call[2] for call in recorder.calls] == [['motion'], [], None]


def test_the_results_have_the_requested_size(stream):
    small = stream.process(frame(1, 100 * MS, 90, 150), output_size='network')
    assert small.depth.shape == small.semantic.shape == small.motion.shape == (32, 64)
    with pytest.raises(ValueError, match='output_size'):
        stream.process(frame(1, 100 * MS), output_size='half')


def test_depth_scales_with_the_focal_length_at_the_networks_height(stream):
    # 100 px at a height of 64 are 50 px at 32; the network was trained with 40
    perception = stream.process(frame(1, 100 * MS, 64, 128), focal_px=100.0)
    np.testing.assert_allclose(perception.depth, 50 / 40)

    # of an image that is squeezed from the sides the height counts
    perception = stream.process(frame(1, 200 * MS, 64, 512), focal_px=100.0)
    np.testing.assert_allclose(perception.depth, 50 / 40)


def test_a_model_of_squeezed_images_has_two_focal_lengths(recorder):
    recorder.manifest = dataclasses.replace(recorder.manifest, focal_y_px=25.0)
    perception = CameraStream(recorder).process(frame(1, 100 * MS, 64, 128), focal_px=100.0)
    np.testing.assert_allclose(perception.depth, 50 / 25)


def test_depth_scales_with_the_height_of_the_camera(recorder):
    for trained, own, wanted in (
            (1.5, 0.5, 3 ** -0.7), (1.5, 3.0, 2 ** 0.7), (1.5, 0.0, 1.0), (0.0, 0.0, 1.0)):
        recorder.manifest = dataclasses.replace(recorder.manifest, camera_height=trained)
        stream = CameraStream(recorder, StreamSettings(camera_height=own))
        np.testing.assert_allclose(stream.process(frame(1, 100 * MS)).depth, wanted)
    recorder.manifest = dataclasses.replace(
        recorder.manifest, camera_height=1.5, height_exponent=1.0)
    stream = CameraStream(recorder, StreamSettings(camera_height=3.0))

    np.testing.assert_allclose(stream.process(frame(1, 100 * MS)).depth, 2.0)

    recorder.manifest = dataclasses.replace(recorder.manifest, camera_height=0.0)
    with pytest.raises(ConfigurationError, match='does not say at which height'):
        CameraStream(recorder, StreamSettings(camera_height=0.5))

    both = CameraStream(recorder)
    both.height_ratio = 0.5  # 2 m nearer to a road
    perception = both.process(frame(1, 100 * MS, 64, 128), focal_px=100.0)

    np.testing.assert_allclose(perception.depth, 0.5 * 50 / 40)


@pytest.mark.parametrize('height', [-1.0, float('nan'), float('inf')])
def test_an_impossible_camera_height_is_refused(height):
    with pytest.raises(ValueError, match='camera_height'):
        StreamSettings(camera_height=height)


@pytest.mark.parametrize('focal_px', [None, 0.0, -5.0, np.nan, np.inf])
def test_an_impossible_focal_length_leaves_depth_unscaled(stream, focal_px):
    assert (stream.process(frame(1, 100 * MS), focal_px=focal_px).depth == 1).all()


@pytest.mark.parametrize(('outputs', 'code'), [
    ({'semantic': np.full((32, 64), 12, np.uint8)}, 'M10_output'),
    ({'motion': np.full((32, 64), 2, np.uint8)}, 'M10_output'),
    ({'semantic': np.zeros((64, 32), np.uint8)}, 'M10_output'),
    ({'semantic': np.zeros((32, 64), np.int64)}, 'M10_output'),
    ({'depth': np.zeros((32, 64), np.float64)}, 'M10_output'),
    ({'depth': np.full((32, 64), np.inf, np.float32)}, 'M09_nonfinite'),
    ({'motion_score': np.full((32, 64), np.nan, np.float32)}, 'M09_nonfinite')])
def test_invalid_outputs_of_a_network_are_refused(stream, recorder, outputs, code):
    recorder.outputs = outputs
    with pytest.raises(FrameError) as caught:
        stream.process(frame(1, 100 * MS))
    assert caught.value.code == code


@pytest.mark.parametrize('image', [
    np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_an_image_that_is_not_rgb_is_refused(stream, image):
    with pytest.raises(ValueError, match=r'wanted uint8 \(H, W, 3\)'):
        stream.process(Frame('front', 1, image))


@pytest.mark.parametrize('gap', [0, -1, float('nan')])
def test_a_longest_gap_that_is_not_positive_is_refused(gap):
    with pytest.raises(ValueError, match='max_gap_s'):
        StreamSettings(max_gap_s=gap)
