# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters that change while frames flow over DDS: no frame is lost, the next one follows."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import HEIGHT, WIDTH, FakeEngine, picture
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.time import Time
from ros_graph import ROOT
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from test_node_motion import StreetEngine, street_frames
from test_node_objects import ObjectEngine
from visualization_msgs.msg import ImageMarker

from mtl_perception.image_codec import decode_array
from mtl_perception.ros import outputs
from mtl_perception.ros.destroyed import destroy_all
from mtl_perception.ros.messages import image_message
from mtl_perception.ros.parameters import PARAMETERS
from mtl_perception.ros.perception_node import PerceptionNode
from mtl_perception.topics import CHOOSABLE

OTHER_VALUES = {
    'max_age': 60.0, 'max_gap': 0.75, 'camera_timeout': 30.0, 'inference_timeout': 20.0,
    'max_pixels': 100_000, 'image.range': [0, 4095], 'outputs': ['depth/*', 'semantic/image'],
    'output.size': 'network', 'depth.camera_height': 1.6, 'depth.raw_16u': True,
    'depth.organised': False, 'detection.min_score': 0.6, 'motion.min_score': 0.7,
    'overlay.opacity': 0.25, 'motion.burst': 1, 'labels.period': 0.0,
    'diagnostics.min_rate': 0.0, 'diagnostics.max_superseded': 0.0,
    'diagnostics.max_motion_unknown': 0.0, 'diagnostics.max_age': 0.0}


class HighEngine(FakeEngine):
    """Knows the height of its training."""

    def __init__(self):
        super().__init__()
        self.manifest = dataclasses.replace(
            self.manifest, camera_height=1.5, height_exponent=1.0)


class Flow:
    """
    Frames that come over DDS, and parameters that are set over DDS.

    :ivar sent: how many images were published.
    """

    def __init__(self, test, *topics):
        self.test = test
        self.sent = 0
        test.start(*topics)
        self.client = test.graph.node.create_client(
            SetParametersAtomically, '/perception_node/set_parameters_atomically')
        assert self.client.wait_for_service(10.0)

    def send(self, message=None):
        """Publish an image and return the answers, by topic, when it is accounted for."""
        before = {topic: len(messages) for topic, messages in self.test.heard.items()}
        self.test.publish(message)
        self.sent += 1
        self.test.spin_until(lambda: self.test.counts.received == self.sent)
        self.test.settle()
        made = self.test.counts.published
        assert made + sum(self.test.counts.dropped.values()) == self.sent

        made = self.test.camera.outputs.made
        self.test.spin_until(lambda: all(
            len(self.test.heard[topic]) == count for topic, count in made.items()
            if topic in self.test.heard))
        return {topic: messages[before.get(topic, 0):]
                for topic, messages in self.test.heard.items() if topic != '/diagnostics'}

    def set(self, **values):
        """Set parameters together and return whether they were accepted, and why not."""
        request = SetParametersAtomically.Request(parameters=[
            Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
            for name, value in values.items()])
        future = self.client.call_async(request)
        self.test.spin_until(future.done)
        result = future.result().result
        return result.successful, result.reason

    def assert_nothing_lost(self):
        counts = self.test.counts
        assert (counts.received, counts.published) == (self.sent, self.sent)
        assert not counts.dropped


def has_topic(test, topic):
    return bool(test.graph.node.get_publishers_info_by_topic(topic))


def test_every_live_parameter_has_another_value_in_these_tests():
    assert {one.name for one in PARAMETERS if one.dynamic} == set(OTHER_VALUES)
    assert all(one.problem(OTHER_VALUES[one.name]) == '' for one in PARAMETERS if one.dynamic)


