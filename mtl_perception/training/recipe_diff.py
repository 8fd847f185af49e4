# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What differs between the recipe that a training began with and the present one."""

import contextlib
from typing import Any

from mtl_perception.errors import ConfigurationError
from mtl_perception.training.config import TrainingConfig, from_plain, to_plain

HARMLESS = ('run.', 'data.workers', 'data.loaders', 'data.cache', 'data.street_code', 'output',
            'data.on_bad_sample')
"""Beginnings of settings that change how a training runs, but not what it learns."""


def recipe_changes(before: dict[str, Any], config: TrainingConfig) -> list[str]:
    """
    Return the changes that make a training learn something else, as ``key: old -> new``.

    :param before: the recipe at the start, see :func:`mtl_perception.training.config.to_plain`.
    :param config: the recipe now.
    """
    # A recipe of an older version lacks the settings that were added since: their defaults hold.
    with contextlib.suppress(ConfigurationError):
        before = to_plain(from_plain(before))
    return [f'{key}: {old} -> {new}' for key, old, new in differences(before, to_plain(config))
            if not key.startswith(HARMLESS)]


def differences(
        old: dict[str, Any], new: dict[str, Any], prefix: str = '') -> list[tuple[str, Any, Any]]:
    """
    Return (path, old value, new value) of what differs; a missing table counts as empty.

    :param old: nested settings as plain types.
    :param new: the same, later.
    :param prefix: of every path.
    """
    found: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys([*old, *new]):
        one = old.get(key)
        other = new.get(key)
        if isinstance(one, dict | None) and isinstance(other, dict | None):
            found += differences(one or {}, other or {}, f'{prefix}{key}.')
        elif one != other:
            found.append((f'{prefix}{key}', one, other))
    return found
