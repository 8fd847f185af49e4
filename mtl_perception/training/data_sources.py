# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training data of a recipe: the street, or recorded data sets."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mtl_perception.datasets.build import build_dataset, tasks_known
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.label_sets import check_labels
from mtl_perception.datasets.mixed import MixedClips, joined
from mtl_perception.datasets.sample import Sample
from mtl_perception.datasets.seeds import parse_seeds
from mtl_perception.datasets.synthetic import StreetClips
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.losses import find_anchors, median_frequency_weights
from mtl_perception.manifest import read_model
from mtl_perception.models.build import build_network
from mtl_perception.models.pretrained import check_normalisation, load_encoder
from mtl_perception.signals import StopRequest
from mtl_perception.synthetic.street import CAMERA_HEIGHTS
from mtl_perception.tasks import LOOKS, Task, street_tasks
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.dataloading import Clips
from mtl_perception.training.learner import parts_of
from mtl_perception.training.progress_log import progress_bar

BALANCE_CLIPS = 400
"""Number of clips that class weights and anchors are computed from, at most."""

LABELS_LOOKED_FOR = 500
"""Number of clips that are searched for a label of each task."""

STREET_FOCAL = 0.6
"""Focal length of the street's camera as a share of the image width."""


def open_clips(
        config: TrainingConfig, code: str, stop: StopRequest, may_render: bool = True,
) -> tuple[Clips, Clips] | None:
    """
    Return the training and the validation clips.

    :param code: digest of the street's source, empty for the present one.
    :param stop: asks to stop rendering.
    :param may_render: whether clips of the street that are missing are rendered.
    :return: None if it was asked to stop; rendered clips stay and are not rendered again.
    :raises DataError: if the data are missing or lack a label.
    """
    if not config.data.train:
        return _street_clips(config, code, stop, may_render)

    train = _recorded_clips(config, 'train')
    validation = _recorded_clips(config, 'validation')
    if missing := _unlabelled(config, train):
        raise DataError(
            f'data.train: none of {min(len(train), LABELS_LOOKED_FOR)} clips has a label of '
            f'{missing}; unpack the archives with these labels, or take them from tasks')
    if missing := _unlabelled(config, validation):
        print(f'data.validation: none of {min(len(validation), LABELS_LOOKED_FOR)} clips has a '
              f'label of {missing}; they are trained, but not evaluated', flush=True)
    return train, validation


def _unlabelled(config: TrainingConfig, clips: Clips) -> list[str]:
    """Return the tasks without a label in clips drawn from all of a data set."""
    missing = set(config.tasks)
    for number in np.random.default_rng(0).permutation(len(clips))[:LABELS_LOOKED_FOR]:
        try:
            sample = clips[int(number)]
        except DataError:
            if not config.data.skips_bad:
                raise
            continue

        missing -= {task for task, label in sample.labels().items() if label is not None}
        if sample.detection is not None:
            missing -= {'detection'}
        if not missing:
            break
    return sorted(missing)


def check_label_sets(config: TrainingConfig, train: Clips, validation: Clips) -> None:
    """
    Refuse recorded data whose labels cannot be learned or evaluated.

    :raises DataError: with all problems, see :func:`.label_problems`.
    """
    sets: dict[str, RecordedClips] = {}
    for name, clips in (('train', train), ('validation', validation)):
        if isinstance(clips, MixedClips):
            sets |= {f'{name}.{part}': data for part, data in clips.parts.items()}
        elif isinstance(clips, RecordedClips):
            sets[name] = clips
    check_labels(sets, config.data.skips_bad)


def street_code_of(clips: Clips) -> str:
    """Return the digest of the street's source that drew the clips, empty for recorded data."""
    return clips.code if isinstance(clips, StreetClips) else ''


class TrainingCamera(NamedTuple):
    """
    The camera of the training data; a checkpoint stores it as a tuple.

    :param focal_px: focal length along the rows, pixels at the size of the last stage.
    :param height_m: height above the ground, metres; 0 = unknown.
    :param focal_y_px: focal length along the columns; 0 = that along the rows.
    """

    focal_px: float
    height_m: float = 0.0
    focal_y_px: float = 0.0


