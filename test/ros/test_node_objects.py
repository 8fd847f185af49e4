# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Instances and boxes in the node: published on their topics, only for subscribers."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import HEIGHT, WIDTH, FakeEngine
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from visualization_msgs.msg import ImageMarker

from mtl_perception.frames import Detections, Outputs
from mtl_perception.image_codec import decode_array
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.ros import box_messages
from mtl_perception.ros.outputs import LATCHED
from mtl_perception.tasks import STREET_ALL_TASKS, STREET_DETECTION

BOXES = Detections(
    np.float32([[0, 0, WIDTH / 2, HEIGHT / 2], [1, 2, 3, 4]]), np.float32([0.75, 0.5]),
    np.array([0, 2], np.uint8))


class ObjectEngine(FakeEngine):
    """A network that sees two cars, left and right, and two boxes."""

    def __init__(self):
        super().__init__()
        channels = {task.name: task.channels for task in STREET_ALL_TASKS}
        self.manifest = Manifest(
            'objects', NetworkSpec('resnet10', 2, 8, channels, anchors=[[0.1, 0.1]]),
            STREET_ALL_TASKS, HEIGHT, WIDTH, (0.0,) * 3, (1.0,) * 3, 0.6 * WIDTH)

    def step(self, image, state=None, tasks=None):
        self.asked.append(set(tasks))
        columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        middle = np.where(columns < WIDTH // 2, WIDTH // 4, WIDTH * 3 // 4)
        outputs = {
            'semantic': np.full((HEIGHT, WIDTH), 8, np.uint8),
            'instance': np.stack([middle - columns, HEIGHT // 2 - rows]).astype(np.float32),
            'detection': BOXES}
        return Outputs(**{task: outputs[task] for task in tasks}), object()


@pytest.fixture
def objects(bench):
    test = bench(ObjectEngine())
    return test


def test_instances_are_an_image_of_ids_at_the_cameras_size(objects):
    test = objects
    test.start('instances/image')
    message = test.picture(height=2 * HEIGHT, width=2 * WIDTH)
    test.feed(message)
    test.spin_until(lambda: test.heard['instances/image'])
    found = test.heard['instances/image'][0]

    assert found.encoding == '16UC1'
    assert found.header == message.header

    ids = decode_array(found)
    assert ids.shape == (2 * HEIGHT, 2 * WIDTH)
    assert set(np.unique(ids)) == {1, 2}
    assert len(np.unique(ids[:, :WIDTH])) == len(np.unique(ids[:, WIDTH:])) == 1
    assert test.engine.asked == [{'semantic', 'instance'}]  # semantics say what is an object


def test_boxes_are_outlines_for_viewers_in_the_cameras_pixels(objects):
    test = objects
    test.graph.listen(ImageMarker, 'detections/markers')
    test.graph.listen(String, 'detections/labels', LATCHED)
    test.start()
    test.spin_until(lambda: test.camera.outputs.wanted())
    message = test.picture(height=2 * HEIGHT, width=2 * WIDTH)
    test.feed(message)
    test.spin_until(lambda: test.heard['detections/markers'] and test.heard['detections/labels'])
    marker = test.heard['detections/markers'][0]

    assert marker.header == message.header
    assert marker.type == ImageMarker.LINE_LIST

    points = np.array([(point.x, point.y) for point in marker.points]).reshape(2, 8, 2)
    assert points.min(1).tolist() == [[0, 0], [2, 4]]
    assert points.max(1).tolist() == [[WIDTH, HEIGHT], [6, 8]]

    colour = marker.outline_colors[4]  # the first line of the cyclist
    assert [round(255 * value) for value in (colour.r, colour.g, colour.b)] == list(
        STREET_DETECTION.palette[2])
    assert test.engine.asked == [{'detection'}]

    labels = json.loads(test.heard['detections/labels'][0].data)
    assert [one['name'] for one in labels['classes']] == ['car', 'person', 'cyclist']
    assert 'unlabelled' not in labels


def test_the_overlays_of_objects_are_pictures(objects):
    test = objects
    test.start('instances/overlay', 'detections/overlay')
    test.feed(test.picture(height=HEIGHT, width=WIDTH))
    for topic in ('instances/overlay', 'detections/overlay'):
        test.spin_until(lambda: test.heard[topic])  # noqa: B023
        assert test.heard[topic][0].encoding == 'rgb8'

    assert isinstance(test.heard['detections/overlay'][0], Image)


@pytest.mark.parametrize(('change', 'reason'), [
    ({'scores': np.float32([0.75, np.nan])}, 'M09_nonfinite'),
    ({'classes': np.array([0, 3], np.uint8)}, 'M10_output'),
    ({'corners': np.zeros((1, 4), np.float32)}, 'M10_output'),
])
def test_impossible_boxes_cost_only_one_frame(objects, monkeypatch, change, reason):
    test = objects
    test.graph.listen(ImageMarker, 'detections/markers')
    test.start()
    test.spin_until(lambda: test.camera.outputs.wanted())
    monkeypatch.setitem(globals(), 'BOXES', Detections(**{**vars(BOXES), **change}))
    test.feed(test.picture())

    assert test.counts.dropped == {reason: 1}

    monkeypatch.undo()
    test.feed(test.picture(seed=1))
    assert test.counts.published == 1


def test_detections_where_vision_msgs_is_installed(monkeypatch):
    made = SimpleNamespace

    def box(header):
        return made(header=header, results=[], bbox=made(
            center=made(position=made(x=0.0, y=0.0)), size_x=0.0, size_y=0.0))

    monkeypatch.setattr(box_messages, 'DETECTIONS', lambda **fields: made(**fields))
    monkeypatch.setattr(box_messages, 'vision', made(
        Detection2D=box,
        ObjectHypothesisWithPose=lambda: made(hypothesis=made(class_id='', score=0.0))))
    header = Header(frame_id='camera')
    array = box_messages.detections_message(header, BOXES, STREET_DETECTION)
    first, second = array.detections

    assert array.header is first.header is header
    assert (first.bbox.center.position.x, first.bbox.size_x) == (WIDTH / 4, WIDTH / 2)
    assert (second.bbox.center.position.y, second.bbox.size_y) == (3, 2)
    assert second.results[0].hypothesis == made(class_id='cyclist', score=0.5)


def test_no_boxes_are_an_empty_marker():
    nothing = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint8))
    assert len(box_messages.markers_message(Header(), nothing, STREET_DETECTION).points) == 0