def test_outputs_come_and_go_while_frames_flow(bench):
    test = bench(camera_timeout=60.0)
    flow = Flow(test, 'semantic/image', 'depth/image')
    answers = flow.send()
    assert [len(answers[topic]) for topic in ('semantic/image', 'depth/image')] == [1, 1]

    assert flow.set(outputs=['depth/*']) == (True, '')
    answers = flow.send()
    assert [len(answers[topic]) for topic in ('semantic/image', 'depth/image')] == [0, 1]
    test.spin_until(lambda: not has_topic(test, 'semantic/image'))
    assert has_topic(test, 'depth/color')
    assert has_topic(test, 'semantic/labels')

    assert flow.set(outputs=['']) == (True, '')
    assert not any(flow.send().values())
    test.spin_until(lambda: not has_topic(test, 'depth/image'))

    asked = len(test.engine.asked)
    assert flow.set(outputs=['*']) == (True, '')
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    answers = flow.send()
    assert [len(answers[topic]) for topic in ('semantic/image', 'depth/image')] == [1, 1]
    assert len(test.engine.asked) == asked + 1
    flow.assert_nothing_lost()
    assert test.camera.stream.resets['first'] == 1


def test_a_frame_in_the_works_is_answered_as_it_began(bench):
    test = bench(camera_timeout=60.0)
    flow = Flow(test, 'semantic/image')
    flow.send()
    test.engine.hold.clear()
    test.publish()
    flow.sent += 1
    test.spin_until(lambda: len(test.engine.asked) == 2)

    assert flow.set(outputs=[''], output__size='network') == (True, '')
    test.spin(1.0)  # several looks at what may be taken away
    assert has_topic(test, 'semantic/image')
    test.engine.hold.set()
    test.spin_until(lambda: len(test.heard['semantic/image']) == 2)
    last = test.heard['semantic/image'][-1]
    assert (last.height, last.width) == (48, 80)

    test.spin_until(lambda: not has_topic(test, 'semantic/image'))
    assert not flow.send()['semantic/image']
    flow.assert_nothing_lost()


def test_topics_are_taken_away_although_frames_never_cease(bench):
    """With a worker that is busy at every look."""
    test = bench(camera_timeout=60.0)
    flow = Flow(test, 'semantic/image', 'depth/image')
    test.engine.delay_s = 0.05
    assert flow.set(outputs=['semantic/image']) == (True, '')

    def still_there():
        test.publish()
        return has_topic(test, 'depth/image')
    test.spin_until(lambda: not still_there())
    test.settle()
    assert set(test.counts.dropped) <= {'O01_superseded'}


def test_the_size_of_the_outputs_follows_and_the_state_stays(bench):
    test = bench(camera_timeout=60.0, max_gap=60.0)
    flow = Flow(test, 'depth/image')
    test.graph.listen(PointCloud2, 'points')
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    assert flow.send()['points'][0].width == 80

    assert flow.set(output__size='network') == (True, '')
    answers = flow.send()
    assert (answers['depth/image'][0].height, answers['depth/image'][0].width) == (HEIGHT, WIDTH)
    assert (answers['points'][0].height, answers['points'][0].width) == (HEIGHT, WIDTH)

    assert flow.set(depth__organised=False, output__size='camera') == (True, '')
    answers = flow.send()
    assert answers['depth/image'][0].width == 80
    assert (answers['points'][0].height, answers['points'][0].is_dense) == (1, True)
    assert test.engine.with_state == [False, True, True]
    flow.assert_nothing_lost()


def test_millimetres_can_be_had_later(bench):
    test = bench(camera_timeout=60.0)
    flow = Flow(test, 'semantic/image')
    assert not has_topic(test, 'depth/image_raw')
    assert flow.set(depth__raw_16u=True) == (True, '')
    test.graph.listen(Image, 'depth/image_raw')
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    raw, = flow.send()['depth/image_raw']
    assert raw.encoding == '16UC1'

    assert flow.set(depth__raw_16u=False) == (True, '')
    test.spin_until(lambda: not has_topic(test, 'depth/image_raw'))
    flow.send()
    flow.assert_nothing_lost()


def test_outputs_that_are_chosen_while_inactive_are_published_when_active(bench):
    test = bench(camera_timeout=60.0, outputs=['semantic/image'])
    flow = Flow(test, 'semantic/image')
    test.node.trigger_deactivate()
    assert flow.set(outputs=['semantic/*', 'depth/image']) == (True, '')
    test.graph.listen(Image, 'depth/image')
    test.node.trigger_activate()
    test.spin_until(lambda: len(test.camera.outputs.wanted()) == 2)
    answers = flow.send()
    assert [len(answers[topic]) for topic in ('semantic/image', 'depth/image')] == [1, 1]
    flow.assert_nothing_lost()


