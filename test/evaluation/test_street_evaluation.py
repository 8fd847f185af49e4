# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate`` with an engine that is told the answer."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation import street_evaluation
from mtl_perception.evaluation.report import Report, as_markdown
from mtl_perception.evaluation.street_classes import check_street_classes
from mtl_perception.evaluation.street_evaluation import (
    SamplingPlan,
    drive,
    evaluate,
    evaluate_in_processes,
)
from mtl_perception.frames import Outputs
from mtl_perception.inference import engines
from mtl_perception.inference.engine import Setup
from mtl_perception.manifest import Manifest, NetworkSpec, read_model, shipped_models, write_model
from mtl_perception.parallel import WorkerError
from mtl_perception.synthetic import Street
from mtl_perception.tasks import (
    LOOKS,
    ROADS_SEMANTIC,
    STREET_DEPTH,
    STREET_DETECTION,
    STREET_INSTANCE,
    STREET_MOTION,
    STREET_SEMANTIC,
    STREET_TASKS,
)

PLAN = SamplingPlan(frames=4, width=64, height=32)
CAR, SKY = 8, 11


class BoxStreet:
    """A red car in front of grey road; cars of odd frames move, which blue shows."""

    def __init__(self, seed, width, height, rate, camera_height):
        self.shape, self.focal_px, self.rate = (height, width), 0.6 * width, rate

    def render(self, index):
        image = np.full((*self.shape, 3), 100, np.uint8)
        semantic, motion = np.zeros(self.shape, np.uint8), np.zeros(self.shape, np.uint8)
        instance = np.zeros(self.shape, np.uint16)
        depth = np.full(self.shape, 20, np.float32)
        image[:8], semantic[:8], depth[:8] = 255, SKY, np.inf
        car = (slice(12, 28), slice(index % 30, index % 30 + 16))
        image[car], semantic[car], depth[car] = (200, 0, 10 * (index % 2)), CAR, 5
        instance[car], motion[car] = 1, index % 2
        return SimpleNamespace(
            image=image, semantic=semantic, depth=depth, motion=motion, instance=instance)


class KnowingEngine:
    """An engine that reads the truth from the colours and calls nothing moving twice."""

    def __init__(self, blind=False):
        self.blind = blind
        self.motion_head = None
        self.setup = Setup('fake', '1', 'cpu', 'fp32', 1)
        self.manifest = Manifest(
            'knowing', NetworkSpec(frames=2, channels={task.name: 1 for task in STREET_TASKS}),
            STREET_TASKS, 32, 64, (0, 0, 0), (1, 1, 1), 0.6 * 64)

    def step(self, image, state=None, tasks=None):
        semantic = np.zeros(image.shape[:2], np.uint8)
        red = image[..., 0].astype(int)
        if not self.blind:
            semantic[red == 200], semantic[red == 255] = CAR, SKY
        depth = np.where(semantic == CAR, 5.0, 20.0).astype(np.float32)
        changed = state is not None and not np.array_equal(state, image)
        motion = ((semantic == CAR) & (image[..., 2] == 10) & changed).astype(np.uint8)
        return Outputs(semantic, depth, motion, motion.astype(np.float32)), image


def metrics(engine=None, seeds=(20000, 20001)):
    return evaluate(engine or KnowingEngine(), list(seeds), PLAN, street=BoxStreet)[0]


def test_an_engine_that_knows_the_answer_scores_perfectly():
    found = metrics()

    assert (found['frames'], found['streets']) == (8, 2)
    assert found['semantic']['miou'] == 1.0
    assert found['semantic']['iou']['pole'] is None
    assert 'pole' in found['semantic']['absent']
    assert found['depth']['abs_rel'] == 0.0
    assert found['motion']['iou_moving'] == found['motion']['auc'] == 1.0
    assert found['motion']['objects'] == 8
    assert found['motion']['identical_frames_moving'] == 0.0
    assert found['motion']['unknown'] == 0.0  # every evaluated frame has one before it


def test_the_baselines_are_worse_and_do_not_depend_on_the_engine():
    one, other = metrics(), metrics(KnowingEngine(blind=True))
    assert one['baseline'] == other['baseline']
    assert one['baseline']['semantic']['miou'] < 1.0
    assert one['baseline']['depth']['abs_rel'] > 0.0
    assert other['semantic']['miou'] < one['baseline']['semantic']['miou']


def test_the_same_seeds_give_the_same_metrics():
    assert metrics() == metrics()


@pytest.mark.parametrize('workers', [1, 3])
def test_processes_give_the_same_metrics_whatever_their_number(workers):
    seeds = [20000, 20001, 20002]
    shown = []

    def show(items):
        for item in items:
            shown.append(item)
            yield item

    engine = KnowingEngine()
    alone, evaluator = evaluate(engine, seeds, PLAN, street=BoxStreet)
    together, other = evaluate_in_processes(
        KnowingEngine, engine.manifest, seeds, PLAN, workers, show, street=BoxStreet)

    assert together == alone
    assert shown == seeds
    assert [caption for caption, _ in other.pictures()] == [
        caption for caption, _ in evaluator.pictures()]


