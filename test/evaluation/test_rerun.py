# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --bag --rerun`` repeats the node: its settings, its sizes and its boxes."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('torch')

from bag_files import STORE, arrays_of, diagnostics, image, info, write_bag
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from short_drive import COUNT, SIZE, START_NS, STEP_NS, evaluate_bag

from mtl_perception import cli
from mtl_perception.bags.reader import Bag
from mtl_perception.errors import FrameError
from mtl_perception.evaluation import bag_evaluation
from mtl_perception.evaluation.bag_evaluation import (
    recorded_scores,
    recorded_settings,
    rerun,
)
from mtl_perception.evaluation.bag_output import BagOutput
from mtl_perception.evaluation.image_inputs import InputImage
from mtl_perception.evaluation.live_recording import LivePlan, record_live
from mtl_perception.frames import Detections, Frame, Outputs, Truth
from mtl_perception.inference import engines
from mtl_perception.inference.fit import Fit
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.manifest import Manifest, NetworkSpec, read_model, write_model
from mtl_perception.synthetic import Street
from mtl_perception.tasks import STREET_ALL_TASKS

SETTINGS = StreamSettings(max_gap_s=0.15, camera_height=1.3)
GAP_NS = 200_000_000
"""Longer than the settings allow, shorter than the default does."""


@pytest.fixture(scope='module')
def model(tiny_model, tmp_path_factory):
    """Return a model that knows the camera height it was trained at."""
    manifest, content = read_model(tiny_model)
    path = tmp_path_factory.mktemp('known') / 'known.safetensors'
    write_model(dataclasses.replace(manifest, camera_height=1.6), content, path)
    return path


def drive(model, size='camera', settings=SETTINGS, report=True, scores=None):
    """Return the messages of a drive with pauses, as a node with these settings leaves them."""
    street = Street(20003, rate=10.0, **SIZE)
    stream = CameraStream(TorchEngine.load(model, 'cpu', threads=1), settings)
    messages, stamp = [], START_NS
    for number in range(COUNT):
        stamp += GAP_NS if number % 4 == 3 else STEP_NS
        frame = street.render(number)
        found = stream.process(
            Frame('c', stamp, frame.image), output_size=size, focal_px=80.0)
        messages += [(f'/{name}', image(array, stamp), stamp + 30_000_000) for name, array in (
            ('image_raw', frame.image), ('truth/semantic/image', frame.semantic),
            ('truth/depth/image', frame.depth), ('truth/motion/image', frame.motion),
            ('semantic/image', found.semantic), ('depth/image', found.depth),
            ('motion/image', found.motion))]
        messages.append(('/camera_info', info(80.0, stamp), stamp))
    values = {'received': COUNT, 'published': COUNT, 'in_flight': 0}
    if report:
        values |= {'max_gap': settings.max_gap_s, 'depth.camera_height': settings.camera_height,
                   'motion.head': settings.motion_head, **(scores or {})}
    messages.append(('/diagnostics', diagnostics({'camera': values}), START_NS))
    return messages


def test_the_settings_of_the_node_are_in_its_diagnostics(tmp_path, model):
    path = write_bag(tmp_path / 'bag', drive(model))
    with Bag(path) as bag:
        assert recorded_settings(bag) == SETTINGS

    recorded = evaluate_bag(tmp_path, path, model)

    assert evaluate_bag(tmp_path, path, model, '--rerun') == recorded

    for words in (['--max-gap', '0.5'], ['--camera-height', '1.6']):  # the positive controls
        assert evaluate_bag(tmp_path, path, model, '--rerun', *words) != recorded


def test_the_lowest_scores_of_the_node_are_repeated(tmp_path, model, monkeypatch):
    path = write_bag(tmp_path / 'bag', drive(
        model, scores={'motion.min_score': 0.75, 'detection.min_score': 0.45}))
    with Bag(path) as bag:
        assert recorded_scores(bag) == (0.75, 0.45)

    asked, streams = [], []
    load_engine = engines.load_engine

    class Stream(CameraStream):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.moving = SimpleNamespace(minimum_score=0.5)
            streams.append(self)

        def process(self, *_, **__):
            raise FrameError('nothing', 'I03_short')

    monkeypatch.setattr(
        engines, 'load_engine',
        lambda *arguments: (asked.append(arguments[-1]), load_engine(*arguments))[1])
    monkeypatch.setattr(bag_evaluation, 'CameraStream', Stream)
    cli.main(['evaluate', str(model), '--bag', str(path), '--rerun'])
    assert asked == [0.45]
    assert [one.moving.minimum_score for one in streams] == [0.75]


