# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adapt a model to a camera without labels, by self-training beside the data it learned from."""

import copy
import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mtl_perception.errors import CheckpointError, ConfigurationError, DataError
from mtl_perception.inference.motion_head_file import SUFFIX as HEAD_SUFFIX
from mtl_perception.inference.motion_head_file import attach_motion_head
from mtl_perception.manifest import Manifest, find_model, read_model, write_model
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.signals import StopRequest
from mtl_perception.training.checkpoint import CheckpointFolder
from mtl_perception.training.config import TrainingConfig, from_plain
from mtl_perception.training.data_sources import (
    camera_of,
    class_weights,
    open_clips,
    street_code_of,
    tasks_of,
)
from mtl_perception.training.depth_change import DepthChange, Looker
from mtl_perception.training.drive_depth import Film
from mtl_perception.training.export import export_state
from mtl_perception.training.run import check_same_recipe
from mtl_perception.training.self_check import SelfCheck, self_check
from mtl_perception.training.self_training import DriveAndStreet, Teacher
from mtl_perception.training.trainer import Trainer
from mtl_perception.training.validation import validate

STREET_SEEDS = 150
"""Number of street seeds that are replayed; more would be rendered for hours."""
VALIDATION_CLIPS = 16
"""Clips of the model's own validation data that show what the adaptation costs there."""
HELD_OUT = 0.1
"""Share of the drive, its end, that is not learned from."""
MIN_DIFFERENT = 10
"""Number of images that must differ for a drive."""
SAME = 0.7
"""
Mean difference of small grey versions up to which two images count as the same, of 255. The noise
of a camera makes up to 0.5 of it.
"""
NATURAL = 0.6
"""Smallest correlation of neighbouring pixels; images of a camera have above 0.9, noise 0."""
STEADY = 0.45
"""Smallest consistency, see :class:`SelfCheck`; below it the model does not know such images."""
MAX_LOSS = 0.02
"""How far the consistency may fall."""
MAX_STREET_LOSS = 0.1
"""How far the mIoU on the model's own validation data may fall."""
FAMILIAR = 1.0
"""Weight of the distance to the features that the encoder had before."""
KEPT_SHARE = 0.25
"""Part of its share of the pixels that a frequent class must keep."""
SPREAD = 0.03
"""Share of the pixels that a class must not gain if that is a multiple of what it had."""
SPREAD_TIMES = 3.0
"""This multiple."""


@dataclass(frozen=True)
class AdaptationSettings:
    """
    How much is learned.

    :param steps: of the optimiser.
    :param batch: clips per step, half of them of the drive.
    :param rate: peak learning rate.
    :param seed: of order, augmentation and mixing.
    :param threads: of torch, 0 for its own choice.
    """

    steps: int = 400
    batch: int = 6
    rate: float = 1e-4
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, eq=False)
class Adaptation:
    """
    What an adaptation did.

    :param model: the file that was written; None if it is worse by its own checks.
    :param held_out: (H, W, 3) uint8 RGB images of the drive that were not learned from.
    :param before: the model on the held-out part of the drive.
    :param after: the adapted model on the same images.
    :param own_before: mIoU of the model on its own validation data.
    :param own_after: the same of the adapted model.
    :param depth: what happened to depth.
    :param faults: why the adapted model is worse by these checks; empty if it is not.
    """

    model: Path | None
    held_out: list[NDArray[np.uint8]]
    before: SelfCheck
    after: SelfCheck
    own_before: float
    own_after: float
    depth: DepthChange
    faults: list[str]


