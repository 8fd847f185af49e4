# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras of another shape than the network's, and confidences, in the node."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import FAILURE, FakeEngine
from sensor_msgs.msg import CameraInfo, Image
from test_node_calibration import info, values_of

from mtl_perception.frames import Frame
from mtl_perception.image_codec import decode_array
from mtl_perception.inference.fit import Fit
from mtl_perception.inference.stream import CameraStream, StreamSettings

HEIGHT, WIDTH = 40, 200


def answers(test, *topics):
    """Return the images that the node publishes for one wide image with a calibration."""
    test.calibrate(info(100.0, HEIGHT, WIDTH))
    test.feed(test.picture(height=HEIGHT, width=WIDTH))
    test.spin_until(lambda: all(test.heard[topic] for topic in topics))
    return [decode_array(test.heard[topic][-1]) for topic in topics]


@pytest.mark.parametrize('how', ['crop', 'tiles'])
def test_the_node_answers_as_the_stream_does_and_tells_the_cost(bench, how):
    test = bench(input__fit=how, camera_timeout=60.0)
    test.start('semantic/image', 'depth/image')
    semantic, depth = answers(test, 'semantic/image', 'depth/image')

    image = decode_array(test.picture(height=HEIGHT, width=WIDTH))
    wanted = CameraStream(FakeEngine(), StreamSettings(fit=Fit(how))).process(
        Frame('', 1, image), {'semantic', 'depth'}, focal_px=100.0)
    np.testing.assert_array_equal(semantic, wanted.semantic)
    np.testing.assert_array_equal(depth, wanted.depth)
    assert (semantic == 255).any() == (how == 'crop')

    values = values_of(test)
    assert (values['input.fit'], values['input.roi']) == (how, '0,0,0,0')
    assert values['tiles'] == str(len(test.engine.asked)) == {'crop': '1', 'tiles': '3'}[how]


def test_outputs_of_the_networks_size_cover_the_whole_image(bench):
    test = bench(input__fit='crop', input__roi=[20, 0, 160, 40], output__size='network')
    test.graph.listen(CameraInfo, 'depth/camera_info')
    test.start('depth/image', 'depth/color', 'semantic/overlay')
    depth, colour, overlay = answers(test, 'depth/image', 'depth/color', 'semantic/overlay')

    # 80 x 40 pixels in the middle of 200 x 40 become 64 x 32, all become 160 x 32.
    assert depth.shape == colour.shape[:2] == overlay.shape[:2] == (32, 160)
    np.testing.assert_array_equal(np.isfinite(depth[0]), np.abs(np.arange(160) - 79.5) < 32)
    test.spin_until(lambda: test.heard['depth/camera_info'])
    scaled = test.heard['depth/camera_info'][-1]
    assert (scaled.height, scaled.width, scaled.k[0]) == (32, 160, 80.0)


def test_a_roi_outside_of_the_image_drops_the_frame_with_its_code(bench):
    test = bench(input__roi=[150, 0, 100, 40], camera_timeout=60.0)
    test.start('depth/image')
    test.feed(test.picture(height=HEIGHT, width=WIDTH))
    assert test.counts.dropped == {'I25_fit': 1}


@pytest.mark.parametrize('roi', [[1, 2, 3], [0, 0, 0, 5], [-1, 0, 5, 5]])
def test_a_roi_that_is_none_is_refused_when_the_node_is_configured(bench, roi):
    test = bench(input__roi=roi)
    assert test.node.trigger_configure() == FAILURE
    assert "'input.roi' is" in test.node.last_error
    assert 'wanted x, y, width and height' in test.node.last_error


def test_confidences_are_published_for_whoever_subscribes(bench):
    class Sure(FakeEngine):
        gives_confidence = True

        def step(self, image, state=None, tasks=None):
            outputs, after = super().step(image, state, {*tasks} - {'semantic_confidence'})
            if 'semantic_confidence' not in tasks:
                return outputs, after
            return replace(
                outputs, semantic_confidence=np.full(image.shape[:2], 0.5, np.float32)), after

    engine = Sure()
    engine.manifest = replace(engine.manifest, depth_confidence=(0.0,) * 17)
    test = bench(engine, camera_timeout=60.0)
    test.start('semantic/image')
    test.feed(test.picture())
    test.graph.listen(Image, 'semantic/confidence')
    test.graph.listen(Image, 'depth/confidence')
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 3)
    test.feed(test.picture())
    test.spin_until(lambda: test.heard['depth/confidence'] and test.heard['semantic/confidence'])

    for topic in ('semantic/confidence', 'depth/confidence'):
        assert test.heard[topic][-1].encoding == 'mono8'
        assert (decode_array(test.heard[topic][-1]) == 128).all()


def test_a_model_that_was_never_calibrated_has_no_topic_for_it(bench):
    engine = FakeEngine()
    engine.gives_confidence = True
    test = bench(engine, camera_timeout=60.0)
    test.start('semantic/image')
    published = {output.topic.name for output in test.camera.outputs._publishers}
    assert 'semantic/confidence' in published
    assert 'depth/confidence' not in published