@pytest.mark.parametrize('score', ['much', '-0.1', 'nan', '7'])
def test_a_score_that_is_none_is_the_usual_one(tmp_path, model, score):
    path = write_bag(tmp_path / 'bag', drive(
        model, scores={'motion.min_score': score, 'detection.min_score': score}))
    with Bag(path) as bag:
        assert recorded_scores(bag) == (0.5, 0.3)


def test_options_take_the_place_of_settings_that_were_not_recorded(tmp_path, model):
    path = write_bag(tmp_path / 'bag', drive(model, report=False))
    with Bag(path) as bag:
        assert recorded_settings(bag) == StreamSettings()

    recorded = evaluate_bag(tmp_path, path, model)

    assert evaluate_bag(
        tmp_path, path, model, '--rerun', '--max-gap', '0.15', '--camera-height', '1.3',
    ) == recorded
    assert evaluate_bag(tmp_path, path, model, '--rerun') != recorded  # the positive control


@pytest.mark.parametrize('words', [['--max-gap', '0'], ['--camera-height', '-1']])
def test_impossible_settings_are_refused(tmp_path, model, bag, words, capsys):
    assert cli.main(['evaluate', str(model), '--bag', str(bag), '--rerun', *words]) == 2
    assert '--max-gap or --camera-height' in capsys.readouterr().err


def test_predictions_at_the_size_of_the_network_are_repeated_at_that_size(tmp_path, tiny_model):
    manifest, content = read_model(tiny_model)
    half = tmp_path / 'half.safetensors'
    write_model(dataclasses.replace(manifest, height=32, width=64), content, half)
    path = write_bag(tmp_path / 'bag', drive(half, 'network', StreamSettings()))

    engine = TorchEngine.load(half, 'cpu', threads=1)
    with Bag(path) as one, Bag(path) as other:
        pairs = list(zip(one.records(), rerun(other, engine), strict=True))

    assert pairs[0][0].prediction.semantic.shape == (32, 64)

    for before, after in pairs:
        for role, array in arrays_of(before).items():
            np.testing.assert_array_equal(array, arrays_of(after)[role])


class BoxEngine:
    """A network that sees the car where it is, and a false one with a higher score."""

    def __init__(self):
        channels = {task.name: task.channels for task in STREET_ALL_TASKS}
        self.motion_head = None
        self.manifest = Manifest(
            'boxes', NetworkSpec('resnet10', 1, 8, channels, anchors=[[0.1, 0.1]]),
            STREET_ALL_TASKS, 64, 96, (0.0,) * 3, (1.0,) * 3, 60.0)

    def step(self, image, state=None, tasks=None):
        left = int(np.flatnonzero((image[..., 0] == 200).any(axis=0))[0])
        return Outputs(detection=Detections(
            np.float32([[0, 0, 12, 12], [left, 20, left + 20, 40]]), np.float32([0.9, 0.6]),
            np.uint8([0, 0]))), None


