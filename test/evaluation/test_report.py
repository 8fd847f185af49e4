# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report: its table, its page, its files."""

import base64
import json
import re
import tracemalloc
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags')

from mtl_perception.errors import StorageError
from mtl_perception.evaluation.evaluator import WORST, Evaluator, draw_errors
from mtl_perception.evaluation.html_report import as_page
from mtl_perception.evaluation.records import complete_truth
from mtl_perception.evaluation.report import Report, as_markdown, recording_facts
from mtl_perception.evaluation.report_files import write_report
from mtl_perception.evaluation.task_evaluators import (
    MOST_KEPT,
    DepthEvaluator,
    EvenSample,
    InstanceEvaluator,
    SemanticEvaluator,
)
from mtl_perception.frames import Detections, FrameRecord, Perception, TrueBoxes, Truth
from mtl_perception.tasks import STREET_ALL_TASKS, STREET_DEPTH, STREET_SEMANTIC, STREET_TASKS

RECORDING = {
    'frames_in': 250, 'published': 247, 'dropped': {'O01_superseded': 2, 'not_received': 1},
    'rate': 9.97, 'conditions': {'rate': 10.0}, 'fps': 9.876,
    'latency_ms': {'p50': 80.04, 'p95': 90.0, 'p99': 99.0, 'max': 101},
    'age_at_publish_ms': {'p50': 70.0, 'p95': 80.0, 'p99': 95.0},
}
CAR, ROAD = 8, 0


@pytest.fixture(scope='module')
def evaluator():
    """Return one that has seen 12 frames of six drives; frame 7 is all wrong."""
    found = Evaluator(STREET_ALL_TASKS, 16, 24)
    random = np.random.default_rng(0)
    for number in range(12):
        semantic = np.full((16, 24), ROAD, np.uint8)
        semantic[4:14, 4:16] = CAR
        instance = (semantic == CAR).astype(np.uint16)
        depth = np.where(semantic == CAR, 8, 20).astype(np.float32)
        depth[:, 20:] = np.inf
        motion = (instance * (number % 2)).astype(np.uint8)
        corners = np.float32([[4, 4, 16, 14]])
        truth = Truth(semantic, depth, motion, instance, TrueBoxes(
            corners, np.array([0]), np.array([False])))

        answer = np.where(random.random((16, 24)) < 0.1, ROAD, semantic).astype(np.uint8)
        if number == 7:
            answer = np.full_like(semantic, 3)
        prediction = Perception(
            answer, depth * (1.3 if number == 5 else 1.05), motion, motion.astype(np.float32),
            instance, Detections(corners, np.float32([0.9]), np.uint8([0])))

        image = random.integers(0, 256, (16, 24, 3), np.uint8)
        found.update(
            f'frame {number}', FrameRecord(0, image, prediction, truth), prediction, number % 6)
    return found


@pytest.fixture
def report(evaluator):
    metrics = {**RECORDING, **evaluator.compute()}
    return Report('a <title>', metrics, recording_facts(metrics), ['a note'],
                  evaluator.pictures())


def rows(report):
    return {row.name: row for row in report.rows}


def test_the_facts_of_a_recording():
    found = {name: (value, remark) for name, value, remark in recording_facts(RECORDING)}
    assert found['frames published'] == ('247', '9.88 frames/s')
    assert found['frames dropped'] == ('3', '2 O01_superseded, 1 not_received')
    assert found['latency p50, ms'][0] == '80.0'
    assert found['frames in'] == ('250', '9.97 frames/s')
    slow = {name: remark for name, _, remark in recording_facts({**RECORDING, 'rate': 6.2})}
    assert slow['frames in'] == '6.20 frames/s, 10 wanted'


