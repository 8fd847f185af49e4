# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The part of an ONNX model that some of its outputs need."""

from collections.abc import Collection

from mtl_perception.inference.onnx_wire import field, fields, number_field, text_of

GRAPH = 7
"""Field of the ONNX message ``ModelProto``."""
NODE, INITIALISER, OUTPUT, VALUE = 1, 5, 12, 13
"""Fields of ``GraphProto``: operators, constants, outputs, and shapes of what lies between."""
INNER_GRAPHS = (6, 11)
"""Fields of ``AttributeProto``: branches of a condition and bodies of a loop."""


def subgraph(content: bytes, names: Collection[str]) -> bytes:
    """
    Return the model without what the wanted outputs do not need.

    ONNX Runtime computes every node of a graph, whichever outputs it is asked for: its option
    ``only_execute_path_to_fetches`` leaves out only what happens to stand behind all others. A
    head that shall cost nothing must not be in the graph. All inputs stay.

    :param content: an ONNX model.
    :param names: of the outputs to keep.
    :raises ValueError: if it is no ONNX model or lacks one of the outputs.
    """
    parts = list(fields(content))
    graph = list(fields(text_of(dict(parts)[GRAPH])))
    there = {_name(text_of(value), 1) for number, value in graph if number == OUTPUT}
    if missing := sorted(set(names) - there):
        raise ValueError(f'no outputs {missing}; the graph has {sorted(there)}')

    # Nodes stand behind those that they read from: one pass from the last to the first is enough.
    wanted, kept = set(names), set[int]()
    for place in range(len(graph) - 1, -1, -1):
        number, value = graph[place]
        if number == NODE and not wanted.isdisjoint(_texts(text_of(value), 2)):
            kept.add(place)
            wanted |= _read_by(text_of(value))

    short = b''.join(
        _written(number, value) for place, (number, value) in enumerate(graph)
        if _stays(number, value, place in kept, wanted, names))
    return b''.join(
        field(GRAPH, short) if number == GRAPH else _written(number, value)
        for number, value in parts)


def _stays(
    number: int, value: int | bytes, kept: bool, wanted: Collection[str],
    names: Collection[str],
) -> bool:
    """Return whether a field of a graph belongs to the part."""
    if number == NODE:
        return kept
    if number == INITIALISER:
        return _name(text_of(value), 8) in wanted
    if number == OUTPUT:
        return _name(text_of(value), 1) in names
    return number != VALUE  # found again by whoever loads the model


def _read_by(node: bytes) -> set[str]:
    """Return the names that a node reads, and the nodes of the graphs inside it."""
    found = set(_texts(node, 1))
    for number, attribute in fields(node):
        for kind, inner in fields(text_of(attribute)) if number == 5 else ():
            if kind in INNER_GRAPHS:
                for part, value in fields(text_of(inner)):
                    if part == NODE:
                        found |= _read_by(text_of(value))
                    elif part == OUTPUT:  # a branch may hand on what it did not compute
                        found.add(_name(text_of(value), 1))
    return found


def _texts(message: bytes, number: int) -> list[str]:
    """Return the texts of a repeated field."""
    return [text_of(value).decode() for key, value in fields(message) if key == number]


def _name(message: bytes, number: int) -> str:
    """Return the text of a field, empty without one."""
    return next(iter(_texts(message, number)), '')


def _written(number: int, value: int | bytes) -> bytes:
    """Return a field as it was read; none of these messages has numbers of fixed length."""
    return number_field(number, value) if isinstance(value, int) else field(number, value)
