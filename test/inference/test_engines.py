# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every engine on the same network: the same answers, and the same refusals."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from mtl_perception import Street
from mtl_perception.errors import ConfigurationError, DeviceError
from mtl_perception.frames import Frame
from mtl_perception.inference import engines
from mtl_perception.inference.box_selection import select_boxes
from mtl_perception.inference.engines import LIBRARIES, choose, load_engine
from mtl_perception.inference.stream import CameraStream
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import PRETRAINED, read_model
from mtl_perception.models.boxes import find_boxes

EQUAL_IDS = 0.9999


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)


def load(name, model, graph):
    pytest.importorskip(LIBRARIES[name][0], reason=f'engine {name} is not installed')
    return load_engine(model if name == 'torch' else graph, name, 'cpu', threads=1)


@pytest.fixture(scope='module', params=['torch', 'onnx', 'openvino'])
def engine(request, tiny_model, tiny_graph):
    return load(request.param, tiny_model, tiny_graph)


@pytest.fixture(scope='module')
def reference(tiny_model):
    return TorchEngine.load(tiny_model, device='cpu', threads=1)


def assert_agree(found, wanted):
    for name in ('semantic', 'motion', 'sky'):
        one, other = getattr(found, name), getattr(wanted, name)
        assert (one is None) == (other is None)
        assert one is None or (one == other).mean() >= EQUAL_IDS
    np.testing.assert_allclose(np.log(found.depth), np.log(wanted.depth), atol=1e-4, rtol=0)
    np.testing.assert_allclose(found.motion_score, wanted.motion_score, atol=1e-4, rtol=0)


# --- what it computes ------------------------------------------------------------------------

def test_a_stream_is_what_the_network_sees_in_pairs(tiny_model, engine):
    manifest, network = load_network(tiny_model)
    network.eval()

    def normalised(image):
        values = (image.astype(np.float32) - manifest.mean) / manifest.std
        return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None]

    state = None
    previous = picture(0)
    for number in range(4):
        image = picture(number)
        with torch.inference_mode():
            wanted = network(normalised(image), normalised(previous))
        outputs, state = engine.step(image, state)
        np.testing.assert_allclose(
            np.log(outputs.depth), wanted['depth'][0, 0].numpy(), atol=1e-4, rtol=0)
        assert (outputs.semantic == wanted['semantic'].argmax(1)[0].numpy()).mean() >= 0.999
        previous = image


def test_every_engine_answers_as_torch_does_in_fp32(engine, reference):
    state = known = None
    for number in range(5):
        found, state = engine.step(picture(number), state)
        wanted, known = reference.step(picture(number), known)
        assert_agree(found, wanted)


def test_the_outputs_are_those_of_the_frames_module(engine):
    outputs, _ = engine.step(picture())
    found = {
        name: (value.shape, value.dtype) for name, value in vars(outputs).items()
        if value is not None}
    assert found == {
        'semantic': ((64, 96), np.uint8), 'depth': ((64, 96), np.float32),
        'motion': ((64, 96), np.uint8), 'motion_score': ((64, 96), np.float32),
        'sky': ((64, 96), np.bool_)}


def test_without_a_state_a_frame_is_its_own_previous_one(engine):
    _, state = engine.step(picture(1))
    fresh, after = engine.step(picture(2))
    repeated, _ = engine.step(picture(2), after)
    other, _ = engine.step(picture(2), state)

    assert_agree(fresh, repeated)
    again, _ = engine.step(picture(2))
    np.testing.assert_array_equal(again.depth, fresh.depth)
    assert np.abs(np.log(other.depth / fresh.depth)).max() > 1e-3  # the control


def test_a_state_and_its_outputs_are_not_overwritten_by_the_next_frame(engine):
    outputs, state = engine.step(picture(1))
    depth, stages = outputs.depth.copy(), [np.asarray(stage).copy() for stage in state]
    engine.step(picture(2), state)
    np.testing.assert_array_equal(outputs.depth, depth)
    for stage, kept in zip(state, stages, strict=True):
        np.testing.assert_array_equal(np.asarray(stage), kept)


def test_heads_can_be_left_out_and_the_state_is_the_same(engine):
    whole, state = engine.step(picture())
    for tasks in (['depth'], ['semantic'], ['motion', 'depth'], []):
        outputs, following = engine.step(picture(), None, tasks)
        named = {name for name in ('semantic', 'depth', 'motion')
                 if getattr(outputs, name) is not None}
        assert named == set(tasks)
        for one, other in zip(state, following, strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-4)
        if 'depth' in tasks:
            np.testing.assert_allclose(outputs.depth, whole.depth, rtol=1e-4)


def test_the_confidence_of_the_classes_is_computed_for_whoever_names_it(engine, reference):
    assert engine.step(picture())[0].semantic_confidence is None
    for tasks in (['semantic', 'semantic_confidence'],
                  ['semantic', 'depth', 'motion', 'semantic_confidence']):
        found = engine.step(picture(), None, tasks)[0].semantic_confidence
        wanted = reference.step(picture(), None, tasks)[0].semantic_confidence
        assert (found.shape, found.dtype) == ((64, 96), np.float32)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_read_only_image_is_accepted_and_not_changed(engine):
    image = picture()
    frozen = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)
    np.testing.assert_array_equal(engine.step(frozen)[0].depth, engine.step(image)[0].depth)
    np.testing.assert_array_equal(image, picture())