def test_each_metric_stands_beside_its_interval_and_its_baseline(report):
    found = rows(report)
    miou = found['mIoU']

    assert miou.interval[0] <= miou.value <= miou.interval[1]
    assert miou.interval[0] < miou.interval[1]

    for name in ('mIoU', 'mIoU per image', 'pixel accuracy', 'IoU car', 'depth AbsRel',
                 'depth MAE (m)', 'depth RMSE (m)', 'depth delta1', 'depth delta3',
                 'inverse depth AbsErr (1/m)', 'inverse depth RelErr', 'moving IoU',
                 'moving objects AUC', 'instance recall', 'box AP50', 'box AP'):
        assert found[name].baseline is not None, name
        assert found[name].interval is not None, name

    assert found['depth AbsRel'].value == pytest.approx((11 * 0.05 + 0.3) / 12)
    # 1 / 1.05 of the inverse in eleven frames, 1 / 1.3 in one
    assert found['inverse depth RelErr'].value == pytest.approx(
        (11 * (1 - 1 / 1.05) + (1 - 1 / 1.3)) / 12, rel=1e-5)
    assert found['moving objects AUC'].baseline == 0.5
    assert found['IoU pole'].value is None


def test_without_truth_there_are_no_rows():
    report = Report('', RECORDING, recording_facts(RECORDING))
    assert not report.rows
    assert 'interval' not in as_markdown(report)


def test_the_worst_frames_are_kept_the_worst_first(evaluator):
    captions = [caption for caption, _ in evaluator.pictures()]
    semantic = [text for text in captions if text.startswith('Among the worst of semantic')]
    depth = [text for text in captions if text.startswith('Among the worst of depth')]
    assert len(semantic) == len(depth) == WORST
    assert 'frame 7: mIoU 0.000' in semantic[0]
    assert 'frame 5: AbsRel 0.300' in depth[0]
    assert 'Mean relative error' in captions[0]


def test_the_map_of_errors_is_bright_where_depth_is_wrong():
    drawn = draw_errors(np.float32([[0, 0.5, 1.5, np.nan]]))
    light = drawn.sum(axis=2)[0]
    assert light[0] < light[1] < light[2]
    assert drawn[0, 3].tolist() == [60, 60, 60]


