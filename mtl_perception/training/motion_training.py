# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Train the head that tells moving objects from parked ones, on precomputed features."""

from collections.abc import Callable
from dataclasses import field
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
from mtl_perception.errors import DataError, NumericError
from mtl_perception.metrics.motion import area_under_curve
from mtl_perception.models.motion_head import ResidualMotionHead
from mtl_perception.settings import checked_dataclass
from mtl_perception.training.motion_samples import MotionSamples

MIRRORED = tuple(RESIDUAL_CHANNELS.index(name) for name in ('across_sigma', 'across_px'))
"""Channels that change their sign in a mirror."""
AREA_EXPONENT = 0.6
"""An object counts in the loss as its area to the power of 1 minus this."""
SMALLEST_OBJECT = 15
"""Smallest object that is evaluated, pixels at half resolution: 60 at full resolution."""


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


def train_motion_head(
    samples: MotionSamples, settings: MotionTraining,
    report: Callable[[int, float], Any] | None = None,
) -> ResidualMotionHead:
    """
    Return a trained head, in evaluation mode.

    Every object counts by a low power of its area, so that small ones are learned too; half of
    the pairs are mirrored.

    :param samples: to learn from.
    :param settings: the recipe.
    :param report: called with the step and its loss.
    :raises DataError: if there are no samples.
    :raises NumericError: if the loss is not finite.
    """
    count, channels = samples.features.shape[:2]
    if not count:
        raise DataError('no pair of frames to train on; give more seeds')

    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    head = ResidualMotionHead(channels, settings.width)
    optimiser = torch.optim.AdamW(
        head.parameters(), settings.lr, weight_decay=settings.weight_decay)
    schedule = OneCycleLR(
        optimiser, settings.lr, total_steps=settings.steps,
        pct_start=max(0.1, min(0.5, 2 / settings.steps)), final_div_factor=1e3)

    weights = [object_weights(ids, settings.background) for ids in samples.instance]
    order: list[int] = []
    for step in range(settings.steps):
        # a new permutation follows whenever the last one runs out
        while len(order) < settings.batch:
            order += rng.permutation(count).tolist()
        chosen = order[:settings.batch]
        order = order[settings.batch:]

        features = torch.from_numpy(samples.features[chosen]).float()
        moving = torch.from_numpy(samples.moving[chosen]).float()
        weight = torch.from_numpy(np.stack([weights[index] for index in chosen]))
        features, moving, weight = _mirrored(
            features, moving, weight, torch.from_numpy(rng.random(len(chosen)) < 0.5))

        # sum w BCE / sum w: every object counts by a low power of its area
        loss = (functional.binary_cross_entropy_with_logits(
            head(features), moving, reduction='none') * weight).sum() / weight.sum()
        if not bool(torch.isfinite(loss)):
            raise NumericError(f'the loss of step {step} is {float(loss)}; lower lr')

        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), 5.0)
        optimiser.step()
        schedule.step()

        if report is not None:
            report(step, float(loss))
    return head.eval()


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