def test_wrong_images_tasks_and_states_are_refused(engine):
    with pytest.raises(ValueError, match=r'takes uint8 \(64, 96, 3\)'):
        engine.step(np.zeros((96, 64, 3), np.uint8))
    with pytest.raises(ValueError, match='no tasks'):
        engine.step(picture(), None, ['instance'])

    _, state = engine.step(picture())
    for wrong in ((), tuple(state[:1]), tuple(reversed(state))):
        with pytest.raises(ValueError, match=r'the state has shape .* start with state None'):
            engine.step(picture(), wrong)


def test_it_tells_what_really_runs(engine):
    setup = engine.setup
    assert (setup.device, setup.precision, setup.threads) == ('cpu', 'fp32', 1)
    assert setup.engine in str(setup)
    assert setup.version in str(setup)
    assert setup.facts()['engine'] == setup.engine


def test_a_camera_stream_runs_on_every_engine(engine):
    stream = CameraStream(engine)
    for number in range(3):
        image = np.zeros((128, 192, 3), np.uint8)
        image[..., number] = 200
        found = stream.process(Frame('camera', number * 100_000_000, image))
        assert found.semantic.shape == (128, 192)
    stream.reset('test')


# --- other networks --------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize('name', ['onnx', 'openvino'])
def test_a_network_of_one_frame_has_no_state(
        name, tiny_single_frame_model, tiny_single_frame_graph):
    engine = load(name, None, tiny_single_frame_graph)
    wanted, _ = TorchEngine.load(tiny_single_frame_model, 'cpu', threads=1).step(picture())
    found, state = engine.step(picture())
    assert state == ()
    assert_agree(found, wanted)
    assert_agree(engine.step(picture(), state)[0], wanted)


@pytest.mark.parametrize('seed', range(20))
def test_boxes_are_chosen_as_torch_does(seed):
    # one cell per anchor; the decoding itself is part of the graph
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(1, 3 * 7, 4, 6, generator=generator) * 2
    anchors = [[0.1, 0.2], [0.3, 0.3], [0.5, 0.2]]
    wanted, = find_boxes(output, anchors, 16, minimum_score=0.05)

    from mtl_perception.models.boxes import decode_boxes
    corners, scores = decode_boxes(output, anchors, 16)
    found = select_boxes(
        corners[0].numpy(), scores[0].numpy(), 64, 96, minimum_score=0.05)
    assert len(found.scores) > 3
    np.testing.assert_allclose(found.corners, wanted.corners.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.scores, wanted.scores.numpy())
    np.testing.assert_array_equal(found.classes, wanted.classes.numpy())


# --- choosing --------------------------------------------------------------------------------

def test_auto_is_torch_where_torch_is_installed(tiny_model, tmp_path, monkeypatch):
    assert choose(tiny_model) == 'torch'
    graph = tmp_path / 'model.onnx'
    graph.write_bytes(b'')

    def only(*modules):
        monkeypatch.setattr(
            engines.importlib.util, 'find_spec', lambda name: name if name in modules else None)

    only('torch', 'safetensors', 'onnxruntime', 'openvino')
    assert choose(tiny_model) == 'torch'
    assert choose(graph) == 'onnx'
    only('torch', 'onnxruntime')  # torch cannot read weights without safetensors
    assert choose(tiny_model) == 'onnx'
    only('onnxruntime')
    assert choose(tiny_model) == 'onnx'
    only('openvino')
    assert choose(tiny_model) == choose(graph) == 'openvino'
    only()
    with pytest.raises(ConfigurationError, match=r'needs the Python module torch or onnxrun.*pip'):
        choose(tiny_model)
    with pytest.raises(ConfigurationError, match='engine onnx needs the Python module onnxrunti'):
        choose(graph, 'onnx')


def test_an_engine_that_does_not_exist_or_cannot_run_the_file_is_refused(tiny_model, tmp_path):
    with pytest.raises(ConfigurationError, match="engine is 'tensorflow'; it must be one of"):
        choose(tiny_model, 'tensorflow')
    graph = tmp_path / 'model.onnx'
    graph.write_bytes(b'')
    with pytest.raises(ConfigurationError, match='engine torch cannot run'):
        choose(graph, 'torch')


@pytest.mark.parametrize(('name', 'setting', 'error', 'text'), [
    ('onnx', {'device': 'gpu'}, ConfigurationError, "device is 'gpu'"),
    ('onnx', {'device': 'cpu:1'}, ConfigurationError, "device is 'cpu:1'"),
    ('onnx', {'device': 'cpu', 'precision': 'bf16'}, DeviceError, 'engine onnx has on device cpu'),
    ('onnx', {'precision': 'int3'}, ConfigurationError, "precision is 'int3'"),
    ('onnx', {'threads': -1}, ConfigurationError, 'threads is -1'),
    ('openvino', {'device': 'cuda'}, DeviceError, 'engine openvino has auto and cpu'),
    ('openvino', {'precision': 'fp16'}, DeviceError, 'fp16 needs a CUDA device'),
    ('openvino', {'threads': -1}, ConfigurationError, 'threads is -1')])
