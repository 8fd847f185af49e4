# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Strategies of weighting the tasks' losses, one file each, and the table of their names."""

import difflib
from collections.abc import Sequence

from mtl_perception.errors import ConfigurationError
from mtl_perception.weighting.base import TaskWeighting
from mtl_perception.weighting.equal import EqualWeights
from mtl_perception.weighting.geometric import GeometricMean

__all__ = ['WEIGHTINGS', 'EqualWeights', 'GeometricMean', 'TaskWeighting', 'build_weighting']

WEIGHTINGS: dict[str, type[TaskWeighting]] = {
    'equal': EqualWeights,
    'geometric': GeometricMean,
}
"""Name in a recipe -> strategy."""


def build_weighting(name: str, tasks: Sequence[str]) -> TaskWeighting:
    """
    Return the strategy of that name.

    :param name: a key of :data:`WEIGHTINGS`.
    :param tasks: names of all tasks.
    :raises ConfigurationError: if there is no such strategy; the message names the nearest.
    """
    if name not in WEIGHTINGS:
        nearest = difflib.get_close_matches(name, WEIGHTINGS, n=1, cutoff=0.0)
        raise ConfigurationError(
            f'weighting {name!r} does not exist; did you mean {nearest[0]!r}? '
            f'The strategies are {sorted(WEIGHTINGS)}')
    return WEIGHTINGS[name](tasks)
