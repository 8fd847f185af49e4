# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of a recipe, with which an editor completes, explains and checks it."""

import re
from dataclasses import fields
from typing import Any

import docstring_parser
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from mtl_perception.training.config import TrainingConfig


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the recipes of ``mtl train``."""
    return {
        '$schema': GenerateJsonSchema.schema_dialect,
        **TypeAdapter(TrainingConfig).json_schema(schema_generator=_FromDocstrings),
        'title': 'recipe of mtl train'}


class _FromDocstrings(GenerateJsonSchema):
    """Describes each setting by its ``:param:`` in the docstring of its class."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        entry = _described(super().dataclass_schema(schema), schema['cls'])
        for item in fields(schema['cls']):
            # pydantic leaves out defaults that are made anew each time: lists and tables
            if item.default_factory in (list, dict):
                entry['properties'][item.name]['default'] = item.default_factory()
        return entry

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return _described(super().typed_dict_schema(schema), schema['cls'])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # it would repeat the name


def _described(entry: JsonSchemaValue, kind: type) -> JsonSchemaValue:
    """Return the schema of a table with descriptions of its keys."""
    parsed = docstring_parser.parse(kind.__doc__ or '')
    entry['description'] = _plain(parsed.short_description or '')
    for item in parsed.params:
        if item.arg_name in entry['properties']:
            entry['properties'][item.arg_name]['description'] = _plain(item.description or '')
    return entry


def _plain(text: str) -> str:
    """Return reStructuredText without roles and marks, on one line."""
    text = re.sub(r':\w+:`~?(?:[\w.]*\.)?(\w+)`', r'\1', text)
    return ' '.join(text.replace('``', '').split())