def camera_of(config: TrainingConfig, clips: Clips | None = None) -> TrainingCamera:
    """
    Return the camera of the training data.

    Where a data set does not know its camera, the focal length is that of the street.

    :param clips: recorded data, represented by its first image; a mixture is represented by the
        first data set that depth is learned from.
    """
    height, width = config.stages[-1].height, config.stages[-1].width
    focal_px = STREET_FOCAL * width
    unknown = TrainingCamera(focal_px, 0.0, focal_px)
    if not config.data.train:
        return unknown._replace(height_m=sum(CAMERA_HEIGHTS) / 2)

    # of a mixture, the data set that depth is learned from
    if isinstance(clips, MixedClips):
        parts = list(clips.parts.values())
        clips = next((part for part in parts if _labels_depth(part)), parts[0])
    if not isinstance(clips, RecordedClips):
        return unknown

    # f' = f W' / W: a focal length in pixels scales with the image
    try:
        focal = clips.focal_length(clips.clips[0][-1])
    except DataError:  # depth is not learned from it either
        focal = None
    if focal is None:
        return unknown
    first = next(evenly_read(clips, config.data.skips_bad), None)
    if first is None:
        return unknown
    rows, columns = first.image.shape[1:3]
    return TrainingCamera(focal * width / columns, 0.0, focal * height / rows)


def _labels_depth(clips: RecordedClips) -> bool:
    """Return whether a data set has depth and is used for it."""
    return any(task.name == 'depth' for task in clips.tasks)


def data_words(config: TrainingConfig, split: str = 'train') -> str:
    """
    Return the names of the data, for a manifest and a README.

    :param split: ``train`` or ``validation``.
    """
    data = config.data
    if not data.train:
        seeds = data.train_seeds if split == 'train' else data.validation_seeds
        look = '' if data.plan.look == LOOKS[0] else f' (look: {data.plan.look})'
        return f'synthetic street{look}, seeds {seeds}'
    described = [description for _, description, _ in _parts(config, split)]
    return ', '.join(
        f'{one.get("dataset")} {one.get("split", "")}'.strip() for one in described)


def _recorded_clips(config: TrainingConfig, split: str) -> RecordedClips | MixedClips:
    """Return the recorded clips of a split: one data set, or a mixture."""
    parts, shares = {}, {}
    for name, description, share in _parts(config, split):
        where = f'data.{split}.{name}' if name else f'data.{split}'
        part = build_dataset(description, where)
        # Of a mixture, what labels none of the tasks would only fill batches.
        if name and not any(part.wants(task) for task in config.tasks):
            print(f'{where}: labels none of the tasks {list(config.tasks)}, left out', flush=True)
            continue
        parts[name], shares[name] = part, share

    for name, part in parts.items():
        if part.incomplete:
            print(f'data.{split}{"." * bool(name)}{name}: {len(part.incomplete)} of '
                  f'{len(part.incomplete) + len(part)} images are left out, since they have no '
                  f'earlier image; the first is {part.incomplete[0]}', flush=True)

    if list(parts) != ['']:
        if split == 'validation':
            # each clip is evaluated exactly once, whatever its share in training
            shares = {name: float(len(part)) for name, part in parts.items()}
        return MixedClips(parts, shares, config.tasks)
    return parts[''].narrowed_to(config.tasks)


def _parts(config: TrainingConfig, split: str) -> list[tuple[str, dict[str, Any], float]]:
    """
    Return name, description and share of each data set of a split.

    :return: a single one, without a name, if the split is no mixture.
    :raises ConfigurationError: if a split is empty or a mixture is none.
    """
    data = config.data
    described: dict[str, Any] = dict(data.train if split == 'train' else data.validation)
    if not described:
        raise ConfigurationError(
            f'data.{split} is empty, but the other one is not; describe both')

    if 'mix' not in described:
        return [('', _completed(described, config), 1.0)]

    mix = described['mix']
    if len(described) > 1 or not isinstance(mix, dict) or not mix or not all(
            isinstance(one, dict) for one in mix.values()):
        raise ConfigurationError(
            f'data.{split} is {described!r}; wanted mix: and below it a name for each data set '
            'with its dataset:, root:, share: and other settings')

    parts = []
    for name, one in mix.items():
        share = one.get('share', 1.0)
        if not isinstance(share, (int, float)) or isinstance(share, bool):
            raise ConfigurationError(f'data.{split}.{name}.share is {share!r}, wanted a number')
        rest = {key: value for key, value in one.items() if key != 'share'}
        parts.append((str(name), _completed(rest, config, str(name)), float(share)))
    return parts


