# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network run by ONNX Runtime: on the CPU, on CUDA or by TensorRT; torch is not needed."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from mtl_perception.errors import CheckpointError, ConfigurationError, DeviceError, FrameError
from mtl_perception.inference.cuda_errors import first_line
from mtl_perception.inference.engine import (
    COSTLY,
    MINIMUM_SCORE,
    Setup,
    check_precision,
    threads_of,
    warm_up,
)
from mtl_perception.inference.graph_engine import GraphEngine, GraphMotionHead
from mtl_perception.inference.step_graph import StepGraph, find_graph, read_graph
from mtl_perception.inference.subgraph import subgraph
from mtl_perception.inference.tensorrt_cache import cache_folder
from mtl_perception.reason_codes import ReasonCode

CPU, CUDA, TENSORRT = (
    'CPUExecutionProvider', 'CUDAExecutionProvider', 'TensorrtExecutionProvider')
DEVICE = re.compile(r'(cpu|cuda|tensorrt)(?::(\d+))?')
PROVIDERS = {'cpu': CPU, 'cuda': CUDA, 'tensorrt': TENSORRT}
GPU_ERRORS = ('CUDA', 'CUDNN', 'CUBLAS', 'TensorRT', 'EP_FAIL')
"""In the text of an exception of a provider that runs on a GPU."""

_log = logging.getLogger(__name__)


def runtime() -> Any:
    """
    Return the module ``onnxruntime``, of any of its builds.

    :raises ConfigurationError: if there is none, with what to install.
    """
    try:
        import onnxruntime
        onnxruntime.InferenceSession  # noqa: B018  (two builds over one another lack it)
    except (ImportError, OSError, AttributeError) as error:
        raise ConfigurationError(
            f'engine onnx cannot be used ({type(error).__name__}: {error}); pip install '
            'onnxruntime brings it, mtl doctor tells more') from error
    return onnxruntime


class OnnxSession:
    """
    A graph in ONNX Runtime.

    :param content: an ONNX model.
    :param device: ``cpu``, ``cuda`` or ``tensorrt``.
    :param index: of the GPU.
    :param precision: ``fp32``, or by TensorRT ``fp16``.
    :param threads: CPU threads.
    :raises DeviceError: if the device cannot be used. ONNX Runtime itself would take another one
        then, also in the middle of a stream, and print so at most.
    """

    def __init__(
        self, content: bytes, device: str, index: int, precision: str, threads: int,
    ) -> None:
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors; the rest is said here
        # a plan of the memory saves no time on a CPU, and takes more of it
        options.enable_mem_pattern = device != 'cpu'
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=_providers(content, device, index, precision),
                enable_fallback=0)
        except Exception as error:
            if device == 'cpu' or not (
                    _is_of_gpu(error) or isinstance(error, (RuntimeError, ValueError))):
                raise
            raise _not_started(device, first_line(error)) from error

        self.providers: list[str] = self._session.get_providers()
        """What runs the graph, the first one as much of it as it can."""
        if self.providers[0] != PROVIDERS[device]:
            raise _not_started(device, 'a driver or one of the CUDA libraries is missing')

    def run(
        self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str],
    ) -> list[NDArray[Any]]:
        """
        Return outputs of the graph.

        :param feeds: every input by its name.
        :param names: of the wanted outputs; the others are computed too.
        :raises FrameError: ``D02_oom`` or ``O07_memory`` if memory ran out.
        :raises DeviceError: ``D03_device`` if the device is lost; restart the process then.
        """
        try:
            return cast(list[NDArray[Any]], self._session.run(list(names), dict(feeds)))
        except MemoryError as error:
            raise FrameError('out of memory', ReasonCode.MEMORY) from error
        except Exception as error:
            raise _translated(error, on_gpu=self.providers[0] != CPU) from error


