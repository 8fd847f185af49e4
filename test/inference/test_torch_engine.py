# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The torch engine: it computes what the network computes, and refuses wrong settings."""


import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

from mtl_perception.errors import (
    ConfigurationError,
    DeviceError,
    FrameError,
)
from mtl_perception.inference import torch_engine
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.inference.usual_pattern import UsualPattern
from mtl_perception.inference.weights import fuse_batch_norm, load_network
from mtl_perception.manifest import read_model
from mtl_perception.models.build import ENCODERS


@pytest.fixture(scope='module')
def engine(tiny_model):
    return TorchEngine.load(tiny_model, device='cpu', threads=1)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)


# --- what it computes ------------------------------------------------------------------------

def test_the_engine_gives_what_the_network_gives(tiny_model, engine):
    manifest, network = load_network(tiny_model)
    network.eval()
    first, second = picture(1), picture(2)

    def normalised(image):
        values = (image.astype(np.float32) - manifest.mean) / manifest.std
        return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None]

    with torch.inference_mode():
        wanted = network(normalised(second), normalised(first))
    _, state = engine.step(first)
    outputs, _ = engine.step(second, state)

    np.testing.assert_allclose(
        np.log(outputs.depth), wanted['depth'][0, 0].numpy(), atol=1e-4, rtol=0)
    np.testing.assert_allclose(
        outputs.motion_score, wanted['motion'].softmax(1)[0, 1].numpy(), atol=1e-4, rtol=0)

    for task in ('semantic', 'motion'):
        same = getattr(outputs, task) == wanted[task].argmax(1)[0].numpy()
        assert same.mean() > 0.999


@pytest.mark.parametrize('name', ['efficientnet_lite0', 'mobilenet_v2', 'resnet10'])
def test_no_batch_norm_is_left_in_our_encoders_and_nothing_changes(name):
    torch.manual_seed(0)
    encoder = ENCODERS[name]().train()
    with torch.no_grad():
        encoder(torch.randn(4, 3, 64, 96))  # so that no mean is zero and no variance one
    encoder.eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        wanted = encoder(image)
        fuse_batch_norm(encoder)
        found = encoder(image)

    assert not any(isinstance(one, nn.BatchNorm2d) for one in encoder.modules())
    for stage, other in zip(found, wanted, strict=True):
        assert float((stage - other).abs().max()) < 1e-4 * float(other.abs().max())


def test_the_outputs_are_those_of_the_frames_module(engine):
    outputs, _ = engine.step(picture())
    found = {
        name: (value.shape, value.dtype) for name, value in vars(outputs).items()
        if value is not None}

    assert found == {
        'semantic': ((64, 96), np.uint8), 'depth': ((64, 96), np.float32),
        'motion': ((64, 96), np.uint8), 'motion_score': ((64, 96), np.float32),
        'sky': ((64, 96), np.bool_)}
    assert set(np.unique(outputs.motion)) <= {0, 1}


def test_only_the_requested_tasks_are_computed_and_the_state_is_the_same(engine):
    outputs, state = engine.step(picture(), None, ['depth'])
    assert outputs.semantic is outputs.motion is outputs.motion_score is None
    for one, other in zip(state, engine.step(picture())[1], strict=True):
        assert torch.equal(one, other)


def test_bfloat16_predicts_nearly_the_same(tiny_model, engine):
    half = TorchEngine.load(tiny_model, device='cpu', precision='bf16', threads=1)
    depth, wanted = half.step(picture())[0].depth, engine.step(picture())[0].depth
    assert depth.dtype == np.float32
    assert np.abs(np.log(depth / wanted)).mean() < 0.03


def test_half_precision_weights_become_float32(tiny_model):
    assert load(read_model(tiny_model)[1])['encoder.conv1.weight'].dtype == torch.float16
    _, network = load_network(tiny_model)
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert not any(value.requires_grad for value in network.parameters())


# --- devices and settings --------------------------------------------------------------------

