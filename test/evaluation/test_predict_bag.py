# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl predict`` with recordings: the topics of the node, the predictions of the model."""

import copy
import json

import av
import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('torch')

from bag_files import arrays_of, image, info, write_bag
from rosbags.highlevel import AnyReader

from mtl_perception import cli
from mtl_perception.bags.reader import Bag
from mtl_perception.evaluation.bag_output import BagOutput
from mtl_perception.evaluation.image_inputs import InputImage
from mtl_perception.frames import Detections, Frame, Perception
from mtl_perception.inference.stream import CameraStream
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.tasks import STREET_ALL_TASKS, STREET_DETECTION, STREET_MOTION, STREET_SEMANTIC

COUNT, START_NS, STEP_NS = 12, 1_700_000_000_000_000_000, 100_000_000
PREDICTED = ('semantic', 'depth', 'motion')


def predict(source, output, model, *words):
    return cli.main(['predict', str(source), '--output', str(output), '--model', str(model),
                     '--device', 'cpu', '--threads', '1', *words])


def test_a_bag_becomes_a_bag_with_every_frame_in_order(tmp_path, bag, tiny_model, capsys):
    assert predict(bag, tmp_path / 'deep' / 'new.mcap', tiny_model) == 0
    assert capsys.readouterr().out == (
        f'{COUNT} frames: {tmp_path / "deep" / "new"}\n'
        'depth stands on: calibrated focal length of 80 pixels\n')

    stream = CameraStream(TorchEngine.load(tiny_model, 'cpu', threads=1))
    with Bag(tmp_path / 'deep' / 'new') as new, Bag(bag) as old:
        assert new.stamps == [START_NS + number * STEP_NS for number in range(COUNT)]
        for after, before in zip(new.records(), old.records(), strict=True):
            prediction = stream.process(
                Frame('c', after.stamp_ns, before.image), focal_px=80.0)

            for name in PREDICTED:
                np.testing.assert_array_equal(
                    getattr(after.prediction, name), getattr(prediction, name))
            for role in ('image', 'true_semantic', 'true_depth', 'true_motion', 'true_instance'):
                np.testing.assert_array_equal(arrays_of(after)[role], arrays_of(before)[role])


def test_what_was_given_is_the_calibration_of_the_new_bag(tmp_path, recorded, tiny_model):
    """In place of the 80 pixels of the recording; its frame is copied."""
    framed = copy.deepcopy(recorded)
    for _, message, _ in framed:
        message.header.frame_id = 'front_optical'
    path = write_bag(tmp_path / 'old', framed)
    calibration = tmp_path / 'camera.yaml'
    calibration.write_text(
        'image_width: 192\nimage_height: 128\ndistortion_model: plumb_bob\n'
        'camera_matrix: {data: [300, 0, 95.5, 0, 300, 63.5, 0, 0, 1]}\n'
        'distortion_coefficients: {data: [0.1, 0, 0, 0, 0]}\n'
        'rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}\n'
        'projection_matrix: {data: [300, 0, 95.5, 0, 0, 300, 63.5, 0, 0, 0, 1, 0]}\n')

    for name, words, wanted in (
            ('own', (), (80.0, 47.5, 0.0)),
            ('number', ('--focal-length', '120'), (120.0, 47.5, 0.0)),
            ('file', ('--calibration', str(calibration)), (150.0, 47.5, 0.1))):
        assert predict(path, tmp_path / f'{name}.mcap', tiny_model, *words) == 0
        with AnyReader([tmp_path / name]) as reader:
            found = [(connection.topic, reader.deserialize(raw, connection.msgtype))
                     for connection, _, raw in reader.messages()
                     if connection.topic.endswith(('image', 'image_raw', 'camera_info'))]
        assert {message.header.frame_id for _, message in found} == {'front_optical'}
        infos = [message for topic, message in found if topic.endswith('camera_info')]
        assert len(infos) == 2 * COUNT
        for one in infos:
            assert (one.k[0], one.k[2], one.d[0]) == pytest.approx(wanted)
            assert (one.height, one.width, one.p[0]) == (64, 96, pytest.approx(wanted[0]))


