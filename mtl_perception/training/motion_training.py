# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Train the head that tells moving objects from parked ones, on precomputed features."""

import json
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from mtl_perception.datasets.synthetic import ClipPlan
from mtl_perception.egomotion import RESIDUAL_CHANNELS
from mtl_perception.errors import CheckpointError, ConfigurationError, DataError, NumericError
from mtl_perception.metrics.motion import area_under_curve
from mtl_perception.models.motion_head import ResidualMotionHead
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.settings import checked_dataclass, parse_yaml, write_yaml
from mtl_perception.signals import StopRequest
from mtl_perception.training.callbacks import Callback, Run
from mtl_perception.training.checkpoint import CheckpointFolder
from mtl_perception.training.motion_samples import MotionSamples
from mtl_perception.training.recipe_diff import differences

MIRRORED = tuple(RESIDUAL_CHANNELS.index(name) for name in ('across_sigma', 'across_px'))
"""Channels that change their sign in a mirror."""
AREA_EXPONENT = 0.6
"""An object counts in the loss as its area to the power of 1 minus this."""
SMALLEST_OBJECT = 15
"""Smallest object that is evaluated, pixels at half resolution: 60 at full resolution."""

HARMLESS = ('threads', 'output', 'log_every', 'checkpoint_every', 'data.cache', 'data.workers',
            'data.street_code')
"""Settings that change how a training runs, but not what it learns."""


@checked_dataclass
class MotionData:
    """
    The data of a motion head.

    :param cache: folder of rendered clips and of the features.
    :param train_seeds: street seeds for training, ``FIRST:END``; 0 to 9999.
    :param validation_seeds: street seeds for validation; 10000 to 10999.
    :param plan: the clips; the last frame is compared with the first.
    :param street_code: as in :class:`mtl_perception.training.config.DataSettings`.
    :param workers: processes that render.
    """

    cache: str = '~/.cache/mtl_perception'
    train_seeds: str = '0:500'
    validation_seeds: str = '10000:10016'
    plan: ClipPlan = field(default_factory=lambda: ClipPlan(clips=6))
    street_code: str = ''
    workers: NonNegativeInt = 2


@checked_dataclass
class MotionTraining:
    """
    The recipe of a motion head.

    :param name: of the run.
    :param model: model whose semantics and depth the head uses: a shipped name or a path.
    :param data: the training and validation data.
    :param width: channels of the head at its finest scale.
    :param steps: optimiser steps; the learning rate rises and falls, which takes at least 3.
    :param batch: pairs per step.
    :param lr: peak learning rate.
    :param weight_decay: of AdamW.
    :param background: weight of all background in a batch, as a share of that of all objects.
    :param seed: of all random numbers.
    :param threads: CPU threads of torch, 0 = automatic.
    :param output: folder of the runs.
    :param log_every: steps between two lines of the log.
    :param checkpoint_every: steps between two checkpoints.
    """

    name: str = 'street_motion'
    model: str = 'street'
    data: MotionData = field(default_factory=MotionData)
    width: PositiveInt = 8
    steps: Annotated[int, Field(ge=3)] = 2000
    batch: PositiveInt = 8
    lr: PositiveFloat = 0.01
    weight_decay: NonNegativeFloat = 0.02
    background: PositiveFloat = 0.3
    seed: int = 0
    threads: NonNegativeInt = 0
    output: str = 'runs'
    log_every: PositiveInt = 100
    checkpoint_every: PositiveInt = 200


