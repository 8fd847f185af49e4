# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras of more than 8 bits at the node: its conversion, its counters, its parameter."""

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.parameter import Parameter
from std_msgs.msg import Header

from mtl_perception.evaluation.evaluator import Evaluator
from mtl_perception.frames import Frame, FrameRecord, Truth
from mtl_perception.image_codec import decode_image, image_fields
from mtl_perception.image_range import ImageRange
from mtl_perception.inference.stream import CameraStream
from mtl_perception.ros.messages import image_message
from mtl_perception.synthetic import Street

SEEDS, FRAMES = (20000, 20005), (0, 20, 40)
CAMERAS = {
    '8 bits': lambda grey: (grey, 'mono8'),
    '12 bits': lambda grey: (grey.astype(np.uint16) * 16, 'mono16'),
    '12 bits in the upper ones': lambda grey: (grey.astype(np.uint16) * 256, 'mono16'),
    'thermal, 14 bits': lambda grey: (grey.astype(np.uint16) * 6 + 7000, '16UC1')}


@pytest.fixture(scope='module')
def street():
    """Return (seed, number, focal length, frame of the street), rendered once."""
    frames = []
    for seed in SEEDS:
        drive = Street(seed, rate=1.0, width=384, height=224)
        frames += [(seed, number, drive.focal_px, drive.render(number)) for number in FRAMES]
    return frames


def grey_of(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def send(bench, pixels, encoding):
    header = Header(stamp=bench.node.get_clock().now().to_msg(), frame_id='camera')
    bench.feed(image_message(header, encoding, pixels))


def test_a_street_by_cameras_of_8_12_and_14_bits_gets_the_same_answers(street):
    pytest.importorskip('torch')
    from mtl_perception.inference.torch_engine import TorchEngine
    engine = TorchEngine.load('street', 'cpu', threads=1)

    found = {}
    for name, camera in CAMERAS.items():
        evaluator = Evaluator(engine.manifest.tasks, 224, 384)
        for seed in SEEDS:
            stream = CameraStream(engine)
            image_range = ImageRange()
            for _, number, focal, frame in [one for one in street if one[0] == seed]:
                image = decode_image(
                    image_fields(*camera(grey_of(frame.image))), image_range=image_range)
                said = stream.process(
                    Frame('camera', (number + 1) * 10 ** 9, image), ('semantic', 'depth'),
                    focal_px=focal)
                evaluator.update(name, FrameRecord(
                    number, image, said, Truth(frame.semantic, frame.depth)))
            assert image_range.changes == image_range.faint == 0
        metrics = evaluator.compute(evaluated_only=True)
        found[name] = metrics['semantic']['miou'], metrics['depth']['abs_rel']

    assert found['8 bits'][0] > 0.5
    mious, errors = zip(*found.values())
    assert max(mious) - min(mious) < 0.03
    assert max(errors) - min(errors) < 0.02


def test_a_node_answers_a_thermal_camera_as_one_of_8_bits(bench, street):
    pytest.importorskip('torch')
    one = bench(model='street', device='cpu', threads=1)
    one.start('depth/image')
    grey = grey_of(street[0][3].image)
    found = []
    for name in ('8 bits', 'thermal, 14 bits'):
        send(one, *CAMERAS[name](grey))
        one.spin_until(lambda: len(one.heard['depth/image']) > len(found))
        found.append(np.frombuffer(one.heard['depth/image'][-1].data, np.float32).copy())

    both = np.isfinite(found[0]) & np.isfinite(found[1])
    assert both.mean() > 0.4
    assert 0.95 < np.median(found[1][both] / found[0][both]) < 1.05


def test_a_thermal_camera_with_a_closed_shutter_is_counted_in_the_diagnostics(bench):
    one = bench()
    one.start('semantic/image')
    noise = 7300 + np.random.default_rng(0).normal(0, 8, (48, 80))
    send(one, noise.astype(np.uint16), '16UC1')

    assert one.counts.warnings == {'I15_contrast': 1}
    one.spin_until(lambda: 'I15_contrast' in one.health(': camera')[1])


@pytest.mark.parametrize(('largest', 'warned'), [(6, {'I13_flat': 3}), (20, {})])
def test_the_noise_behind_a_covered_lens_of_8_bits_is_counted_a_dark_night_is_not(
        bench, largest, warned):
    one = bench()
    one.start('semantic/image')
    rng = np.random.default_rng(0)
    for _ in range(12):
        one.feed(image_message(
            Header(stamp=one.node.get_clock().now().to_msg()), 'mono8',
            rng.integers(0, largest, (480, 640), dtype=np.uint8)))

    assert one.counts.warnings == warned


def test_a_change_of_the_range_is_no_motion(bench):
    one = bench()
    one.start('semantic/image')
    rng = np.random.default_rng(0)
    for largest in (250, 250, 4000, 4000):
        send(one, rng.integers(0, largest, (48, 80), dtype=np.uint16), 'mono16')

    assert one.camera.stream.resets['image_range'] == 1
    assert one.engine.with_state == [False, True, False, True]


def test_the_range_is_found_anew_after_a_deactivation(bench):
    one = bench()
    one.start('semantic/image')
    rng = np.random.default_rng(0)
    send(one, rng.integers(0, 60000, (48, 80), dtype=np.uint16), 'mono16')
    one.node.trigger_deactivate()
    one.node.trigger_activate()
    one.spin_until(lambda: one.camera.outputs.wanted())
    send(one, rng.integers(0, 4000, (48, 80), dtype=np.uint16), 'mono16')

    assert one.camera.image_range.limits == (0, 4095)
    assert one.camera.image_range.changes == 0


def test_stamps_that_jump_and_resets_keep_the_range_of_the_camera(bench):
    one = bench()
    one.start('semantic/image')
    pixels = np.random.default_rng(0).integers(7000, 8500, (48, 80), dtype=np.uint16)
    for number in (5, 6, 3, 6, 7, 1, 2, 2):
        if number == 7:
            one.camera.request_reset('service')
        header = Header(frame_id='camera')
        header.stamp.sec, header.stamp.nanosec = number, 1
        one.feed(image_message(header, '16UC1', pixels))

    assert one.camera.image_range.changes == 0
    assert one.camera.image_range.limits == (6912, 8704)
    assert one.counts.balanced


@pytest.mark.parametrize(('value', 'limits', 'shown'), [
    ('auto', None, 'auto'), ([7000, 8600], (7000, 8600), '7000,8600'),
    ('7000,8600', (7000, 8600), '7000,8600')])
def test_the_range_may_be_a_parameter(bench, value, limits, shown):
    one = bench(image__range=value)
    one.start()

    assert one.node.settings.image_range == limits
    assert one.camera.image_range.text() == shown


@pytest.mark.parametrize('value', ['some', '8600,7000', [1, 2, 3], [-1, 5], 7])
def test_a_wrong_range_is_refused_by_name(bench, value):
    one = bench(image__range=value)

    one.node.trigger_configure()
    assert "parameter 'image.range'" in one.node.last_error
    assert 'wanted' in one.node.last_error
    one.node.set_parameters([Parameter('image.range', value=[10, 500])])
    one.start()