@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has CUDA')
def test_cuda_without_a_gpu_is_refused_with_the_cure(tiny_model):
    for name in ('cuda', 'cuda:3'):
        with pytest.raises(DeviceError, match=r'\[D01\] CUDA requested, not available.*cpu or au'):
            TorchEngine.load(tiny_model, device=name)
    assert TorchEngine.load(tiny_model, device='auto').device.type == 'cpu'


@pytest.fixture
def tf32():
    """What switches TF32, on until the end of a test."""
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield switches
    for switch, value in zip(switches, before, strict=True):
        switch.allow_tf32 = value


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has CUDA')
@pytest.mark.parametrize('load', [TorchEngine.load, UsualPattern])
def test_fp32_on_cuda_is_not_tf32(tiny_model, monkeypatch, tf32, load):
    load(tiny_model, 'cpu', threads=1)
    assert [switch.allow_tf32 for switch in tf32] == [True, True]

    # a GPU as far as torch tells, which then cannot be used
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(DeviceError, match='torch cannot use cuda'):
        load(tiny_model, 'cuda', threads=1)
    assert [switch.allow_tf32 for switch in tf32] == [False, False]


@pytest.mark.parametrize(('setting', 'error', 'text'), [
    ({'device': 'gpu'}, ConfigurationError, "device is 'gpu'"),
    ({'device': 'mps'}, ConfigurationError, 'must be auto, cpu'),
    ({'precision': 'int3'}, ConfigurationError, "precision is 'int3'"),
    ({'precision': 'int8'}, DeviceError, 'int8 is not what engine torch on device cpu has'),
    ({'threads': -1}, ConfigurationError, 'threads is -1'),
    ({'device': 'cpu', 'precision': 'fp16'}, DeviceError, 'fp16 needs a CUDA device')])
def test_an_unknown_setting_is_refused(tiny_model, setting, error, text):
    with pytest.raises(error, match=text):
        TorchEngine.load(tiny_model, **setting)


@pytest.mark.parametrize(('raised', 'wanted', 'code'), [
    (torch.OutOfMemoryError('CUDA out of memory'), FrameError, 'D02_oom'),
    (torch.AcceleratorError('CUDA error: out of memory\nhints'), FrameError, 'D02_oom'),
    (RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling'), FrameError, 'D02_oom'),
    (RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'), FrameError, 'D02_oom'),
    (MemoryError(), FrameError, 'O07_memory'),
    (RuntimeError("[enforce] can't allocate memory: you tried"), FrameError, 'O07_memory')])
def test_running_out_of_memory_costs_one_frame(tiny_model, monkeypatch, raised, wanted, code):
    engine = TorchEngine.load(tiny_model, device='cpu', threads=1)

    def fail(*_):
        raise raised

    with monkeypatch.context() as patched:
        patched.setattr(engine._network, 'step', fail)
        with pytest.raises(wanted) as caught:
            engine.step(picture())
        assert caught.value.code == code

    assert engine.step(picture())[0].depth is not None


@pytest.mark.parametrize('text', [
    'CUDA error: an illegal memory access was encountered\nhints',
    'cuDNN error: CUDNN_STATUS_EXECUTION_FAILED'])
def test_a_lost_device_is_not_reported_as_a_bad_frame(tiny_model, monkeypatch, text):
    engine = TorchEngine.load(tiny_model, device='cpu', threads=1)

    def fail(*_):
        raise RuntimeError(text)

    monkeypatch.setattr(engine._network, 'step', fail)
    with pytest.raises(RuntimeError, match=text[:10]):
        engine.step(picture())

    engine.device = torch.device('cuda')
    monkeypatch.setattr(torch, 'from_numpy', lambda array: fail())
    with pytest.raises(DeviceError, match=r'\[D03_device\] the device is lost'):
        engine.step(picture())


@pytest.mark.parametrize('has', [True, False])
def test_a_precision_that_the_cpu_emulates_is_warned_of(tiny_model, monkeypatch, caplog, has):
    monkeypatch.setattr(torch_engine, 'cpu_has_bf16', lambda: has)
    TorchEngine.load(tiny_model, device='cpu', precision='bf16', threads=1)
    assert ('only emulates bf16' in caplog.text) == (not has)