@pytest.fixture
def boxes(tmp_path, monkeypatch):
    """Return the model, a bag with boxes and scores, and the same with the outlines alone."""
    engine = BoxEngine()
    model = tmp_path / 'boxes.safetensors'
    write_model(engine.manifest, b'weights', model)
    monkeypatch.setattr(engines, 'load_engine', lambda *arguments, **keywords: engine)

    with BagOutput(tmp_path / 'scored', STREET_ALL_TASKS) as output:
        for number in range(4):
            picture = np.zeros((64, 96, 3), np.uint8)
            car = (slice(20, 40), slice(30 + 5 * number, 50 + 5 * number))
            picture[car] = 200
            semantic = np.zeros((64, 96), np.uint8)
            semantic[car] = 8
            shown = InputImage(
                '', START_NS + number * STEP_NS, picture,
                truth=Truth(semantic, instance=(semantic == 8).astype(np.uint16)))
            output.take(shown, CameraStream(engine).process(
                Frame('', 1, picture), ['detection']))

    new = Writer(tmp_path / 'outlines', version=9, storage_plugin=StoragePlugin.MCAP)
    with Reader(tmp_path / 'scored') as scored, new as outlines:
        connections = {
            one.id: outlines.add_connection(one.topic, one.msgtype, typestore=STORE)
            for one in scored.connections if one.topic != '/detections'}
        for connection, logged_ns, content in scored.messages():
            if connection.id in connections:
                outlines.write(connections[connection.id], logged_ns, content)
    return model, tmp_path / 'scored', tmp_path / 'outlines'


def test_a_model_with_boxes_keeps_its_average_precision(tmp_path, boxes):
    model, scored, outlines = boxes

    recorded = evaluate_bag(tmp_path, outlines, model)['detection']
    repeated = evaluate_bag(tmp_path, outlines, model, '--rerun')['detection']
    with_scores = evaluate_bag(tmp_path, scored, model)['detection']

    # Every car is detected, behind a false positive of a higher score.
    assert repeated['ap50'] == with_scores['ap50'] == pytest.approx(0.5, abs=0.01)
    assert repeated == with_scores
    assert recorded['ap50'] is None  # outlines have no scores to rank them by
    assert recorded['found'] == repeated['found'] == 1.0
    assert recorded['precision'] == repeated['precision'] == 0.5


def test_a_box_of_an_unknown_class_is_left_out_and_counted(tmp_path):
    with BagOutput(tmp_path / 'foreign', (dataclasses.replace(
            STREET_ALL_TASKS[-1], classes=('lorry', 'person', 'cyclist')),)) as output:
        output.take(
            InputImage('', START_NS, np.zeros((64, 96, 3), np.uint8)),
            CameraStream(BoxEngine()).process(
                Frame('', 1, np.full((64, 96, 3), 200, np.uint8)), ['detection']))

    with Bag(tmp_path / 'foreign') as bag:
        record, = bag.records(STREET_ALL_TASKS)

    assert record.prediction is None

    reason, = bag.skipped['/detections']
    assert "has a box of class 'lorry', wanted one of ['car', 'person', 'cyclist']" in reason


@pytest.mark.slow
def test_a_real_node_with_other_settings_is_repeated_bit_by_bit(tmp_path, model):
    """Camera, node and recorder on a ROS graph; the node's settings come from the recording."""
    pytest.importorskip('rclpy')
    node = {'model': str(model), 'threads': 1, 'device': 'cpu', 'max_gap': 0.2,
            'depth.camera_height': 1.3, 'input.fit': 'tiles', 'input.roi': [0, 8, 96, 32],
            'detection.min_score': 0.4}
    source = {'source': 'street', 'frames': 20, 'rate': 5.0, 'seed': 20003, 'ahead': 20, **SIZE}
    path = record_live(LivePlan(source, node, truth=True), tmp_path, lambda *_: None)
    engine = TorchEngine.load(model, 'cpu', threads=1)

    with Bag(path) as one, Bag(path) as other, Bag(path) as third:
        settings = recorded_settings(one)
        assert recorded_scores(one) == (0.5, 0.4)
        pairs = list(zip(one.records(), rerun(other, engine, settings), strict=True))
        by_default = list(rerun(third, engine))

    assert settings == StreamSettings(0.2, 1.3, fit=Fit('tiles', (0, 8, 96, 32)))

    predicted = [pair for pair in pairs if pair[0].prediction is not None]
    assert len(predicted) > 10

    for before, after in pairs:
        for role, array in arrays_of(before).items():
            np.testing.assert_array_equal(array, arrays_of(after)[role])

    assert any(  # the positive control
        not np.array_equal(before.prediction.depth, other.prediction.depth)
        for (before, _), other in zip(pairs, by_default, strict=True) if before.prediction)
    assert evaluate_bag(tmp_path, path, model) == evaluate_bag(tmp_path, path, model, '--rerun')
