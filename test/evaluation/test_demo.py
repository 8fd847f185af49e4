# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: its plan, its evaluation, and (slow) a real run."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('av')

import av
from bag_files import SECOND, diagnostics, image, write_bag

from mtl_perception.commands import demo as demo_command
from mtl_perception.errors import CheckpointError, ConfigurationError, DataError
from mtl_perception.evaluation import demo
from mtl_perception.frames import Perception
from mtl_perception.inference import stream
from mtl_perception.manifest import read_model

ROOT = Path(__file__).parents[2]
KEYS = {'frames_in', 'published', 'dropped', 'fps', 'latency_ms'}
TRUTH_KEYS = {('semantic', 'miou'), ('depth', 'abs_rel'), ('depth', 'delta1'),
              ('motion', 'iou_moving'), ('motion', 'auc'), ('motion', 'identical_frames_moving')}
SIZE = (64, 96)


def command_line(*words):
    parser = argparse.ArgumentParser()
    demo_command.add_arguments(parser)
    return parser.parse_args(words)


def test_by_default_several_unseen_streets_are_played_in_turn():
    plan = demo.make_plan(command_line())
    assert plan.truth
    assert plan.source['frames'] == 250
    assert plan.source['seed'] >= 20000
    assert plan.source['seeds'] * plan.source['seconds_per_street'] == 25.0
    assert plan.node == {
        'model': 'street', 'engine': 'auto', 'device': 'auto', 'threads': 0}


@pytest.mark.parametrize(('words', 'match'), [
    (['--seed', '7'], 'trained on streets below 20000'), (['--seconds', '0'], '--seconds is 0'),
    (['--rate', '-1'], '--rate is -1'), (['--seeds', '0'], '--seeds is 0')])
def test_an_impossible_plan_is_refused(words, match):
    with pytest.raises(ConfigurationError, match=match):
        demo.make_plan(command_line(*words))


@pytest.mark.parametrize(('size', 'width'), [
    ((480, 640), 0), ((720, 1280), 640), ((960, 540), 360)])
def test_a_large_video_is_shrunk_and_played_without_truth(tmp_path, size, width):
    path = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10.0, (size[1], size[0]))
    writer.write(np.zeros((*size, 3), np.uint8))
    writer.release()
    plan = demo.make_plan(command_line('--source', str(path), '--focal-length', '500'))

    assert not plan.truth
    assert plan.source['width'] == width
    assert plan.source['focal_px'] == 500.0
    assert plan.node['model'] == 'roads'
    assert 'seed' not in plan.source


@pytest.fixture
def recording(tmp_path):
    """Return a function that writes the bag of four frames and lets the node count them."""
    def record(received=4, published=4):
        random, messages = np.random.default_rng(0), []
        semantic = np.full(SIZE, 8, np.uint8)
        semantic[:2] = 0  # one class alone could not be mistaken for another
        motion = np.zeros(SIZE, np.uint8)
        motion[:, :40] = 1
        instance = (1 + motion).astype(np.uint16)
        depth = np.full(SIZE, 9.0, np.float32)
        for number in range(4):
            stamp = (number + 1) * SECOND // 10
            picture = random.integers(0, 256, (*SIZE, 3), np.uint8)
            answers = [('/semantic/image', semantic), ('/depth/image', depth),
                       ('/motion/image', motion)] if number < published else []
            truth = [('/truth/semantic/image', semantic), ('/truth/depth/image', depth),
                     ('/truth/motion/image', motion), ('/truth/instances/image', instance)]
            messages += [(topic, image(array, stamp), stamp + 60_000_000) for topic, array in [
                ('/image_raw', picture), *truth, *answers]]
        messages.append(('/diagnostics', diagnostics({
            'camera_source': {'published': 4},
            'camera': {'received': received, 'published': published, 'in_flight': 0}}), SECOND))
        messages.append(('/perception_node/timing', diagnostics({
            'camera': {'age_ms.p50': 1, 'age_ms.p95': 2, 'age_ms.p99': 3}}), SECOND))
        return write_bag(tmp_path / 'bag', messages)

    return record


def run(tmp_path, monkeypatch, model, bag):
    """Run the demo on a recording that is there already; return the report."""
    monkeypatch.setattr(demo_command, 'record_live', lambda plan, folder, progress: bag)
    arguments = command_line(
        '--model', str(model), '--output', str(tmp_path), '--no-progress', '--threads', '1')
    try:
        assert demo_command.run(arguments) == 0
    finally:
        report = json.loads((tmp_path / 'report.json').read_text())
    return report


