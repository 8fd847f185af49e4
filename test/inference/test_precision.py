# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The accuracy gate: below fp32 only where figures of these weights permit it."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtl_perception.cli import main
from mtl_perception.errors import CheckpointError, DeviceError
from mtl_perception.evaluation.task_evaluators import build_evaluators
from mtl_perception.inference import engines
from mtl_perception.inference.engine import Setup
from mtl_perception.inference.int8_file import Int8Graph, digest_of, int8_path, read_int8
from mtl_perception.inference.precision import (
    EQUAL_IDS,
    FEWEST_FRAMES,
    PREFERRED,
    TOLERANCES,
    Figures,
    objection,
    recorded,
)
from mtl_perception.inference.step_graph import find_graph, read_graph
from mtl_perception.manifest import PRETRAINED, Manifest, NetworkSpec, read_model
from mtl_perception.tasks import (
    STREET_ALL_TASKS,
    STREET_DETECTION,
    STREET_INSTANCE,
    STREET_SEMANTIC,
    STREET_TASKS,
    TASK_NAMES,
)

FP32 = {'semantic.miou': 0.75, 'depth.abs_rel': 0.1, 'motion.auc': 0.9}
MANIFEST = Manifest(
    name='made', tasks=STREET_TASKS, height=64, width=96, mean=(123.7, 116.3, 103.5),
    std=(58.4, 57.1, 57.4), focal_px=57.6, sha256='w' * 64, motion_head='h' * 64,
    network=NetworkSpec('resnet10', 2, 8, {task.name: task.channels for task in STREET_TASKS}))
GOOD = Figures(
    'openvino', 'cpu', 'bf16', 'w' * 64, 'h' * 64, 'streets 1 to 2', FEWEST_FRAMES, 'f' * 64,
    {'openvino': '1'}, FP32, dict(FP32), EQUAL_IDS)


def with_figures(*figures, manifest=MANIFEST):
    """Return a manifest as it is read from a file."""
    held = {one.name: one.to_dict() for one in figures}
    return Manifest.from_json(dataclasses.replace(manifest, precisions=held).to_json())


def changed(**values):
    return dataclasses.replace(GOOD, found={**FP32, **values})


# --- the tolerances --------------------------------------------------------------------------

@pytest.mark.parametrize(('figures', 'text'), [
    (GOOD, ''),
    (changed(**{'semantic.miou': 0.7451}), ''),
    (changed(**{'semantic.miou': 0.7449}), 'mIoU is 0.7449, in fp32 0.7500; a loss of at most'),
    (changed(**{'semantic.miou': 0.8}), ''),
    (changed(**{'depth.abs_rel': 0.1019}), ''),
    (changed(**{'depth.abs_rel': 0.1021}), 'AbsRel is 0.1021, in fp32 0.1000; a loss of at mos'),
    (changed(**{'depth.abs_rel': 0.05}), ''),
    (changed(**{'motion.auc': 0.8951}), ''),
    (changed(**{'motion.auc': 0.8949}), 'motion AUC is 0.8949'),
    (dataclasses.replace(GOOD, equal_ids=0.9949), '99.490% of the ids are those of fp32'),
    (dataclasses.replace(GOOD, equal_ids=None), 'the ids of semantic and motion were not compar'),
    (dataclasses.replace(GOOD, frames=FEWEST_FRAMES - 1), 'measured on 99 frames'),
    (dataclasses.replace(GOOD, found={}), 'mIoU was not measured'),
    (dataclasses.replace(GOOD, fp32={'semantic.miou': 0.75}), 'AbsRel was not measured')])
def test_each_loss_beyond_its_tolerance_is_told(figures, text):
    found = objection(figures, MANIFEST)
    assert found.startswith(text) if text else found == ''


def test_a_task_that_the_model_does_not_have_needs_no_figures():
    semantic = dataclasses.replace(MANIFEST, tasks=STREET_TASKS[:1])
    only = dataclasses.replace(GOOD, fp32={'semantic.miou': 0.75}, found={'semantic.miou': 0.75})
    assert objection(only, semantic) == ''
    assert objection(only, MANIFEST) == 'AbsRel was not measured'


def model_of(*tasks):
    """Return a manifest of tasks that the network itself predicts."""
    return dataclasses.replace(MANIFEST, tasks=tasks, network=dataclasses.replace(
        MANIFEST.network, channels={task.name: task.channels for task in tasks}))