class OnnxGraph:
    """
    A graph in ONNX Runtime whose costly heads run only when they are asked for.

    ONNX Runtime computes all of a graph. So there is a session without those heads, and one with
    everything, which is made when it is first asked for, in some tenths of a second, and kept.
    TensorRT, which would build for minutes then, always has everything.

    :param graph: of the step.
    :param session: from the content of a graph to its session.
    :param whole: whether everything is in one session.
    """

    def __init__(
        self, graph: StepGraph, session: Callable[[bytes], OnnxSession], whole: bool,
    ) -> None:
        light = graph.names([task for task in graph.outputs if task not in COSTLY])
        self._light = set(light)
        self._content = graph.content
        self._session = session

        self._everything: OnnxSession | None = None
        if whole or not light or COSTLY.isdisjoint(graph.outputs):
            self._everything = self._first = session(graph.content)
        else:
            self._first = session(subgraph(graph.content, light))
        self.providers = self._first.providers

    def run(
        self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str],
    ) -> list[NDArray[Any]]:
        """Return outputs of the graph, see :meth:`OnnxSession.run`."""
        if self._light.issuperset(names):
            return self._first.run(feeds, names)
        if self._everything is None:
            try:
                self._everything = self._session(self._content)
            except Exception as error:
                raise _translated(
                    error.__cause__ or error, on_gpu=self.providers[0] != CPU) from error
        return self._everything.run(feeds, names)


class OnnxEngine(GraphEngine):
    """An :class:`mtl_perception.inference.engine.Engine` of ONNX Runtime."""

    @classmethod
    def load(
        cls, model: str | Path, device: str = 'auto', precision: str = 'fp32', threads: int = 0,
        minimum_score: float = MINIMUM_SCORE, graph: StepGraph | None = None,
    ) -> 'OnnxEngine':
        """
        Load a model, verify it, and run it until it is warm.

        :param model: name of a shipped model or path of a ``.onnx`` file, or of the
            ``.safetensors`` file beside it.
        :param device: ``auto``, ``cpu``, ``cuda``, ``tensorrt``, or one of the latter with
            ``:N``; auto takes CUDA if this ONNX Runtime can use it here.
        :param precision: ``fp32``, or by TensorRT ``fp16``.
        :param threads: CPU threads; 0 means one less than there are CPUs.
        :param minimum_score: lowest score of a box, 0 to 1.
        :param graph: of the model, if it was read and verified already.
        :raises CheckpointError: if the model is missing, damaged, foreign or not usable.
        :raises DeviceError: if this machine or this ONNX Runtime does not have the device.
        :raises ConfigurationError: if a setting does not exist.
        """
        kind, index = _device(device)
        check_precision(
            precision, ('fp32', 'fp16') if kind == 'tensorrt' else ('fp32',),
            f'engine onnx on device {kind}')
        count = threads_of(threads)
        return cls.of_graph(
            graph or read_graph(find_graph(model)), kind, index, precision, count, minimum_score)

    @classmethod
    def of_graph(
        cls, graph: StepGraph, device: str = 'cpu', index: int = 0, precision: str = 'fp32',
        threads: int = 1, minimum_score: float = MINIMUM_SCORE,
    ) -> 'OnnxEngine':
        """
        Load a graph that was verified, and run it until it is warm.

        :param graph: of the step.
        :param device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
        :param index: of the GPU.
        :param precision: ``fp32``, or by TensorRT ``fp16``.
        :param threads: CPU threads.
        :param minimum_score: lowest score of a box.
        :raises CheckpointError: if ONNX Runtime does not accept the graph.
        :raises DeviceError: if the device cannot be used.
        """
        if device == 'auto':
            if CUDA in runtime().get_available_providers():
                try:
                    return cls._on(graph, 'cuda', index, precision, threads, minimum_score)
                except DeviceError as error:
                    _log.warning('no CUDA device that ONNX Runtime can use; the network runs on '
                                 'the CPU: %s', error)
            device = 'cpu'
        return cls._on(graph, device, index, precision, threads, minimum_score)

    @classmethod
    def _on(
        cls, graph: StepGraph, device: str, index: int, precision: str, threads: int,
        minimum_score: float,
    ) -> 'OnnxEngine':
        """Load a graph on a device, see :meth:`of_graph`."""
        session = _session(graph, device, index, precision, threads)
        head = None
        if graph.motion_head is not None:
            head = GraphMotionHead(OnnxSession(graph.motion_head, 'cpu', 0, 'fp32', threads))
        setup = Setup(
            'onnx', runtime().__version__, device if device == 'cpu' else f'{device}:{index}',
            precision, threads)
        engine = cls(graph, session, head, setup, minimum_score)

        try:
            warm_up(engine, 2 if graph.state else 1)
        except FrameError as error:
            if device == 'cpu':
                raise
            raise _not_started(device, str(error)) from error
        return engine