class BrokenStreet(BoxStreet):
    """A street of which one seed cannot be drawn."""

    def __init__(self, seed, **keywords):
        super().__init__(seed, **keywords)
        self.broken = seed == 20001

    def render(self, index):
        if self.broken:
            raise ZeroDivisionError('no road')
        return super().render(index)


def test_a_street_that_fails_in_another_process_is_named():
    with pytest.raises(WorkerError, match=r'street 20001: ZeroDivisionError: no road'):
        evaluate_in_processes(
            KnowingEngine, KnowingEngine().manifest, [20000, 20001, 20002], PLAN, 2,
            street=BrokenStreet)


class CountingEngine(KnowingEngine):
    """Counts how often the network runs."""

    def __init__(self, frames, head=None):
        super().__init__()
        self.passes = 0
        self.motion_head = head
        self.manifest = dataclasses.replace(self.manifest, network=NetworkSpec(
            frames=frames, channels={'semantic': 1, 'depth': 1, 'motion': 1}))

    def step(self, image, state=None, tasks=None):
        self.passes += 1
        return super().step(image, state, tasks)


class NumberedStreet(BoxStreet):
    """A street of which no two frames are the same."""

    def render(self, index):
        frame = super().render(index)
        frame.image[-1, -1, 1] = index % 251
        return frame


def test_no_image_goes_through_the_network_twice_for_the_same_answer():
    # a frame, the one before, and the frame again after itself
    engine = CountingEngine(frames=2)
    list(drive(engine, 20000, PLAN, NumberedStreet))
    assert engine.passes == 3 * PLAN.frames

    # with a head, the three before; the answer to the frame again is known
    for frames in (1, 2):
        engine = CountingEngine(frames, head=NoMotion())
        list(drive(engine, 20000, PLAN, NumberedStreet))
        assert engine.passes == 4 * PLAN.frames

    # a decoder of three frames needs the frame again, twice
    engine = CountingEngine(frames=3)
    list(drive(engine, 20000, PLAN, NumberedStreet))
    assert engine.passes == 4 * PLAN.frames


class NoMotion:
    """A motion head that sees nothing move."""

    def score(self, features):
        return np.zeros(features.shape[1:], np.float32)


@pytest.mark.parametrize('seed', [0, 9999, 10000, 10999, 19999])
def test_streets_of_training_and_selection_are_refused(seed):
    with pytest.raises(ConfigurationError, match='is not for test'):
        metrics(seeds=[20000, seed])


def with_tasks(*tasks):
    """Return a manifest with these tasks."""
    return dataclasses.replace(KnowingEngine().manifest, tasks=tasks)


def swapped(task):
    """Return a task whose first two classes have changed places."""
    first, second, *others = task.classes
    return dataclasses.replace(task, classes=(second, first, *others))


@pytest.mark.parametrize(('task', 'said'), [
    (swapped(STREET_SEMANTIC), "class 0 is 'road_marking', that of the streets 'road'"),
    (swapped(STREET_MOTION), "class 0 is 'moving', that of the streets 'static'"),
    (dataclasses.replace(STREET_DETECTION, classes=('car', 'cow', 'cyclist'), semantic_ids=()),
     "there is no class 'person' among \\['car', 'cow', 'cyclist'\\]")])
def test_other_classes_than_the_streets_are_refused_before_a_frame_is_drawn(task, said):
    engine = KnowingEngine()
    engine.manifest = with_tasks(task)
    wanted = f"{task.name} of model 'knowing': {said}.*mtl evaluate --data"
    with pytest.raises(ConfigurationError, match=wanted):
        evaluate(engine, [20000], PLAN, street=None)
    with pytest.raises(ConfigurationError, match=wanted):
        evaluate_in_processes(KnowingEngine, engine.manifest, [20000], PLAN, 1)


def test_a_class_that_one_side_has_at_its_end_changes_no_other():
    for semantic in (STREET_SEMANTIC, ROADS_SEMANTIC):
        for look in LOOKS:
            check_street_classes(with_tasks(semantic, STREET_DEPTH, STREET_INSTANCE), look)
    for name in shipped_models():
        check_street_classes(read_model(name)[0])

    cows = dataclasses.replace(ROADS_SEMANTIC, classes=(*STREET_SEMANTIC.classes, 'cow'))
    with pytest.raises(ConfigurationError, match="class 12 is 'cow', that of the streets 'fence'"):
        check_street_classes(with_tasks(cows), 'roads')


@pytest.mark.parametrize('words', [
    ['evaluate', '--calibrate'], ['evaluate', '--workers', '1'],
    ['calibrate', '--engine', 'torch'], ['evaluate-motion', '--engine', 'torch']])
def test_commands_on_streets_refuse_other_classes(tiny_model, tmp_path, words, capsys):
    pytest.importorskip('torch')
    from mtl_perception import cli
    manifest, content = read_model(tiny_model)
    path = tmp_path / 'other.safetensors'
    tasks = tuple(swapped(task) if task.name == 'semantic' else task for task in manifest.tasks)
    write_model(dataclasses.replace(manifest, tasks=tasks), content, path)

    command, *options = words
    assert cli.main([command, str(path), *options]) == 2
    assert "class 0 is 'road_marking'" in capsys.readouterr().err