@pytest.mark.parametrize(('task', 'metric', 'label'), [
    (STREET_DETECTION, 'detection.ap50', 'box AP50'),
    (STREET_INSTANCE, 'instance.panoptic', 'panoptic quality')])
def test_boxes_and_instances_are_compared(task, metric, label):
    manifest = model_of(STREET_SEMANTIC, task)
    assert objection(GOOD, manifest) == f'{label} was not measured'
    for found, text in ((0.566, ''), (0.0, f'{label} is 0.0000, in fp32 0.5700; a loss of at')):
        figures = dataclasses.replace(
            GOOD, fp32={**FP32, metric: 0.57}, found={**FP32, metric: found})
        assert objection(figures, manifest)[:len(text) or None] == text
        assert f'{label} {found:.4f} (fp32 0.5700)' in figures.text()


def test_every_task_has_a_figure_that_evaluations_measure():
    assert {one.task for one in TOLERANCES} == {*TASK_NAMES}
    evaluators = build_evaluators(STREET_ALL_TASKS, 64, 96)
    assert all(one.metric in evaluators[one.task].compute() for one in TOLERANCES)


def test_a_network_without_ids_has_none_to_compare():
    figures = dataclasses.replace(
        GOOD, fp32={'detection.ap50': 0.57}, found={'detection.ap50': 0.57}, equal_ids=None)
    assert objection(figures, model_of(STREET_DETECTION)) == ''
    assert figures.text().startswith('box AP50 0.5700')
    assert dataclasses.replace(figures, fp32={}).text() == 'measured on 100 frames, streets 1 to 2'


def test_the_page_has_the_table_of_the_tolerances():
    page = (PRETRAINED.parents[1] / 'docs' / 'engines.md').read_text(encoding='utf-8')
    for one in TOLERANCES:
        limit = f'{one.largest:g}'
        if one.relative:
            limit = f'{100 * one.largest:g} % of its value in fp32'
        assert f'| {one.label} | {limit} |' in page
    assert f'| ids as in fp32 | at least {100 * EQUAL_IDS:g} % |' in page
    assert f'| frames | at least {FEWEST_FRAMES} |' in page


# --- figures in a manifest -------------------------------------------------------------------

def test_figures_come_back_from_the_file():
    assert recorded(with_figures(GOOD), 'openvino', 'cpu', 'bf16') == GOOD
    gpu = dataclasses.replace(GOOD, engine='torch', device='cuda')
    assert recorded(with_figures(GOOD, gpu), 'torch', 'cuda:1', 'bf16') == gpu


@pytest.mark.parametrize('asked', [
    ('openvino', 'cpu', 'int8'), ('torch', 'cpu', 'bf16'), ('openvino', 'cuda', 'bf16')])
def test_figures_of_something_else_are_not_taken(asked):
    assert recorded(with_figures(GOOD), *asked) is None


@pytest.mark.parametrize('field', ['sha256', 'motion_head'])
def test_other_weights_make_figures_invalid(field):
    other = dataclasses.replace(MANIFEST, **{field: '0' * 64})
    assert recorded(with_figures(GOOD, manifest=other), 'openvino', 'cpu', 'bf16') is None


@pytest.mark.parametrize('held', [
    [], {GOOD.name: 3}, {GOOD.name: {}}, {GOOD.name: {**GOOD.to_dict(), 'more': 1}},
    {GOOD.name: {**GOOD.to_dict(), 'fp32': None}}, {GOOD.name: {**GOOD.to_dict(), 'fp32': []}},
    {GOOD.name: {**GOOD.to_dict(), 'found': {'semantic.miou': 'high'}}},
    {GOOD.name: {**GOOD.to_dict(), 'found': {'semantic.miou': float('nan')}}},
    {GOOD.name: {**GOOD.to_dict(), 'equal_ids': 'all'}}])
def test_figures_that_are_none_count_as_not_measured(held):
    manifest = dataclasses.replace(MANIFEST, precisions=held)
    assert recorded(manifest, 'openvino', 'cpu', 'bf16') is None


# --- what auto takes -------------------------------------------------------------------------

