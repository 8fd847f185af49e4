# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report and its table."""

import json

import pytest

pytest.importorskip('rosbags')

from mtl_perception.errors import StorageError
from mtl_perception.evaluation.report import table, write_report

FIGURES = {
    'frames_in': 250, 'published': 247, 'dropped': {'O01_superseded': 2, 'not_received': 1},
    'rate': 9.97, 'conditions': {'rate': 10.0}, 'fps': 9.876,
    'latency_ms': {'p50': 80.04, 'p95': 90.0, 'p99': 99.0, 'max': 101},
    'age_at_publish_ms': {'p50': 70.0, 'p95': 80.0, 'p99': 95.0},
    'semantic': {'miou': 0.75, 'baseline_miou': 0.2, 'iou': {'road': 0.9, 'pole': None}},
    'depth': {'abs_rel': 0.1, 'rmse': 3.456, 'delta1': 0.9, 'baseline_abs_rel': 0.3,
              'baseline_delta1': 0.5},
    'motion': {'iou_moving': 0.4, 'iou_all_movable': 0.3, 'auc': None,
               'identical_frames_moving': 0.01},
}


def rows(figures):
    return {name: (value, remark) for name, value, remark in table(figures)}


def test_the_table_shows_each_figure_beside_what_it_is_compared_with():
    found = rows(FIGURES)
    assert found['frames published'] == ('247', '9.88 frames/s')
    assert found['frames dropped'] == ('3', '2 O01_superseded, 1 not_received')
    assert found['latency p50, ms'][0] == '80.0'
    assert found['semantic mIoU'] == ('0.750', 'most frequent class per pixel: 0.200')
    assert found['depth RMSE, m'][0] == '3.46'
    assert found['motion AUC of objects'] == ('n/a', 'chance: 0.500')
    assert found['motion IoU of moving'] == ('0.400', 'everything movable moves: 0.300')


def test_a_camera_that_was_too_slow_shows():
    assert rows(FIGURES)['frames in'] == ('250', '9.97 frames/s')
    slow = {**FIGURES, 'rate': 6.2}
    assert rows(slow)['frames in'] == ('250', '6.20 frames/s, 10 wanted')


def test_without_truth_there_are_no_rows_about_it():
    figures = {key: value for key, value in FIGURES.items()
               if key not in ('semantic', 'depth', 'motion')}
    assert not [name for name in rows(figures) if 'IoU' in name or 'depth' in name]


def test_the_report_is_written_for_programs_and_for_people(tmp_path):
    write_report(tmp_path, FIGURES, 'a title', ['a note'])
    assert json.loads((tmp_path / 'report.json').read_text()) == FIGURES
    text = (tmp_path / 'report.md').read_text()
    for part in ('# a title', 'a note', '| semantic mIoU | 0.750 |', '| pole | n/a |',
                 '(mosaic.png)'):
        assert part in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ['report.json', 'report.md']


def test_a_report_that_cannot_be_written_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r'report\.md'):
        write_report(tmp_path / 'nowhere', FIGURES, 'a title', [])
