# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The ``.onnx`` file of a model: the network's step as a graph, its manifest, and a seal.

The file is an ONNX model as any library reads it. Three entries of ``metadata_props`` stand at
its end: ``mtl_perception`` (JSON: the manifest and the names in the graph), ``motion_head`` (a
second ONNX model in base64, only if the model has such a head) and, last of all, ``sha256``, the
digest of every byte before it. Nothing of a file is parsed before its seal has been checked.

Inputs of the graph: ``image`` (1, h, w, 3) uint8 RGB, and for a network of several frames
``first`` () bool and one ``state_N`` per stage; where ``first`` is true the state is not read, and
the frame stands for its previous ones as well. The network asks nothing about the camera: its
focal length and height scale the depth afterwards, the height by the power ``height_exponent``
(1, h, w) where the network tells one. Outputs: those of
:class:`mtl_perception.frames.Outputs` with a leading 1, among them ``semantic_confidence`` at the
manifest's temperature, for boxes ``box_corners`` (1, B, 4) pixels and ``box_scores`` (1, B,
classes) of every anchor, and one ``following_N`` per stage.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_perception.errors import CheckpointError
from mtl_perception.inference.manifest_checks import check_manifest
from mtl_perception.inference.onnx_wire import field, fields, text_of
from mtl_perception.manifest import Manifest, find_model, read_model
from mtl_perception.reason_codes import ReasonCode

SUFFIX = '.onnx'
FORMAT = 1
"""Of inputs, outputs and entries; a file of another format is refused."""
OPSET = 18
"""Version of the ONNX operators that is written and read."""
LARGEST_BYTES = 2 ** 30
"""Larger files are refused before they are read."""

METADATA = 14
OPSET_IMPORT = 8
"""Numbers of these fields in the ONNX message ``ModelProto``."""

DESCRIPTION = ('metrics', 'precisions', 'training', 'command', 'licence')
"""Fields of a manifest that do not change what a graph answers."""
SEMANTIC_CONFIDENCE = 'semantic_confidence'
"""Beside the tasks, what a graph computes only if it is asked for by that name."""


@dataclass(frozen=True, eq=False)
class StepGraph:
    """
    A network's step as a graph.

    :param manifest: of the model; its ``sha256`` is that of the weights that were exported.
    :param content: the ONNX model of the step.
    :param outputs: task, or :data:`SEMANTIC_CONFIDENCE` -> names of its outputs.
    :param state: shape of each stage of the state; empty for a network of one frame.
    :param motion_head: ONNX model of the motion head: ``features`` (1, C, h, w) float32 in,
        ``score`` (1, h, w) float32 out; None if the model has no such head.
    :param version: of mtl_perception that wrote it.
    """

    manifest: Manifest
    content: bytes
    outputs: dict[str, tuple[str, ...]]
    state: tuple[tuple[int, ...], ...]
    motion_head: bytes | None = None
    version: str = ''

    def names(self, tasks: list[str]) -> list[str]:
        """Return the names of the outputs of tasks, and of the state."""
        found = [name for task in tasks for name in self.outputs[task]]
        return found + [f'following_{index}' for index in range(len(self.state))]


def sealed(graph: StepGraph) -> bytes:
    """Return the content of the file of a graph."""
    description = {
        'format': FORMAT, 'version': graph.version,
        'manifest': json.loads(graph.manifest.to_json()),
        'outputs': graph.outputs, 'state': graph.state}
    content = graph.content + _entry('mtl_perception', json.dumps(description).encode())
    if graph.motion_head is not None:
        content += _entry('motion_head', base64.b64encode(graph.motion_head))
    return content + _seal(content)