class Page(HTMLParser):
    """Collect what a browser would ask for, and check that every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ('meta', 'img', 'rect', 'line', 'br'):
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ('src', 'href')]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_self_contained(report):
    text = as_page(report)
    page = Page()
    page.feed(text)

    assert not page.open
    assert 'script' not in page.tags
    assert page.tags.count('img') == len(report.pictures)
    assert all(address.startswith('data:image/jpeg;base64,') for address in page.addresses)
    assert not re.search(r'https?://(?!www\.w3\.org/2000/svg)|@import|url\(', text)
    assert 'a &lt;title&gt;' in text

    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode(page.addresses[0].split(',')[1]), np.uint8), 1)

    assert picture.shape == report.pictures[0][1].shape


def test_the_bars_are_as_long_as_the_metrics(report):
    text = as_page(report)
    value = rows(report)['IoU car'].value
    bar = re.search(r'IoU car</text><rect x="250" y="\d+" width="([\d.]+)"', text)
    assert float(bar.group(1)) == pytest.approx(560 * value, abs=0.06)


def test_the_confusion_matrix_has_shares_of_each_true_class(report):
    matrix = np.array(report.metrics['semantic']['confusion'])
    assert matrix.shape == (12, 13)
    assert matrix.sum() == 12 * 16 * 24
    share = round(100 * matrix[CAR, CAR] / matrix[CAR].sum())
    line = re.search(r'<tr><th>car</th>(.*)</tr>', as_page(report)).group(1)
    assert f'>{share}</td>' in line
    assert re.search(r'<tr><th>pole</th>.*n/a', as_page(report))


def test_the_report_is_written_for_programs_and_for_people(tmp_path, report):
    write_report(tmp_path / 'new', report)

    assert json.loads((tmp_path / 'new' / 'report.json').read_text()) == json.loads(
        json.dumps(report.metrics))

    text = (tmp_path / 'new' / 'report.md').read_text()
    for part in ('# a <title>', 'a note', '| mIoU | ', '| IoU pole | n/a |'):
        assert part in text

    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == [
        'report.html', 'report.json', 'report.md']


def test_a_report_that_cannot_be_written_is_a_storage_error(tmp_path, report):
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='cannot be written'):
        write_report(tmp_path / 'file' / 'below', report)
    (tmp_path / 'report.md').mkdir()
    with pytest.raises(StorageError, match=r'report\.md'):
        write_report(tmp_path, report)


def test_frames_of_one_drive_have_no_interval():
    evaluator = Evaluator(STREET_TASKS, 4, 6)
    semantic = np.zeros((4, 6), np.uint8)
    for _ in range(5):
        evaluator.update('', FrameRecord(
            0, np.zeros((4, 6, 3), np.uint8), Perception(semantic), Truth(semantic)),
            group='drive')
    report = Report('', evaluator.compute(evaluated_only=True))

    assert {row.interval for row in report.rows} == {None}
    assert 'Intervals: none' in as_markdown(report)


def test_a_bounded_number_of_many_maps_is_kept_evenly():
    kept = EvenSample()
    for number in range(5 * MOST_KEPT):
        kept.add(np.array(number))
    steps = np.diff([int(one) for one in kept.kept])
    assert MOST_KEPT / 2 <= len(kept.kept) <= MOST_KEPT
    assert len(set(steps.tolist())) == 1


@pytest.mark.parametrize(('make', 'task', 'size'), [
    (SemanticEvaluator, STREET_SEMANTIC, 1), (DepthEvaluator, STREET_DEPTH, 2)])
def test_of_a_frame_little_more_than_its_truth_is_kept(make, task, size):
    evaluator = make(task, 100, 200)

    def update(frames):
        for number in range(frames):
            semantic = np.full((100, 200), number, np.uint8)
            evaluator.update(
                Truth(semantic, semantic + np.float32(1)),
                Perception(semantic, semantic + np.float32(1)))

    update(2)
    tracemalloc.start()
    update(8)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 8 * 20000 * (size + 1)


def test_the_columns_of_the_confusion_matrix_are_the_classes_and_then_none():
    metrics = {'semantic': {'iou': {'road': 0.5, 'car': 0.5}, 'confusion': [[3, 0, 1], [0, 4, 0]]}}
    page = as_page(Report('', {'baseline': {'from': ''}, 'intervals': {'groups': 0}, **{
        key: {**value, 'absent': []} for key, value in metrics.items()}}))
    table = page[page.index('true \\ predicted'):]
    heads = re.findall(r'<th class="top">([^<]*)</th>', table)

    assert heads == ['road', 'car', 'no class']

    cells = re.findall(r'<td style="background:rgb\((\d+),[^"]*">([^<]*)</td>', table)
    assert [text for _, text in cells] == ['75', '', '25', '', '100', '']
    assert int(cells[4][0]) < int(cells[0][0]) < int(cells[2][0]) < int(cells[1][0])


def test_captions_are_escaped():
    page = as_page(Report(
        '', {}, pictures=[('<script>x</script> & y', np.zeros((2, 2, 3), np.uint8))]))
    assert '<script>' not in page
    assert '&lt;script&gt;x&lt;/script&gt; &amp; y' in page


def test_the_baseline_takes_each_connected_region_for_an_object():
    semantic = np.full((20, 40), ROAD, np.uint8)
    semantic[:10, :10], semantic[:10, 20:30], semantic[:10, 10:20] = CAR, CAR, CAR + 1
    instance = np.zeros((20, 40), np.uint16)
    instance[:10, :10], instance[:10, 20:30], instance[:10, 10:20] = 1, 2, 3
    evaluator = InstanceEvaluator(STREET_SEMANTIC)
    evaluator.update(
        Truth(semantic, instance=instance), Perception(semantic=semantic, instance=instance))
    recalls = evaluator.baseline()['found_of']

    assert recalls['car'] == recalls['person'] == 1.0


def test_objects_of_fewer_than_60_pixels_need_not_be_detected():
    semantic = np.full((20, 40), CAR, np.uint8)
    instance = np.zeros((20, 40), np.uint16)
    instance[:6, :10], instance[10:16, :10] = 1, 2
    instance[0, 0] = 0
    record = FrameRecord(0, None, None, Truth(semantic, instance=instance))

    boxes = complete_truth(record, STREET_ALL_TASKS).truth.detection

    assert boxes.corners.tolist() == [[0, 0, 10, 6], [0, 10, 10, 16]]
    assert boxes.difficult.tolist() == [True, False]
