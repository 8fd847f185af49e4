# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Strategies that weight the tasks' losses, one file each, and the table of their names.

A strategy turns the losses of a batch into one total to descend:

>>> import torch
>>> from mtl_perception.weighting import build_weighting
>>> weighting = build_weighting('geometric', ['semantic', 'depth'])
>>> losses = {'semantic': torch.tensor(2.0), 'depth': torch.tensor(8.0)}
>>> round(float(weighting(losses)), 4)  # sqrt(2 * 8)
4.0
>>> {task: round(weight, 4) for task, weight in weighting.weights().items()}
{'semantic': 1.0, 'depth': 0.25}
"""

import difflib
import inspect
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtl_perception.errors import ConfigurationError
from mtl_perception.weighting.asynchronous import Asynchronous
from mtl_perception.weighting.base import TaskWeighting
from mtl_perception.weighting.dwa import DynamicWeightAverage
from mtl_perception.weighting.dynamic_scaling import DynamicScaling
from mtl_perception.weighting.equal import EqualWeights
from mtl_perception.weighting.focused import FocusedGeometricMean
from mtl_perception.weighting.geometric import GeometricMean
from mtl_perception.weighting.gradient_method import GradientMethod
from mtl_perception.weighting.gradnorm import GradNorm
from mtl_perception.weighting.handcrafted import HandcraftedWeights
from mtl_perception.weighting.shared import Shared
from mtl_perception.weighting.uncertainty import UncertaintyWeights
from mtl_perception.weighting.weight_learning import WeightLearning

__all__ = [
    'WEIGHTINGS', 'Asynchronous', 'DynamicScaling', 'DynamicWeightAverage', 'EqualWeights',
    'FocusedGeometricMean', 'GeometricMean', 'GradNorm', 'GradientMethod', 'HandcraftedWeights',
    'Shared', 'TaskWeighting', 'UncertaintyWeights', 'WeightLearning', 'build_weighting']

WEIGHTINGS: dict[str, type[TaskWeighting]] = {
    'equal': EqualWeights,
    'handcrafted': HandcraftedWeights,
    'dynamic_scaling': DynamicScaling,
    'uncertainty': UncertaintyWeights,
    'gradnorm': GradNorm,
    'dwa': DynamicWeightAverage,
    'geometric': GeometricMean,
    'focused': FocusedGeometricMean,
    'weight_learning': WeightLearning,
    'asynchronous': Asynchronous,
    'gradient_method': GradientMethod,
}
"""Name in a recipe -> strategy. Only the last needs an optional package."""

_PLAIN = (bool, int, float, str)


def build_weighting(
        name: str, tasks: Sequence[str],
        options: Mapping[str, Mapping[str, Any]] | None = None) -> TaskWeighting:
    """
    Return the strategy with a name.

    An option is an argument of the strategy's constructor. An option that is itself a strategy,
    such as ``strategy`` of ``asynchronous``, is given by its name and takes the options under that
    name.

    :param name: a key of :data:`WEIGHTINGS`.
    :param tasks: names of all tasks.
    :param options: name of a strategy -> its options; options of unused strategies are ignored.
    :raises ConfigurationError: if the strategy or an option is unknown (the message names the
        nearest one), or a value is refused.
    """
    if name not in WEIGHTINGS:
        raise ConfigurationError(_unknown(f'weighting {name!r}', name, WEIGHTINGS))
    parameters = dict(inspect.signature(WEIGHTINGS[name]).parameters)
    del parameters['tasks']
    chosen = dict((options or {}).get(name, {}))

    for key, value in chosen.items():
        if key not in parameters:
            raise ConfigurationError(_unknown(f'option {key!r} of {name}', key, parameters))

        # a strategy by its name, or a value of the argument's type
        wanted = parameters[key].annotation
        if TaskWeighting in typing.get_args(wanted) and isinstance(value, str):
            if value == name:
                raise ConfigurationError(
                    f'{name}.{key} is {value!r}; a strategy cannot wrap itself')
            chosen[key] = build_weighting(value, tasks, options)
        elif not _fits(value, wanted):
            raise ConfigurationError(
                f'{name}.{key} is {value!r}; it must be '
                f'{wanted.__name__ if wanted in _PLAIN else wanted}')

    try:
        return WEIGHTINGS[name](tasks, **chosen)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f'weighting {name}: {error}') from error


def _fits(value: Any, wanted: Any) -> bool:
    """Return whether a value of an option has the type of the constructor's argument."""
    # bool is a subclass of int, but true in a recipe is not a number
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted in _PLAIN:
        return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    if isinstance(wanted, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(wanted))
    kind = typing.get_origin(wanted) or wanted
    return isinstance(value, kind) and not isinstance(value, str)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return a message that names the nearest known name."""
    names = list(known)
    if not names:
        return f'{what} does not exist; it has no options'
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f'{what} does not exist; did you mean {nearest[0]!r}? There are {sorted(names)}'
