# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Choose an engine and load it; its library is imported only then."""

import dataclasses
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtl_perception.errors import CheckpointError, ConfigurationError, DeviceError
from mtl_perception.inference.cuda_errors import first_line
from mtl_perception.inference.engine import MINIMUM_SCORE, Engine
from mtl_perception.inference.int8_file import file_digest, int8_path
from mtl_perception.inference.precision import (
    PREFERRED,
    Figures,
    described_manifest,
    kind_of,
    objection,
    recorded,
)
from mtl_perception.inference.step_graph import (
    SUFFIX,
    StepGraph,
    find_graph,
    read_graph,
    read_manifest,
)
from mtl_perception.manifest import Manifest, find_model

ENGINES = ('auto', 'torch', 'onnx', 'openvino')
"""Settings of an engine; auto is one of the others."""

LIBRARIES = {
    'torch': ('torch', 'safetensors'), 'onnx': ('onnxruntime',), 'openvino': ('openvino',)}
"""Engine -> the Python modules that it needs, its library first."""

INSTALLED_BY = {
    'auto': 'onnxruntime', 'torch': "'mtl_perception[torch]'", 'onnx': 'onnxruntime',
    'openvino': "'mtl_perception[openvino]'"}
"""Setting of an engine -> what pip installs for it."""

FASTER_ON_CPU = {'fp32': ('onnx', 'openvino'), 'bf16': ('openvino',), 'int8': ('openvino',)}
"""Precision -> engines that auto prefers to torch on a CPU, in this order; docs/engines.md has the
figures. In fp32 onnx comes first: openvino is as fast, but takes longer to start."""

GPUS = ('/dev/nvidiactl', '/dev/nvhost-gpu', '/dev/dxg', '/dev/kfd')
"""Device files of the drivers of NVIDIA on a PC, on a Jetson and in WSL, and of AMD."""
NOT_MEASURED = 'not measured for these weights; mtl calibrate measures it'

_log = logging.getLogger(__name__)


def load_engine(
    model: str | Path, engine: str = 'auto', device: str = 'auto', precision: str = 'fp32',
    threads: int = 0, minimum_score: float = MINIMUM_SCORE,
) -> Engine:
    """
    Load a model, verify it, and run it until it is warm.

    :param model: name of a shipped model or path of a ``.safetensors`` or ``.onnx`` file.
    :param engine: one of :data:`ENGINES`, see :func:`candidates`.
    :param device: ``auto``, ``cpu``, or what the engine has besides.
    :param precision: ``fp32``, what the engine has besides, or ``auto``: below fp32 only where
        the manifest holds figures within the tolerances of
        :mod:`mtl_perception.inference.precision`. A precision that is named is obeyed;
        ``setup.accuracy`` then tells what it costs, as far as it was measured.
    :param threads: CPU threads; 0 means one less than there are CPUs.
    :param minimum_score: lowest score of a box, 0 to 1.
    :raises CheckpointError: if the model is missing, damaged, foreign or not usable.
    :raises DeviceError: if this machine does not have the device.
    :raises ConfigurationError: if a setting does not exist, or the engine's library.
    """
    if engine == 'auto' and find_model(model).suffix != SUFFIX:
        read_manifest(model)  # a graph must not hide that the weights beside it were changed

    if precision == 'auto':
        permitted = _permitted(model, engine, device, threads, minimum_score)
        if permitted is not None:
            return permitted
        precision = 'fp32'

    names = candidates(model, engine, device, precision)
    if engine != 'auto':
        return _load(model, names[0], device, precision, threads, minimum_score)
    if device == 'auto' and names == ['torch'] and _torch_has_gpu(device):
        return _load_on_gpu(model, precision, threads, minimum_score)
    return _load_first(model, names, device, precision, threads, minimum_score)


def manifest_of(model: str | Path, engine: str = 'auto') -> Manifest:
    """
    Return the manifest of the engine that :func:`load_engine` would load, without loading it.

    :param model: name of a shipped model or path of a ``.safetensors`` or ``.onnx`` file.
    :param engine: one of :data:`ENGINES`.
    :raises CheckpointError: if the model is missing, damaged or foreign.
    :raises ConfigurationError: if there is no such engine or its library is missing.
    """
    candidates(model, engine)
    # with auto a graph counts only if its manifest is that of the weights
    return read_manifest(find_model(model) if engine in ('auto', 'torch') else find_graph(model))


def on_gpu(device: str) -> bool:
    """Return whether a device may be a GPU: one that is named, or with ``auto`` any there is."""
    return device not in ('auto', 'cpu') or (
        device == 'auto' and any(Path(name).exists() for name in GPUS))


