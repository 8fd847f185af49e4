# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The cloud of the node: where the calibration of its depth image puts the pixels."""

import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import FakeEngine
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField, RegionOfInterest
from test_node_calibration import info, values_of

from mtl_perception.frames import Outputs
from mtl_perception.image_codec import decode_array
from mtl_perception.inference import points

HEIGHT, WIDTH = 40, 200
TOPICS = ('points', 'depth/image', 'depth/camera_info')
TYPES = {PointField.FLOAT32: np.float32, PointField.UINT32: np.uint32}


class HalfSky(FakeEngine):
    """The upper half of each image is sky."""

    def step(self, image, state=None, tasks=None):
        outputs, after = super().step(image, state, tasks)
        sky = np.zeros(image.shape[:2], bool)
        sky[:len(sky) // 2] = True
        return Outputs(**{**vars(outputs), 'sky': sky}), after


def read(cloud):
    """Return the fields of a message as arrays, by its own description."""
    raw = np.frombuffer(cloud.data, np.uint8).reshape(cloud.height, cloud.width, cloud.point_step)
    assert raw.nbytes == cloud.height * cloud.row_step
    return {field.name: np.ascontiguousarray(
        raw[..., field.offset:field.offset + 4]).view(TYPES[field.datatype])[..., 0]
        for field in cloud.fields}


def listen(test):
    for kind, topic in zip((PointCloud2, Image, CameraInfo), TOPICS):
        test.graph.listen(kind, topic)
    test.start()
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)


def answer(test, calibration, height=HEIGHT, width=WIDTH):
    """Return the picture, and the cloud, depth and calibration that come for it."""
    test.calibrate(calibration)
    message = test.picture(height=height, width=width)
    test.feed(message)
    test.spin_until(lambda: all(test.heard[topic] for topic in TOPICS))
    cloud, depth, scaled = (test.heard[topic][-1] for topic in TOPICS)
    return message, cloud, decode_array(depth), scaled


def assert_projects(cloud, depth, scaled):
    """Check that P of a calibration puts each point into its pixel, at the depth there."""
    found = read(cloud)
    finite = np.isfinite(depth)
    np.testing.assert_array_equal(np.isfinite(found['x']), finite)
    np.testing.assert_array_equal(found['z'][finite], depth[finite])

    p = np.reshape(scaled.p, (3, 4))
    row, column = np.nonzero(finite)
    projected = p[:, :3] @ np.stack([found[name][finite] for name in 'xyz']).astype(np.float64)
    np.testing.assert_allclose(projected[0] / projected[2], column, atol=1e-3)
    np.testing.assert_allclose(projected[1] / projected[2], row, atol=1e-3)


@pytest.mark.parametrize('parameters', [
    {}, {'input__fit': 'crop'}, {'input__fit': 'tiles'},
    {'input__roi': [20, 0, 160, 40], 'input__fit': 'crop', 'output__size': 'network'},
    {'output__size': 'network'}], ids=str)
def test_a_point_projects_to_its_pixel_by_the_calibration_of_the_depth_image(bench, parameters):
    test = bench(HalfSky(), camera_timeout=60.0, **parameters)
    listen(test)
    calibration = info(100.0, HEIGHT, WIDTH)
    for matrix, place in ((calibration.k, (2, 5)), (calibration.p, (2, 6))):
        matrix[place[0]], matrix[place[1]] = 93.0, 24.0
    message, cloud, depth, scaled = answer(test, calibration)

    assert cloud.header == message.header
    assert (cloud.height, cloud.width) == depth.shape
    assert not cloud.is_dense
    assert np.isinf(depth).any()
    assert_projects(cloud, depth, scaled)
    assert {'semantic', 'depth'} in test.engine.asked


def test_a_window_of_the_sensor_at_half_its_size(bench):
    test = bench(camera_timeout=60.0)
    listen(test)
    calibration = info(200.0, 200, 600, binning_x=2, binning_y=2, roi=RegionOfInterest(
        x_offset=100, y_offset=60, height=2 * HEIGHT, width=2 * WIDTH))
    _, cloud, depth, scaled = answer(test, calibration)
    assert scaled.k[0] == 100.0
    assert_projects(cloud, depth, scaled)


def test_colours_labels_and_an_unknown_confidence(bench):
    test = bench(camera_timeout=60.0)
    listen(test)
    message, cloud, *_ = answer(test, info(100.0, HEIGHT, WIDTH))
    found = read(cloud)
    image = decode_array(message).astype(np.uint32)

    rgb = found['rgb'].view(np.uint32)
    np.testing.assert_array_equal(rgb >> 16, image[..., 0])
    np.testing.assert_array_equal(rgb & 255, image[..., 2])
    assert (found['label'] == 0).all()
    assert (found['confidence'] == 0).all()


def test_an_unorganised_cloud_has_the_pixels_with_a_depth(bench):
    test = bench(HalfSky(), camera_timeout=60.0, depth__organised=False)
    listen(test)
    _, cloud, depth, _ = answer(test, info(100.0, HEIGHT, WIDTH))

    assert (cloud.height, cloud.width) == (1, np.isfinite(depth).sum())
    assert cloud.is_dense
    np.testing.assert_array_equal(read(cloud)['z'][0], depth[np.isfinite(depth)])


def test_nothing_is_made_for_nobody_and_a_counter_says_so(bench, monkeypatch):
    made = []
    monkeypatch.setattr(points.PixelRays, 'at', lambda *_: made.append(1))
    test = bench(camera_timeout=60.0)
    test.start('semantic/image')
    for seed in range(3):
        test.feed(test.picture(seed=seed))

    assert not made
    assert all('depth' not in tasks for tasks in test.engine.asked)
    values = values_of(test)
    assert (values['messages.points'], values['messages.semantic/image']) == ('0', '3')

    monkeypatch.undo()
    test.graph.listen(PointCloud2, 'points')
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['points'])
    assert values_of(test)['messages.points'] == '1'


def test_a_calibration_of_another_size_withholds_the_cloud(bench):
    test = bench(camera_timeout=60.0)
    test.start('semantic/image')
    test.graph.listen(PointCloud2, 'points')
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    test.calibrate(info(100.0, 400, 600))
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['semantic/image'])

    assert test.camera.outputs.made['points'] == 0
    assert values_of(test)['intrinsics'] == 'unusable'
