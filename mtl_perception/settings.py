# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Settings from YAML, checked against the types and ranges that stand at their declaration.

Each field of a class of settings carries its range, in the notation of pydantic::

    @checked_dataclass
    class Stage:
        steps: PositiveInt
        lr: PositiveFloat = 2e-3

:func:`checked` makes an instance of what a YAML file says, or lists every mistake in it. The JSON
Schema of recipes comes from the same fields, see :mod:`mtl_perception.training.schema`.

Training and data sets need pydantic for this; what the node imports must not import it.
"""

import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import (
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails
from typing_extensions import NotRequired, TypedDict, dataclass_transform, get_type_hints

from mtl_perception.errors import ConfigurationError
from mtl_perception.name_checks import did_you_mean

Kind = TypeVar('Kind')

FROM_LIST = Strict(False)
"""Marks a tuple, which YAML writes as a list; its elements are as strict as everything else."""

_STRICT = ConfigDict(extra='forbid', strict=True)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def checked_dataclass(cls: type[Kind]) -> type[Kind]:
    """
    Make a class a frozen dataclass that refuses unknown keys and values of another type or range.

    :raises ConfigurationError: where an instance is made, as :func:`checked`.
    """

    def core_schema(cls: Any, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        # Strict about the fields, but a table of YAML may stand for an instance.
        inner: Any = handler.resolve_ref_schema(schema)
        inner['strict'] = False
        return schema

    kind: Any = cls
    kind.__get_pydantic_core_schema__ = classmethod(core_schema)
    kind = pydantic_dataclass(kind, frozen=True, config=_STRICT)
    build = kind.__init__

    @wraps(build)
    def init(self: Any, *args: Any, **arguments: Any) -> None:
        try:
            build(self, *args, **arguments)
        except ValidationError as error:
            raise _refused(kind, error, kind.__name__) from error

    # The errors of pydantic become ours, also where an instance is made in Python.
    kind.__init__ = init
    return typing.cast('type[Kind]', kind)


@dataclass(frozen=True)
class CheckedAs:
    """
    Metadata of a field whose values are only known when the program runs.

    :param kind: the type that pydantic checks, in place of the one that mypy sees.
    """

    kind: Any

    def __get_pydantic_core_schema__(
            self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(self.kind)


@dataclass(frozen=True)
class DescribedAs:
    """
    Metadata of a field whose JSON Schema says more than is checked when a recipe is read.

    :param kind: the type that the schema describes.
    """

    kind: Any

    def __get_pydantic_json_schema__(
            self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(self.kind).core_schema)


def one_of(names: Iterable[str]) -> CheckedAs:
    """Return the metadata of a text that must be one of these names."""
    return CheckedAs(Literal[tuple(names)])


def table(name: str, hints: Mapping[str, Any], about: str | None = None) -> Any:
    """
    Return the type of a table, for pydantic.

    :param hints: key -> type of its value; ``NotRequired`` for keys that may be missing.
    :param about: a docstring with the meaning of the keys as ``:param:``.
    """
    make: Any = TypedDict  # mypy cannot know the keys
    kind = make(name, dict(hints))
    kind.__pydantic_config__ = _STRICT
    kind.__doc__ = about
    return kind


def arguments_of(function: type, instead: Mapping[str, Any] | None = None) -> Any:
    """
    Return the type of a table that holds the arguments of a constructor.

    :param function: a class whose constructor is annotated.
    :param instead: argument -> its type in YAML, or None for an argument that YAML does not give.
    """
    hints = dict[str, Any]()
    for name, parameter in inspect.signature(function).parameters.items():
        hint = (instead or {}).get(name, parameter.annotation)
        if hint is not None:
            needed = parameter.default is parameter.empty
            hints[name] = hint if needed else NotRequired[hint]
    return table(function.__name__, hints, function.__doc__)


def checked(kind: type[Kind], content: object, where: str) -> Kind:
    """
    Return what YAML says as an instance of a type.

    :param kind: a :func:`checked_dataclass`, or a table of :func:`arguments_of`.
    :param content: from YAML or JSON.
    :param where: file or setting that the content comes from, for messages.
    :raises ConfigurationError: with every unknown key (and the nearest one that exists), missing
        key and wrong value.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise _refused(kind, error, where) from error