def test_a_calibration_of_another_size_withholds_depth_as_in_the_node(
        tmp_path, recorded, tiny_model, capsys):
    larger = info(80.0, START_NS)
    larger.height, larger.width = 100, 300
    changed = [('/camera_info', larger, START_NS),
               *(one for one in recorded if one[0] == '/image_raw')]
    path = write_bag(tmp_path / 'old', changed)
    assert predict(path, tmp_path / 'new.mcap', tiny_model) == 0
    assert 'depth is withheld' in capsys.readouterr().err
    with Bag(tmp_path / 'new') as new:
        assert {'semantic', 'motion'} <= new.roles
        assert 'depth' not in new.roles


def test_other_readers_find_the_topics_and_types_of_the_node(tmp_path, bag, tiny_model):
    predict(bag, tmp_path / 'new.mcap', tiny_model)
    with AnyReader([tmp_path / 'new']) as reader:
        kinds = {name: (topic.msgtype, topic.msgcount) for name, topic in reader.topics.items()}
        infos = [reader.deserialize(raw, connection.msgtype)
                 for connection, _, raw in reader.messages()
                 if connection.topic == '/depth/camera_info']
    images = {'/image_raw', '/semantic/image', '/depth/image', '/motion/image'}

    assert {kinds[name] for name in images} == {('sensor_msgs/msg/Image', COUNT)}
    assert kinds['/semantic/labels'] == ('std_msgs/msg/String', 1)
    assert kinds['/camera_info'] == ('sensor_msgs/msg/CameraInfo', COUNT)
    assert [info.header.stamp.nanosec for info in infos] == [
        number * STEP_NS % 10 ** 9 for number in range(COUNT)]
    assert infos[0].k[0] == 80.0

    mcap = pytest.importorskip('mcap_ros2.reader')
    assert len(list(mcap.read_ros2_messages(
        str(tmp_path / 'new' / 'new.mcap'), topics=['/depth/image']))) == COUNT


def test_the_same_bag_gives_the_same_bytes_and_is_evaluated_at_once(tmp_path, bag, tiny_model):
    for name in ('first', 'second'):
        (tmp_path / name).mkdir()
        assert predict(bag, tmp_path / name / 'new.mcap', tiny_model) == 0
    files = [tmp_path / name / 'new' / 'new.mcap' for name in ('first', 'second')]

    assert files[0].read_bytes() == files[1].read_bytes()
    assert cli.main(['evaluate', str(tiny_model), '--bag', str(files[0]), '--threads', '1',
                     '--device', 'cpu', '--output', str(tmp_path / 'out')]) == 0

    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert report['published'] == COUNT
    assert report['semantic']['pixels'] > 0


def test_a_bag_becomes_a_folder_or_a_video_and_a_folder_a_bag(tmp_path, bag, tiny_model):
    assert predict(bag, tmp_path / 'masks', tiny_model) == 0

    names = sorted(path.stem for path in (tmp_path / 'masks' / 'semantic').iterdir())
    assert names == [str(START_NS + number * STEP_NS) for number in range(COUNT)]
    assert predict(bag, tmp_path / 'shown.mp4', tiny_model) == 0

    with av.open(str(tmp_path / 'shown.mp4')) as container:
        assert len(list(container.decode(video=0))) == COUNT
        assert float(container.streams.video[0].average_rate) == pytest.approx(10.0)
    (tmp_path / 'images').mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / f'images/{number}.png'), np.full((64, 96, 3), 60 * number))

    assert predict(tmp_path / 'images', tmp_path / 'made.mcap', tiny_model, '--rate', '4') == 0

    with Bag(tmp_path / 'made') as made:
        assert made.stamps == [250_000_000, 500_000_000, 750_000_000]
        assert made.roles == {'image', *PREDICTED}


def test_a_rate_for_a_recording_is_refused(tmp_path, bag, tiny_model, capsys):
    assert predict(bag, tmp_path / 'shown.mp4', tiny_model, '--rate', '5') == 2
    assert f'{bag}: --rate is 5, but the images of a recording have' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_existing_folders_are_not_overwritten_and_incomplete_ones_are_kept(
        tmp_path, bag, tiny_model):
    (tmp_path / 'new').mkdir()

    assert predict(bag, tmp_path / 'new.mcap', tiny_model) == 2

    strange = image(np.zeros((64, 96, 3), np.uint8), 2)
    strange.encoding = 'strange'
    bad = write_bag(tmp_path / 'bad', [
        ('/image_raw', image(np.zeros((64, 96, 3), np.uint8), 1), 1), ('/image_raw', strange, 2)])

    assert predict(bad, tmp_path / 'other.mcap', tiny_model, '--strict') == 3
    with Bag(tmp_path / 'other') as made:
        assert made.stamps == [1]


