# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects in time on their topics: one point an object, markers, and nothing for nobody."""

import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import HEIGHT, WIDTH, FakeEngine
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from test_node_calibration import info, values_of
from test_node_points import read
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.frames import Objects, Outputs
from mtl_perception.ros.object_messages import marker_array, state_message
from mtl_perception.tasks import STREET_SEMANTIC

CAR = STREET_SEMANTIC.classes.index('car')


class OneCar(FakeEngine):
    """A car of 8 x 12 pixels, right of the middle, 20 m away."""

    def step(self, image, state=None, tasks=None):
        outputs, after = super().step(image, state, tasks)
        fields = vars(outputs)
        if 'semantic' in tasks:
            fields['semantic'][12:20, 36:48] = CAR
        if 'depth' in tasks:
            fields['depth'] = np.full(image.shape[:2], 50, np.float32)
            fields['depth'][12:20, 36:48] = 20
        return Outputs(**fields), after


def found(velocities, moving=(1, 0)):
    return Objects(
        np.uint32([3, 70000]), np.uint8([CAR, 9]), np.float32([0.9, np.nan]), np.uint8(moving),
        np.float32([[1, 2, 3], [4, 5, 6]]), np.float32(velocities),
        np.zeros((2, 2), np.uint32))


def test_an_object_is_a_point_with_the_same_id_in_every_frame(bench):
    test = bench(OneCar(), camera_timeout=60.0)
    test.graph.listen(PointCloud2, 'objects/state')
    test.graph.listen(MarkerArray, 'objects/markers')
    test.start()
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    test.calibrate(info(0.6 * WIDTH, HEIGHT, WIDTH))

    for seed in range(3):
        message = test.picture(height=HEIGHT, width=WIDTH, seed=seed)
        test.feed(message)
        test.spin_until(lambda: len(test.heard['objects/markers']) > seed  # noqa: B023
                        and len(test.heard['objects/state']) > seed)  # noqa: B023
    clouds = test.heard['objects/state']
    assert [cloud.width for cloud in clouds] == [0, 1, 1]
    assert clouds[2].header == message.header

    ids = [read(cloud)['id'].tolist() for cloud in clouds[1:]]
    assert ids == [[[1]], [[1]]]
    state = {name: float(value[0, 0]) for name, value in read(clouds[2]).items()}
    # the middle of columns 36 to 47 is 10 pixels right of the axis
    np.testing.assert_allclose(
        [state[name] for name in 'xyz'], [20 * 10 / (0.6 * WIDTH), 0, 20], atol=1e-3)
    assert (state['class'], state['moving']) == (CAR, 255)  # this engine has no motion head
    assert np.isnan([state[f'v{name}'] for name in 'xyz']).all()

    first, sphere, text = test.heard['objects/markers'][2].markers
    assert (first.action, sphere.type, sphere.id) == (Marker.DELETEALL, Marker.SPHERE, 1)
    assert text.text == 'car 1'
    test.node._reset_all('service')
    for seed in (3, 4):
        test.feed(test.picture(height=HEIGHT, width=WIDTH, seed=seed))
    test.spin_until(lambda: len(test.heard['objects/state']) == 5)
    assert read(test.heard['objects/state'][4])['id'].tolist() == [[2]]


def test_nothing_is_tracked_for_nobody(bench):
    test = bench(OneCar(), camera_timeout=60.0)
    test.start('semantic/image')
    for seed in range(3):
        test.feed(test.picture(seed=seed))
    assert test.engine.asked == [{'semantic'}] * 3
    assert test.camera.stream._objects.tracker.newest_ns is None
    values = values_of(test)
    assert (values['messages.objects/state'], values['messages.objects/markers']) == ('0', '0')


def test_the_fields_of_a_state_say_what_they_hold():
    cloud = state_message(Header(frame_id='eye'), found([[7, 8, 9], [np.nan] * 3]))
    fields = {name: value[0].tolist() for name, value in read(cloud).items()}

    assert cloud.header.frame_id == 'eye'
    assert (cloud.height, cloud.width) == (1, 2)
    assert fields['id'] == [3, 70000]
    assert fields['class'] == [CAR, 9]
    assert [fields[name][1] for name in 'xyz'] == [4, 5, 6]
    assert [fields[name][0] for name in ('vx', 'vy', 'vz')] == [7, 8, 9]
    assert np.isnan(fields['vz'][1])
    assert np.isnan(fields['score'][1])
    assert fields['moving'] == [1, 0]


def test_an_arrow_shows_what_moves_and_whose_velocity_is_known():
    array = marker_array(
        Header(frame_id='eye'), found([[1, 0, 2], [np.nan] * 3], moving=(1, 1)), STREET_SEMANTIC)
    arrows = [marker for marker in array.markers if marker.type == Marker.ARROW
              and marker.action == Marker.ADD]

    assert [arrow.id for arrow in arrows] == [3]
    assert arrows[0].ns == 'velocities'
    start, end = arrows[0].points
    assert (start.x, start.y, start.z) == (1, 2, 3)
    assert (end.x, end.y, end.z) == (2, 2, 5)
    assert {marker.header.frame_id for marker in array.markers} == {'eye'}