def check_drive(images: Sequence[NDArray[np.uint8]]) -> None:
    """
    Refuse images that are no drive.

    :param images: (H, W, 3) uint8 RGB each.
    :raises DataError: if too few of them differ, or they are noise.
    """
    small = [cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 18),
                        interpolation=cv2.INTER_AREA).astype(np.float32) for image in images]

    # A slow camera changes little from image to image: compared with the last that was counted.
    counted = small[:1]
    for one in small[1:]:
        if float(np.abs(one - counted[-1]).mean()) > SAME:
            counted.append(one)
    if len(counted) < MIN_DIFFERENT:
        raise DataError(
            f'{len(images)} images, of which {len(counted)} differ from those '
            f'before; adapting needs at least {MIN_DIFFERENT} different ones: record a drive')

    step = max(1, len(images) // 20)
    likeness = float(np.median([_likeness(image) for image in images[::step]]))
    if likeness < NATURAL:
        raise DataError(
            f'neighbouring pixels of the images correlate by {likeness:.2f}, those of a camera by '
            f'at least {NATURAL}: this looks like noise; check the camera or how it was recorded')


def _likeness(image: NDArray[np.uint8]) -> float:
    """Return the correlation of horizontal neighbours, 1 for an image of one colour."""
    grey = image.mean(2)
    left = grey[:, :-1].ravel()
    right = grey[:, 1:].ravel()
    if left.std() < 1 or right.std() < 1:
        return 1.0
    return float(np.corrcoef(left, right)[0, 1])


def adapt(
        model: str | Path, drive: Sequence[NDArray[np.uint8]], folder: Path,
        settings: AdaptationSettings, cache: str, notes: dict[str, Any],
        stop: StopRequest, film: Film | None = None) -> Adaptation | None:
    """
    Adapt a model to the images of a drive; the model itself is not changed.

    Half of each batch are images of the drive, which the moving average of the network labels
    where it is sure, see :class:`.Teacher`; half are clips that the model learned from, so that it
    forgets nothing. Depth is what makes consecutive frames look like one another, see
    :func:`.find_depth`.

    :param model: name of a shipped model or path of a ``.safetensors`` file.
    :param drive: clips of the model's height, width and number of frames, each (T, H, W, 3) uint8
        RGB, in the order of the drive; the last tenth is not learned from.
    :param folder: of the run; the model is written there under the folder's name.
    :param settings: how much is learned.
    :param cache: folder of rendered street clips.
    :param notes: what the new manifest says about the drive.
    :param stop: asks to stop.
    :param film: the same images, finer and with their times, in the order of ``drive``; None if
        they do not follow one another.
    :return: None if it was stopped.
    :raises DataError: if the images are no drive, or the model does not know such images.
    :raises CheckpointError: if the model cannot be adapted.
    :raises ConfigurationError: if the folder holds the adaptation to another drive.
    """
    manifest, _ = read_model(model)
    config = recipe_of(manifest, str(model), folder, settings, cache)
    check_drive([clip[-1] for clip in drive])
    if settings.threads:
        torch.set_num_threads(settings.threads)
        cv2.setNumThreads(settings.threads)

    # The clips that the model learned from; of its validation data a part is enough.
    both = open_clips(config, '', stop)
    if both is None:
        return None
    own, validation = both
    validation = Every(validation, VALIDATION_CLIPS)
    tasks = tasks_of(config)
    weights = class_weights(own, tasks, config.loss.class_balance)

    trainer = Trainer(
        config, folder, tasks, own, validation, weights,
        {'street_code': street_code_of(own), 'anchors': config.network.anchors,
         'camera': tuple(camera_of(config, own)), 'drive': _digest(drive, film)},
        ' '.join(['mtl adapt', str(model)]))
    state = _stopped(trainer, config)
    trainer.start()
    teacher = Teacher(trainer.averaged, trainer.average)
    teacher.reload()

    # What does it answer today? A model that contradicts itself would teach itself nonsense.
    count = max(1, round(HELD_OUT * len(drive)))
    learned, held_out = drive[:-count], drive[-count:]
    before = self_check(teacher, held_out)
    if before.consistency < STEADY:
        raise DataError(
            f'the model contradicts itself on these images: its answers on darker and enlarged '
            f'views agree by a mean IoU of {before.consistency:.2f}, wanted at least {STEADY}. It '
            'does not know such a scene; label some images and train on them instead')
    own_before = validate(
        trainer.averaged, validation, tasks, manifest.height, manifest.width)['semantic']['miou']

    ratio = 1.0 if film is None else film.height_ratio
    looker = Looker(teacher, drive, manifest, ratio)
    depth_before = looker.depth_change(film, len(learned))

    if state is not None:
        trainer.load_state(state)
    trainer.train_clips = DriveAndStreet(
        own, learned, teacher, settings.seed, depth_before.found.labels,
        ratio if manifest.network.height_exponents else None)
    if not trainer.run(stop):
        return None

    # The last weights: the model's own validation cannot tell which are best on the drive.
    teacher.reload()
    after = self_check(teacher, held_out)
    own_after = trainer.metrics['semantic']['miou']
    depth = looker.after(depth_before, film)
    faults = _faults(manifest, before, after, own_before - own_after) + depth.faults()
    path = None if faults else _export(folder, model, manifest, {**notes, **depth.found.notes()})
    return Adaptation(
        path, [clip[-1] for clip in held_out], before, after, own_before, own_after, depth, faults)


def _digest(drive: Sequence[NDArray[np.uint8]], film: Film | None) -> str:
    """Return a digest of the images of a drive and of what is known of their camera."""
    digest = hashlib.sha256()
    for clip in drive:
        digest.update(clip.tobytes())
    if film is not None:
        known = (*film.stamps_ns, film.camera, film.metres, film.height_m, film.height_ratio)
        digest.update(repr(known).encode())
    return digest.hexdigest()


def _stopped(trainer: Trainer, config: TrainingConfig) -> dict[str, Any] | None:
    """
    Return the checkpoint of an adaptation that was stopped, None if there is none.

    :raises ConfigurationError: if it is of another drive, camera or recipe.
    """
    state = trainer.checkpoints.load_newest()
    if state is None:
        return None
    if state['notes'].get('drive') != trainer.notes['drive']:
        raise ConfigurationError(
            f'{trainer.folder} holds the adaptation to another drive, or to this one with other '
            'settings of its camera; choose another --name, or remove the folder')
    check_same_recipe(config, state['config'])
    return state


def recipe_of(
        manifest: Manifest, model: str, folder: Path, settings: AdaptationSettings, cache: str,
) -> TrainingConfig:
    """
    Return the recipe of a model's training, changed to adapt it.

    :raises CheckpointError: if the manifest has no recipe, or the model no semantics.
    """
    if 'recipe' not in manifest.training or manifest.task('semantic') is None:
        raise CheckpointError(
            f'{manifest.name} has no {"recipe" if manifest.task("semantic") else "semantics"} in '
            'its manifest; adapting needs both: take a model that mtl train made',
            ReasonCode.MANIFEST_INVALID)

    plain = copy.deepcopy(manifest.training['recipe'])
    plain['name'] = folder.name
    plain['output'] = str(folder.parent)
    plain['seed'] = settings.seed
    plain['network'] |= {'start': model, 'pretrained': '', 'frozen': []}
    plain['loss']['feature_distance'] = FAMILIAR
    plain['stages'] = [{
        'height': manifest.height, 'width': manifest.width, 'steps': settings.steps,
        'batch': settings.batch, 'lr': settings.rate}]
    plain['run'] = {
        'threads': settings.threads, 'validate_every': settings.steps,
        'checkpoint_every': settings.steps}

    data = plain['data']
    data |= {'cache': cache, 'street_code': ''}
    if not data.get('train'):
        seeds = data['train_seeds'].partition(':')
        last = min(int(seeds[2]), int(seeds[0]) + STREET_SEEDS)
        data['train_seeds'] = f'{seeds[0]}:{last}'
    return from_plain(plain)


class Every:
    """
    Clips of a data set, evenly spread over it.

    :param clips: the data set.
    :param count: how many clips at most.
    """

    def __init__(self, clips: Any, count: int) -> None:
        self.clips = clips
        self.numbers = np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.numbers)

    def __getitem__(self, index: int) -> Any:
        """Return one clip."""
        return self.clips[int(self.numbers[index])]