def _session(
    graph: StepGraph, device: str, index: int, precision: str, threads: int,
) -> OnnxGraph:
    """Return the sessions of a graph; refuse one that ONNX Runtime does not accept."""
    try:
        return OnnxGraph(
            graph, lambda content: OnnxSession(content, device, index, precision, threads),
            whole=device == 'tensorrt')
    except DeviceError:
        raise
    except Exception as error:
        raise CheckpointError(
            f'{graph.manifest.name}: ONNX Runtime {runtime().__version__} does not accept the '
            f'graph ({first_line(error)}); install a newer one, or use engine torch',
            ReasonCode.MODEL_ARCHITECTURE) from error


def _device(name: str) -> tuple[str, int]:
    """Return kind and index of a device; refuse one that this ONNX Runtime does not know."""
    if name == 'auto':
        return 'auto', 0
    match = DEVICE.fullmatch(name)
    if match is None or (match[1] == 'cpu' and match[2]):
        raise ConfigurationError(
            f'device is {name!r}; it must be auto, cpu, cuda, cuda:N, tensorrt or tensorrt:N')

    available = runtime().get_available_providers()
    if PROVIDERS[match[1]] not in available:
        raise DeviceError(
            f'{name} requested, not available (ONNX Runtime {runtime().__version__} was built '
            f'with {", ".join(available)}); install onnxruntime-gpu, or set device to cpu or auto',
            ReasonCode.DEVICE_MISSING)
    return match[1], int(match[2] or 0)


def _providers(content: bytes, device: str, index: int, precision: str) -> list[Any]:
    """Return the execution providers that run a graph on a device, the preferred one first."""
    if device == 'cpu':
        return [CPU]
    # TF32 has 10 bits of mantissa; fp32 shall mean fp32
    cuda = (CUDA, {'device_id': str(index), 'use_tf32': '0'})
    if device == 'cuda':
        return [cuda, CPU]

    # TensorRT builds its engine in minutes and reads it again in seconds
    engine = {'device_id': str(index), 'trt_fp16_enable': str(precision == 'fp16')}
    folder = cache_folder(content, precision, runtime().__version__, index)
    if folder is not None:
        engine |= {
            'trt_engine_cache_enable': 'True', 'trt_engine_cache_path': str(folder),
            'trt_timing_cache_enable': 'True', 'trt_timing_cache_path': str(folder)}
    return [(TENSORRT, engine), cuda, CPU]


def _translated(error: BaseException, on_gpu: bool) -> BaseException:
    """Return what an exception of ONNX Runtime means for a frame."""
    text = first_line(error)
    short = any(word in str(error) for word in ('allocate memory', 'out of memory'))
    short = short or (on_gpu and 'ALLOC_FAILED' in str(error))  # of cuBLAS and cuDNN
    if short and on_gpu:
        return FrameError(f'out of device memory ({text})', ReasonCode.DEVICE_MEMORY)
    if short or 'bad_alloc' in str(error):
        return FrameError(f'out of memory ({text})', ReasonCode.MEMORY)
    if on_gpu and _is_of_gpu(error):
        return DeviceError(
            f'the device is lost ({text}); start the process again', ReasonCode.DEVICE_LOST)
    return error


def _is_of_gpu(error: BaseException) -> bool:
    """Return whether an exception of ONNX Runtime tells of a GPU."""
    return any(word in str(error) for word in GPU_ERRORS)


def _not_started(device: str, why: str) -> DeviceError:
    """Return what is raised where ONNX Runtime cannot use a device."""
    return DeviceError(
        f'{device} requested, but ONNX Runtime could not start it ({why}); set device to cpu or '
        'auto', ReasonCode.DEVICE_MISSING)
