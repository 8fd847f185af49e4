# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
How a parameter of a node is declared and checked.

The tables are in :mod:`mtl_perception.ros.parameters` and
:mod:`mtl_perception.ros.source_settings`. None of this needs ROS, so that
:mod:`mtl_perception.ros.reference` makes the documentation from it anywhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mtl_perception.image_range import limits_of
from mtl_perception.name_checks import nearest_hint
from mtl_perception.ros.log_text import printable

LONGEST_VALUE = 60

_KINDS = {bool: 'bool', int: 'integer', float: 'double', str: 'string'}


def range_problem(value: Any) -> str:
    """Return the problem of a range of 16-bit images, empty if it is valid."""
    try:
        limits_of(value)
    except ValueError as error:
        return 'wanted ' + str(error).partition(', wanted ')[2]
    return ''


@dataclass(frozen=True)
class Declaration:
    """
    One parameter.

    :param name: dots become underscores in :attr:`field`.
    :param default: also decides the type.
    :param text: what it does.
    :param choices: the values that a string may have; any if empty.
    :param bounds: smallest and largest value of a number.
    :param check: any other check; returns the problem of a value, empty if it is valid.
    :param dynamic: whether it may change while the node is configured.
    :param read_only: whether it keeps its value from the start of the node on.
    :param also: another type that it may have, such as ``integer array``.
    """

    name: str
    default: Any
    text: str
    choices: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    check: Callable[[Any], str] | None = None
    dynamic: bool = False
    read_only: bool = False
    also: str = ''

    @property
    def field(self) -> str:
        """Name of the field of the settings that it becomes."""
        return self.name.replace('.', '_')

    @property
    def kind(self) -> str:
        """Type of the parameter in the words of ROS, such as ``double`` or ``string array``."""
        if isinstance(self.default, list):
            return f'{_KINDS[type(self.default[0])]} array'
        return _KINDS[type(self.default)]

    @property
    def allowed(self) -> str:
        """The choices or the range in words, empty if every value is allowed."""
        if self.choices:
            return f'one of {list(self.choices)}'
        return ' to '.join(
            f'{bound:g}' if isinstance(bound, float) else str(bound)
            for bound in self.bounds or ())

    def wrong_kind(self, kind: str, value: Any) -> str:
        """Return the problem of a value of another type, empty if the type is right."""
        if kind in (self.kind, self.also):
            return ''
        wanted = f'{self.kind} or {self.also}' if self.also else self.kind
        return (f'{self._is(value)} of type {kind}, wanted {wanted} '
                f'such as {self.default!r}')

    def problem(self, value: Any) -> str:
        """Return the problem of a value of the right type, empty if it is valid."""
        if self.choices and value not in self.choices:
            return f'{self._is(value)}, wanted {self.allowed}{nearest_hint(value, self.choices)}'
        if self.bounds:
            low, high = self.bounds
            if not (math.isfinite(value) and low <= value <= high):
                return f'{self._is(value)}, wanted {self.allowed}'
        if self.check is not None and (wrong := self.check(value)):
            return f'{self._is(value)}, {wrong}'
        return ''

    def _is(self, value: Any) -> str:
        return f'parameter {self.name!r} is {printable(repr(value), LONGEST_VALUE)}'