class Loader:
    """Stands in for the engines: tells what was loaded, and what this machine lacks."""

    def __init__(self, monkeypatch, lacking=()):
        self.loaded = []
        self._lacking = lacking
        monkeypatch.setattr(engines, 'candidates', lambda model, engine, *_: (
            ['torch'] if engine == 'auto' else [engine]))
        monkeypatch.setattr(engines, 'find_model', Path)
        monkeypatch.setattr(engines, 'read_manifest', lambda model: None)
        monkeypatch.setattr(engines, '_load', self._load)
        monkeypatch.setattr(engines, 'GPUS', ())

    def _load(self, model, name, device, precision, threads, minimum_score, graph=None):
        if (name, precision) in self._lacking:
            raise DeviceError('this CPU has no such unit')
        self.loaded.append((name, device, precision))
        return SimpleNamespace(setup=Setup(name, '1', device, precision, 1))


def auto(monkeypatch, *figures, lacking=(), engine='auto', device='auto'):
    """Return what precision auto loads for a model with these figures."""
    monkeypatch.setattr(engines, 'described_manifest', lambda model: with_figures(*figures))
    loader = Loader(monkeypatch, lacking)
    engines.load_engine('made', engine, device, 'auto')
    found, = loader.loaded
    return found


def figures_of(engine, device, precision, **values):
    return dataclasses.replace(GOOD, engine=engine, device=device, precision=precision, **values)


def test_without_figures_auto_is_fp32(monkeypatch):
    assert auto(monkeypatch) == ('torch', 'auto', 'fp32')
    assert auto(monkeypatch, engine='openvino') == ('openvino', 'auto', 'fp32')


def test_figures_within_the_tolerances_let_auto_go_below_fp32(monkeypatch):
    assert auto(monkeypatch, GOOD) == ('openvino', 'cpu', 'bf16')
    assert auto(monkeypatch, GOOD, engine='onnx') == ('onnx', 'auto', 'fp32')
    assert auto(monkeypatch, GOOD, device='cuda') == ('torch', 'cuda', 'fp32')
    half = figures_of('onnx', 'tensorrt', 'fp16')
    assert auto(monkeypatch, GOOD, half, device='tensorrt:1') == ('onnx', 'tensorrt:1', 'fp16')


