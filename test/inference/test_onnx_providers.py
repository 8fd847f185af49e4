# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which execution providers ONNX Runtime is asked for, and where TensorRT keeps its engines."""

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from mtl_perception.errors import DeviceError
from mtl_perception.inference import onnx_engine, tensorrt_cache
from mtl_perception.inference.engines import load_engine
from mtl_perception.inference.onnx_engine import CPU, CUDA, TENSORRT
from mtl_perception.inference.tensorrt_cache import cache_folder, fingerprint

onnxruntime = pytest.importorskip('onnxruntime')
onnx_fails = onnxruntime.capi.onnxruntime_pybind11_state.EPFail


class GpuBuild:
    """
    ONNX Runtime as a build for GPUs tells about itself; sessions are those of the installed one.

    :param offered: providers that the build has.
    :param started: those that a session says it runs on; the installed ones if None. A list of
        such lists is of one session after the other.
    :param failures: what is raised on a GPU by a session that is made, and by its first run.
    """

    def __init__(self, offered, started=None, failures=(None, None)):
        self.asked = []
        self.fallbacks = []
        self._failures = failures
        self._offered = offered
        self._started = started

    def __getattr__(self, name):
        return getattr(onnxruntime, name)

    def get_available_providers(self):
        return self._offered

    def InferenceSession(self, content, options, providers, enable_fallback=1):
        self.asked.append(providers)
        self.fallbacks.append(enable_fallback)
        made, ran = self._failures if providers != [CPU] else (None, None)
        if made is not None:
            raise made
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about providers that are not there
            session = onnxruntime.InferenceSession(content, options, providers=providers)

        def run(*arguments):
            if ran is not None:
                raise ran
            return session.run(*arguments)

        started = session.get_providers() if self._started is None or providers == [CPU] else (
            self._started)
        if isinstance(started[0], list):
            started = started[min(len(self.asked), len(started)) - 1]
        return SimpleNamespace(run=run, get_providers=lambda: started)


@pytest.fixture
def build(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))

    def make(offered, started=None, failures=(None, None)):
        found = GpuBuild(offered, started, failures)
        monkeypatch.setattr(onnx_engine, 'runtime', lambda: found)
        return found
    return make


def names(providers):
    return [one if isinstance(one, str) else one[0] for one in providers]


def test_auto_takes_cuda_where_the_build_offers_it_and_it_starts(build, tiny_graph):
    found = build([TENSORRT, CUDA, CPU], [CUDA, CPU])
    engine = load_engine(tiny_graph, 'onnx', threads=1)
    assert names(found.asked[0]) == [CUDA, CPU]
    assert dict(found.asked[0][:1]) == {CUDA: {'device_id': '0', 'use_tf32': '0'}}
    assert (engine.setup.device, engine.setup.precision) == ('cuda:0', 'fp32')
    assert len(found.asked) == 1


def test_auto_says_so_where_cuda_does_not_start(build, tiny_graph, caplog):
    found = build([CUDA, CPU])
    engine = load_engine(tiny_graph, 'onnx', threads=1)
    assert names(found.asked[0]) == [CUDA, CPU]
    assert engine.setup.device == 'cpu'
    assert 'no CUDA device that ONNX Runtime can use' in caplog.text


@pytest.mark.parametrize('device', ['cuda', 'cuda:1', 'tensorrt'])
def test_a_device_that_is_named_and_does_not_start_is_refused(build, tiny_graph, device):
    build([TENSORRT, CUDA, CPU])
    with pytest.raises(DeviceError, match=r'\[D01\] .* requested, but ONNX Runtime could not'):
        load_engine(tiny_graph, 'onnx', device)


DRIVER = RuntimeError('CUDA failure 35: CUDA driver version is insufficient')
BUILT = onnx_fails('EP_FAIL : TensorRT EP failed to create engine from network')


@pytest.mark.parametrize('failures', [
    (DRIVER, None), (BUILT, None), (ValueError('device_id 7'), None), (None, BUILT),
    (None, RuntimeError('CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED'))])
