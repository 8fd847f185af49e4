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

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from mtl_perception.errors import ConfigurationError
from mtl_perception.name_checks import check_names
from mtl_perception.settings import arguments_of, checked, one_of
from mtl_perception.weighting.asynchronous import Asynchronous
from mtl_perception.weighting.base import TaskWeighting
from mtl_perception.weighting.db_mtl import DualBalancing
from mtl_perception.weighting.dwa import DynamicWeightAverage
from mtl_perception.weighting.dynamic_scaling import DynamicScaling
from mtl_perception.weighting.equal import EqualWeights
from mtl_perception.weighting.famo import FAMO
from mtl_perception.weighting.focused import FocusedGeometricMean
from mtl_perception.weighting.geometric import GeometricMean
from mtl_perception.weighting.gradient_method import GradientMethod
from mtl_perception.weighting.gradnorm import GradNorm
from mtl_perception.weighting.handcrafted import HandcraftedWeights
from mtl_perception.weighting.imtl_l import ImpartialLosses
from mtl_perception.weighting.log_sum import LogSum
from mtl_perception.weighting.rlw import RandomWeights
from mtl_perception.weighting.shared import Shared, tapped
from mtl_perception.weighting.stch import SmoothTchebycheff
from mtl_perception.weighting.uncertainty import UncertaintyWeights
from mtl_perception.weighting.uw_so import SoftOptimalUncertainty
from mtl_perception.weighting.weight_learning import WeightLearning

__all__ = [
    'FAMO', 'OPTIONS', 'WEIGHTINGS', 'Asynchronous', 'DualBalancing', 'DynamicScaling',
    'DynamicWeightAverage', 'EqualWeights', 'FocusedGeometricMean', 'GeometricMean', 'GradNorm',
    'GradientMethod', 'HandcraftedWeights', 'ImpartialLosses', 'LogSum', 'RandomWeights', 'Shared',
    'SmoothTchebycheff', 'SoftOptimalUncertainty', 'TaskWeighting', 'UncertaintyWeights',
    'WeightLearning', 'build_weighting', 'tapped']

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
    'rlw': RandomWeights,
    'log_sum': LogSum,
    'imtl_l': ImpartialLosses,
    'uw_so': SoftOptimalUncertainty,
    'stch': SmoothTchebycheff,
    'famo': FAMO,
    'db_mtl': DualBalancing,
    'asynchronous': Asynchronous,
    'gradient_method': GradientMethod,
}
"""Name in a recipe -> strategy. Only the last needs an optional package."""

OPTIONS = {
    name: arguments_of(kind, {'tasks': None, 'strategy': Annotated[str, one_of(WEIGHTINGS)]})
    for name, kind in WEIGHTINGS.items()}
"""
Name in a recipe -> the type of the strategy's options, which are its constructor's arguments.

A strategy inside another, as in ``asynchronous``, is given by its name and takes its own options.
"""


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
    :param options: name of a strategy -> its options, see :data:`OPTIONS`; options of unused
        strategies are ignored.
    :raises ConfigurationError: if the strategy or an option is unknown (the message names the
        nearest one), or a value is refused.
    """
    check_names([name], list(WEIGHTINGS), 'weighting')
    chosen: dict[str, Any] = checked(
        OPTIONS[name], (options or {}).get(name, {}), f'weighting {name}')

    if inner := chosen.get('strategy'):
        if inner == name:
            raise ConfigurationError(
                f'weighting {name}: strategy is {inner!r}; a strategy cannot wrap itself')
        chosen['strategy'] = build_weighting(inner, tasks, options)

    try:
        return WEIGHTINGS[name](tasks, **chosen)
    except ValueError as error:
        raise ConfigurationError(f'weighting {name}: {error}') from error