def _completed(
        described: dict[str, Any], config: TrainingConfig, name: str = '') -> dict[str, Any]:
    """Return the description of a data set, completed by other settings of the recipe."""
    if config.data.root:
        described['root'] = str(Path(config.data.root) / name)
    if config.network.frames > 1:
        described.setdefault('frames', config.network.frames)
    if isinstance(described.get('root'), str):
        described['root'] = str(Path(described['root']).expanduser())
    return described


def _street_clips(
        config: TrainingConfig, code: str, stop: StopRequest, may_render: bool,
) -> tuple[StreetClips, StreetClips] | None:
    """
    Return the training and the validation clips, rendering what is missing.

    :return: None if a signal asked to stop; rendered seeds stay and are not rendered again.
    :raises DataError: if seeds are missing that may not be rendered.
    """
    data = config.data

    # Both are made before either is rendered: seeds that may not be used show now.
    both = [
        StreetClips(
            Path(data.cache), parse_seeds(seeds), split, data.plan, code, gap=data.filled_gaps)
        for split, seeds in (('train', data.train_seeds), ('validation', data.validation_seeds))]
    for clips, split in zip(both, ('train', 'validation')):
        missing = len(clips.missing())
        if missing and not may_render:
            raise DataError(
                f'{missing} of {len(clips.seeds)} {split} seeds are not rendered yet in '
                f'{clips.folder}; run the same command once with --render-only, without torchrun')

        if missing:
            print(f'rendering {missing} of {len(clips.seeds)} {split} seeds into {clips.folder}',
                  flush=True)
            with progress_bar('seeds') as bar:
                job = bar.add_task(f'rendering {split}', total=missing, note='')
                for count, _ in enumerate(clips.render(data.workers), 1):
                    bar.update(job, completed=count)

                    # a log file gets a line now and then in place of a bar
                    if bar.disable and count % 50 == 0:
                        print(f'{count}/{missing} seeds', flush=True)

                    if stop.received:
                        print(f'{stop.received}: stopped after {count} of {missing} seeds; the '
                              'same command goes on')
                        return None
    return both[0], both[1]


def check_network(config: TrainingConfig) -> None:
    """
    Build the network of a recipe once without memory, before anything is rendered.

    :raises ConfigurationError: if there is no such network, or its weights ask for images that are
        normalised otherwise.
    """
    settings = config.network
    check_normalisation(settings.pretrained, settings.mean, settings.std)
    try:
        with torch.device('meta'):
            network = build_network(config.network.spec(
                tasks_of(config), transfer=config.loss.cross_task.kind != 'none'))
    except ValueError as error:
        raise ConfigurationError(f'network: {error}') from error
    parts_of(network, settings.frozen)


def check_first_weights(config: TrainingConfig) -> None:
    """
    Read the weights that a new training begins with once, before anything is rendered.

    :raises ConfigurationError, CheckpointError: if they are missing or do not fit.
    """
    settings = config.network
    if settings.pretrained:
        network = build_network(config.network.spec(tasks_of(config)))
        load_encoder(network.encoder, settings.encoder, settings.pretrained,
                     settings.pretrained_by_order)
    if settings.start:
        read_model(settings.start)


def check_batches(config: TrainingConfig, ranks: int = 1) -> None:
    """
    Refuse batches that cannot be shared evenly, or that batch normalisation cannot work on.

    Batch normalisation needs at least two values per channel. One frame is too few where a feature
    map is a single pixel, as for an image of 32x32 or behind the pooling of an ASPP.

    :param ranks: processes that share each batch.
    :raises ConfigurationError: naming the stage.
    """
    parts = ranks * config.optimiser.accumulate
    for number, stage in enumerate(config.stages):
        if stage.batch % parts:
            raise ConfigurationError(
                f'stages[{number}] has batch {stage.batch}, which {ranks} ranks with '
                f'optimiser.accumulate = {config.optimiser.accumulate} cannot share evenly; it '
                f'must be a multiple of {parts}')

        # more than one frame at a time is always enough
        together = ranks if config.run.sync_batch_norm else 1
        if stage.batch // parts * together * _frames(config) > 1:
            continue

        # otherwise try it: a frozen part in evaluation mode needs no statistics
        network = build_network(config.network.spec(
            tasks_of(config), transfer=config.loss.cross_task.kind != 'none'))
        modules = dict(network.named_modules())
        for name in config.network.frozen:
            modules.get(name, nn.Identity()).eval()
        with torch.no_grad():
            try:
                # a map that is one pixel for a larger image is one pixel for 64x64, too
                network(torch.zeros(1, 3, *(min(64, size) for size in stage.learned)))
            except ValueError as error:
                raise ConfigurationError(
                    f'stages[{number}] has batch {stage.batch} in {parts} parts of one frame of '
                    f'{stage.learned[1]}x{stage.learned[0]}, which batch normalisation cannot '
                    f'learn from ({error}); set a batch of at least {2 * parts}, or a smaller '
                    'optimiser.accumulate') from error