def test_a_longer_gap_counts_from_the_next_frame_on(bench):
    test = bench(camera_timeout=60.0)
    flow = Flow(test, 'semantic/image')
    start_ns = test.node.get_clock().now().nanoseconds
    first, second, third = (
        picture(Time(nanoseconds=start_ns + number * 800_000_000)) for number in range(3))
    flow.send(first)
    flow.send(second)
    assert flow.set(max_gap=1.0) == (True, '')
    flow.send(third)

    assert test.engine.with_state == [False, False, True]
    assert test.camera.stream.resets['gap'] == 1
    assert test.camera.stream.settings.max_gap_s == 1.0
    flow.assert_nothing_lost()


def test_a_limit_of_pixels_counts_from_the_next_frame_on(bench):
    test = bench(camera_timeout=60.0)
    flow = Flow(test, 'semantic/image')
    flow.send()
    assert flow.set(max_pixels=48 * 80 - 1) == (True, '')
    flow.send()
    assert sum(test.counts.dropped.values()) == 1
    assert flow.set(max_pixels=48 * 80) == (True, '')
    flow.send()
    assert (test.counts.received, test.counts.published) == (3, 2)


def test_another_height_scales_depth_and_a_large_change_resets(bench):
    test = bench(HighEngine(), camera_timeout=60.0, max_gap=60.0)
    flow = Flow(test, 'depth/image')

    def depth():
        message, = flow.send()['depth/image']
        return decode_array(message)

    first = depth()
    assert flow.set(depth__camera_height=3.0) == (True, '')
    np.testing.assert_allclose(depth(), 2 * first, rtol=1e-5)
    assert test.camera.stream.resets['camera_height'] == 1
    assert test.camera.mounting.height_source == 'parameter'

    assert flow.set(depth__camera_height=3.06) == (True, '')  # as on springs
    np.testing.assert_allclose(depth(), 2.04 * first, rtol=1e-5)
    assert test.camera.stream.resets['camera_height'] == 1
    assert test.engine.with_state == [False, False, True]

    assert flow.set(depth__camera_height=0.0) == (True, '')
    np.testing.assert_allclose(depth(), first, rtol=1e-5)
    assert test.camera.stream.resets['camera_height'] == 2
    assert test.camera.mounting.height_source == 'training'
    flow.assert_nothing_lost()


def test_another_range_resets_only_images_that_have_one(bench):
    test = bench(camera_timeout=60.0, max_gap=60.0)
    flow = Flow(test, 'depth/image')
    flow.send()
    assert flow.set(image__range=[0, 4095]) == (True, '')
    flow.send()
    assert test.camera.stream.resets['image_range'] == 0  # images of 8 bits have none

    deep = np.full((48, 80), 1000, np.uint16)
    deep[:, :40] = 3000

    def white():
        """Return the largest grey that the network was shown, by its depth."""
        header = Header(stamp=test.node.get_clock().now().to_msg())
        message, = flow.send(image_message(header, 'mono16', deep))['depth/image']
        return (decode_array(message).max() - 1) * 8

    assert white() == pytest.approx(3000 / 4095 * 255, abs=1)
    assert flow.set(image__range=[0, 3000]) == (True, '')
    assert white() == pytest.approx(255, abs=1)
    assert test.camera.stream.resets['image_range'] == 1
    assert flow.set(image__range='auto') == (True, '')
    assert white() == pytest.approx(3000 / 4095 * 255, abs=1)
    assert test.camera.stream.resets['image_range'] == 2
    flow.assert_nothing_lost()


