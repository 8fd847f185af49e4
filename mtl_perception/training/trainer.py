# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: stages, steps, validations and checkpoints."""

import contextlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl_perception.errors import CheckpointError, ConfigurationError, NumericError, StorageError
from mtl_perception.files import write_atomically
from mtl_perception.models.build import build_network
from mtl_perception.models.detection_head import DetectionHead
from mtl_perception.models.pretrained import load_encoder
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.signals import StopRequest
from mtl_perception.tasks import Task
from mtl_perception.training.batch_norm import synchronise
from mtl_perception.training.callbacks import Callback, Callbacks, Run
from mtl_perception.training.checkpoint import (
    CheckpointFolder,
    random_states,
    restore_random_states,
)
from mtl_perception.training.config import Stage, TrainingConfig, to_plain
from mtl_perception.training.dataloading import Batch, Clips, Draws, batches
from mtl_perception.training.distributed import Ranks
from mtl_perception.training.learner import ClipLearner, initial_features, parts_of
from mtl_perception.training.losses import build_cross_task, build_losses
from mtl_perception.training.progress_log import Recent, TrainingLog
from mtl_perception.training.run_readme import RunFolder
from mtl_perception.training.schedule import learning_rate
from mtl_perception.training.start_weights import in_words, load_start
from mtl_perception.training.train_step import Stepper
from mtl_perception.training.validation import picture, selection_score, validate, with_score

NAN_STEPS = 3
"""Number of steps in a row that may have a loss or gradient that is not finite."""


@dataclass
class Progress:
    """
    How far a training has come.

    :param stage: number of the stage, from 0.
    :param stage_step: steps done in this stage.
    :param step: steps done in total.
    :param clips: clips drawn in total; the order of clips continues from here.
    :param skipped: steps left out because a loss or gradient was not finite.
    :param best: best selection score of this stage so far.
    :param worse: validations of this stage since the best one.
    :param seconds: time spent, including reading clips and validating.
    """

    stage: int = 0
    stage_step: int = 0
    step: int = 0
    clips: int = 0
    skipped: int = 0
    best: float = -1.0
    worse: int = 0
    seconds: float = 0.0