def _frames(config: TrainingConfig) -> int:
    """Return the smallest number of frames of a training clip."""
    data = config.data
    frames = data.plan.frames
    if data.train:
        frames = min(int(one.get('frames', 1)) for _, one, _ in _parts(config, 'train'))
    return min(frames, data.window or frames)


def tasks_of(config: TrainingConfig) -> tuple[Task, ...]:
    """
    Return the tasks that a recipe names, in the order of what labels them.

    :raises ConfigurationError: if the recipe names a task that its data cannot label.
    """
    labelled: dict[str, tuple[Task, ...]] = {'': street_tasks(config.data.plan.look)}
    if config.data.train:
        labelled = {
            name: tasks_known(description, f'data.train.{name}'.rstrip('.'))
            for name, description, _ in _parts(config, 'train')}

    known = joined(labelled, config.tasks)
    if unknown := sorted(set(config.tasks) - {task.name for task in known}):
        names = dict.fromkeys(task.name for tasks in labelled.values() for task in tasks)
        raise ConfigurationError(
            f'tasks {unknown} cannot be learned from data.train, which labels {list(names)}')

    inverse = config.loss.inverse()
    return tuple(
        dataclasses.replace(task, inverse=inverse) if task.name == 'depth' else task
        for task in known)


def anchors_of(config: TrainingConfig, clips: Clips) -> list[list[float]]:
    """
    Return the anchors of a recipe, found in its training data if it names none.

    :raises DataError: if there are not enough boxes.
    """
    if config.network.anchors or 'detection' not in config.tasks:
        return config.network.anchors

    # sizes as shares of the image, so that the anchors fit every resolution
    sizes = []
    for sample in evenly_read(clips, config.data.skips_bad):
        if sample.detection is not None:
            boxes = sample.detection[sample.detection[..., 4] >= 0]
            size = (boxes[:, 2:4] - boxes[:, :2]) / sample.image.shape[2:0:-1]
            sizes.append(size[(size > 0).all(1)].clip(max=1))

    try:
        return find_anchors(
            np.concatenate([np.zeros((0, 2)), *sizes]), config.network.anchor_count, config.seed)
    except ValueError as error:
        raise DataError(
            f'no anchors can be found in the training data ({error}); name them in '
            'network.anchors') from error


def evenly_read(clips: Clips, skip: bool = False) -> Iterator[Sample]:
    """
    Yield some clips, evenly spread.

    :param skip: whether those that cannot be read are left out.
    :raises DataError: if one cannot be read.
    """
    for number in np.linspace(0, len(clips) - 1, min(BALANCE_CLIPS, len(clips))).astype(int):
        try:
            yield clips[int(number)]
        except DataError:
            if not skip:
                raise


def class_weights(
        clips: Clips, tasks: tuple[Task, ...], exponent: float, skip: bool = False,
) -> list[float] | None:
    """
    Return the median-frequency weights of the semantic classes, raised to a power.

    :param skip: whether clips that cannot be read are left out.
    """
    task = next((task for task in tasks if task.name == 'semantic'), None)
    if task is None:
        return None
    count = len(task.classes)
    pixels = np.zeros(count, np.int64)
    where_present = np.zeros(count, np.int64)
    for sample in evenly_read(clips, skip):
        labels = sample.semantic
        if labels is not None:
            found = np.bincount(labels[-1].ravel(), minlength=256)[:count]
            pixels += found
            where_present += (found > 0) * found.sum()
    return median_frequency_weights(pixels, where_present, exponent)