def test_auto_takes_the_cpu_where_a_session_or_its_first_run_fails(
        build, tiny_graph, caplog, failures):
    found = build([CUDA, CPU], [CUDA, CPU], failures)
    engine = load_engine(tiny_graph, 'onnx', threads=1)
    assert engine.setup.device == 'cpu'
    assert names(found.asked[-1]) == [CPU]
    assert 'the network runs on the CPU: [D0' in caplog.text
    assert str(failures[0] or failures[1]) in caplog.text
    with pytest.raises(DeviceError):
        load_engine(tiny_graph, 'onnx', 'cuda', threads=1)


def test_no_session_may_go_on_with_another_provider_by_itself(build, tiny_graph):
    found = build([TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU])
    for device in ('cpu', 'tensorrt'):
        load_engine(tiny_graph, 'onnx', device, threads=1)
    assert set(found.fallbacks) == {0}


def test_a_provider_that_fails_in_a_frame_is_told_and_no_other_one_answers(tiny_graph):
    engine = load_engine(tiny_graph, 'onnx', 'cpu', threads=1)
    session = engine._runner._first

    class Failing:
        def __init__(self, real):
            self._real = real

        def __getattr__(self, name):
            return getattr(self._real, name)

        def run(self, *_):
            raise onnx_fails('TensorRT EP execution context enqueue failed.')

    session._session._sess = Failing(session._session._sess)
    session.providers = [TENSORRT, CUDA, CPU]
    with pytest.raises(DeviceError, match=r'\[D03_device\] the device is lost \(TensorRT EP'):
        engine.step(np.zeros((64, 96, 3), np.uint8))


def test_a_session_that_is_made_later_is_on_the_same_device_or_refused(build):
    found = build([CUDA, CPU], [[CUDA, CPU], [CPU]])
    engine = load_engine('roads', 'onnx', 'cuda', threads=1)
    assert engine.setup.device == 'cuda:0'
    image = np.zeros((engine.manifest.height, engine.manifest.width, 3), np.uint8)
    with pytest.raises(DeviceError, match=r'the device is lost .* could not start it'):
        engine.step(image, None, ['instance'])
    assert [names(asked) for asked in found.asked if asked != [CPU]] == [[CUDA, CPU]] * 2


@pytest.mark.parametrize(('text', 'code'), [
    ('BFCArena: Failed to allocate memory for requested buffer', 'D02_oom'),
    ('CUDA failure 2: out of memory', 'D02_oom'),
    ('CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED', 'D02_oom'),
    ('CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED', 'D03_device'),
    ('CUDA failure 700: an illegal memory access was encountered', 'D03_device')])
def test_errors_of_a_gpu_have_reasons(text, code):
    assert onnx_engine._translated(RuntimeError(text), on_gpu=True).code == code


@pytest.mark.parametrize(('precision', 'half'), [('fp32', 'False'), ('fp16', 'True')])
def test_tensorrt_keeps_its_engine_in_a_folder_of_its_own(
        build, tiny_graph, tmp_path, precision, half):
    found = build([TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU])
    engine = load_engine(tiny_graph, 'onnx', 'tensorrt:1', precision, threads=1)
    assert (engine.setup.device, engine.setup.precision) == ('tensorrt:1', precision)

    assert names(found.asked[0]) == [TENSORRT, CUDA, CPU]
    options = found.asked[0][0][1]
    folder, = (tmp_path / 'mtl_perception' / 'tensorrt').iterdir()
    assert options == {
        'device_id': '1', 'trt_fp16_enable': half, 'trt_engine_cache_enable': 'True',
        'trt_engine_cache_path': str(folder), 'trt_timing_cache_enable': 'True',
        'trt_timing_cache_path': str(folder)}
    assert len(folder.name) == 64
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_same_engine_has_the_same_folder_and_any_change_another(monkeypatch):
    facts = (b'graph', 'fp16', '1.20', '10.3', 'a GPU')
    assert fingerprint(*facts) == fingerprint(*facts)

    other = (b'grapg', 'fp32', '1.21', '10.4', 'another GPU')
    found = {
        fingerprint(*(two if change else one for one, two, change in zip(
            facts, other, changes, strict=True)))
        for changes in itertools.product((False, True), repeat=len(facts))}
    assert len(found) == 2 ** len(facts)


