# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
MultiNet++ with its ResNet-50 at 224x384: how engines, frames and tasks compare, on one CPU thread.

Every model and engine is a process of its own, and they take turns. CPU time is compared, which
other programs disturb little. Weights are random: times do not depend on them. ``make campaign``
has all engines and tasks, and shows the figures; elsewhere there are two engines and three rounds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from campaign import EXAMPLES

from mtl_perception.evaluation.benchmark.engine_level import Worker
from mtl_perception.evaluation.benchmark.engine_worker import FIRST, NEXT, Job
from mtl_perception.evaluation.benchmark.frames import street_frames
from mtl_perception.manifest import read_model

TASKS = ('semantic', 'depth', 'motion')
FULL = EXAMPLES >= 2000
WAYS = (('torch', 'fp32'), ('onnx', 'fp32'), *((
    ('torch', 'bf16'), ('openvino', 'fp32'), ('openvino', 'bf16')) if FULL else ()))
ROUNDS, CALLS = 12 if FULL else 3, 3
SIZES = (512, 1024, 2048)
"""Of the square matrices of the peak."""

# The best rate of a product of two matrices on one thread: by ONNX Runtime, or by OpenVINO.
PEAK = """
import sys, time
import numpy as np
import onnx
from onnx import TensorProto, helper

library, number_format, path, *sizes = sys.argv[1:]
best = 0.0
for size in map(int, sizes):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in 'xy']
    weights = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node('MatMul', ['x', 'w'], ['y'])], 'g', value[:1], value[1:],
        [onnx.numpy_helper.from_array(weights, 'w')])
    onnx.save(helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10), path)
    x = np.random.default_rng(1).standard_normal((size, size)).astype(np.float32)
    if library == 'onnx':
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, ['CPUExecutionProvider'])
        call = lambda: session.run(None, {'x': x})
    else:
        import openvino
        model = openvino.Core().compile_model(path, 'CPU', {
            'INFERENCE_NUM_THREADS': 1,
            'INFERENCE_PRECISION_HINT': {'fp32': 'f32'}.get(number_format, number_format)})
        call = lambda: model([x])
    call()
    for _ in range(8):
        begin = time.process_time()
        call()
        best = max(best, 2 * size ** 3 / (time.process_time() - begin) / 1e9)
print(best)
"""


def peak(library, number_format, folder):
    done = subprocess.run(
        [sys.executable, '-c', PEAK, library, number_format, str(folder / 'gemm.onnx'),
         *map(str, SIZES)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def cpu_flags():
    words = Path('/proc/cpuinfo').read_text().split()
    return {flag for flag in ('avx512f', 'avx512_bf16', 'amx_bf16') if flag in words}


@pytest.mark.slow
@pytest.mark.campaign
def test_engines_frames_and_tasks_beside_one_another(
        model_writer, graph_writer, tmp_path, capsys):
    for library in ('onnxruntime', 'openvino'):
        pytest.importorskip(library)
    from mtl_perception.training.describe import describe

    networks = {'three tasks': (TASKS, 2), 'three tasks, one frame': (TASKS, 1)}
    if FULL:
        networks |= {task: ((task,), 2) for task in TASKS}
    files = {}
    for number, (name, (tasks, frames)) in enumerate(networks.items()):
        files[name] = model_writer(
            tmp_path / f'{number}.safetensors', frames, 224, 384, 'resnet50', tasks)
        graph_writer(files[name], tmp_path / f'{number}.onnx')
    images = tmp_path / 'images.npz'
    drawn = street_frames([(384, 224)], 4)
    drawn.save(images)

    workers = {}
    try:
        for name, model in files.items():
            for engine, precision in WAYS:
                path = model if engine == 'torch' else model.with_suffix('.onnx')
                worker = workers[name, engine, precision] = Worker(
                    Job(str(path), engine, 'cpu', precision, 1, str(images), drawn.focal_px, ()),
                    tmp_path / 'log')
                assert 'error' not in worker.facts, worker.facts
        for _ in range(ROUNDS):
            for worker in workers.values():
                worker.round(CALLS)
    finally:
        for worker in workers.values():
            worker.close()

    def times(name, engine, precision):
        found = workers[name, engine, precision].times
        return np.array(found[FIRST if name.endswith('one frame') else NEXT])[:, 1]

    spec = read_model(files['three tasks'])[0].network
    flops = sum(part.flops for part in describe(spec, 224, 384))
    peaks = {number_format: max(peak(library, number_format, tmp_path) for library in libraries)
             for number_format, libraries in (
                 ('fp32', ('onnx', 'openvino')), ('bf16', ('openvino',)))}

    rows = {}
    for way in WAYS:
        own = times('three tasks', *way)
        rows[' '.join(way)] = {
            'ms': np.median(own),
            'times torch fp32': np.median(times('three tasks', *WAYS[0]) / own),
            'two frames / one': np.median(own / times('three tasks, one frame', *way)),
            'share of the peak': flops / np.median(own) / 1e6 / peaks[way[1]]}
        if FULL:
            rows[' '.join(way)]['three tasks / three networks'] = np.median(
                own / sum(times(task, *way) for task in TASKS))
    with capsys.disabled():
        print('\n' + json.dumps({
            'load': os.getloadavg()[0], 'cpu': sorted(cpu_flags()), 'GFLOP': round(flops / 1e9, 3),
            'peak GFLOP/s': {name: round(value) for name, value in peaks.items()}}))
        for way, row in rows.items():
            print(json.dumps({way: {name: round(value, 3) for name, value in row.items()}}))

    # loose: a machine that other programs share tells little more
    for row in rows.values():
        assert row['two frames / one'] < 1.2
        assert row['times torch fp32'] > 0.8
        assert row.get('three tasks / three networks', 0) < 0.6
