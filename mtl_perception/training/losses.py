# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of a recipe: their settings, and the modules built from them."""

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import nn

from mtl_perception.errors import ConfigurationError
from mtl_perception.losses import (
    BoxLoss,
    CrossTaskLoss,
    DepthInUnit,
    DepthL1Loss,
    HuberLoss,
    InstanceL1Loss,
    LogDepthLoss,
    MotionCrossEntropy,
    PixelCrossEntropy,
)
from mtl_perception.losses.depth_units import UNITS, Stereo, inverse_of
from mtl_perception.settings import FROM_LIST, checked_dataclass, one_of
from mtl_perception.tasks import TASK_NAMES, Task

Share = Annotated[float, Field(ge=0, le=1)]


@checked_dataclass
class CrossTaskSettings:
    """
    A loss that ties semantics and depth together, see
    :class:`mtl_perception.losses.consistency.CrossTaskLoss`.

    :param kind: ``none``, ``consistency`` or ``alignment``.
    :param semantic_share: share of depth predicted from semantics in the semantic task's loss.
    :param depth_share: the same of the depth task's loss.
    :param target: ``hard`` or ``soft`` class labels of the consistency.
    :param legacy_mean: whether the cross-entropy of the consistency is averaged over all pixels,
        with or without a label.
    """

    kind: Literal['none', 'consistency', 'alignment'] = 'none'
    semantic_share: Share = 0.01
    depth_share: Share = 0.01
    target: Literal['hard', 'soft'] = 'hard'
    legacy_mean: bool = False


@checked_dataclass
class LossSettings:
    """
    The losses of the tasks.

    :param class_balance: exponent of the median-frequency weights of the semantic classes, which
        are counted in the training clips; 0 for none.
    :param depth: ``log`` of metres, or ``l1`` or ``huber`` in the unit.
    :param depth_unit: unit of the network's output, one of
        :data:`mtl_perception.losses.depth_units.UNITS`; ``huber`` needs a disparity.
    :param depth_maximum: largest true depth that is learned, metres; 0 for no limit, null for that
        of the data, 80 m for streets. Infinitely far pixels are never learned.
    :param depth_beta: width of the quadratic part of the log loss, 0 for plain L1.
    :param huber_delta: error from which the Huber loss is linear, in 1/256 pixel.
    :param stereo: focal length in pixels and baseline in metres of the stereo camera that
        disparities are measured with; the default is Cityscapes at its full width.
    :param instance_balance: the pixels of an object of area A have the weight 1 / A to this
        power; 0 weights all pixels equally, as Kendall et al. do, 1 all objects.
    :param moving_weight: weight of a moving pixel relative to a static one.
    :param detached: tasks whose gradient stops at the shared features.
    :param feature_distance: weight of the distance of the encoder's features to those of its
        initial weights, so that it does not forget what it knew of real images; 0 for none.
    :param cross_task: the loss that ties semantics and depth together.
    """

    class_balance: float = 0.5
    depth: Literal['log', 'l1', 'huber'] = 'log'
    depth_unit: Annotated[str, one_of(UNITS)] = 'log_metres'
    depth_maximum: NonNegativeFloat | None = None
    depth_beta: NonNegativeFloat = 0.0
    huber_delta: PositiveFloat = 250.0
    stereo: Annotated[tuple[PositiveFloat, PositiveFloat], FROM_LIST] = (2262.52, 0.209313)
    instance_balance: Share = 0.0
    moving_weight: PositiveFloat = 1.0
    detached: list[Annotated[str, one_of(TASK_NAMES)]] = field(default_factory=list)
    feature_distance: NonNegativeFloat = 0.0
    cross_task: CrossTaskSettings = field(default_factory=CrossTaskSettings)

    def check(self, tasks: Sequence[str]) -> None:
        """
        Check settings that depend on each other.

        :param tasks: names of the tasks to learn.
        :raises ConfigurationError: naming the setting.
        """
        if self.cross_task.kind != 'none' and not {'semantic', 'depth'} <= set(tasks):
            raise ConfigurationError(
                f'loss.cross_task needs the tasks semantic and depth, found {list(tasks)}; add '
                'them, or set loss.cross_task.kind to none')

        if (self.depth == 'log') != (self.depth_unit == 'log_metres'):
            raise ConfigurationError(
                f'loss.depth is {self.depth!r} and loss.depth_unit {self.depth_unit!r}; log '
                'belongs to log_metres, the other losses to the other units')

        if self.depth == 'huber':
            try:
                HuberLoss(self.depth_unit, self.huber_delta)
            except ValueError as error:
                raise ConfigurationError(f'loss: {error}') from error

    def inverse(self) -> float:
        """Return the factor c of a network that outputs c / depth; 0 for others, see ``Task``."""
        return inverse_of(self.depth_unit, Stereo(*self.stereo))


def build_losses(
        tasks: Sequence[Task], settings: LossSettings | None = None,
        class_weights: Sequence[float] | None = None,
        anchors: Sequence[Sequence[float]] = (), stride: int = 32) -> dict[str, nn.Module]:
    """
    Return task name -> loss.

    :param tasks: tasks of the network.
    :param settings: from the recipe; the defaults if None.
    :param class_weights: weight of each semantic class, None for ones.
    :param anchors: of the boxes, (width, height) as fractions of the image.
    :param stride: of the box decoder, pixels.
    :raises ValueError: if a task has no loss.
    """
    settings = settings or LossSettings()

    def loss_of(task: Task) -> nn.Module:
        if task.name == 'semantic':
            return PixelCrossEntropy(class_weights)
        if task.name == 'depth':
            return _depth_loss(task, settings)
        if task.name == 'motion':
            return MotionCrossEntropy(settings.moving_weight)
        if task.name == 'instance':
            return InstanceL1Loss(settings.instance_balance)
        if task.name == 'detection':
            return BoxLoss(anchors, len(task.classes), stride)
        raise ValueError(f'no loss for task {task.name!r}')

    return {task.name: loss_of(task) for task in tasks}


def build_cross_task(
        losses: dict[str, nn.Module], settings: CrossTaskSettings) -> CrossTaskLoss | None:
    """
    Return the loss that replaces those of semantics and depth, None for none.

    :param losses: from :func:`build_losses`.
    :param settings: from the recipe.
    """
    if settings.kind == 'none':
        return None
    return CrossTaskLoss(
        losses['semantic'], losses['depth'], settings.semantic_share,  # type: ignore[arg-type]
        settings.depth_share, settings.kind, settings.target,
        settings.legacy_mean)


def _depth_loss(task: Task, settings: LossSettings) -> LogDepthLoss | DepthInUnit:
    """Return the loss of depth."""
    maximum = settings.depth_maximum
    maximum = task.maximum if maximum is None else maximum or math.inf
    if settings.depth == 'log':
        return LogDepthLoss(maximum, settings.depth_beta)
    loss = DepthL1Loss() if settings.depth == 'l1' else HuberLoss(
        settings.depth_unit, settings.huber_delta)
    return DepthInUnit(loss, settings.depth_unit, maximum, Stereo(*settings.stereo))
