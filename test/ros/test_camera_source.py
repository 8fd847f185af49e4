# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The camera source on a real graph."""

import signal
import time

import cv2
import numpy as np
import pytest
import yaml

from mtl_perception.ros import image_sources

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from ros_graph import Graph, parameters, stamp_ns
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from video_files import film

from mtl_perception.image_codec import decode_array, decode_compressed, decode_image
from mtl_perception.media.omissions import Omissions
from mtl_perception.ros import camera_source
from mtl_perception.ros.camera_source import CameraSource
from mtl_perception.ros.image_sources import Picture
from mtl_perception.synthetic import Street
from mtl_perception.topics import TRUTH

MODULE = 'mtl_perception.ros.camera_source'


@pytest.fixture
def graph(monkeypatch):
    graph = Graph(monkeypatch)
    yield graph
    graph.close()


@pytest.fixture
def folder(tmp_path):
    for level in (10, 200):
        cv2.imwrite(str(tmp_path / f'{level:03}.png'), np.full((32, 48, 3), level, np.uint8))
    return tmp_path


def test_the_street_is_published_unchanged_with_its_ground_truth(graph):
    graph.listen(Image, 'image_raw')
    graph.listen(CameraInfo, 'camera_info')
    for topic in TRUTH.values():
        graph.listen(Image, topic.name)
    process = graph.start(MODULE, *parameters(
        frames=3, seed=20003, start_index=5, width=96, height=56, wait_for_subscribers=1,
        settle=0.5))
    topics = ['image_raw', 'camera_info', *(topic.name for topic in TRUTH.values())]
    graph.spin_until(lambda: all(len(graph.heard[topic]) == 3 for topic in topics))

    assert graph.finish(process, None)[0] == 0  # ends by itself

    street = Street(20003, width=96, height=56, rate=10.0)
    for number in range(3):
        frame, image = street.render(5 + number), graph.heard['image_raw'][number]
        np.testing.assert_array_equal(decode_image(image), frame.image)
        assert (image.encoding, image.header.frame_id) == ('rgb8', 'camera_optical_frame')
        info = graph.heard['camera_info'][number]
        assert info.header == image.header
        np.testing.assert_allclose(np.reshape(info.k, (3, 3)), frame.intrinsics)
        for task, topic in TRUTH.items():
            message = graph.heard[topic.name][number]
            assert (message.header, message.encoding) == (image.header, topic.encoding)
            np.testing.assert_array_equal(decode_array(message), getattr(frame, task))


def test_stamps_are_the_time_of_publishing_and_keep_the_rate(graph, folder):
    graph.listen(Image, 'image_raw')
    before = time.time_ns()
    process = graph.start(MODULE, *parameters(
        source=str(folder), rate=20.0, loop=True, frames=31, wait_for_subscribers=1, settle=0.3))
    graph.spin_until(lambda: len(graph.heard['image_raw']) == 31)
    graph.finish(process, None)
    stamps = [stamp_ns(message) for message in graph.heard['image_raw']]

    assert before < stamps[0] < stamps[-1] < time.time_ns()
    assert (stamps[-1] - stamps[0]) / 1e9 == pytest.approx(30 / 20, abs=0.04)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_code_0(graph, folder, number):
    graph.listen(Image, 'image_raw')
    process = graph.start(MODULE, *parameters(source=str(folder), loop=True))
    graph.spin_until(lambda: len(graph.heard['image_raw']) >= 2)
    code, errors = graph.finish(process, number)

    assert (code, 'Traceback' in errors) == (0, False)


def test_a_signal_ends_the_wait_for_subscribers(graph, folder):
    graph.listen(DiagnosticArray, '/diagnostics')
    process = graph.start(MODULE, *parameters(source=str(folder), wait_for_subscribers=3))
    graph.spin_until(lambda: graph.heard['/diagnostics'])
    assert graph.finish(process)[0] == 0


@pytest.mark.parametrize(('values', 'code', 'text'), [
    ({'source': '/does/not/exist.mp4'}, 3, '/does/not/exist.mp4'),
    ({'source': '/dev/null'}, 3, 'cannot be opened as a V4L2 camera'),
    ({'rate': 'fast'}, 2, "parameter 'rate' is 'fast' of type string"),
    ({'width': -1}, 2, "parameter 'width' is -1, wanted 0 to 16384"),
    ({'camera_info_file': '/none.yaml'}, 2, '/none.yaml')])
