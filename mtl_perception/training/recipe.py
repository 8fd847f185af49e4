# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a YAML recipe and overrides of the command line to the dataclass of its settings."""

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mtl_perception.errors import ConfigurationError
from mtl_perception.settings import checked, parse_yaml, read_yaml, type_at

Kind = TypeVar('Kind')


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


def load_recipe(path: str | Path, overrides: Sequence[str], kind: type[Kind]) -> Kind:
    """
    Read a recipe.

    :param path: YAML file.
    :param overrides: see :func:`build_recipe`.
    :param kind: the dataclass of its settings.
    :raises ConfigurationError: if the file cannot be read, a key does not exist (the message
        names the nearest one) or a value is wrong.
    """
    return build_recipe(read_yaml(Path(path).expanduser()), kind, str(path), overrides)


def build_recipe(
        content: Mapping[str, Any], kind: type[Kind], where: str,
        overrides: Sequence[str] = ()) -> Kind:
    """
    Make a recipe from its content.

    :param content: keys and values, as read from YAML.
    :param kind: the dataclass of its settings.
    :param where: where it comes from, for messages.
    :param overrides: words such as ``['--optimiser.lr', '0.5']`` or ``['--seed=3']``. A key inside
        a table, such as ``--weighting_options.dwa.temperature 1``, changes that entry alone. A
        ``preset`` takes the place of all that the recipe says beside it.
    :raises ConfigurationError: as :func:`load_recipe`.
    """
    whole = copy.deepcopy(dict(content))
    # Presets first: they clear their table, and what other overrides put there must stay.
    for path, text in sorted(split_overrides(overrides), key=lambda pair: pair[0][-1] != 'preset'):
        table = whole
        for key in path[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise ConfigurationError(
                    f'--{".".join(path)}: {key} is {table!r} in the recipe and not a table')
        if path[-1] == 'preset':
            table.clear()
        # A text may look like a number, such as --name 007.
        is_text = type_at(kind, path) is str
        table[path[-1]] = text if is_text else parse_yaml(text, f'--{".".join(path)}')
    return checked(kind, whole, where)


def strategies_set_by(overrides: Sequence[str]) -> list[str]:
    """Return the names of the weighting strategies whose options some overrides set."""
    found = []
    for path, text in split_overrides(overrides):
        if path[0] == 'weighting_options':
            found += path[1:2] or list(parse_yaml(text, '--weighting_options') or ())
    return found


def split_overrides(overrides: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """
    Yield the path and the value of each override.

    :raises ConfigurationError: if a word is not an override, or its value is missing.
    """
    words = iter(overrides)
    for word in words:
        name, equals, text = word.partition('=')
        if not name.startswith('--'):
            raise ConfigurationError(f'{word!r} is not a setting; write --KEY VALUE')
        if not equals and (text := next(words, '--')).startswith('--'):
            raise ConfigurationError(f'{word}: a value is missing')
        yield name[2:].split('.'), text