def test_a_setting_that_an_engine_does_not_have_is_refused(
        name, setting, error, text, tiny_model):
    pytest.importorskip(LIBRARIES[name][0], reason=f'engine {name} is not installed')
    with pytest.raises(error, match=text):
        load_engine(tiny_model, name, **setting)


@pytest.mark.parametrize('device', ['cuda', 'tensorrt:1'])
def test_a_device_that_onnx_runtime_was_not_built_for_is_refused(device, tiny_graph):
    onnxruntime = pytest.importorskip('onnxruntime')
    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this ONNX Runtime has CUDA')
    with pytest.raises(DeviceError, match=rf'\[D01\] {device} requested, not available'):
        load_engine(tiny_graph, 'onnx', device)


def test_bf16_of_openvino_predicts_nearly_the_same(tiny_graph, reference):
    openvino = pytest.importorskip('openvino')
    if 'BF16' not in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        with pytest.raises(DeviceError, match='this CPU has no bf16'):
            load_engine(tiny_graph, 'openvino', precision='bf16')
        return
    half = load_engine(tiny_graph, 'openvino', precision='bf16', threads=1)
    depth, wanted = half.step(picture())[0].depth, reference.step(picture())[0].depth
    assert half.setup.precision == 'bf16'
    assert np.abs(np.log(depth / wanted)).mean() < 0.03


# --- without torch ---------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['onnx', 'openvino'])
def test_an_engine_of_graphs_runs_a_stream_without_torch(name, tiny_graph):
    pytest.importorskip(LIBRARIES[name][0], reason=f'engine {name} is not installed')
    code = ('import sys\n'
            'for name in ("torch", "torchvision", "safetensors", "onnx"):\n'
            '    sys.modules[name] = None\n'
            'import numpy as np\n'
            'from mtl_perception.frames import Frame\n'
            'from mtl_perception.inference.engines import load_engine\n'
            'from mtl_perception.inference.stream import CameraStream\n'
            f'engine = load_engine({str(tiny_graph)!r}, {name!r}, threads=1)\n'
            'stream = CameraStream(engine)\n'
            'image = np.zeros((64, 96, 3), np.uint8)\n'
            'print(stream.process(Frame("camera", 1, image)).semantic.shape, engine.setup)\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f'(64, 96) {name} ')


# --- the shipped models ----------------------------------------------------------------------

@pytest.mark.parametrize('model', ['roads', 'street'])
def test_a_shipped_graph_is_that_of_its_weights(model):
    graph = PRETRAINED / f'{model}.onnx'
    assert graph.stat().st_size <= 12_000_000
    assert load('onnx', None, graph).manifest.sha256 == read_model(model)[0].sha256
    check_no_sources(graph)


def test_a_graph_tells_nothing_of_where_it_was_made(tiny_graph):
    check_no_sources(tiny_graph)


def check_no_sources(graph):
    content = graph.read_bytes()
    assert b'File "' not in content
    assert b'onnx_export.py' not in content


@pytest.mark.parametrize('name', ['onnx', 'openvino'])
def test_the_graph_of_the_shipped_model_answers_as_its_weights_do(street_graph, name):
    assert street_graph.stat().st_size <= 12_000_000
    engine = load(name, None, street_graph)
    wanted = TorchEngine.load('street', 'cpu', threads=1)
    assert engine.manifest.sha256 == wanted.manifest.sha256

    equal = total = 0
    state = known = None
    street = Street(20003, engine.manifest.width, engine.manifest.height)
    for index in range(6):
        image = street.render(index).image
        found, state = engine.step(image, state)
        truth, known = wanted.step(image, known)
        equal += int((found.semantic == truth.semantic).sum())
        total += truth.semantic.size
        np.testing.assert_allclose(np.log(found.depth), np.log(truth.depth), atol=1e-3, rtol=0)
    assert equal / total >= EQUAL_IDS

    head, other = engine.motion_head, wanted.motion_head
    assert (head is None) == (other is None)
    if head is not None:
        shape = (len(other.notes['channels']), engine.manifest.height // 2,
                 engine.manifest.width // 2)
        features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(head.score(features), other.score(features), atol=1e-3)


@pytest.mark.skipif(importlib.util.find_spec('openvino') is None, reason='no openvino')
@pytest.mark.parametrize('kind', ['not slow', pytest.param('slow', marks=pytest.mark.slow)])
def test_the_engine_that_keeps_threads_passes_the_same_tests(kind, tmp_path):
    """In a process of its own, because nothing may be forked from it, see ``conftest.py``."""
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--basetemp',
         str(tmp_path / 'inner'), '-m', f'{kind} and not gpu', '-k', 'openvino', __file__],
        env={**os.environ, 'MTL_PERCEPTION_OPENVINO': '1'}, capture_output=True, text=True,
        check=False)
    assert result.returncode == 0, result.stdout
    assert ' passed' in result.stdout