def test_a_wrong_start_ends_with_one_line_and_an_exit_code(graph, values, code, text):
    found, errors = graph.finish(graph.start(MODULE, *parameters(**values)), None)
    assert found == code
    assert text in errors
    assert 'Traceback' not in errors


def test_a_broken_image_is_left_out_counted_and_named(graph, folder):
    (folder / '100.png').write_bytes(b'broken')
    graph.listen(Image, 'image_raw')
    graph.listen(DiagnosticArray, '/diagnostics')
    process = graph.start(MODULE, *parameters(
        source=str(folder), rate=20.0, wait_for_subscribers=1, settle=0.3))
    graph.spin_until(lambda: len(graph.heard['image_raw']) == 2 and graph.heard['/diagnostics'])
    code, errors = graph.finish(process, None)
    graph.spin_until(lambda: graph.heard['/diagnostics'][-1].status[0].level == b'\x01')
    values = {pair.key: pair.value for pair in graph.heard['/diagnostics'][-1].status[0].values}

    assert code == 0
    assert '100.png: cannot be read' in errors
    assert values['left_out'] == '1'


def test_a_folder_of_broken_images_ends_the_source_with_code_3(graph, tmp_path):
    (tmp_path / '1.png').write_bytes(b'broken')
    code, errors = graph.finish(graph.start(MODULE, *parameters(source=str(tmp_path))), None)

    assert code == 3
    assert '1.png: cannot be read' in errors


def test_a_video_of_variable_rate_is_published_by_its_own_times(graph, tmp_path):
    times = [0, 40, 80, 480, 520, 920]
    grey = np.full((64, 96, 3), 90, np.uint8)
    path = film(tmp_path / 'gap.mkv', [grey] * 6, times)
    graph.listen(Image, 'image_raw')
    process = graph.start(MODULE, *parameters(
        source=str(path), rate=0.0, wait_for_subscribers=1, settle=0.3))
    graph.spin_until(lambda: len(graph.heard['image_raw']) == 6)
    graph.finish(process, None)
    stamps = np.array([stamp_ns(message) for message in graph.heard['image_raw']]) / 1e6

    np.testing.assert_allclose(stamps - stamps[0], times, atol=25)


def test_the_duration_of_a_video_counts_by_its_own_times(graph, tmp_path):
    grey = np.full((64, 96, 3), 90, np.uint8)
    path = film(tmp_path / 'slow.mkv', [grey] * 6, [0, 250, 500, 750, 1000, 1250])
    graph.listen(Image, 'image_raw')
    process = graph.start(MODULE, *parameters(
        source=str(path), rate=10.0, duration=0.7, wait_for_subscribers=1, settle=0.3))
    graph.spin_until(lambda: process.poll() is not None)

    assert graph.finish(process, None)[0] == 0
    assert len(graph.heard['image_raw']) == 3


class Here:
    """A camera source inside the test."""

    def __init__(self, graph, **values):
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = CameraSource(overrides, context=graph.context)
        self.node.start()

    def close(self):
        assert self.node.stop()
        self.node.destroy_node()


def test_the_rate_changes_while_it_plays_and_no_picture_is_lost(graph, tmp_path):
    for level in range(40):
        cv2.imwrite(str(tmp_path / f'{level:03}.png'), np.full((8, 8, 3), level, np.uint8))
    graph.listen(Image, 'image_raw')
    graph.listen(DiagnosticArray, '/diagnostics')
    here = Here(graph, source=str(tmp_path), rate=10.0, ahead=1, wait_for_subscribers=1,
                settle=0.3)
    graph.executor.add_node(here.node)
    heard = graph.heard['image_raw']
    graph.spin_until(lambda: len(heard) >= 5)
    change, = here.node.set_parameters([Parameter('rate', value=40.0)])
    assert change.successful
    graph.spin_until(lambda: len(heard) == 40)

    assert [image.data[0] for image in heard] == list(range(40))
    steps = np.diff([stamp_ns(image) for image in heard]) / 1e9
    assert np.median(steps[:4]) == pytest.approx(0.1, abs=0.02)
    assert np.median(steps[-25:]) == pytest.approx(0.025, abs=0.01)
    assert here.node.get_parameter('rate').value == 40.0
    here.close()