def test_what_this_machine_has_is_part_of_the_fingerprint(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    first = cache_folder(b'graph', 'fp32', '1.20', 0)
    assert first == cache_folder(b'graph', 'fp32', '1.20', 0)
    assert first != cache_folder(b'graph', 'fp32', '1.20', 1)
    monkeypatch.setattr(tensorrt_cache, 'tensorrt_version', lambda: '99.0')
    assert first != cache_folder(b'graph', 'fp32', '1.20', 0)


def test_the_gpus_are_told_apart_by_what_a_restart_does_not_change(monkeypatch, tmp_path):
    gpu = tmp_path / '0000:01:00.0'
    gpu.mkdir()

    def device(text):
        (gpu / 'information').write_text(text)
        return tensorrt_cache.device_name(0)

    monkeypatch.setattr(tensorrt_cache, 'GPUS', tmp_path)
    one = device('Model: \t A\nIRQ:   \t 120\nGPU UUID: \t 1\n')
    assert one == device('Model: \t A\nIRQ:   \t 121\nGPU UUID: \t 1\n')
    assert one != device('Model: \t B\nIRQ:   \t 120\nGPU UUID: \t 1\n')
    assert one != device('Model: \t A\nIRQ:   \t 120\nGPU UUID: \t 2\n')


@pytest.mark.parametrize('name', tensorrt_cache.COUNTED)
def test_an_index_is_another_gpu_under_another_environment(monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    found = {tensorrt_cache.device_name(0)}
    for value in ('', '0', '1'):
        monkeypatch.setenv(name, value)
        assert tensorrt_cache.device_name(0) == tensorrt_cache.device_name(0)
        found.add(tensorrt_cache.device_name(0))
    assert len(found) == 4


def test_a_folder_that_others_can_write_is_not_used(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    folder = cache_folder(b'graph', 'fp32', '1.20', 0)
    folder.chmod(0o777)
    assert cache_folder(b'graph', 'fp32', '1.20', 0) is None
    assert 'can be written by others' in caplog.text
    folder.chmod(0o700)
    assert cache_folder(b'graph', 'fp32', '1.20', 0) == folder


def test_without_a_place_for_the_cache_the_engine_is_built_each_time(build, tiny_graph, caplog,
                                                                     monkeypatch, tmp_path):
    found = build([TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU])
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    load_engine(tiny_graph, 'onnx', 'tensorrt', threads=1)
    assert found.asked[0][0][1] == {'device_id': '0', 'trt_fp16_enable': 'False'}
    assert 'each start builds it again' in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize('device', ['cuda', 'tensorrt'])
@pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(),
                    reason='this ONNX Runtime has no CUDA')
def test_a_gpu_answers_as_the_cpu_does(device, street_graph, monkeypatch, tmp_path):
    if device == 'tensorrt' and TENSORRT not in onnxruntime.get_available_providers():
        pytest.skip('this ONNX Runtime has no TensorRT')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    one, other = (load_engine(street_graph, 'onnx', name) for name in ('cpu', device))
    assert one.setup.device == 'cpu'
    assert other.setup.device == f'{device}:0'

    equal = total = 0
    state = known = None
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 256, (224, 384, 3), np.uint8)
        wanted, known = one.step(image, known)
        found, state = other.step(image, state)
        equal += int((found.semantic == wanted.semantic).sum())
        total += wanted.semantic.size
    assert equal / total >= 0.999

    # the second start finds what the first one built
    if device == 'tensorrt':
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.engine')}
        assert kept
        load_engine(street_graph, 'onnx', device)
        assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.engine')}
