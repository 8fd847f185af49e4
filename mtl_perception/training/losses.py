# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses that a recipe asks for."""

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
    How semantics and depth hold one another, see
    :class:`mtl_perception.losses.consistency.CrossTaskLoss`.

    :param kind: ``none``, ``consistency`` or ``alignment``.
    :param semantic_share: share of the semantic task's loss that the prediction of depth from
        semantics makes up, 0 to 1.
    :param depth_share: the same of the depth task's loss.
    :param target: ``hard`` or ``soft`` classes for the consistency.
    :param legacy_mean: whether the consistency's cross-entropy is divided by all pixels.
    """

    kind: Literal['none', 'consistency', 'alignment'] = 'none'
    semantic_share: Share = 0.01
    depth_share: Share = 0.01
    target: Literal['hard', 'soft'] = 'hard'
    legacy_mean: bool = False


@checked_dataclass
class LossSettings:
    """
    The losses.

    :param class_balance: exponent of the median-frequency weights of the semantic classes, which
        are counted in the training clips; 0 for none.
    :param depth: ``log`` of metres, ``l1`` or ``huber`` in the unit.
    :param depth_unit: what the network puts out, one of
        :data:`mtl_perception.losses.depth_units.UNITS`; ``huber`` takes a disparity.
    :param depth_beta: width of the quadratic part of the log loss, 0 for plain L1.
    :param huber_delta: where the Huber loss becomes linear, in 1/256 pixel.
    :param stereo: focal length in pixels and baseline in metres that a disparity is measured
        with; the default is that of Cityscapes at its full width.
    :param instance_balance: power of an object's area that its pixels' weight is divided by; 0
        counts every pixel alike, as Kendall et al. do, 1 every object.
    :param moving_weight: weight of a moving pixel against a static one.
    :param detached: tasks that learn from the shared features without changing them.
    :param cross_task: how semantics and depth hold one another.
    """

    class_balance: float = 0.5
    depth: Literal['log', 'l1', 'huber'] = 'log'
    depth_unit: Annotated[str, one_of(UNITS)] = 'log_metres'
    depth_beta: NonNegativeFloat = 0.0
    huber_delta: PositiveFloat = 250.0
    stereo: Annotated[tuple[PositiveFloat, PositiveFloat], FROM_LIST] = (2262.52, 0.209313)
    instance_balance: Share = 0.0
    moving_weight: PositiveFloat = 1.0
    detached: list[Annotated[str, one_of(TASK_NAMES)]] = field(default_factory=list)
    cross_task: CrossTaskSettings = field(default_factory=CrossTaskSettings)

    def check(self, tasks: Sequence[str]) -> None:
        """
        Refuse settings that do not fit each other.

        :param tasks: names of the tasks to learn.
        :raises ConfigurationError: naming the setting.
        """
        if self.cross_task.kind != 'none' and not {'semantic', 'depth'} <= set(tasks):
            raise ConfigurationError(
                f'loss.cross_task is between semantic and depth, but the tasks are {list(tasks)}')
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
        """Return what depth is, times the output of the network; see :class:`Task`."""
        return inverse_of(self.depth_unit, Stereo(*self.stereo))


def build_losses(
        tasks: Sequence[Task], settings: LossSettings | None = None,
        class_weights: Sequence[float] | None = None,
        anchors: Sequence[Sequence[float]] = (), stride: int = 32) -> dict[str, nn.Module]:
    """
    Return task name -> loss.

    :param tasks: tasks of the network.
    :param settings: what the recipe says; the defaults if None.
    :param class_weights: weight of each semantic class, None for ones.
    :param anchors: of the boxes, (width, height) as fractions of the image.
    :param stride: of the box decoder, pixels.
    """
    settings = settings or LossSettings()
    losses: dict[str, nn.Module] = {}
    for task in tasks:
        if task.name == 'semantic':
            losses[task.name] = PixelCrossEntropy(class_weights)
        elif task.name == 'depth':
            losses[task.name] = _depth_loss(task, settings)
        elif task.name == 'motion':
            losses[task.name] = MotionCrossEntropy(settings.moving_weight)
        elif task.name == 'instance':
            losses[task.name] = InstanceL1Loss(settings.instance_balance)
        elif task.name == 'detection':
            losses[task.name] = BoxLoss(anchors, len(task.classes), stride)
        else:
            raise ValueError(f'no loss for task {task.name!r}')
    return losses


def build_cross_task(
        losses: dict[str, nn.Module], settings: CrossTaskSettings) -> CrossTaskLoss | None:
    """
    Return the loss that takes the place of those of semantics and depth, None if there is none.

    :param losses: of :func:`build_losses`.
    :param settings: what the recipe says.
    """
    if settings.kind == 'none':
        return None
    return CrossTaskLoss(
        losses['semantic'], losses['depth'], settings.semantic_share,  # type: ignore[arg-type]
        settings.depth_share, settings.kind, settings.target,
        settings.legacy_mean)


def _depth_loss(task: Task, settings: LossSettings) -> LogDepthLoss | DepthInUnit:
    """Return the loss of depth."""
    if settings.depth == 'log':
        return LogDepthLoss(task.maximum, settings.depth_beta)
    loss = DepthL1Loss() if settings.depth == 'l1' else HuberLoss(
        settings.depth_unit, settings.huber_delta)
    return DepthInUnit(loss, settings.depth_unit, task.maximum, Stereo(*settings.stereo))