def _load(
    model: str | Path, name: str, device: str, precision: str, threads: int,
    minimum_score: float, graph: StepGraph | None = None,
) -> Engine:
    """Load a model into an engine that was chosen; its graph may have been read already."""
    found: Engine
    if name == 'torch':
        found = _torch_engine().load(
            model, device, precision=precision, threads=threads, minimum_score=minimum_score)
    elif name == 'onnx':
        from mtl_perception.inference.onnx_engine import OnnxEngine
        found = OnnxEngine.load(model, device, precision, threads, minimum_score, graph)
    else:
        from mtl_perception.inference.openvino_engine import OpenVinoEngine
        found = OpenVinoEngine.load(model, device, precision, threads, minimum_score, graph)

    # below fp32, log and diagnostics tell what that costs
    if found.setup.precision != 'fp32':
        manifest = described_manifest(model)
        figures = manifest and _figures(
            model, manifest, name, found.setup.device, found.setup.precision)
        found.setup = dataclasses.replace(
            found.setup, accuracy=figures.text() if figures else NOT_MEASURED)
    return found


def _torch_engine() -> Any:
    """
    Return the class of engine torch.

    :raises ConfigurationError: if torch cannot be imported, such as for a library of CUDA.
    """
    try:
        from mtl_perception.inference.torch_engine import TorchEngine
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigurationError(
            f'engine torch cannot be used ({type(error).__name__}: {first_line(error)}); install '
            'torch again, or set engine to onnx; mtl doctor tells more') from error
    return TorchEngine


def _figures(
    model: str | Path, manifest: Manifest, engine: str, device: str, precision: str,
) -> Figures | None:
    """Return what was measured of a precision; None if the model or its ``.int8`` file changed."""
    figures = recorded(manifest, engine, device, precision)
    if figures is not None and precision == 'int8' and (
            file_digest(int8_path(model)) != figures.graph):
        return None
    return figures


def _permitted(
    model: str | Path, engine: str, device: str, threads: int, minimum_score: float,
) -> Engine | None:
    """Return the fastest engine below fp32 that figures permit and this machine has, or None."""
    manifest = described_manifest(model)
    if manifest is None:
        return None

    for name, kind, precision in PREFERRED:
        if engine not in ('auto', name) or kind_of(device) not in ('auto', kind):
            continue
        figures = _figures(model, manifest, name, kind, precision)
        if figures is None or (
                device == 'auto' and kind == 'cpu' and on_gpu(device)):
            continue  # fp32 of a GPU is faster than any precision of the CPU
        if reason := objection(figures, manifest):
            _log.info('auto does not take %s of engine %s: %s', precision, name, reason)
            continue

        try:
            candidates(model, name)
            found = _load(
                model, name, kind if device == 'auto' else device, precision, threads,
                minimum_score)
        except (CheckpointError, ConfigurationError, DeviceError) as error:
            _log.info('auto does not take %s of engine %s here: %s', precision, name, error)
        else:
            return _said(found, 'auto: the fastest whose loss was measured and is small')
    return None


def candidates(
    model: str | Path, engine: str = 'auto', device: str = 'auto', precision: str = 'fp32',
) -> list[str]:
    """
    Return the engines that may run a model, in the order in which they are tried.

    An engine that is named is the only one. ``auto`` is torch where torch has a GPU. On a CPU,
    and with device ``auto`` also where torch cannot use the GPU, it is the first of
    :data:`FASTER_ON_CPU` that is installed and has a verified graph, else torch.

    :param model: name of a shipped model or path of a ``.safetensors`` or ``.onnx`` file.
    :param engine: one of :data:`ENGINES`.
    :param device: that it shall run on.
    :param precision: that it shall run in, not ``auto``.
    :raises CheckpointError: if there is no such model.
    :raises ConfigurationError: if there is no such engine or its library is missing.
    """
    if engine not in ENGINES:
        raise ConfigurationError(f'engine is {engine!r}; it must be one of {list(ENGINES)}')
    graph = find_model(model).suffix == SUFFIX
    if graph and engine == 'torch':
        raise ConfigurationError(
            f'engine torch cannot run {model}; give the .safetensors file that it was made from, '
            'or set engine to onnx, openvino or auto')

    wanted = [engine] if engine != 'auto' else [
        name for name in _order(device, precision) if not (graph and name == 'torch')]
    found = [name for name in wanted if not _missing(name)]
    if found:
        # torch can run whatever it is that the model asks for: nothing comes after it
        return found[:found.index('torch') + 1] if 'torch' in found else found

    modules = ' or '.join(_missing(name)[0] for name in wanted)
    raise ConfigurationError(
        f'engine {engine} needs the Python module {modules}, which is not installed; pip install '
        f'{INSTALLED_BY[engine]} brings it')


