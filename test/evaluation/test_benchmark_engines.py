# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The engine level of ``mtl benchmark``, on small models."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.cli import main
from mtl_perception.commands import benchmark
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.benchmark.engine_level import EnginePlan, measure_engines
from mtl_perception.evaluation.benchmark.frames import (
    forth_and_back,
    load_images,
    parse_size,
    street_frames,
)
from mtl_perception.evaluation.benchmark.machine import machine_facts
from mtl_perception.evaluation.benchmark.report import all_warnings, as_markdown
from mtl_perception.manifest import read_model


@pytest.fixture
def plan(tiny_graph):
    return EnginePlan(
        str(tiny_graph), (96, 64), [(96, 64), (128, 96)], 'onnx', 'cpu', rounds=2, usual=False)


def test_an_engine_is_timed_in_every_way(plan):
    texts = []
    found = measure_engines(plan, texts.append)

    row, = found['engines']
    assert (row['engine'], row['device'], row['precision'], row['threads']) == (
        'onnx', 'cpu', 'fp32', 1)
    assert list(row['ways']) == [
        'first frame', 'next frame', 'camera 96x64', 'camera 96x64, motion', 'camera 128x96',
        'camera 128x96, motion']
    assert all(way['wall_ms']['median'] > 0 and way['cpu_ms']['count'] == 2
               for way in row['ways'].values())
    assert found['frames']['sha256'] == street_frames([(96, 64), (128, 96)], 6).sha256
    assert found['controls']['calls'] == 40
    assert 'round 2 of 2' in texts


def test_a_worker_that_dies_is_left_out_with_its_last_words(plan, monkeypatch):
    monkeypatch.setattr(
        'mtl_perception.evaluation.benchmark.frames.Frames.save', lambda self, path: None)
    with pytest.raises(ConfigurationError, match=r'no engine runs here: onnx cpu: .*images\.npz'):
        measure_engines(plan, print)


def test_an_engine_that_cannot_run_is_left_out_with_its_reason(plan):
    with pytest.raises(ConfigurationError, match=r'no engine runs here: onnx cuda: \[D01'):
        measure_engines(replace(plan, device='cuda'), print)


def test_rounds_end_with_their_time(plan):
    found = measure_engines(replace(plan, rounds=1000, seconds=0.0), print)
    assert found['rounds'] == 1


