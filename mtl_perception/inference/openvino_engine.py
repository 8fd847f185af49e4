# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network run by OpenVINO on the CPU, in fp32, bf16 or int8; torch is not needed."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import CheckpointError, ConfigurationError, DeviceError, FrameError
from mtl_perception.inference.engine import (
    MINIMUM_SCORE,
    Setup,
    check_precision,
    threads_of,
    warm_up,
)
from mtl_perception.inference.graph_engine import GraphEngine, GraphMotionHead
from mtl_perception.inference.int8_file import int8_path, read_int8
from mtl_perception.inference.step_graph import StepGraph, find_graph, read_graph
from mtl_perception.reason_codes import ReasonCode

PRECISIONS = {'fp32': 'f32', 'bf16': 'bf16', 'int8': 'f32'}
"""Precision -> number format of whatever is not in 8 bits."""


def runtime() -> Any:
    """
    Return the module ``openvino``.

    :raises ConfigurationError: if it is not installed, with what to install.
    """
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise ConfigurationError(
            f'engine openvino cannot be used ({error}); pip install '
            "'mtl_perception[openvino]' brings it") from error
    return openvino


class OpenVinoGraph:
    """
    A graph in OpenVINO.

    OpenVINO always computes every output of what it has compiled. So each set of outputs is
    compiled when it is first asked for, in some tenths of a second, and kept. What is compiled
    writes into memory of its own: threads take turns.

    :param content: an ONNX model, or the XML of OpenVINO's own format.
    :param precision: ``fp32``, ``bf16`` or ``int8``, which needs a model of that.
    :param threads: CPU threads.
    :param weights: those that belong to the XML.
    """

    def __init__(
        self, content: bytes, precision: str, threads: int, weights: bytes | None = None,
    ) -> None:
        self._openvino = runtime()
        self._core = self._openvino.Core()
        self._content = (content,) if weights is None else (content, weights)
        self._options = {
            'INFERENCE_PRECISION_HINT': PRECISIONS[precision],
            'INFERENCE_NUM_THREADS': threads, 'PERFORMANCE_HINT': 'LATENCY', 'NUM_STREAMS': 1}
        self._requests: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()

    def run(
        self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str],
    ) -> list[NDArray[Any]]:
        """
        Return outputs of the graph.

        :param feeds: every input by its name.
        :param names: of the wanted outputs.
        :raises FrameError: ``O07_memory`` if memory ran out.
        """
        try:
            with self._lock:
                request = self.request(tuple(names))
                given = {port.get_any_name() for port in request.model_inputs}
                request.infer(
                    {name: value for name, value in feeds.items() if name in given},
                    share_inputs=True)

                # copies, because the next call writes into the same memory
                return [np.array(request.get_tensor(name).data) for name in names]
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or 'allocate' in str(error):
                raise FrameError('out of memory', ReasonCode.MEMORY) from error
            raise

    def request(self, names: tuple[str, ...]) -> Any:
        """
        Return what computes a set of outputs; compile it the first time.

        Only one thread at a time may call this.
        """
        found = self._requests.get(names)
        if found is None:
            whole = self._core.read_model(*self._content)
            results = [whole.output(name).node for name in names]
            part = self._openvino.Model(results, whole.get_parameters(), 'step')
            found = self._core.compile_model(part, 'CPU', self._options).create_infer_request()
            self._requests[names] = found
        return found


class OpenVinoEngine(GraphEngine):
    """An :class:`mtl_perception.inference.engine.Engine` of OpenVINO."""

    @classmethod
    def load(
        cls, model: str | Path, device: str = 'auto', precision: str = 'fp32', threads: int = 0,
        minimum_score: float = MINIMUM_SCORE, graph: StepGraph | None = None,
    ) -> 'OpenVinoEngine':
        """
        Load a model, verify it, and run it until it is warm.

        :param model: name of a shipped model or path of a ``.onnx`` file, or of the
            ``.safetensors`` file beside it.
        :param device: ``auto`` or ``cpu``.
        :param precision: ``fp32``, ``bf16`` on a CPU that has it, or ``int8`` once ``mtl
            calibrate`` has written the ``.int8`` file.
        :param threads: CPU threads; 0 means one less than there are CPUs.
        :param minimum_score: lowest score of a box, 0 to 1.
        :param graph: of the model, if it was read and verified already.
        :raises CheckpointError: if the model is missing, damaged, foreign or not usable.
        :raises DeviceError: if this machine does not have the device or the precision.
        :raises ConfigurationError: if a setting does not exist.
        """
        openvino = runtime()
        _check_settings(device, precision, openvino)
        count = threads_of(threads)
        graph = graph or read_graph(find_graph(model))
        head = None
        if graph.motion_head is not None:
            head = GraphMotionHead(OpenVinoGraph(graph.motion_head, 'fp32', count))

        runner = _runner(model, graph, precision, count, openvino)
        version = openvino.__version__.split('-')[0]
        engine = cls(
            graph, runner, head, Setup('openvino', version, 'cpu', precision, count),
            minimum_score)
        warm_up(engine, 2 if graph.state else 1)
        return engine


def _runner(
    model: str | Path, graph: StepGraph, precision: str, threads: int, openvino: Any,
) -> OpenVinoGraph:
    """Return the graph in OpenVINO; refuse one that it does not accept."""
    if precision == 'int8':
        low = read_int8(int8_path(model), graph)
        runner = OpenVinoGraph(low.xml, precision, threads, low.weights)
    else:
        runner = OpenVinoGraph(graph.content, precision, threads)
    try:
        runner.request(tuple(graph.names(list(graph.outputs))))
    except RuntimeError as error:
        text = (str(error).splitlines() or [''])[0][:200]
        raise CheckpointError(
            f'{graph.manifest.name}: OpenVINO {openvino.__version__} does not accept the graph '
            f'({text}); install a newer one, or use engine torch',
            ReasonCode.MODEL_ARCHITECTURE) from error
    return runner


def _check_settings(device: str, precision: str, openvino: Any) -> None:
    """Refuse a device or a precision that does not exist here."""
    if device not in ('auto', 'cpu'):
        raise DeviceError(
            f'device is {device!r}; engine openvino has auto and cpu', ReasonCode.DEVICE_MISSING)
    if precision == 'fp16':
        raise DeviceError(
            'fp16 needs a CUDA device; engine openvino has fp32, bf16 and int8',
            ReasonCode.DEVICE_MISSING)
    check_precision(precision, PRECISIONS, 'engine openvino')

    # without bf16 in the CPU, OpenVINO would quietly compute in fp32
    if precision == 'bf16' and 'BF16' not in openvino.Core().get_property(
            'CPU', 'OPTIMIZATION_CAPABILITIES'):
        raise DeviceError(
            'this CPU has no bf16 that engine openvino can use; set precision to fp32',
            ReasonCode.DEVICE_MISSING)