def test_a_loss_beyond_them_keeps_fp32_and_the_log_says_why(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    assert auto(monkeypatch, changed(**{'semantic.miou': 0.6})) == ('torch', 'auto', 'fp32')
    assert 'auto does not take bf16 of engine openvino: mIoU is 0.6000' in caplog.text


def test_what_the_machine_lacks_is_passed_over(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    assert auto(monkeypatch, GOOD, lacking=[('openvino', 'bf16')]) == ('torch', 'auto', 'fp32')
    assert 'this CPU has no such unit' in caplog.text


def test_with_a_gpu_auto_does_not_take_a_precision_of_the_cpu(monkeypatch, tmp_path):
    monkeypatch.setattr(engines, 'described_manifest', lambda model: with_figures(
        GOOD, figures_of('torch', 'cuda', 'bf16')))
    loader = Loader(monkeypatch, [('torch', 'bf16')])
    monkeypatch.setattr(engines, 'GPUS', (str(tmp_path),))
    engines.load_engine('made', precision='auto')
    engines.load_engine('made', device='cpu', precision='auto')
    assert loader.loaded == [('torch', 'auto', 'fp32'), ('openvino', 'cpu', 'bf16')]


def test_every_candidate_is_one_of_an_engine():
    assert {engine for engine, _, _ in PREFERRED} <= set(engines.ENGINES)
    assert all(precision != 'fp32' for _, _, precision in PREFERRED)


def test_a_precision_that_is_named_is_obeyed_and_tells_what_it_costs(tiny_model, tmp_path):
    for suffix in ('.safetensors', '.json'):
        shutil.copy(tiny_model.with_suffix(suffix), tmp_path / f'tiny{suffix}')
    model = tmp_path / 'tiny.safetensors'
    full = engines.load_engine(model, 'torch', 'cpu', 'fp32', 1).setup
    assert full.accuracy == ''
    assert 'accuracy' not in full.facts()

    low = engines.load_engine(model, 'torch', 'cpu', 'bf16', 1).setup
    assert low.precision == 'bf16'
    assert low.facts()['accuracy'] == engines.NOT_MEASURED
    assert 'bf16: not measured for these weights; mtl calibrate' in str(low)

    # a loss beyond every tolerance is told and obeyed
    manifest = Manifest.from_json(model.with_suffix('.json').read_text())
    bad = figures_of(
        'torch', 'cpu', 'bf16', weights=manifest.sha256, motion_head='',
        found={'semantic.miou': 0.1})
    model.with_suffix('.json').write_text(with_figures(bad, manifest=manifest).to_json())
    low = engines.load_engine(model, 'torch', 'cpu', 'bf16', 1).setup
    assert low.precision == 'bf16'
    assert 'mIoU 0.1000 (fp32 0.7500)' in low.accuracy


# --- the file of int8 ------------------------------------------------------------------------

@pytest.fixture
def sealed(tiny_graph, tmp_path):
    """Return the path of a file that belongs to a graph, and the graph."""
    graph = read_graph(find_graph(tiny_graph))
    path = int8_path(tiny_graph)
    assert path == tiny_graph.with_suffix('.int8')
    file = tmp_path / 'tiny.int8'
    file.write_bytes(Int8Graph(digest_of(graph), b'<net/>', bytes(range(200))).sealed())
    return file, graph


def test_an_int8_file_is_read_as_it_was_written(sealed):
    found = read_int8(*sealed)
    assert (found.xml, found.weights) == (b'<net/>', bytes(range(200)))


def test_every_flipped_bit_and_every_cut_of_an_int8_file_is_refused(sealed):
    path, graph = sealed
    content = path.read_bytes()
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r'\[M03\].*make it again: mtl calibrate'):
            read_int8(path, graph)
    for length in (0, 1, 32, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match='M03'):
            read_int8(path, graph)


def test_an_int8_file_of_another_graph_or_of_nothing_is_refused(sealed):
    path, graph = sealed
    other = Int8Graph('0' * 64, b'<net/>', b'w')
    path.write_bytes(other.sealed())
    with pytest.raises(CheckpointError, match='from another graph'):
        read_int8(path, graph)
    path.unlink()
    with pytest.raises(CheckpointError, match='cannot be read'):
        read_int8(path, graph)


def test_an_int8_file_of_another_version_is_refused(sealed, monkeypatch):
    from mtl_perception.inference import int8_file
    path, graph = sealed
    with monkeypatch.context() as older:
        older.setattr(int8_file, 'FORMAT', 0)
        path.write_bytes(Int8Graph(digest_of(graph), b'', b'').sealed())
    with pytest.raises(CheckpointError, match='not written by this version of mtl calibrate'):
        read_int8(path, graph)


def test_the_shipped_figures_are_those_of_the_shipped_weights():
    for path in PRETRAINED.glob('*.json'):
        manifest = Manifest.from_json(path.read_text())
        for name, held in manifest.precisions.items():
            figures = recorded(manifest, *name.split())
            assert figures is not None, name
            assert objection(figures, manifest) == '', name
            assert json.dumps(held)


# --- mtl calibrate ---------------------------------------------------------------------------

def test_figures_of_few_frames_leave_those_of_many_in_the_manifest(tiny_model, tmp_path, capsys):
    for file in (tiny_model, tiny_model.with_suffix('.json')):
        shutil.copy(file, tmp_path / f'tiny{file.suffix}')
    model, beside = tmp_path / 'tiny.safetensors', tmp_path / 'tiny.json'
    manifest, _ = read_model(model)
    many = dataclasses.replace(
        GOOD, engine='torch', weights=manifest.sha256, motion_head='', frames=120)
    beside.write_text(with_figures(many, manifest=manifest).to_json())
    words = ['calibrate', str(model), '--engine', 'torch', '--device', 'cpu', '--precision',
             'bf16', '--threads', '1', '--seeds', '10900:10901', '--frames', '1']

    assert main(words) == 0
    assert 'not written: those of 120 frames in the manifest stay' in capsys.readouterr().out
    held = Manifest.from_json(beside.read_text(), 'tiny').precisions[many.name]
    assert held['frames'] == 120

    # few in place of few
    few = dataclasses.replace(many, frames=60)
    beside.write_text(with_figures(few, manifest=manifest).to_json())
    assert main(words) == 0
    assert 'written into' in capsys.readouterr().out
    assert Manifest.from_json(beside.read_text(), 'tiny').precisions[many.name]['frames'] == 1


@pytest.mark.parametrize('words', [
    ['--engine', 'openvino', '--precision', 'fp16'], ['--engine', 'openvino', '--device', 'cuda'],
    ['--device', 'tensorrt', '--precision', 'int8']])
def test_what_does_not_go_together_is_refused_before_anything_runs(tiny_model, words, capsys):
    assert main(['calibrate', str(tiny_model), *words]) == 2
    assert 'do not go together; there are onnx tensorrt fp16' in capsys.readouterr().err