def type_at(kind: Any, path: Sequence[str | int]) -> Any:
    """
    Return the type of the setting at a path, Any where nothing is declared.

    :param kind: the type of the whole.
    :param path: names of tables and settings, and places in lists.
    """
    for key in path:
        inner = get_args(kind)
        if get_origin(kind):  # list[X], or dict[str, X] with free keys
            kind = inner[min(int(key), len(inner) - 1)] if isinstance(key, int) else inner[-1]
        else:
            hints = get_type_hints(kind, include_extras=True) if isinstance(kind, type) else {}
            kind = hints.get(str(key), Any)
        kind = _unwrapped(kind)
    return kind


def read_yaml(path: Path) -> dict[str, Any]:
    """
    Return the keys and values of a YAML file.

    :raises ConfigurationError: if it cannot be read, or holds anything else.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except FileNotFoundError as error:
        raise ConfigurationError(f'{path}: does not exist; wanted a YAML file') from error
    except IsADirectoryError as error:
        raise ConfigurationError(f'{path}: is a folder; wanted a YAML file') from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f'{path}: not a readable YAML file ({error})') from error
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise ConfigurationError(f'{path}: expected keys and values, found {content!r}')
    return content


def parse_yaml(text: str, where: str) -> Any:
    """
    Return the content of a text in YAML.

    :param where: file or setting that the text comes from, for messages.
    :raises ConfigurationError: if it is not YAML.
    """
    try:
        return _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ConfigurationError(f'{where}: not readable as YAML ({error})') from error


def write_yaml(content: Any, one_line: bool = False) -> str:
    """Return content of plain types as text in YAML that :func:`parse_yaml` reads back."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=one_line)


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as a number, as YAML 1.2 and JSON do; PyYAML alone takes it for a text."""


class _Dumper(yaml.SafeDumper):
    """Puts quotes around texts that :class:`_Loader` would read as numbers; has no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that occurs twice twice."""
        return True


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        'tag:yaml.org,2002:float', re.compile(r'[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$'),
        list('-+.0123456789'))


def _unwrapped(kind: Any) -> Any:
    """Return a type without its metadata; of a union the first, as in ``X | None``."""
    while get_origin(kind) in (Annotated, NotRequired, typing.Union, types.UnionType):
        others = [item.kind for item in getattr(kind, '__metadata__', ())
                  if isinstance(item, CheckedAs)]
        kind = others[0] if others else get_args(kind)[0]
    return kind


def _refused(kind: Any, error: ValidationError, where: str) -> ConfigurationError:
    """Return the error that lists every mistake that pydantic found."""
    mistakes = [_in_words(kind, item) for item in error.errors(include_url=False)]
    return ConfigurationError(f'{where}: ' + '; '.join(mistakes))


def _in_words(kind: Any, error: ErrorDetails) -> str:
    """Return a mistake that pydantic found, as a part of our message."""
    path = error['loc']
    name = ''.join(f'[{key}]' if isinstance(key, int) else f'.{key}' for key in path).lstrip('.')

    if error['type'] in ('unexpected_keyword_argument', 'extra_forbidden'):
        hints = get_type_hints(type_at(kind, path[:-1]))
        known = [key for key in hints if not key.startswith('_')]
        return f'{name} does not exist' + did_you_mean(path[-1], known)

    if error['type'] == 'missing':
        return f'{name} is missing'

    if error['type'] == 'literal_error':
        known = list(get_args(type_at(kind, path)))
        return f'{name} is {error["input"]!r}' + did_you_mean(error['input'], known)

    wanted = error['msg'].replace('Input should be', 'it must be')
    if error['type'].startswith('dataclass') or error['type'] == 'dict_type':
        wanted = 'it must be a table of keys and values'
    elif error['type'] == 'sequence_str':
        wanted = f'it must be a list such as [{error["input"]!r}]'
    return f'{name or "this"} is {error["input"]!r}; {wanted}'