def _export(
        folder: Path, model: str | Path, before: Manifest, notes: dict[str, Any]) -> Path:
    """Write the averaged weights as a model whose manifest says what it was adapted to."""
    state = CheckpointFolder(folder / 'checkpoints').load_newest()
    assert state is not None
    path = folder / f'{folder.name}.safetensors'
    export_state(state, path, 'fp16')

    # The motion head of the model reads depth and classes, which have not changed their meaning.
    if before.motion_head:
        attach_motion_head(find_model(model).with_suffix(HEAD_SUFFIX), path)

    manifest, weights = read_model(path)
    training = {**before.training, 'adapted': {
        'from': before.name, 'sha256': before.sha256, **notes}}
    write_model(dataclasses.replace(
        manifest, training=training, height_exponent=before.height_exponent,
        focal_px=before.focal_px, focal_y_px=before.focal_y_px,
        camera_height=before.camera_height), weights, path)
    return path


def _faults(
        manifest: Manifest, before: SelfCheck, after: SelfCheck, own_loss: float) -> list[str]:
    """Return in what the adapted model is worse, by what can be known without labels."""
    faults = []
    if after.consistency < before.consistency - MAX_LOSS:
        faults.append(f'it contradicts itself more: consistency {before.consistency:.3f} -> '
                      f'{after.consistency:.3f}')
    if own_loss > MAX_STREET_LOSS:
        faults.append(f'mIoU on its own validation data fell by {own_loss:.3f}, more than '
                      f'{MAX_STREET_LOSS}')

    task = manifest.task('semantic')
    assert task is not None
    for number, name in enumerate(task.classes):
        share, now = before.shares[number], after.shares[number]
        if share >= 0.02 and now < KEPT_SHARE * share:
            faults.append(f'{name} has vanished: {share:.1%} -> {now:.1%} of the pixels')
        if now > share + SPREAD and now > SPREAD_TIMES * share:
            faults.append(f'{name} has spread: {share:.1%} -> {now:.1%} of the pixels')
    return faults