def test_what_a_running_source_dumps_loads_again(graph, tmp_path):
    first = Here(graph, width=96, height=56, rate=20.0, **{
        'image.range': [0, 4095], 'qos_overrides./image_raw.publisher.depth': 3})
    assert first.node.set_parameters([Parameter('rate', value=5.0)])[0].successful
    graph.executor.add_node(first.node)
    path = tmp_path / 'dumped.yaml'
    path.write_text(graph.dump('/camera_source'))

    first.close()
    graph.listen(Image, 'image_raw')
    process = graph.start(MODULE, '--ros-args', '--params-file', str(path))
    graph.spin_until(lambda: len(graph.heard['image_raw']) >= 3)
    again = yaml.safe_load(graph.dump('/camera_source'))
    code, errors = graph.finish(process)

    assert again == yaml.safe_load(path.read_text())
    assert again['/camera_source']['ros__parameters']['rate'] == 5.0
    assert (code, 'does not exist' in errors) == (0, False), errors


@pytest.mark.parametrize(('live', 'values', 'text'), [
    (True, {}, 'is a camera, which has its rate from the start on'),
    (False, {'duration': 60.0}, 'cannot change while duration is set')])
def test_a_rate_that_cannot_change_is_refused(graph, monkeypatch, live, values, text):
    source = Slow()
    source.live = live
    monkeypatch.setitem(image_sources.SOURCES, 'street', lambda settings: source)
    here = Here(graph, rate=40.0, truth=False, **values)
    change, = here.node.set_parameters([Parameter('rate', value=5.0)])
    fixed, = here.node.set_parameters([Parameter('jpeg_quality', value=5)])
    here.close()

    assert not change.successful
    assert text in change.reason
    assert not fixed.successful
    assert here.node.settings.source.rate == 40.0


def test_compressed_images_replace_raw_ones(graph, folder):
    graph.listen(CompressedImage, 'image_raw/compressed')
    here = Here(graph, source=str(folder), compressed=True, focal_px=40.0)
    graph.listen(CameraInfo, 'camera_info')
    graph.spin_until(lambda: graph.heard['image_raw/compressed'] and graph.heard['camera_info'])

    assert dict(graph.node.get_topic_names_and_types()).get('/image_raw') is None

    here.close()
    image = decode_compressed(graph.heard['image_raw/compressed'][-1])
    assert image.shape == (32, 48, 3)
    assert {int(round(image.mean(), -1))} <= {10, 200}
    assert graph.heard['camera_info'][0].k[0] == 40.0


def test_ground_truth_is_published_only_for_the_street_and_only_if_switched_on(graph, folder):
    here = Here(graph, source=str(folder), loop=True)
    off = Here(graph, truth=False, rate=1.0)
    names = {name for name, _ in here.node.get_topic_names_and_types()}
    here.close()
    off.close()

    assert not {name for name in names if 'truth' in name}


class Slow:
    """A source that takes four times as long as its rate allows."""

    rate, live, remarks = 40.0, False, ()

    def __init__(self):
        self.count = 0
        self.omissions = Omissions()

    def read(self):
        time.sleep(0.1)
        self.count += 1
        return Picture(np.zeros((4, 4, 3), np.uint8), self.count / self.rate)

    def close(self):
        pass


def test_a_source_that_is_too_slow_is_reported(graph, monkeypatch):
    monkeypatch.setitem(image_sources.SOURCES, 'street', lambda settings: Slow())
    monkeypatch.setattr(camera_source, 'REPORT_PERIOD_S', 0.2)
    here = Here(graph, rate=40.0, truth=False)
    graph.listen(DiagnosticArray, '/diagnostics')
    graph.executor.add_node(here.node)
    graph.spin_until(lambda: any(
        message.status[0].level == b'\x01' for message in graph.heard['/diagnostics']))
    here.close()
    status = graph.heard['/diagnostics'][-1].status[0]
    values = {pair.key: pair.value for pair in status.values}

    assert status.name == 'camera_source'
    assert 'wanted 40.00' in status.message
    assert float(values['rate']) == pytest.approx(10, rel=0.15)
    assert int(values['late']) >= int(values['published']) - 2