def read_graph(path: Path) -> StepGraph:
    """
    Read the graph of a file and verify it.

    :param path: a file that ``mtl export`` has written.
    :raises CheckpointError: if it is missing, foreign, cut, changed, of another version, or
        belongs to other weights than the manifest beside it.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise CheckpointError(
                f'{path}: {size} bytes, wanted at most {LARGEST_BYTES}', ReasonCode.MODEL_TOO_BIG)
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f'{path}: cannot be read ({error})', ReasonCode.MODEL_UNREADABLE) from error

    graph = unsealed(content, str(path))
    _check_beside(path, graph.manifest)
    return graph


def unsealed(content: bytes, source: str) -> StepGraph:
    """
    Return the graph in the content of a file.

    :param content: of :func:`sealed`.
    :param source: name of the file, for messages.
    :raises CheckpointError: if it is foreign, cut, changed or of another version.
    """
    length = len(_seal(b''))
    body, seal = content[:-length], content[-length:]
    if seal[:-64] != _seal(b'')[:-64]:
        raise CheckpointError(
            f'{source}: {len(content)} bytes without a seal at their end; it is cut short, '
            'something was appended, or mtl export did not write it. Export it again: mtl export '
            'MODEL --format onnx',
            ReasonCode.MODEL_FOREIGN)

    if seal != _seal(body):
        raise CheckpointError(
            f'{source}: sha256 is {hashlib.sha256(body).hexdigest()}, the file itself wants '
            f'{seal[-64:].decode(errors="replace")}; refusing to load. Copy the file again or '
            'export it again', ReasonCode.MODEL_CHANGED)

    # What is left was written by somebody who sealed it, perhaps another version.
    try:
        entries, opsets = _read_model_proto(body)
        described = json.loads(entries['mtl_perception'])
    except (ValueError, KeyError, IndexError, RecursionError) as error:
        raise CheckpointError(
            f'{source}: not a model of mtl export ({type(error).__name__}: {error}); export it '
            'again', ReasonCode.MODEL_FOREIGN) from error
    _check_version(described, opsets, source)
    return _graph(described, entries, body, source)


def find_graph(model: str | Path) -> Path:
    """
    Return the ``.onnx`` file of a model.

    :param model: shipped name, or path of a ``.safetensors`` or ``.onnx`` file.
    :raises CheckpointError: if there is none, with the command that makes it.
    """
    path = find_model(model)
    beside = path.with_suffix(SUFFIX)
    if not beside.is_file():
        raise CheckpointError(
            f'{beside} does not exist; mtl export {model} --format onnx makes it',
            ReasonCode.MODEL_UNREADABLE)
    return beside


def read_manifest(model: str | Path) -> Manifest:
    """
    Return the manifest of a model, which is verified.

    :param model: shipped name, or path of a ``.safetensors`` or ``.onnx`` file.
    :raises CheckpointError: if the model cannot be trusted.
    """
    path = find_model(model)
    return read_graph(path).manifest if path.suffix == SUFFIX else read_model(path)[0]


def _graph(
    described: dict[str, Any], entries: dict[str, bytes], body: bytes, source: str,
) -> StepGraph:
    """Return the graph of a file whose seal and version are right."""
    manifest = Manifest.from_json(json.dumps(described['manifest']), source)
    check_manifest(manifest)
    try:
        outputs = {task: tuple(names) for task, names in described['outputs'].items()}
        state = tuple(tuple(int(size) for size in shape) for shape in described['state'])
        head = entries.get('motion_head')
        motion_head = None if head is None else base64.b64decode(head, validate=True)
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
        raise CheckpointError(
            f'{source}: its description is not valid ({type(error).__name__}: {error}); export it '
            'again', ReasonCode.MANIFEST_INVALID) from error

    # the names of the graph are those of the manifest
    if [name for name in outputs if name != SEMANTIC_CONFIDENCE] != list(
            manifest.network.channels):
        raise CheckpointError(
            f'{source}: the graph has the tasks {list(outputs)}, its manifest '
            f'{list(manifest.network.channels)}; export it again', ReasonCode.MANIFEST_INVALID)
    if bool(motion_head) != bool(manifest.motion_head):
        raise CheckpointError(
            f'{source}: manifest and file do not agree whether there is a motion head; export it '
            'again', ReasonCode.MANIFEST_INVALID)
    return StepGraph(
        manifest, body, outputs, state, motion_head, str(described.get('version')))


def _check_version(described: Any, opsets: dict[str, int], source: str) -> None:
    """Refuse another format and other operators than this version writes."""
    found = described.get('format') if isinstance(described, dict) else None
    if found != FORMAT:
        by = described.get('version') if isinstance(described, dict) else None
        raise CheckpointError(
            f'{source}: format {found!r} of mtl_perception {by}, this version reads format '
            f'{FORMAT}; export it again with this version', ReasonCode.MODEL_ARCHITECTURE)
    if opsets != {'': OPSET}:
        raise CheckpointError(
            f'{source}: ONNX operators {opsets}, wanted version {OPSET} of the standard ones '
            'alone; export it again with this version', ReasonCode.MODEL_ARCHITECTURE)


def _check_beside(path: Path, manifest: Manifest) -> None:
    """Refuse a graph of other weights than those beside it: they were trained again since."""
    beside = path.with_suffix('.json')
    if not beside.is_file():
        return
    try:
        other = Manifest.from_json(beside.read_text(encoding='utf-8'), str(beside))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f'{beside}: cannot be read ({error})', ReasonCode.MODEL_UNREADABLE) from error

    left, right = dataclasses.asdict(manifest), dataclasses.asdict(other)
    differing = sorted(
        name for name in left if name not in DESCRIPTION and left[name] != right[name])
    if differing:
        raise CheckpointError(
            f'{path}: it was made from another model than {beside} describes, they differ in '
            f'{", ".join(differing)}; make it again: mtl export '
            f'{path.with_suffix(".safetensors")} --format onnx', ReasonCode.MANIFEST_INVALID)


def _seal(body: bytes) -> bytes:
    """Return the last entry of a file, which ends with the digest of all before it."""
    return _entry('sha256', hashlib.sha256(body).hexdigest().encode())


def _entry(key: str, value: bytes) -> bytes:
    """Return an entry of ``metadata_props`` as protocol buffers write it."""
    content = field(1, key.encode()) + field(2, value)
    return field(METADATA, content)


def _read_model_proto(content: bytes) -> tuple[dict[str, bytes], dict[str, int]]:
    """Return the entries of ``metadata_props``, and the version of each set of operators."""
    entries: dict[str, bytes] = {}
    opsets: dict[str, int] = {}
    for number, value in fields(content):
        if not isinstance(value, bytes):
            continue
        if number == METADATA:
            pair = dict(fields(value))
            entries[text_of(pair[1]).decode()] = text_of(pair.get(2, b''))
        elif number == OPSET_IMPORT:
            pair = dict(fields(value))
            version = pair.get(2, 0)
            opsets[text_of(pair.get(1, b'')).decode()] = version if isinstance(version, int) else 0
    return entries, opsets
