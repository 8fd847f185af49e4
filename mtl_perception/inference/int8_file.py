# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The ``.int8`` file of a model: its step for OpenVINO, with weights of 8 bits, and a seal.

The file is one line of JSON, the two parts of OpenVINO's own format one after the other (XML and
weights), and the 32 bytes of a sha256 over all before it. The line tells their lengths and the
graph that they were made from.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from mtl_perception.errors import CheckpointError
from mtl_perception.inference.step_graph import LARGEST_BYTES, StepGraph, find_graph
from mtl_perception.reason_codes import ReasonCode

SUFFIX = '.int8'
FORMAT = 1
DIGEST = 32
"""Bytes of a sha256."""


@dataclass(frozen=True, eq=False)
class Int8Graph:
    """
    A step with weights of 8 bits.

    :param graph: sha256 of the graph that it was made from.
    :param xml: of OpenVINO.
    :param weights: of OpenVINO.
    """

    graph: str
    xml: bytes
    weights: bytes

    def sealed(self) -> bytes:
        """Return the content of the file."""
        line = json.dumps({
            'mtl_perception': 'int8', 'format': FORMAT, 'graph': self.graph,
            'xml': len(self.xml), 'weights': len(self.weights)})
        body = line.encode() + b'\n' + self.xml + self.weights
        return body + hashlib.sha256(body).digest()


def digest_of(graph: StepGraph) -> str:
    """Return the sha256 of a graph, hexadecimal."""
    return hashlib.sha256(graph.content).hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal; empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ''


def int8_path(model: str | Path) -> Path:
    """Return where the file of a model lies, whether it exists or not."""
    return find_graph(model).with_suffix(SUFFIX)


def read_int8(path: Path, graph: StepGraph) -> Int8Graph:
    """
    Read the file of a model and verify it.

    :param path: see :func:`int8_path`.
    :param graph: of the model, verified.
    :raises CheckpointError: if it is missing, foreign, cut, changed or of another graph.
    """
    again = f'make it again: mtl calibrate {path.with_suffix(".onnx")} --precision int8'
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise CheckpointError(
                f'{path}: more than {LARGEST_BYTES} bytes; {again}', ReasonCode.MODEL_TOO_BIG)
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f'{path}: cannot be read ({error}); {again}', ReasonCode.MODEL_UNREADABLE) from error

    # Nothing is parsed before the seal was checked.
    body, seal = content[:-DIGEST], content[-DIGEST:]
    if seal != hashlib.sha256(body).digest():
        raise CheckpointError(
            f'{path}: its sha256 is not the one at its end; it is cut short or changed, or mtl '
            f'calibrate did not write it; {again}', ReasonCode.MODEL_CHANGED)

    try:
        line, _, rest = body.partition(b'\n')
        told = json.loads(line)
        found = Int8Graph(told['graph'], rest[:told['xml']], rest[told['xml']:])
        known = (told['mtl_perception'], told['format'], len(found.weights))
        if known != ('int8', FORMAT, told['weights']):
            raise ValueError(f'format {told["format"]}, wanted {FORMAT}')
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f'{path}: not written by this version of mtl calibrate ({error}); {again}',
            ReasonCode.MODEL_FOREIGN) from error

    if found.graph != digest_of(graph):
        raise CheckpointError(
            f'{path}: it was made from another graph than {path.with_suffix(".onnx")}; {again}',
            ReasonCode.MANIFEST_INVALID)
    return found
