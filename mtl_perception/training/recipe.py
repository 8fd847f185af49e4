# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a YAML recipe and overrides of the command line to the dataclass of its settings."""

import argparse
import copy
import difflib
import io
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser

from mtl_perception.errors import ConfigurationError

Recipe = TypeVar('Recipe')


def late_options(
        arguments: argparse.Namespace,
        add_options: Callable[[argparse.ArgumentParser], None]) -> list[str]:
    """
    Take the options of a command from among the settings that follow its recipe.

    :param arguments: with ``overrides``, all that follows; gets the options that are there.
    :param add_options: declares the options of the command.
    :return: the settings that are left.
    """
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_options(options)
    late, overrides = options.parse_known_args(arguments.overrides)
    for name, value in vars(late).items():
        if value != options.get_default(name):
            setattr(arguments, name, value)
    return overrides


def load_recipe(path: str | Path, overrides: Sequence[str], kind: type[Recipe]) -> Recipe:
    """
    Read a recipe.

    :param path: YAML file.
    :param overrides: words such as ``['--optimiser.lr', '0.5']`` or ``['--seed=3']``; a key inside
        a table, such as ``--weighting_options.dwa.temperature 1``, changes that entry alone.
    :param kind: the dataclass of its settings.
    :raises ConfigurationError: if the file cannot be read, a key does not exist (the message
        names the nearest one) or a value has the wrong type.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f'{path}: not a readable YAML file ({error})') from error
    if not isinstance(content, dict):
        raise ConfigurationError(f'{path}: expected keys and values, found {content!r}')
    return build_recipe(content, kind, str(path), overrides)


def build_recipe(
        content: dict[str, Any], kind: type[Recipe], path: str,
        overrides: Sequence[str] = ()) -> Recipe:
    """
    Make a recipe of its content.

    :param content: keys and values, as read from YAML.
    :param kind: the dataclass of its settings.
    :param path: where it comes from, for messages.
    :param overrides: see :func:`load_recipe`.
    :raises ConfigurationError: as :func:`load_recipe`.
    """
    check_keys(kind, content, path)
    for word in overrides:
        if word.startswith('--'):
            nested: Any = None
            for key in reversed(word[2:].split('=')[0].split('.')):
                nested = {key: nested}
            check_keys(kind, nested, word)
    content, words = _into_tables(kind, content, overrides)
    content, words = _with_presets(kind, content, words)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, 'config')
    words = [f'--config.{word[2:]}' if word.startswith('--') else word for word in words]
    try:
        with redirect_stderr(io.StringIO()):
            parsed = parser.parse_object({'config': content})
            # What the recipe says becomes the default that the command line overrides.
            parser.set_defaults({f'config.{key}': value for key, value in
                                 parsed.config.items()})
            parsed = parser.parse_args(words)
        instantiate = getattr(parser, 'instantiate', None) or parser.instantiate_classes
        return typing.cast(Recipe, instantiate(parsed).config)
    except ConfigurationError:
        raise
    except Exception as error:  # jsonargparse raises many kinds
        raise ConfigurationError(f'{path} {" ".join(overrides)}: {error}') from error


def _into_tables(
        kind: type, content: dict[str, Any],
        overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """
    Put overrides of entries of tables, whose keys are free, into the content of a recipe.

    :return: the content, and the overrides that are left.
    :raises ConfigurationError: if such an override has no value.
    """
    content, left = copy.deepcopy(content), list[str]()
    words = iter(overrides)
    for word in words:
        name, equals, value = word.partition('=')
        path = name[2:].split('.') if word.startswith('--') else []
        depth, inner = 0, kind
        while depth < len(path) and is_dataclass(inner):
            inner = typing.get_type_hints(inner)[path[depth]]
            depth += 1
        if depth == len(path):  # a setting, or a value
            left.append(word)
            continue
        if not equals and (value := next(words, '')) == '':
            raise ConfigurationError(f'{word}: a value is missing')
        table = content
        for key in path[:-1]:
            if not isinstance(table.setdefault(key, {}), dict):
                raise ConfigurationError(
                    f'{word}: {key} is {table[key]!r} in the recipe and no table')
            table = table[key]
        table[path[-1]] = yaml.safe_load(value)
    return content, left


def _with_presets(
        kind: type, content: dict[str, Any],
        overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """
    Put the settings of presets below those of a recipe, of parts that name a ``preset``.

    A preset that an override names takes the place of all that the recipe says of that part.

    :return: the content, and the overrides that are left.
    :raises ConfigurationError: if there is no such preset.
    """
    content, left = dict(content), list[str]()
    words = iter(overrides)
    parts = {
        name: hint.presets for name, hint in typing.get_type_hints(kind).items()
        if hasattr(hint, 'presets')}
    for word in words:
        key, equals, value = word.partition('=')
        part = key[2:].removesuffix('.preset')
        if key.endswith('.preset') and part in parts:
            content[part] = {'preset': value if equals else next(words, '')}
        else:
            left.append(word)
    for part, presets in parts.items():
        settings = content.get(part)
        if not isinstance(settings, dict) or not (name := settings.get('preset')):
            continue
        if name not in presets:
            raise ConfigurationError(
                f'{part}.preset is {name!r}; there are {list(presets)}')
        content[part] = {**presets[name], **settings}
    return content, left


def check_keys(kind: type, content: Mapping[str, Any], where: str) -> None:
    """
    Refuse keys that a dataclass does not have, at any depth.

    :raises ConfigurationError: naming the nearest key that exists.
    """
    hints = typing.get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    for key, value in content.items():
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise ConfigurationError(
                f'{where}: {key!r} is no setting of {kind.__name__}; did you mean '
                f'{nearest[0]!r}? It has {known}')
        inner = hints[key]
        element = typing.get_args(inner)[0] if typing.get_origin(inner) is list else None
        if is_dataclass(inner) and isinstance(value, Mapping):
            check_keys(typing.cast(type, inner), value, f'{where}: {key}')
        elif is_dataclass(element) and isinstance(value, list):
            for item in value:
                if isinstance(item, Mapping):
                    check_keys(typing.cast(type, element), item, f'{where}: {key}')
