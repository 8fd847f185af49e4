# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Refuse an unknown name and suggest the nearest known one."""

import difflib
from collections.abc import Iterable, Sequence

from mtl_perception.errors import ConfigurationError


def check_names(given: Iterable[object], known: Sequence[str], what: str) -> None:
    """
    Refuse the first given name that is unknown.

    :param given: names, of any type.
    :param known: the names that exist.
    :param what: kind of thing that has these names, for the message.
    :raises ConfigurationError: if a name is unknown.
    """
    for name in given:
        if name not in known:
            raise ConfigurationError(f'{what} {name!r} does not exist{did_you_mean(name, known)}')


def did_you_mean(name: object, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: the nearest name, and all there are."""
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
    if not nearest:
        return '; there are none'
    return f'; did you mean {nearest[0]!r}? There are {list(known)}'


def nearest_hint(name: str, known: Iterable[str], most: int = 1) -> str:
    """Return a hint at the nearest names, empty if none is near; short enough for a log line."""
    near = difflib.get_close_matches(name, known, most)
    return f'; did you mean {" or ".join(map(repr, near))}?' if near else ''