def _order(device: str, precision: str) -> list[str]:
    """Return the engines in the order in which auto tries them."""
    kind = kind_of(device)
    if kind == 'tensorrt':
        return ['onnx']
    if _torch_has_gpu(device):
        return list(ENGINES[1:])
    if kind == 'cuda':
        return ['onnx', 'torch']
    return list(dict.fromkeys((*FASTER_ON_CPU.get(precision, ()), *ENGINES[1:])))


def _torch_has_gpu(device: str) -> bool:
    """Return whether torch would run on a GPU; it is imported only where there is one."""
    if not on_gpu(device) or _missing('torch'):
        return False
    try:
        import torch
        return torch.cuda.is_available()
    except (ImportError, OSError, RuntimeError) as error:
        _log.warning('there is a GPU, but torch cannot be used (%s: %s)', type(error).__name__,
                     first_line(error))
        return False


def _load_on_gpu(
    model: str | Path, precision: str, threads: int, minimum_score: float,
) -> Engine:
    """Load a model into torch on the GPU, or where that cannot be used, into what a CPU runs."""
    try:
        found = _load(model, 'torch', 'cuda', precision, threads, minimum_score)
    except DeviceError as error:
        _log.warning('auto leaves the GPU: %s', error)
        names = candidates(model, 'auto', 'cpu', precision)
        return _load_first(
            model, names, 'cpu', precision, threads, minimum_score, (str(error),))
    return _said(found, _reason(found, []))


def _load_first(
    model: str | Path, names: list[str], device: str, precision: str, threads: int,
    minimum_score: float, before: Sequence[str] = (),
) -> Engine:
    """
    Load a model into the first of some engines that can run it; what is passed over is told.

    :param before: what was passed over already.
    :raises CheckpointError: as :func:`load_engine`, of the last of them.
    """
    left = list(before)
    graph = None
    if len(names) > 1:
        try:
            graph = read_graph(find_graph(model))
        except CheckpointError as error:
            # all engines but torch would refuse it, some only after seconds of imports
            if names[-1] != 'torch':
                raise
            _passed_over(model, ' and '.join(names[:-1]), error, left)
            names = names[-1:]

    for name in names[:-1]:
        try:
            found = _load(model, name, device, precision, threads, minimum_score, graph)
            return _said(found, _reason(found, left))
        except (CheckpointError, ConfigurationError, DeviceError) as error:
            _passed_over(model, name, error, left)

    try:
        found = _load(model, names[-1], device, precision, threads, minimum_score, graph)
    except (CheckpointError, ConfigurationError, DeviceError) as error:
        # the last one may lack what another would have had but for a file
        error.args = ('; '.join([*left, str(error)]), *error.args[1:])
        raise
    return _said(found, _reason(found, left))


def _passed_over(model: str | Path, names: str, error: Exception, left: list[str]) -> None:
    """Note and log why auto does not take some engines."""
    left.append(str(error))

    # that nobody has exported a graph is nothing to warn of
    expected = isinstance(error, DeviceError) or not _has_graph(model)
    _log.log(
        logging.INFO if expected else logging.WARNING,
        'auto does not take engine %s: %s', names, error)


def _reason(engine: Engine, left: list[str]) -> str:
    """Return why auto takes an engine, and what would bring a faster one."""
    name, device = engine.setup.engine, engine.setup.device
    if left:
        return f'auto: a faster engine was left out: {" and ".join(left)}'
    if (name, device) == ('torch', 'cpu') and _missing('onnx'):
        return (f'auto: engine onnx is faster, but not installed; pip install '
                f'{INSTALLED_BY["onnx"]} brings it')
    return f'auto: of what is installed the fastest on {"a CPU" if device == "cpu" else "a GPU"}'


def _said(engine: Engine, choice: str) -> Engine:
    """Return an engine that tells why it was chosen."""
    engine.setup = dataclasses.replace(engine.setup, choice=choice)
    return engine


def _has_graph(model: str | Path) -> bool:
    """Return whether a graph lies beside a model."""
    return find_model(model).with_suffix(SUFFIX).is_file()


def _missing(engine: str) -> list[str]:
    """Return the Python modules that an engine needs and that are not installed."""
    return [name for name in LIBRARIES[engine] if importlib.util.find_spec(name) is None]