def test_a_bag_of_two_cameras_names_the_topics(tmp_path, tiny_model, capsys):
    path = write_bag(tmp_path / 'bag', [(f'/{name}/image_raw', image(
        np.zeros((64, 96, 3), np.uint8), 1), 1) for name in ('front', 'rear')])
    assert predict(path, tmp_path / 'new.mcap', tiny_model) == 3
    assert "did you mean '/front/image_raw' or '/rear/image_raw'?" in capsys.readouterr().err
    assert predict(path, tmp_path / 'rear.mcap', tiny_model, '--image-topic',
                   '/rear/image_raw') == 0
    assert predict(path, tmp_path / 'new.mcap', tiny_model, '--namespace', 'rear') == 0
    with Bag(tmp_path / 'new', 'rear') as made:
        assert made.topics.keys() >= {'/rear/semantic/image', '/rear/semantic/labels'}


def test_boxes_and_instances_survive_a_recording_with_class_and_score(tmp_path):
    found = Perception(
        semantic=np.full((8, 9), 8, np.uint8),
        instance=np.arange(72, dtype=np.uint16).reshape(8, 9),
        detection=Detections(
            np.float32([[1.25, 2, 5.5, 7], [0, 0, 9, 8]]), np.float32([0.9, 0.4]),
            np.uint8([2, 0])))
    with BagOutput(tmp_path / 'new', STREET_ALL_TASKS) as output:
        output.take(InputImage('one', 5, np.zeros((8, 9, 3), np.uint8)), found)
    with Bag(tmp_path / 'new') as made:
        record, = made.records(STREET_ALL_TASKS)
        assert {'/detections', '/detections/markers'} <= made.topics.keys()

    np.testing.assert_array_equal(record.prediction.instance, found.instance)

    for name, values in vars(found.detection).items():
        np.testing.assert_array_equal(getattr(record.prediction.detection, name), values)


def test_labels_are_those_of_the_node(tmp_path):
    messages = pytest.importorskip('mtl_perception.ros.messages')
    with BagOutput(tmp_path / 'new', STREET_ALL_TASKS) as output:
        output.take(InputImage('one', 5, np.zeros((8, 9, 3), np.uint8)), Perception())
    with AnyReader([tmp_path / 'new']) as reader:
        written = {connection.topic: reader.deserialize(raw, connection.msgtype).data
                   for connection, _, raw in reader.messages()
                   if connection.topic.endswith('/labels')}

    assert written == {
        '/semantic/labels': messages.labels_message(STREET_SEMANTIC).data,
        '/motion/labels': messages.labels_message(STREET_MOTION).data,
        '/detections/labels': messages.labels_message(STREET_DETECTION).data}


def test_markers_are_those_of_the_node(tmp_path):
    box_messages = pytest.importorskip('mtl_perception.ros.box_messages')
    from rclpy.serialization import serialize_message
    from std_msgs.msg import Header
    found = Detections(np.float32([[1.25, 2, 5.5, 7]]), np.float32([0.9]), np.uint8([1]))
    header = Header(frame_id='camera')
    header.stamp.nanosec = 5
    wanted = serialize_message(box_messages.markers_message(header, found, STREET_DETECTION))
    with BagOutput(tmp_path / 'new', STREET_ALL_TASKS) as output:
        shown = InputImage('one', 5, np.zeros((8, 9, 3), np.uint8))
        output.take(shown, Perception(detection=found))
    with AnyReader([tmp_path / 'new']) as reader:
        (raw,) = [bytes(raw) for connection, _, raw in reader.messages()
                  if connection.topic == '/detections/markers']
        message = reader.deserialize(raw, 'visualization_msgs/msg/ImageMarker')
        other = reader.deserialize(wanted, 'visualization_msgs/msg/ImageMarker')

    assert message == other