def test_the_command_writes_its_files_without_torch(tiny_model, tiny_graph, tmp_path):
    absent = tmp_path / 'absent'
    absent.mkdir()
    for name in ('torch', 'rclpy'):
        (absent / f'{name}.py').write_text(
            f'raise ModuleNotFoundError("No module named {name!r}", name={name!r})')
    done = subprocess.run(
        [sys.executable, '-m', 'mtl_perception.cli', 'benchmark', str(tiny_graph), '--engine',
         'onnx', '--level', 'engines', '--device', 'cpu', '--threads', '1', '--sizes',
         '128x96', '--rounds', '2', '--output', str(tmp_path / 'out')],
        capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(absent)})
    assert done.returncode == 0, done.stderr

    found = json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
    assert found['model']['sha256'] == read_model(tiny_model)[0].sha256
    assert {'mtl_perception', 'numpy', 'onnxruntime'} <= set(found['versions'])
    assert found['machine']['cpus'] >= 1
    level = found['engine_level']
    assert [row['engine'] for row in level['engines']] == ['onnx']
    usual, = level['left_out']
    assert usual['engine'] == 'usual'
    assert 'torch' in usual['reason']

    text = (tmp_path / 'out' / 'benchmark.md').read_text()
    assert text == done.stdout.removesuffix('\n')
    assert '| onnx cpu fp32, 1 thread |' in text
    assert (tmp_path / 'out' / 'benchmark.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.slow
def test_torch_and_the_usual_pattern_stand_beside(tiny_model):
    found = measure_engines(
        EnginePlan(str(tiny_model), (96, 64), [(96, 64)], 'torch', 'cpu', rounds=9), print)

    fp32, bf16, usual = found['engines']
    assert usual['engine'] == 'usual'
    assert list(usual['ways']) == ['camera 96x64, motion']
    assert 'times_as_fast' not in fp32['ways']['next frame']
    ratio = bf16['ways']['next frame']['times_as_fast']
    assert ratio['by'] == 'cpu'
    assert 0 < ratio['low'] <= ratio['median'] <= ratio['high']
    assert 'usual pattern, torch cpu fp32' in as_markdown(described(found))


def described(level):
    return {
        'model': {'name': 'tiny', 'width': 96, 'height': 64, 'frames': 2, 'sha256': 64 * '0',
                  'motion_head': ''},
        'machine': machine_facts(), 'versions': {}, 'engine_level': level,
        'conditions': {'command': 'mtl benchmark', 'started': 'now', 'seconds': 1.0,
                       'load_before': None, 'warnings': []}}


def test_controls_that_fail_are_warnings(plan):
    level = measure_engines(plan, print)
    level['noise']['warnings'] = []
    level['controls'] |= {'found': True, 'false_alarm': False}
    assert all_warnings(described(level)) == []

    level['controls'] |= {'found': False, 'false_alarm': True}
    missed, alarm = all_warnings(described(level))
    assert 'a planted delay of 10% was not found' in missed
    assert 'a step differs from itself' in alarm
    assert missed in as_markdown(described(level))


def test_frames_are_played_so_that_neighbours_stay_neighbours():
    numbers = forth_and_back(4)
    assert [next(numbers) for _ in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_frames_go_through_a_file_unchanged(tmp_path):
    frames = street_frames([(96, 64), (64, 64)], 2)
    frames.save(tmp_path / 'images.npz')
    found = load_images(tmp_path / 'images.npz')
    assert list(found) == [(96, 64), (64, 64)]
    np.testing.assert_array_equal(found[96, 64][1], frames.images[96, 64][1])


@pytest.mark.parametrize('text', ['640', '640x', 'axb', '8x8', '640x480x3', '9000x100'])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(ConfigurationError, match='WIDTHxHEIGHT'):
        parse_size(text)


@pytest.mark.parametrize(('words', 'message'), [
    (['--rounds', '-1'], '--rounds is -1'), (['--rounds', '0'], '--rounds is 0'),
    (['--threads', '1', '100000'], 'four times the CPUs'),
    (['--rates', '10', 'nan'], '--rates [10.0, nan]'), (['--rates', 'inf'], 'finite'),
    (['--seconds', 'inf'], '--seconds is inf'),
    (['--level', 'engines', '--bag', 'drive'], '--bag would change nothing with --level engines'),
    (['--level', 'engines', '--precision', 'bf16'], '--precision would change nothing'),
    (['--level', 'node', '--sizes', '640x480'], '--sizes would change nothing')])
def test_wrong_arguments_are_refused_before_anything_runs(tiny_graph, capsys, words, message):
    assert main(['benchmark', str(tiny_graph), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(
        tiny_graph, tmp_path, capsys):
    (tmp_path / 'file').touch()
    words = ['--level', 'engines', '--output', str(tmp_path / 'file' / 'below')]
    assert main(['benchmark', str(tiny_graph), *words]) == 5
    assert 'nothing can be written there' in capsys.readouterr().err


def test_numbers_of_threads_and_sizes_that_are_named_twice_count_once(
        tiny_graph, tmp_path, monkeypatch):
    plans = []

    def noted(plan, progress):
        plans.append(plan)
        raise ConfigurationError('that is enough')

    monkeypatch.setattr(benchmark, 'measure_engines', noted)
    words = ['--level', 'engines', '--output', str(tmp_path), '--threads', '1', '1', '--sizes',
             '96x64', '96x64']
    assert main(['benchmark', str(tiny_graph), *words]) == 2
    assert (plans[0].threads, plans[0].cameras) == ([1], [(96, 64)])