class MotionTrainer:
    """
    Train a motion head, step by step.

    Every object counts by a low power of its area, so that small ones are learned too; half of
    the pairs are mirrored.

    :param samples: to learn from.
    :param settings: the recipe.
    :raises DataError: if there are no samples.
    """

    def __init__(self, samples: MotionSamples, settings: MotionTraining) -> None:
        count, channels = samples.features.shape[:2]
        if not count:
            raise DataError('no pair of frames to train on; give more seeds')
        self.samples = samples
        self.settings = settings
        self.done = 0
        """Number of steps done."""

        torch.manual_seed(settings.seed)
        self._rng = np.random.default_rng(settings.seed)
        self.head = ResidualMotionHead(channels, settings.width)
        self._optimiser = torch.optim.AdamW(
            self.head.parameters(), settings.lr, weight_decay=settings.weight_decay)
        self._schedule = OneCycleLR(
            self._optimiser, settings.lr, total_steps=settings.steps,
            pct_start=max(0.1, min(0.5, 2 / settings.steps)), final_div_factor=1e3)

        self._weights = [object_weights(ids, settings.background) for ids in samples.instance]
        self._order: list[int] = []

    def run(
        self, folder: Path, told: Callback, command: str = '', stop: StopRequest | None = None,
    ) -> bool:
        """
        Train the rest of the steps, with a checkpoint every so many and at the end.

        :param folder: of the run.
        :param told: watches the training.
        :param command: the command line.
        :param stop: checked after every step.
        :return: whether the training is finished; if not, a checkpoint has been written.
        :raises NumericError: if a loss is not finite.
        """
        settings = self.settings
        checkpoints = CheckpointFolder(folder / 'checkpoints')
        state = 'failed'
        try:
            told.start(Run(
                settings.name, folder, _plain(settings), command, settings.steps, self.done))
            while self.done < settings.steps:
                loss, rate = self.step()
                finished = self.done == settings.steps
                due = finished or self.done % settings.log_every == 0
                told.step(self.done, {'loss': {'motion': loss}, 'lr': rate} if due else {})

                stopped = stop is not None and stop.received is not None
                if finished or stopped or self.done % settings.checkpoint_every == 0:
                    told.checkpoint(self.done, checkpoints.save(self.state(), self.done))
                if stopped and not finished:
                    state = 'stopped'
                    return False
            state = 'finished'
            return True
        finally:
            told.end(state)

    def step(self) -> tuple[float, float]:
        """
        Do one optimiser step.

        :return: the loss, and the learning rate that it was done with.
        :raises NumericError: if the loss is not finite.
        """
        # a new permutation follows whenever the last one runs out
        size = self.settings.batch
        while len(self._order) < size:
            self._order += self._rng.permutation(len(self.samples.features)).tolist()
        chosen = self._order[:size]
        self._order = self._order[size:]

        features = torch.from_numpy(self.samples.features[chosen]).float()
        moving = torch.from_numpy(self.samples.moving[chosen]).float()
        weight = torch.from_numpy(np.stack([self._weights[index] for index in chosen]))
        features, moving, weight = _mirrored(
            features, moving, weight, torch.from_numpy(self._rng.random(len(chosen)) < 0.5))

        # sum w BCE / sum w: every object counts by a low power of its area
        loss = (functional.binary_cross_entropy_with_logits(
            self.head(features), moving, reduction='none') * weight).sum() / weight.sum()
        if not bool(torch.isfinite(loss)):
            raise NumericError(f'the loss of step {self.done} is {float(loss)}; lower lr')

        rate = float(self._optimiser.param_groups[0]['lr'])
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 5.0)
        self._optimiser.step()
        self._schedule.step()
        self.done += 1
        return float(loss.detach()), rate

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed training needs to continue bit for bit."""
        return {
            'config': _plain(self.settings), 'pairs': len(self.samples.features),
            'done': self.done, 'head': self.head.state_dict(),
            'optimiser': self._optimiser.state_dict(), 'schedule': self._schedule.state_dict(),
            'order': self._order, 'random': json.dumps(self._rng.bit_generator.state)}

    def load_state(self, state: dict[str, Any]) -> None:
        """
        Continue from what :meth:`state` returned.

        :raises ConfigurationError: if recipe or data have changed since.
        :raises CheckpointError: if it is the checkpoint of something else.
        """
        try:
            found = [
                f'{key}: {old} -> {new}'
                for key, old, new in differences(state['config'], _plain(self.settings))
                if not key.startswith(HARMLESS)]
            if state['pairs'] != len(self.samples.features):
                found.append(f'pairs of frames: {state["pairs"]} -> {len(self.samples.features)}')
            if found:
                raise ConfigurationError(
                    f'the recipe has changed since the checkpoint: {"; ".join(found)}. Resume '
                    'with the old one, or start again under another --name')

            self.head.load_state_dict(state['head'])
            self._optimiser.load_state_dict(state['optimiser'])
            self._schedule.load_state_dict(state['schedule'])
            self._order = list(state['order'])
            self._rng.bit_generator.state = json.loads(state['random'])
            self.done = int(state['done'])
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f'not a checkpoint of a motion head ({type(error).__name__}: {error}); start '
                'again under another --name', ReasonCode.MODEL_ARCHITECTURE) from error


def _plain(settings: MotionTraining) -> dict[str, Any]:
    """Return the settings as plain YAML and JSON types."""
    plain: dict[str, Any] = parse_yaml(write_yaml(asdict(settings)), 'the recipe')
    return plain


def object_weights(instance: NDArray[np.uint16], background: float) -> NDArray[np.float32]:
    """
    Return how much each pixel counts.

    :param instance: (h, w) uint16 ids of objects, 0 = background.
    :param background: sum of the background's weights as a share of that of the objects'; without
        an object it is that share of one object of 100 pixels.
    :return: (h, w) float32.
    """
    areas = np.bincount(instance.ravel()).astype(np.float64)
    each = np.maximum(areas, 1) ** -AREA_EXPONENT
    total = float((areas[1:] * each[1:]).sum()) or 100.0 ** (1 - AREA_EXPONENT)
    each[0] = background * total / max(areas[0], 1.0)
    return np.asarray(each[instance], np.float32)


def _mirrored(
    features: Tensor, moving: Tensor, weight: Tensor, which: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a batch of which some pairs are mirrored left to right."""
    # a mirrored image reverses the sign of horizontal flow
    sign = torch.ones(features.shape[1])
    sign[list(MIRRORED)] = -1
    flipped = features.flip(-1) * sign[:, None, None]
    return (torch.where(which[:, None, None, None], flipped, features),
            torch.where(which[:, None, None], moving.flip(-1), moving),
            torch.where(which[:, None, None], weight.flip(-1), weight))


def evaluate_head(head: ResidualMotionHead, samples: MotionSamples) -> dict[str, float | None]:
    """
    Return how well a head tells moving from parked objects on unseen samples.

    :return: ``auc`` and ``balanced_accuracy`` over objects, None without both kinds.
    """
    scores: list[float] = []
    moving: list[bool] = []
    with torch.inference_mode():
        for features, truth, ids in zip(
                samples.features, samples.moving, samples.instance, strict=True):
            score = torch.sigmoid(head(torch.from_numpy(features[None]).float()))[0].numpy()

            # an object's score is the mean over its pixels; it moves if most of them do
            areas = np.bincount(ids.ravel())
            for number in np.flatnonzero(areas >= SMALLEST_OBJECT):
                if number:
                    pixels = ids == number
                    scores.append(float(score[pixels].mean()))
                    moving.append(bool(truth[pixels].mean() > 0.5))

    found = np.array(scores)
    truly = np.array(moving, bool)
    if not truly.any() or truly.all():
        return {'auc': None, 'balanced_accuracy': None}

    called = found > 0.5
    return {'auc': area_under_curve(found, truly), 'balanced_accuracy': float(
        (called[truly].mean() + (~called[~truly]).mean()) / 2)}
