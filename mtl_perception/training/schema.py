# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of a recipe, with which an editor completes, explains and checks it."""

import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import docstring_parser

from mtl_perception.datasets.augmentation import PRESETS
from mtl_perception.datasets.build import DATASETS
from mtl_perception.losses.depth_units import UNITS
from mtl_perception.models.build import BOX_DECODERS, DECODERS, ENCODERS
from mtl_perception.models.siamese import AGGREGATIONS
from mtl_perception.tasks import STREET_ALL_TASKS
from mtl_perception.training.config import BAD_SAMPLES, PRECISIONS, TrainingConfig
from mtl_perception.training.losses import CROSS_TASK, DEPTH_LOSSES
from mtl_perception.training.schedule import OPTIMISERS, SCHEDULES
from mtl_perception.weighting import WEIGHTINGS

Schema = dict[str, Any]

_TASKS = tuple(task.name for task in STREET_ALL_TASKS)

WORDS: dict[str, Iterable[str]] = {
    'tasks': _TASKS,
    'weighting': WEIGHTINGS,
    'precision': PRECISIONS,
    'network.encoder': ENCODERS,
    'network.decoders': (*DECODERS, *BOX_DECODERS),
    'network.aggregation': AGGREGATIONS,
    'data.on_bad_sample': BAD_SAMPLES,
    'augmentation.preset': ('', *PRESETS),
    'loss.depth': DEPTH_LOSSES,
    'loss.depth_unit': UNITS,
    'loss.detached': _TASKS,
    'loss.cross_task.kind': CROSS_TASK,
    'loss.cross_task.target': ('hard', 'soft'),
    'optimiser.kind': OPTIMISERS,
    'optimiser.schedule': SCHEDULES,
}
"""Path of a setting -> the only words that it, or what is in its list or table, can be."""

_SIMPLE = {bool: 'boolean', int: 'integer', float: 'number', str: 'string', Path: 'string'}


def recipe_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of the recipes of ``mtl train``."""
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'recipe of mtl train', **_table(TrainingConfig),
        '$defs': {'data_set': _data_set()}}


def _table(kind: type, prefix: str = '') -> Schema:
    """Return the schema of a dataclass whose settings have a prefix in their path."""
    words, hints = _words(kind), typing.get_type_hints(kind)
    properties, required = dict[str, Schema](), list[str]()
    for item in fields(typing.cast(Any, kind)):
        path = f'{prefix}{item.name}'
        entry = _described(path) or _entry(hints[item.name], path)
        if item.name in words:
            entry['description'] = words[item.name]
        if item.default is not MISSING:
            entry['default'] = item.default
        elif item.default_factory is not MISSING:
            value = item.default_factory()
            if not is_dataclass(value):
                entry['default'] = value
        else:
            required.append(item.name)
        properties[item.name] = entry
    return {'type': 'object', 'properties': properties, 'required': required,
            'additionalProperties': False}


def _described(path: str) -> Schema | None:
    """Return the schema of settings that are more than their type says, None for others."""
    if path == 'weighting_options':
        return {'type': 'object', 'additionalProperties': False, 'properties': {
            name: _arguments(kind, ('tasks',)) for name, kind in WEIGHTINGS.items()}}
    if path in ('data.train', 'data.validation'):
        one = {'$ref': '#/$defs/data_set'}
        return {'anyOf': [
            {'type': 'object', 'maxProperties': 0}, one,
            {'type': 'object', 'additionalProperties': False, 'required': ['mix'], 'properties': {
                'mix': {'type': 'object', 'minProperties': 1, 'additionalProperties': one}}}]}
    return None


def _data_set() -> Schema:
    """Return the schema of a data set: its name says which settings it has."""
    common: dict[str, Schema] = {
        'tasks': {'type': 'array', 'items': {'enum': list(_TASKS)},
                  'description': 'the only tasks to read, if not all'},
        'share': {'type': 'number', 'exclusiveMinimum': 0,
                  'description': 'in a mixture: how often it is drawn from, 1 if not given'}}
    ways = []
    for name, kind in DATASETS.items():
        entry = _arguments(kind, ())
        entry['properties'] |= {'dataset': {'const': name}, **common}
        ways.append({
            'if': {'properties': {'dataset': {'const': name}}, 'required': ['dataset']},
            'then': entry})
    return {'type': 'object', 'required': ['dataset'], 'properties': {
        'dataset': {'enum': list(DATASETS), 'description': 'name of the data set'}}, 'allOf': ways}


def _arguments(kind: type, without: Sequence[str]) -> Schema:
    """Return the schema of the arguments of a class, as a table."""
    words, properties = _words(kind), dict[str, Schema]()
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in without:
            properties[name] = _entry(parameter.annotation, '')
            if name in words:
                properties[name]['description'] = words[name]
    return {'type': 'object', 'properties': properties, 'additionalProperties': False}


def _entry(hint: Any, path: str) -> Schema:
    """Return the schema of a type; ``path`` tells which words it is limited to."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return _table(typing.cast(type, hint), f'{path}.')
    if hint is str and path in WORDS:
        return {'enum': list(WORDS[path])}
    if hint in _SIMPLE:
        return {'type': _SIMPLE[hint]}
    if origin is typing.Literal:
        return {'enum': list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {'anyOf': [_entry(one, path) for one in arguments]}
    if hint is types.NoneType:
        return {'type': 'null'}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {'type': 'object', 'additionalProperties': _entry(arguments[1], path)}
    if origin is tuple and arguments[-1] is not Ellipsis:
        return {'type': 'array', 'items': _entry(arguments[0], path),
                'minItems': len(arguments), 'maxItems': len(arguments)}
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return {'type': 'array', 'items': _entry(arguments[0], path)}
    return {}  # anything


def _words(kind: type) -> dict[str, str]:
    """Return name of a parameter -> its description in the docstring, as plain text."""
    parsed = docstring_parser.parse(kind.__doc__ or '')
    return {item.arg_name: _plain(item.description) for item in parsed.params
            if item.description}


def _plain(text: str) -> str:
    """Return reStructuredText without roles and marks, on one line."""
    text = re.sub(r':\w+:`~?(?:[\w.]*\.)?(\w+)`', r'\1', text)
    return ' '.join(text.replace('``', '').split())