def test_parameters_that_are_set_together_are_followed_together(bench):
    test = bench(camera_timeout=60.0)
    flow = Flow(test, 'depth/image')
    before = test.node.settings
    good, reason = flow.set(output__size='network', outputs=['depht/image'])
    assert not good
    assert "'depht/image' is none of the results and pictures; did you mean 'depth/image'?" in (
        reason)
    good, reason = flow.set(output__size='network', model='other')
    assert not good
    assert 'deactivate, clean up, set it, and configure again' in reason

    assert test.node.settings is before
    assert test.node.get_parameter('output.size').value == 'camera'
    message, = flow.send()['depth/image']
    assert message.width == 80

    changes = []
    test.node._declared._on_change = lambda: changes.append(test.node._on_change())
    assert flow.set(output__size='network', max_gap=2.0, max_age=60.0) == (True, '')
    assert len(changes) == 1  # once for all three
    assert (test.node.settings.output_size, test.node.settings.max_gap) == ('network', 2.0)
    flow.assert_nothing_lost()


def test_the_colours_of_overlays_become_fainter_and_stronger(bench):
    test = bench(camera_timeout=60.0, max_gap=60.0, overlay__opacity=1.0)
    flow = Flow(test, 'semantic/overlay')
    image = test.picture(height=HEIGHT, width=WIDTH)

    def overlaid():
        image.header.stamp = test.node.get_clock().now().to_msg()
        message, = flow.send(image)['semantic/overlay']
        return decode_array(message)

    colours = overlaid()
    assert (colours == colours[0, 0]).all()  # this engine sees road everywhere
    assert flow.set(overlay__opacity=0.0) == (True, '')
    np.testing.assert_array_equal(overlaid(), decode_array(image))
    assert flow.set(overlay__opacity=0.25) == (True, '')
    np.testing.assert_allclose(
        overlaid(), 0.75 * decode_array(image) + 0.25 * colours, atol=0.51)

    assert test.engine.with_state == [False, True, True]
    flow.assert_nothing_lost()


def test_boxes_of_a_low_score_go_and_come_back(bench):
    test = bench(ObjectEngine(), camera_timeout=60.0)
    test.graph.listen(ImageMarker, 'detections/markers')
    flow = Flow(test)
    test.spin_until(lambda: test.camera.outputs.wanted())

    def boxes():
        message, = flow.send()['detections/markers']
        return len(message.points) // 8

    assert boxes() == 2  # their scores are 0.75 and 0.5
    assert flow.set(detection__min_score=0.6) == (True, '')
    assert boxes() == 1
    assert flow.set(detection__min_score=0.75) == (True, '')
    assert boxes() == 1
    assert flow.set(detection__min_score=0.8) == (True, '')
    assert boxes() == 0
    assert flow.set(detection__min_score=0.4) == (True, '')
    assert boxes() == 2
    flow.assert_nothing_lost()


def test_more_or_less_moves_by_another_score(bench):
    test = bench(StreetEngine(), camera_timeout=60.0, motion__min_score=0.0)
    flow = Flow(test, 'motion/image')
    street, frames = street_frames()

    def moving(number, **values):
        """Return the share of pixels that move in a frame, after a change of parameters."""
        assert not values or flow.set(**values) == (True, '')
        header = Header(
            stamp=Time(nanoseconds=(number + 1) * 100_000_000).to_msg(), frame_id='optical')
        test.camera._infos.put(CameraInfo(
            header=header, height=224, width=384, k=street.intrinsics.ravel().tolist()))
        message, = flow.send(image_message(header, 'rgb8', frames[number].image))['motion/image']
        mask = decode_array(message)
        return None if (mask == 255).all() else mask.mean()

    assert moving(0) is None  # the first one tells nothing
    most = moving(1)
    usual = moving(2, motion__min_score=0.5)
    assert moving(3, motion__min_score=1.0) == 0
    assert most > usual > 0
    assert test.node.settings.motion_min_score == 1.0
    flow.assert_nothing_lost()


REFUSED = [
    ({'detection__min_score': 0.01}, 'out of range Min: 0.05'),
    ({'overlay__opacity': 1.5}, 'out of range Min: 0'),
    ({'depth__camera_height': 1.2}, "model 'fake' does not say at which height it was trained"),
    ({'outputs': ['', '']}, 'none of the results and pictures'),
    ({'max_gap': 0.0}, 'out of range Min: 0.001'),
    ({'image__range': [5, 4]}, 'wanted auto, or the numbers of black and white'),
    ({'cameras': ['front']}, 'deactivate, clean up'),
    ({'input__fit': 'crop'}, 'deactivate, clean up')]