def test_a_perfect_recording_gets_perfect_metrics(
        tmp_path, monkeypatch, tiny_model, recording, capsys):
    report = run(tmp_path, monkeypatch, tiny_model, recording())

    assert (report['frames_in'], report['published'], report['dropped']) == (4, 4, {})
    assert report['latency_ms'] == {'p50': 60.0, 'p95': 60.0, 'p99': 60.0, 'max': 60.0}
    assert report['fps'] == pytest.approx(10.0)
    assert report['semantic']['miou'] == report['depth']['delta1'] == 1.0
    assert report['depth']['abs_rel'] == 0.0
    assert report['motion']['iou_moving'] == 1.0
    assert report['motion']['objects'] == 6  # two in each of three pairs of frames
    assert 0 <= report['motion']['auc'] <= 1
    assert 0 <= report['motion']['identical_frames_moving'] <= 1
    assert report['age_at_publish_ms'] == {'p50': 1.0, 'p95': 2.0, 'p99': 3.0}

    for name in ('report.md', 'report.html', 'mosaic.png', 'demo.mp4'):
        assert (tmp_path / name).stat().st_size > 500

    said = capsys.readouterr()
    assert 'mIoU' in said.out
    assert f'{tmp_path}: report.html, mosaic.png, demo.mp4 and the recording bag' in said.err


def test_film_and_motion_stand_on_the_stamps_of_the_recording(
        tmp_path, monkeypatch, tiny_model, recording):
    """Ten frames a second, whatever rate was asked for."""
    stamps = []

    def process(_, frame, *words, **more):
        stamps.append(frame.stamp_ns)
        return Perception()

    manifest, _ = read_model(tiny_model)
    result = demo.evaluate_recording(recording(), manifest, tmp_path, rate=30.0)
    with av.open(tmp_path / 'demo.mp4') as film:
        times = [frame.time for frame in film.decode(video=0)]
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=1e-3)

    from mtl_perception.inference.torch_engine import TorchEngine
    monkeypatch.setattr(stream.CameraStream, 'process', process)
    demo.score_objects(TorchEngine.load(tiny_model, 'cpu', threads=1), result)
    assert np.diff(np.reshape(stamps, (-1, 2))).tolist() == [[SECOND // 10]] * 6


def test_frames_that_do_not_add_up_fail_the_demo_but_are_reported(
        tmp_path, monkeypatch, tiny_model, recording):
    bag = recording(received=4, published=3)
    with pytest.raises(DataError, match='the node received 4 frames, but published 3'):
        run(tmp_path, monkeypatch, tiny_model, bag)
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['accounting']['adds_up'] is False
    assert 'do NOT add up' in (tmp_path / 'report.md').read_text()


def test_a_missing_model_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_command, 'record_live', lambda *_: pytest.fail('started'))
    with pytest.raises(CheckpointError, match='no-such-model'):
        demo_command.run(command_line('--model', 'no-such-model', '--output', str(tmp_path)))


def test_a_recording_without_predictions_is_refused(tmp_path, tiny_model, recording):
    manifest, _ = read_model(tiny_model)
    with pytest.raises(DataError, match='no message on /semantic/image'):
        demo.evaluate_recording(recording(published=0), manifest, tmp_path, 10.0)


def mtl(*words):
    """Run the real command, as a user does."""
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'}
    for name in ('ROS_DOMAIN_ID', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, '-m', 'mtl_perception.cli', *words], env=environment, text=True,
        capture_output=True, timeout=600)


@pytest.mark.slow
def test_the_demo_on_streets(tmp_path, tiny_model):
    done = mtl('demo', '--model', str(tiny_model), '--output', str(tmp_path), '--seconds', '4',
               '--width', '96', '--height', '64', '--seeds', '2')

    assert done.returncode == 0, done.stdout + done.stderr

    report = json.loads((tmp_path / 'report.json').read_text())
    assert report.keys() >= KEYS
    assert all(name in report[task] for task, name in TRUTH_KEYS)
    assert report['frames_in'] == 40
    assert report['frames_in'] == report['published'] + sum(report['dropped'].values())
    assert report['accounting'] == {'adds_up': True, 'problems': []}
    assert report['latency_ms']['p50'] <= report['latency_ms']['p99']
    assert cv2.imread(str(tmp_path / 'mosaic.png')) is not None

    reader = pytest.importorskip('mcap_ros2.reader')
    topics = {message.channel.topic for message in reader.read_ros2_messages(
        str(tmp_path / 'bag' / 'bag.mcap'))}

    assert {'/image_raw', '/truth/semantic/image', '/truth/depth/image', '/truth/motion/image',
            '/semantic/image', '/depth/camera_info', '/semantic/labels'} <= topics


@pytest.mark.slow
def test_the_demo_on_a_video(tmp_path, tiny_model):
    path = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10.0, (96, 64))
    for level in range(20):
        writer.write(np.full((64, 96, 3), 10 * level, np.uint8))
    writer.release()
    done = mtl('demo', '--model', str(tiny_model), '--output', str(tmp_path / 'out'),
               '--source', str(path))

    assert done.returncode == 0, done.stdout + done.stderr

    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert report.keys() >= KEYS
    assert report['frames_in'] == 20
    assert not {'semantic', 'depth', 'motion'} & report.keys()


@pytest.mark.slow
def test_a_missing_source_ends_the_demo_with_the_exit_code_of_the_camera(tmp_path, tiny_model):
    done = mtl('demo', '--model', str(tiny_model), '--output', str(tmp_path),
               '--source', '/no/such/video.mp4')
    assert done.returncode == 3
    assert '/no/such/video.mp4' in done.stderr
    assert 'Traceback' not in done.stderr
