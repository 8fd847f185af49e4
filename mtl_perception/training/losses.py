# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses that a recipe asks for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

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
from mtl_perception.losses.depth_units import Stereo, inverse_of
from mtl_perception.tasks import Task

DEPTH_LOSSES = ('log', 'l1', 'huber')
CROSS_TASK = ('none', 'consistency', 'alignment')


@dataclass(frozen=True)
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

    kind: str = 'none'
    semantic_share: float = 0.01
    depth_share: float = 0.01
    target: str = 'hard'
    legacy_mean: bool = False


@dataclass(frozen=True)
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
    depth: str = 'log'
    depth_unit: str = 'log_metres'
    depth_beta: float = 0.0
    huber_delta: float = 250.0
    stereo: tuple[float, float] = (2262.52, 0.209313)
    instance_balance: float = 0.0
    moving_weight: float = 1.0
    detached: list[str] = field(default_factory=list)
    cross_task: CrossTaskSettings = field(default_factory=CrossTaskSettings)

    def check(self, tasks: Sequence[str]) -> None:
        """
        Refuse words that do not exist or do not belong together.

        :param tasks: names of the tasks to learn.
        :raises ConfigurationError: naming the setting.
        """
        cross = self.cross_task
        for name, value, known in (
                ('depth', self.depth, DEPTH_LOSSES), ('cross_task.kind', cross.kind, CROSS_TASK),
                ('cross_task.target', cross.target, ('hard', 'soft'))):
            if value not in known:
                raise ConfigurationError(
                    f'loss.{name} is {value!r}; it must be one of {list(known)}')
        if cross.kind != 'none' and not {'semantic', 'depth'} <= set(tasks):
            raise ConfigurationError(
                f'loss.cross_task is between semantic and depth, but the tasks are {list(tasks)}')
        if (self.depth == 'log') != (self.depth_unit == 'log_metres'):
            raise ConfigurationError(
                f'loss.depth is {self.depth!r} and loss.depth_unit {self.depth_unit!r}; log '
                'belongs to log_metres, the other losses to the other units')
        try:
            InstanceL1Loss(self.instance_balance)
            inverse_of(self.depth_unit, Stereo(*self.stereo))
            if self.depth == 'huber':
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
        settings.depth_share, settings.kind, settings.target,  # type: ignore[arg-type]
        settings.legacy_mean)


def _depth_loss(task: Task, settings: LossSettings) -> LogDepthLoss | DepthInUnit:
    """Return the loss of depth."""
    if settings.depth == 'log':
        return LogDepthLoss(task.maximum, settings.depth_beta)
    loss = DepthL1Loss() if settings.depth == 'l1' else HuberLoss(
        settings.depth_unit, settings.huber_delta)
    return DepthInUnit(loss, settings.depth_unit, task.maximum, Stereo(*settings.stereo))
