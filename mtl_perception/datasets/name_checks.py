# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Refuse a name that does not exist, with the nearest one that does."""

import difflib
from collections.abc import Iterable, Sequence

from mtl_perception.errors import ConfigurationError


def check_names(given: Iterable[object], known: Sequence[str], what: str) -> None:
    """
    Refuse the first given name that is not known.

    :param given: names, of any type.
    :param known: the names that exist.
    :param what: what they are names of, for the message.
    :raises ConfigurationError: if a name is unknown.
    """
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
            advice = f'; did you mean {nearest[0]!r}?' if nearest else ';'
            raise ConfigurationError(
                f'{what} {name!r} does not exist{advice} There are {list(known)}')
