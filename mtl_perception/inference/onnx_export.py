# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the weights of a model to its ``.onnx`` file, which is compared with torch first."""

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl_perception import __version__
from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.files import write_atomically
from mtl_perception.inference.engine import threads_of
from mtl_perception.inference.motion_head_file import motion_head_of
from mtl_perception.inference.onnx_engine import OnnxSession
from mtl_perception.inference.step_graph import (
    OPSET,
    SEMANTIC_CONFIDENCE,
    SUFFIX,
    StepGraph,
    sealed,
    unsealed,
)
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import Manifest
from mtl_perception.models.boxes import decode_boxes
from mtl_perception.models.detection_head import DetectionHead
from mtl_perception.models.motion_head import ResidualMotionHead
from mtl_perception.models.streaming import StreamingNetwork
from mtl_perception.reason_codes import ReasonCode

SMALLEST = 256
"""Weights of fewer numbers stay in float32."""
EQUAL_IDS = 0.9999
"""Share of the ids that must be those of torch."""
LARGEST_ERROR = 1e-4
"""Mean difference of any other output, as a share of its mean size."""


class StepModule(nn.Module):
    """
    A network's step with a flat list of inputs and outputs, as a graph has them.

    :param streaming: in evaluation mode.
    :param manifest: of the network.
    """

    def __init__(self, streaming: StreamingNetwork, manifest: Manifest) -> None:
        super().__init__()
        self.streaming = streaming
        self.anchors = manifest.network.anchors
        self.names: list[str] = []
        """Of the outputs of the last call."""
        self.outputs: dict[str, tuple[str, ...]] = {}
        """Task -> names of its outputs, after a call."""

    def forward(
        self, image: Tensor, first: Tensor | None = None, *state: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return outputs and state; the names are in :attr:`names`."""
        decoders = self.streaming.network.decoders
        confidence = [SEMANTIC_CONFIDENCE] if 'semantic' in decoders else []
        found, following = self.streaming.step(
            image, state or None, [*decoders, *confidence], first)
        named = dict(found)
        if 'detection' in named:
            head = cast(DetectionHead, decoders['detection'])
            named['box_corners'], named['box_scores'] = decode_boxes(
                named.pop('detection'), self.anchors, head.stride)

        self.names = [*named, *(f'following_{index}' for index in range(len(following)))]
        extra = {
            'semantic': ('semantic', 'sky'), 'depth': ('depth', 'height_exponent'),
            'motion': ('motion', 'motion_score'),
            'detection': ('box_corners', 'box_scores')}
        self.outputs = {
            task: tuple(name for name in extra.get(task, (task,)) if name in named)
            for task in [*decoders, *confidence]}
        return *named.values(), *following


class _Score(nn.Module):
    """A motion head and its sigmoid."""

    def __init__(self, head: ResidualMotionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.head(features))


def export_graph(
    model: str | Path, path: Path, images: Sequence[NDArray[np.uint8]], threads: int = 0,
) -> str:
    """
    Write the graph of a model, once it answers as torch does.

    :param model: shipped name or path of a ``.safetensors`` file.
    :param path: ``NAME.onnx``.
    :param images: consecutive (h, w, 3) uint8 RGB of the network's size, on which graph and torch
        are compared.
    :param threads: CPU threads, 0 = automatic.
    :return: what was written and how well it agrees, in words.
    :raises CheckpointError: if the model cannot be used, or the graph answers differently.
    :raises ConfigurationError: if a library is missing.
    :raises StorageError: if the file cannot be written.
    """
    if path.suffix != SUFFIX:
        raise ConfigurationError(f'{path}: a graph is written to a path that ends in {SUFFIX}')
    _check_libraries()
    threads = threads_of(threads)
    torch.set_num_threads(threads)

    manifest, network = load_network(model)
    semantic, depth = manifest.task('semantic'), manifest.task('depth')
    module = StepModule(StreamingNetwork(
        network.eval(), manifest.mean, manifest.std, semantic.sky if semantic else -1,
        depth.inverse if depth else 0.0, manifest.semantic_temperature).eval(), manifest).eval()

    # The state of one frame tells the shapes of the graph's inputs.
    image = torch.from_numpy(np.array(images[0])[None])
    with torch.inference_mode():
        state = module.streaming.step(image)[1]
    inputs: list[Tensor] = [image]
    if state:
        inputs += [torch.tensor(True), *(torch.zeros_like(stage) for stage in state)]
    with torch.inference_mode():
        module(*inputs)
    names = ['image', *(['first'] if state else []), *(f'state_{n}' for n in range(len(state)))]
    content = _to_onnx(module, inputs, names, module.names, dict(network.state_dict()))

    graph = StepGraph(
        manifest, content, module.outputs, tuple(tuple(stage.shape) for stage in state),
        _motion_head(model, manifest), __version__)
    file = sealed(graph)
    agreement = compare(module, unsealed(file, str(path)), images, threads)
    write_atomically(file, path)
    return f'exported {manifest.name} to {path} ({len(file) / 1e6:.1f} MB); {agreement}'


def compare(
    module: StepModule, graph: StepGraph, images: Sequence[NDArray[np.uint8]], threads: int = 1,
) -> str:
    """
    Run torch and a graph over consecutive images, each with its own state.

    :param module: of torch.
    :param graph: of the same network.
    :param images: (h, w, 3) uint8 RGB of the network's size.
    :param threads: CPU threads.
    :return: how well they agree, in words.
    :raises CheckpointError: ``M11`` if they do not agree.
    """
    session = OnnxSession(graph.content, 'cpu', 0, 'fp32', threads)
    known = [torch.zeros(shape) for shape in graph.state]
    stages = [np.zeros(shape, np.float32) for shape in graph.state]
    names = graph.names(list(graph.outputs))
    worst: dict[str, float] = {}
    for index, image in enumerate(images):
        # both as on a robot: the first frame without a state
        batch = np.array(image)[None]
        inputs = [torch.from_numpy(batch)]
        feeds: dict[str, NDArray[Any]] = {'image': batch}
        if graph.state:
            inputs += [torch.tensor(index == 0), *known]
            feeds['first'] = np.array(index == 0)
            feeds |= {f'state_{place}': stage for place, stage in enumerate(stages)}
        with torch.inference_mode():
            answers = module(*inputs)
        wanted = dict(zip(module.names, answers, strict=True))
        found = dict(zip(names, session.run(feeds, names), strict=True))

        for name in names:
            error = _difference(found[name], wanted[name].numpy())
            worst[name] = max(worst.get(name, 0.0), error)
        known = [wanted[f'following_{place}'] for place in range(len(graph.state))]
        stages = [found[f'following_{place}'] for place in range(len(graph.state))]

    for name, error in worst.items():
        whole = wanted[name].dtype in (torch.uint8, torch.bool)
        limit = 1 - EQUAL_IDS if whole else LARGEST_ERROR
        if not error <= limit:
            raise CheckpointError(
                f'the graph answers differently for {name}: {error:.6f}, at most {limit:.6f} is '
                'accepted; nothing was written. Use engine torch for this model',
                ReasonCode.EXPORT_DIFFERS)
    return (f'on {len(images)} images ' + ', '.join(
        f'{name} {error:.1e}' for name, error in worst.items()
        if not name.startswith('following')) + ' from torch')


def _difference(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Return the share of other ids, or the mean difference as a share of the mean size."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float('inf')
    if found.dtype.kind in 'ub':
        return float((found != wanted).mean())
    size = max(float(np.abs(wanted).mean()), 1e-6)
    return float(np.abs(found - wanted).mean()) / size


def _motion_head(model: str | Path, manifest: Manifest) -> bytes | None:
    """Return the motion head of a model as a graph of its own, compared with torch."""
    head = motion_head_of(model, manifest)
    if head is None:
        return None
    size = (manifest.height // 2, manifest.width // 2)  # of motion_features
    channels = len(head.notes['channels'])
    generator = np.random.default_rng(0)
    features = generator.normal(size=(channels, *size)).astype(np.float32)

    batch = torch.from_numpy(features[None])
    content = _to_onnx(_Score(head.network).eval(), [batch], ['features'], ['score'], {})
    found, = OnnxSession(content, 'cpu', 0, 'fp32', 1).run({'features': features[None]}, ['score'])
    error = float(np.abs(found[0] - head.score(features)).max())
    if not error <= 1e-3:
        raise CheckpointError(
            f'the graph of the motion head differs by {error:.6f} from torch, at most 0.001 is '
            'accepted; nothing was written. Use engine torch for this model',
            ReasonCode.EXPORT_DIFFERS)
    return content


def _to_onnx(
    module: nn.Module, inputs: Sequence[Tensor], input_names: list[str], output_names: list[str],
    weights: Mapping[str, Tensor],
) -> bytes:
    """
    Return a module as an ONNX model.

    :param weights: as they are stored; those in float16 stay so, half the size.
    """
    level = logging.getLogger('onnxscript').level
    logging.getLogger('onnxscript').setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')  # of the exporter about its own future
            program = torch.onnx.export(
                module, tuple(inputs), dynamo=True, opset_version=OPSET, input_names=input_names,
                output_names=output_names, verbose=False)
    finally:
        logging.getLogger('onnxscript').setLevel(level)

    assert program is not None
    model = program.model_proto
    _halve(model, {name: value.numpy() for name, value in weights.items()})
    _forget_sources(model)
    buffer = io.BytesIO()
    buffer.write(model.SerializeToString())
    return buffer.getvalue()


def _forget_sources(model: Any) -> None:
    """Remove the lines of code, with paths of this machine, that the exporter notes on nodes."""
    for graph in (model.graph, *model.functions):
        for item in (graph, *graph.node, *graph.value_info):
            del item.metadata_props[:]
            item.doc_string = ''


def _halve(model: Any, weights: Mapping[str, NDArray[Any]]) -> None:
    """
    Store weights in float16 where that loses nothing, and convert them in the graph.

    Engines do so once, while they load. The exporter has multiplied some weights by the factors of
    batch normalisation; for those, the graph multiplies the stored weights by the factors.

    :param model: an ONNX model; changed.
    :param weights: of the network; the graph's names end in theirs.
    """
    from onnx import helper, numpy_helper
    nodes = []
    for item in model.graph.initializer:
        values = numpy_helper.to_array(item)
        if values.dtype != np.float32 or values.size < SMALLEST:
            continue

        factors = None
        stored = _as_half(values)
        if stored is None:
            original = next((weight for name, weight in weights.items()
                             if item.name.endswith(f'.{name}')), None)
            stored, factors = _factored(values, original)
        if stored is None:
            continue

        # the name of the weights becomes that of the result
        name = item.name
        item.CopyFrom(numpy_helper.from_array(stored, f'{name}.half'))
        cast_to = name if factors is None else f'{name}.float'
        nodes.append(helper.make_node('Cast', [f'{name}.half'], [cast_to], to=1))
        if factors is not None:
            model.graph.initializer.append(numpy_helper.from_array(factors, f'{name}.factors'))
            nodes.append(helper.make_node('Mul', [cast_to, f'{name}.factors'], [name]))

    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    kept = [info for info in model.graph.value_info
            if info.name not in {name for node in nodes for name in node.output}]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def _as_half(values: NDArray[np.float32]) -> NDArray[np.float16] | None:
    """Return values in float16, None if that changes one."""
    half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else None


def _factored(
    values: NDArray[np.float32], original: NDArray[Any] | None,
) -> tuple[NDArray[np.float16] | None, NDArray[np.float32] | None]:
    """Return weights in float16 and one factor per output channel that gives the values."""
    if original is None or original.shape != values.shape or values.ndim != 4:
        return None, None
    stored = _as_half(original.astype(np.float32))
    if stored is None:
        return None, None

    # the largest weight of a channel tells its factor best
    flat, given = original.reshape(len(original), -1), values.reshape(len(values), -1)
    rows = np.arange(len(flat))
    places = np.abs(flat).argmax(1)
    largest = np.where(flat[rows, places] == 0, 1, flat[rows, places])
    factors = (given[rows, places] / largest).astype(np.float32).reshape(-1, 1, 1, 1)
    if not np.allclose(stored.astype(np.float32) * factors, values, rtol=1e-5, atol=1e-9):
        return None, None
    return stored, factors


def _check_libraries() -> None:
    """Refuse to start without the libraries that write ONNX files."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f'the export needs the Python module {error.name!r}; pip install '
            "'mtl_perception[onnx-export]' brings it") from error