class Trainer:
    """
    Train a network by a recipe.

    :param config: the recipe.
    :param folder: run folder.
    :param tasks: tasks of the network.
    :param train: training clips.
    :param validation: validation clips, on which the model is selected.
    :param class_weights: weight of each semantic class, None for ones.
    :param notes: what a checkpoint stores beside the recipe: ``street_code``, the version of the
        synthetic data, ``anchors`` of the boxes, and ``camera``, see
        :class:`mtl_perception.training.data_sources.TrainingCamera`.
    :param command: the command line, for the README of the run folder.
    :param ranks: the processes that train together; this one alone if None.
    :param callbacks: that watch the training beside its own log and README.
    :raises ConfigurationError: if the recipe does not fit the network.
    """

    def __init__(
            self, config: TrainingConfig, folder: Path, tasks: tuple[Task, ...], train: Clips,
            validation: Clips, class_weights: list[float] | None = None,
            notes: dict[str, Any] | None = None, command: str = '',
            ranks: Ranks | None = None, callbacks: Sequence[Callback] = ()) -> None:
        random.seed(config.seed)
        np.random.seed(config.seed)  # noqa: NPY002 - for libraries that use it
        torch.manual_seed(config.seed)

        self.config = config
        self.folder = folder
        self.tasks = tasks
        self.train_clips = train
        self.validation_clips = validation
        self.notes = notes or {}
        self.command = command
        self.ranks = ranks or Ranks()

        # Two networks: one is trained, the other holds the moving average of its weights.
        self.spec = config.network.spec(
            tasks, self.notes.get('anchors', ()), config.loss.cross_task.kind != 'none')
        self.learner = self._make_learner(class_weights, trained=True)
        self.averaged = self._make_learner(class_weights)

        self.weighting = config.strategy(
            config.weighting, [task.name for task in tasks]).to(self.ranks.device)
        last_shared = self.learner.network.last_shared()
        if self.weighting.needs_gradients and (
                last_shared is None or not last_shared.requires_grad):
            raise ConfigurationError(
                f'weighting {config.weighting} needs the gradient of the last shared layer, but '
                f'network.frozen {config.network.frozen} freezes it; unfreeze it or choose '
                'another weighting')

        self.stepper = Stepper(self.learner, self.weighting, config.optimiser, self.ranks)
        self.average = self.stepper.average
        self.checkpoints = CheckpointFolder(folder / 'checkpoints')
        self.progress = Progress()
        self.metrics: dict[str, Any] = {}
        self.told = Callbacks([
            TrainingLog(partial(_work, config.stages)), RunFolder(self.notes), *callbacks,
        ] if self.ranks.is_first else [])

    def start(self) -> None:
        """Load the weights that the recipe starts from; a resumed training must not call it."""
        settings = self.config.network
        if settings.pretrained:
            for encoder in self.learner.network.plain_encoders():
                load_encoder(
                    encoder, settings.encoder, settings.pretrained, settings.pretrained_by_order)
        # A model has an encoder too, which replaces the pretrained one.
        if settings.start:
            some = self.tasks if settings.start_heads == 'fitting' else None
            fresh = load_start(self.learner.network, settings.start, some)
            if (text := in_words(settings.start, self.tasks, fresh)) and self.ranks.is_first:
                print(text)
        self.average.restart(self.learner.network)

    def _make_learner(
            self, class_weights: list[float] | None, trained: bool = False) -> ClipLearner:
        """
        Return a network with random weights and its losses.

        :param trained: whether it is the one that is trained, over all ranks.
        """
        settings = self.config.loss
        network = build_network(self.spec)
        familiar = initial_features(self.spec, self.config) if trained else None
        frozen = parts_of(network, self.config.network.frozen)
        if trained and self.config.run.sync_batch_norm:
            network = synchronise(network, self.ranks)

        head = dict(network.decoders.items()).get('detection')
        losses = build_losses(
            self.tasks, settings, class_weights, self.spec.anchors,
            head.stride if isinstance(head, DetectionHead) else 32)

        learner = ClipLearner(
            network.to(memory_format=torch.channels_last), self.config.network.mean,
            self.config.network.std, losses, settings.detached, self.config.precision,
            build_cross_task(losses, settings.cross_task), self.ranks if trained else None,
            frozen, familiar).to(self.ranks.device)

        if trained and self.config.run.compile:
            torch._dynamo.config.suppress_errors = True  # what does not compile runs uncompiled
            network.encoder.compile()
            for decoder in network.decoders.values():
                decoder.compile()
        return learner

    def run(self, stop: StopRequest) -> bool:
        """
        Train from the current progress to the end, or until asked to stop.

        :param stop: checked after every step.
        :return: whether the training is finished; if not, a checkpoint has been written.
        :raises NumericError: if more than three steps in a row are not finite.
        """
        try:
            self.told.start(Run(
                self.config.name, self.folder, to_plain(self.config), self.command,
                sum(stage.steps for stage in self.config.stages), self.progress.step))
            finished = self._run_stages(stop)
        except BaseException:
            # what failed matters more than a file that cannot be closed on a full disk
            with contextlib.suppress(OSError, StorageError):
                self.told.end('failed')
            raise

        self.told.end('finished' if finished else 'stopped')
        if not finished and self.ranks.is_first:
            print(f'{stop.received or "another rank"}: stopped after step {self.progress.step}, '
                  'checkpoint saved; --resume goes on')
        return finished

    def _run_stages(self, stop: StopRequest) -> bool:
        """Train the rest of all stages; return whether they are finished."""
        while self.progress.stage < len(self.config.stages):
            finished = self._run_stage(self.config.stages[self.progress.stage], stop)
            if finished and self.progress.stage + 1 == len(self.config.stages):
                return True
            if finished:
                self._next_stage()

            # All ranks must agree, or some would wait in a collective call without end.
            if self.ranks.any(bool(stop.received)):
                self._save()
                return False
        return True

    def _save(self, is_best: bool = False) -> None:
        """Write a checkpoint; all ranks contribute, the first one writes."""
        state = self.state()
        if self.ranks.is_first:
            path = self.checkpoints.save(state, self.progress.step, is_best)
            self.told.checkpoint(self.progress.step, path)

    def _next_stage(self) -> None:
        """Begin the next stage; scores at another resolution are not comparable."""
        self.progress.stage += 1
        self.progress.stage_step = 0
        self.progress.best = -1.0
        self.progress.worse = 0

    def _run_stage(self, stage: Stage, stop: StopRequest) -> bool:
        """Train the rest of a stage; return whether it was finished."""
        progress = self.progress
        left = 0 if self._has_stalled() else stage.steps - progress.stage_step
        draws = Draws(
            self.train_clips, self.config.seed, stage.height, stage.width,
            self.config.augmentation, self.config.data.window, self.config.data.skips_bad,
            stage.crop)

        with batches(
                draws, progress.clips, left, stage.batch, self.config.data.loaders,
                self.ranks) as read:
            return self._steps(read, stage, stop)

    def _steps(self, read: Iterator[Batch], stage: Stage, stop: StopRequest) -> bool:
        """Train on batches; return whether the stage has come to its end."""
        progress = self.progress
        run = self.config.run
        self.learner.train()
        recent = Recent()
        began = time.monotonic()
        bad: list[int] = []  # first draw of each step in the current row that was not finite

        for batch in read:
            # one optimiser step; overflows of fp16 and steps without a task do not count as bad
            losses = self.step(batch, stage)
            if losses is None and not self.stepper.overflowed:
                bad.append(progress.clips)
            elif losses:
                bad.clear()
            if len(bad) > NAN_STEPS:
                self._give_up(stage, bad)

            # progress, which the checkpoint stores
            epoch = progress.clips // len(self.train_clips)
            progress.clips += stage.batch
            progress.step += 1
            progress.stage_step += 1
            now = time.monotonic()
            progress.seconds += now - began
            began = now

            # strategies such as DWA change their weights once per epoch
            if progress.clips // len(self.train_clips) > epoch:
                self.weighting.end_epoch()

            # log
            recent.add(
                losses, self.stepper.gradient_norm, stage.batch * batch['image'].shape[1])
            finished = progress.stage_step == stage.steps
            if progress.step % run.log_every == 0 or finished:
                self.told.step(progress.step, self._report(recent))
                recent = Recent()
            else:
                self.told.step(progress.step, {})

            # validation
            is_best = False
            if progress.step % run.validate_every == 0 or finished:
                is_best = self._validate(stage)
                if self._has_stalled() and self.ranks.is_first:
                    print(f'step {progress.step}: {progress.worse} validations were no better '
                          f'than {progress.best:.4f}, the stage ends early')
                finished = finished or self._has_stalled()
                recent = Recent()  # the time of a validation is not that of steps

            # checkpoint
            if is_best or finished or progress.step % run.checkpoint_every == 0:
                self._save(is_best)

            if finished:
                return True
            if self.ranks.any(bool(stop.received)):
                return False
        return True

    def step(self, batch: Batch, stage: Stage) -> dict[str, Tensor] | None:
        """
        Do one optimiser step, see :class:`mtl_perception.training.train_step.Stepper`.

        :return: task name -> loss, empty if the weighting skips all tasks at this step or the
            batch has no labels for the rest; None if a loss or the gradient was not finite. In
            these cases the network does not change.
        """
        due = self.weighting.active(self.progress.step)
        if not due:
            return {}

        settings = self.config.optimiser
        rate = settings.lr * learning_rate(
            self.progress.stage_step, stage.steps, stage.lr, settings.warm_up, settings.final,
            settings.schedule, settings.power, settings.halve_every)
        on_device = {
            name: item.to(self.ranks.device, non_blocking=True) for name, item in batch.items()}

        losses = self.stepper(on_device, due, rate)
        if losses is None:
            self.progress.skipped += 1
        return losses

    def _give_up(self, stage: Stage, bad: list[int]) -> None:
        """Write down which clips were bad, and end the training with an error."""
        progress = self.progress
        dump = self.folder / 'not_finite.json'
        if self.ranks.is_first:
            write_atomically(json.dumps({
                'step': progress.step, 'first_draw': bad[0],
                'draws': progress.clips + stage.batch - bad[0],
                'seed': self.config.seed,
                'last_checkpoint': str(next(iter(self.checkpoints.paths()), None))},
                indent=2).encode(), dump)

        raise NumericError(
            f'the loss or gradient was not finite in {len(bad)} steps in a row, the last is step '
            f'{progress.step}; the weights are those before them. {dump} lists the clips; '
            'go on at a lower rate: --resume --force --optimiser.lr 0.5')

    def _report(self, recent: Recent) -> dict[str, Any]:
        """Return the mean losses, the weights and the speed since the last report."""
        return {
            'loss': recent.means(), 'weight': self.weighting.weights(),
            'lr': float(self.stepper.optimiser.param_groups[0]['lr']),
            'frames_per_second': recent.frames / max(1e-9, time.monotonic() - recent.began),
            'gradient_norm': float(np.mean(recent.norms)) if recent.norms else None,
            'skipped': self.progress.skipped}

    def _has_stalled(self) -> bool:
        """Return whether so many validations were no better that the stage ends early."""
        return 0 < self.config.patience <= self.progress.worse

    def _validate(self, stage: Stage) -> bool:
        """Evaluate the averaged weights; return whether they are the best of this stage so far."""
        self.ranks.share(self.average.state)
        self.averaged.network.load_state_dict(self.average.state)

        place = (self.validation_clips, self.tasks, stage.height, stage.width)
        skip = self.config.data.skips_bad
        self.metrics = validate(self.averaged, *place, self.ranks, skip)
        view = picture(self.averaged, *place, skip=skip) if self.ranks.is_first else None
        score = selection_score(self.metrics)
        self.told.validation(self.progress.step, with_score(self.metrics), view)
        del self.metrics['intervals']  # only the log has them

        # Where nothing can be compared, the newest weights have learned most.
        is_best = score is None or score > self.progress.best
        self.progress.best = max(self.progress.best, -1.0 if score is None else score)
        self.progress.worse = 0 if is_best else self.progress.worse + 1
        return is_best

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed training needs to continue bit for bit."""
        return {
            'format': 1, 'config': to_plain(self.config), 'notes': self.notes,
            'command': self.command,
            **self.stepper.state(),
            'progress': dict(vars(self.progress)), 'validation': self.metrics,
            'random': self.ranks.gather(random_states()), 'threads': torch.get_num_threads()}

    def load_state(self, state: dict[str, Any]) -> None:
        """
        Continue from what :meth:`state` returned.

        :raises CheckpointError: if it belongs to another architecture or format.
        """
        try:
            self.stepper.load_state(state)
            self.progress = Progress(**state['progress'])
            self.metrics = state['validation']
            # Another number of ranks has no state for each: they keep the one of the seed.
            if len(state['random']) == self.ranks.count:
                restore_random_states(state['random'][self.ranks.rank])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f'{self.checkpoints.folder}: the checkpoint does not fit this recipe ({error}); '
                'resume with the recipe that it was made with',
                ReasonCode.MODEL_ARCHITECTURE) from error

        # A checkpoint at the end of a stage was written before the next one began.
        stages = self.config.stages
        if self.progress.stage < len(stages) - 1 and (
                self.progress.stage_step >= stages[self.progress.stage].steps
                or self._has_stalled()):
            self._next_stage()


def _work(stages: Sequence[Stage], steps: int) -> float:
    """Return the number of pixels that the first steps of a training see."""
    work = 0.0
    for stage in stages:
        here = min(steps, stage.steps)
        work += float(here) * stage.batch * stage.learned[0] * stage.learned[1]
        steps -= here
    return work