def test_boxes_are_judged_by_the_names_of_their_classes():
    task = dataclasses.replace(
        STREET_DETECTION, classes=('person', 'tram', 'car', 'cyclist'), semantic_ids=(),
        palette=((0, 0, 0),) * 4)
    check_street_classes(with_tasks(task))
    frame = Street(20000, 192, 112).render(20)
    assert frame.boxes
    found = street_evaluation._truth_of(frame, with_tasks(task)).detection.classes.tolist()
    assert [task.classes[one] for one in found] == [
        STREET_SEMANTIC.classes[box.class_id] for box in frame.boxes]


def test_sampled_frames_lie_within_the_drive_and_follow_their_previous_frame():
    plan = SamplingPlan(frames=7, spacing=0.2)
    for seed in range(50):
        pairs = plan.pairs(seed)
        assert len(pairs) == 7
        assert all(before == evaluated - 1 and before >= 0 and evaluated < 300
                   for before, evaluated in pairs)


def test_the_table_shows_targets_baselines_and_missing_values():
    text = as_markdown(Report('', metrics(seeds=range(20000, 20005)), targets=True))

    assert '| mIoU | 1.000 | 1.000 to 1.000 |' in text
    assert '>= 0.72' in text
    assert '| IoU pole | n/a |  | n/a |' in text
    assert 'over 5 groups of frames' in text

    two = as_markdown(Report('', metrics(), targets=True))
    assert 'and there are 2.' in two
    assert ' to 1.000' not in two
    assert 'the evaluated frames themselves' in text
    assert 'not in the mean: road_marking' in text


def test_the_command_writes_the_table_and_records_it_in_the_manifest(
        tmp_path, monkeypatch, capsys):
    from mtl_perception import cli
    engine = KnowingEngine()
    write_model(engine.manifest, b'weights', tmp_path / 'knowing.safetensors')
    monkeypatch.setattr(engines, 'load_engine', lambda *arguments, **keywords: engine)
    monkeypatch.setattr(engines, 'manifest_of', lambda *arguments: engine.manifest)
    monkeypatch.setattr(street_evaluation, 'Street', BoxStreet)
    code = cli.main([
        'evaluate', str(tmp_path / 'knowing.safetensors'), '--seeds', '20000:20002', '--frames',
        '3', '--workers', '0', '--output', str(tmp_path / 'out'), '--record'])

    assert code == 0
    assert '| mIoU | 1.000 |' in capsys.readouterr().out
    assert json.loads((tmp_path / 'out' / 'report.json').read_text())['frames'] == 6
    assert 'The network ran by fake 1 on cpu, fp32' in (tmp_path / 'out/report.md').read_text()
    assert '| mIoU | 1.000 |' in (tmp_path / 'out' / 'report.md').read_text()
    assert '<svg' in (tmp_path / 'out' / 'report.html').read_text()

    manifest, content = read_model(tmp_path / 'knowing.safetensors')
    assert manifest.metrics['street']['semantic']['miou'] == 1.0
    assert 'confusion' not in manifest.metrics['street']['semantic']
    assert content == b'weights'


def test_a_precision_that_is_named_runs_and_stands_in_the_report(tiny_model, tmp_path):
    pytest.importorskip('torch')
    from mtl_perception import cli
    found = {}
    for precision in ('fp32', 'bf16'):
        assert cli.main([
            'evaluate', str(tiny_model), '--engine', 'torch', '--device', 'cpu', '--threads', '1',
            '--precision', precision, '--seeds', '20000:20001', '--frames', '2', '--workers',
            str(int(precision == 'bf16')), '--output', str(tmp_path / precision)]) == 0
        found[precision] = json.loads((tmp_path / precision / 'report.json').read_text())
        assert f' on cpu, {precision}, 1 CPU thread(s)' in found[precision]['engine']

    # rounded, but the same network
    assert found['bf16']['depth']['abs_rel'] != found['fp32']['depth']['abs_rel']
    assert found['bf16']['depth']['abs_rel'] == pytest.approx(
        found['fp32']['depth']['abs_rel'], rel=0.1)


@pytest.mark.parametrize('words', [
    ['--precision', 'bf16', '--record'], ['--precision', 'bf16', '--calibrate'],
    ['--precision', 'bf16', '--bag', 'drive'],
    ['--frames', '0'], ['--spacing', '0.6'], ['--spacing', '0'], ['--seeds', '5:9'],
    ['--seeds', 'some'], ['--workers', '-1'], ['--camera-height', '0.1'],
    ['--camera-height', 'nan']])
def test_impossible_arguments_are_refused_before_anything_is_loaded(words, capsys):
    from mtl_perception import cli
    assert cli.main(['evaluate', 'no such model', *words]) == 2
    assert 'mtl evaluate:' in capsys.readouterr().err