@pytest.mark.parametrize(('values', 'text'), REFUSED)
def test_a_refused_change_changes_nothing(bench, values, text):
    test = bench(camera_timeout=60.0, max_gap=60.0)
    flow = Flow(test, 'depth/image')
    first, = flow.send()['depth/image']
    settings = test.node.settings
    found = {name: test.node.get_parameter(name).value for name in test.node._parameters}

    good, reason = flow.set(**values)
    assert not good
    assert text in reason
    assert test.node.settings is settings
    assert found == {name: test.node.get_parameter(name).value for name in found}
    second, = flow.send()['depth/image']
    assert (second.height, second.width) == (first.height, first.width)
    assert test.engine.with_state == [False, True]
    flow.assert_nothing_lost()


def test_a_height_that_nobody_would_tell_is_refused(bench):
    test = bench(HighEngine(), camera_timeout=60.0, depth__scale='height', depth__ground_frame='',
                 depth__camera_height=1.5)
    flow = Flow(test, 'semantic/image')
    good, reason = flow.set(depth__camera_height=0.0)
    assert not good
    assert 'nobody would tell the height' in reason


def test_every_live_parameter_changes_with_every_frame_and_none_is_lost(bench):
    test = bench(HighEngine(), camera_timeout=60.0)
    flow = Flow(test, 'depth/image', 'semantic/image')
    usual = {one.name: one.default for one in PARAMETERS if one.dynamic}
    usual['camera_timeout'] = 60.0
    for number in range(40):
        name = list(OTHER_VALUES)[number % len(OTHER_VALUES)]
        value = (OTHER_VALUES if number < len(OTHER_VALUES) else usual)[name]

        # the request is on its way while the frame is
        future = flow.client.call_async(SetParametersAtomically.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]))
        flow.test.publish()
        flow.sent += 1
        test.spin_until(lambda future=future: (
            future.done() and test.counts.received == flow.sent))
        assert future.result().result.successful, future.result().result.reason
        test.settle()

    test.spin_until(lambda: {flow.sent} == {
        len(test.heard[topic]) for topic in ('depth/image', 'semantic/image')})
    flow.assert_nothing_lost()
    assert not test.node.callback_errors


def test_what_a_running_node_dumps_loads_again(bench, tmp_path):
    engine = HighEngine()
    test = bench(engine, cameras=['front'], **{
        'qos_overrides./front/depth/image.publisher.depth': 2})
    test.start()
    flow_free = [Parameter(name, value=value) for name, value in OTHER_VALUES.items()]
    assert test.node.set_parameters_atomically(flow_free).successful
    path = tmp_path / 'dumped.yaml'
    path.write_text(test.graph.dump('/perception_node'))

    # the same reader of YAML as under a launch file
    second = PerceptionNode(
        lambda settings: engine, context=test.graph.context,
        cli_args=['--ros-args', '--params-file', str(path)])
    second.trigger_configure()
    assert second.last_error == ''
    assert second.settings == test.node.settings
    assert second._declared.unknown == {}
    assert {name: second.get_parameter(name).value for name in second._parameters} == {
        name: test.node.get_parameter(name).value for name in test.node._parameters}
    second.stop()
    destroy_all(second)


def test_the_file_of_defaults_loads_and_gives_the_defaults(bench):
    test = bench()
    test.start()
    second = PerceptionNode(
        lambda settings: test.engine, context=test.graph.context,
        cli_args=['--ros-args', '--params-file', str(ROOT / 'config' / 'camera.yaml')])
    second.trigger_configure()
    assert second.settings == test.node.settings
    assert second._declared.unknown == {}
    second.stop()
    destroy_all(second)


def test_the_outputs_to_choose_from_are_those_that_are_made():
    made = {output.topic for output in (*outputs.OUTPUTS, outputs.EGO_MOTION)}
    assert made == set(CHOOSABLE)
