# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop."""

import json
import math
import random
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from mtl_perception.errors import CheckpointError, NumericError
from mtl_perception.models.build import build_network
from mtl_perception.models.detection_head import DetectionHead
from mtl_perception.models.encoders import Encoder
from mtl_perception.models.pretrained import load_encoder
from mtl_perception.tasks import Task
from mtl_perception.training.batches import Batch, Clips, Draws, batches
from mtl_perception.training.checkpoint import (
    CheckpointFolder,
    random_states,
    restore_random_states,
)
from mtl_perception.training.config import Stage, TrainingConfig, to_plain
from mtl_perception.training.display import TrainingLog, write_picture
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.losses import build_cross_task, build_losses
from mtl_perception.training.readme import main_figures, picture_path, write_readme
from mtl_perception.training.schedule import (
    WeightAverage,
    build_optimiser,
    learning_rate,
    parameter_groups,
)
from mtl_perception.training.stopping import StopRequest
from mtl_perception.training.validation import merit, picture, validate
from mtl_perception.weighting import build_weighting

NAN_STEPS = 3
"""How many steps in a row may have a loss or gradient that is not finite."""


@dataclass
class Progress:
    """
    How far a training is.

    :param stage: number of the stage, from 0.
    :param stage_step: steps done in it.
    :param step: steps done in all.
    :param clips: clips drawn in all, which is where the order of clips goes on.
    :param skipped: steps left out because a loss or gradient was not finite.
    :param best: best merit of the stage so far.
    :param seconds: time spent, with reading the clips and validating.
    """

    stage: int = 0
    stage_step: int = 0
    step: int = 0
    clips: int = 0
    skipped: int = 0
    best: float = -1.0
    seconds: float = 0.0


@dataclass
class Recent:
    """Sums of what happened since the last line of the log."""

    losses: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, losses: dict[str, Tensor], frames: int) -> None:
        """Count one step."""
        self.frames += frames
        for task, loss in losses.items():
            self.losses[task] = self.losses.get(task, 0.0) + loss.item()
            self.counts[task] = self.counts.get(task, 0) + 1

    def means(self) -> dict[str, float]:
        """Return task name -> mean loss."""
        return {task: total / self.counts[task] for task, total in self.losses.items()}


class Trainer:
    """
    Train a network as a recipe says.

    :param config: the recipe.
    :param folder: run folder.
    :param tasks: what the network learns.
    :param train: clips to learn from.
    :param validation: clips to choose the model by.
    :param class_weights: weight of each semantic class, None for ones.
    :param notes: what else a checkpoint remembers, such as the version of the data; ``anchors``
        are those of the boxes.
    :param command: the command line, for the README of the run folder.
    """

    def __init__(
            self, config: TrainingConfig, folder: Path, tasks: tuple[Task, ...], train: Clips,
            validation: Clips, class_weights: list[float] | None = None,
            notes: dict[str, Any] | None = None, command: str = '') -> None:
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
        self.spec = config.network.spec(
            tasks, self.notes.get('anchors', ()), config.loss.cross_task.kind != 'none')
        self.learner = self._make_learner(class_weights)
        self.averaged = self._make_learner(class_weights)
        if source := config.network.pretrained:
            load_encoder(
                cast(Encoder, self.learner.network.encoder), config.network.encoder, source,
                config.network.pretrained_by_order)
        self.weighting = build_weighting(
            config.weighting, [task.name for task in tasks], asdict(config.weighting_options))
        self.average = WeightAverage(self.learner.network, config.optimiser.average)
        groups = parameter_groups([self.learner.network], config.optimiser.weight_decay)
        if learned := list(self.weighting.parameters()):
            groups.append({
                'params': learned, 'weight_decay': 0.0, 'rate': self.weighting.rate})
        self.optimiser = build_optimiser(
            groups, config.optimiser.kind, config.optimiser.betas, config.optimiser.momentum)
        self.checkpoints = CheckpointFolder(folder / 'checkpoints')
        self.progress = Progress()
        self.figures: dict[str, Any] = {}

    def _make_learner(self, class_weights: list[float] | None) -> ClipLearner:
        """Return a network with fresh weights and its losses."""
        settings, network = self.config.loss, build_network(self.spec)
        head = dict(network.decoders.items()).get('detection')
        losses = build_losses(
            self.tasks, settings, class_weights, self.spec.anchors,
            head.stride if isinstance(head, DetectionHead) else 32)
        return ClipLearner(
            network.to(memory_format=torch.channels_last), self.config.network.mean,
            self.config.network.std, losses, settings.detached, self.config.precision,
            build_cross_task(losses, settings.cross_task))

    def run(self, stop: StopRequest) -> bool:
        """
        Train from where the progress is to the end, or until asked to stop.

        :param stop: looked at after every step.
        :return: whether the training is finished; if not, a checkpoint has been written.
        :raises NumericError: if more than three steps in a row are not finite.
        """
        total = sum(stage.steps for stage in self.config.stages)
        with TrainingLog(self.folder, total, self.progress.step, self._work) as log:
            self._describe('running')
            while self.progress.stage < len(self.config.stages):
                stage = self.config.stages[self.progress.stage]
                finished = self._run_stage(stage, log, stop)
                if finished and self.progress.stage + 1 == len(self.config.stages):
                    self._describe(f'finished after step {self.progress.step}')
                    return True
                if finished:
                    self._next_stage()
                if stop.received:
                    self.checkpoints.save(self.state(), self.progress.step)
                    log.announce(
                        f'{stop.received}: stopped after step {self.progress.step}, checkpoint '
                        'saved; --resume goes on')
                    self._describe(f'stopped after step {self.progress.step}, not finished')
                    return False
        return True

    def _describe(self, state: str) -> None:
        """Write the README of the run folder."""
        write_readme(self.folder, self.command, to_plain(self.config), self.notes, state)

    def _work(self, steps: int) -> float:
        """Return how many pixels the first steps of the training look at."""
        work = 0.0
        for stage in self.config.stages:
            here = min(steps, stage.steps)
            work += float(here) * stage.batch * stage.height * stage.width
            steps -= here
        return work

    def _next_stage(self) -> None:
        """Begin the next stage, whose merits cannot be compared with the last one's."""
        self.progress.stage += 1
        self.progress.stage_step, self.progress.best = 0, -1.0

    def _run_stage(self, stage: Stage, log: TrainingLog, stop: StopRequest) -> bool:
        """Train what is left of a stage; return whether it was finished."""
        progress, run = self.progress, self.config.run
        draws = Draws(
            self.train_clips, self.config.seed, stage.height, stage.width,
            self.config.augmentation, self.config.data.window)
        left = stage.steps - progress.stage_step
        self.learner.train()
        recent, began = Recent(), time.monotonic()
        bad: list[int] = []  # first draw of each step in a row that was not finite
        for batch in batches(
                draws, progress.clips, left, stage.batch, self.config.data.loaders):
            losses = self.step(batch, stage)
            if losses is None:
                bad.append(progress.clips)
            elif losses:  # a step at which no task is due says nothing
                bad.clear()
            if len(bad) > NAN_STEPS:
                self._give_up(stage, bad)
            clips = len(batch['image'])
            epoch = progress.clips // len(self.train_clips)
            progress.clips += clips
            progress.step += 1
            progress.stage_step += 1
            progress.seconds, began = (
                progress.seconds + time.monotonic() - began, time.monotonic())
            recent.add(losses or {}, clips * batch['image'].shape[1])
            if progress.clips // len(self.train_clips) > epoch:
                self.weighting.end_epoch({})
            log.advance(progress.step)
            finished = progress.stage_step == stage.steps
            if progress.step % run.log_every == 0 or finished:
                self._report(recent, log)
                recent = Recent()
            is_best = False
            if progress.step % run.validate_every == 0 or finished:
                is_best = self._validate(stage, log)
                recent = Recent()
            if is_best or finished or progress.step % run.checkpoint_every == 0:
                self.checkpoints.save(self.state(), progress.step, is_best)
            if stop.received and not finished:
                return False
        return True

    def step(self, batch: Batch, stage: Stage) -> dict[str, Tensor] | None:
        """
        Do one optimiser step.

        A task whose loss is exactly 0 has nothing to learn from the batch and takes no part in the
        weighting.

        :return: task name -> loss, empty if the weighting wants no task at this step or no task
            that it wants is labelled; None if a loss or the gradient was not finite. In these
            cases the network does not change.
        """
        due = self.weighting.active(self.progress.step)
        if not due:
            return {}
        settings = self.config.optimiser
        rate = settings.lr * learning_rate(
            self.progress.stage_step, stage.steps, stage.lr, settings.warm_up, settings.final,
            settings.schedule, settings.power, settings.halve_every)
        for group in self.optimiser.param_groups:
            group['lr'] = rate * group.get('rate', 1.0)
        buffers = [item.clone() for item in self.learner.network.buffers()]
        losses: dict[str, Tensor] = self.learner(batch, due)
        if not losses:
            return {}
        values = {task: loss.item() for task, loss in losses.items()}
        if all(map(math.isfinite, values.values())):
            learned = {task: loss for task, loss in losses.items() if values[task] != 0}
            if not learned:
                return {task: loss.detach() for task, loss in losses.items()}
            self.optimiser.zero_grad(set_to_none=True)
            self.weighting(learned, self.learner.shared).backward()
            norm = torch.nn.utils.clip_grad_norm_(
                self.learner.network.parameters(), settings.clip_norm)
            if math.isfinite(norm.item()):
                self.optimiser.step()
                self.average.update(self.learner.network)
                return {task: loss.detach() for task, loss in losses.items()}
        for item, before in zip(self.learner.network.buffers(), buffers):
            item.copy_(before)  # batch normalisation has seen what was not finite
        self.progress.skipped += 1
        return None

    def _give_up(self, stage: Stage, bad: list[int]) -> None:
        """Write what is needed to look into it, and end the training."""
        progress = self.progress
        dump = self.folder / 'not_finite.json'
        dump.write_text(json.dumps({
            'step': progress.step, 'first_draw': bad[0],
            'draws': progress.clips + stage.batch - bad[0],
            'seed': self.config.seed,
            'last_checkpoint': str(next(iter(self.checkpoints.paths()), None))}, indent=2))
        self._describe(f'given up at step {progress.step}: not a number')
        raise NumericError(
            f'the loss or gradient was not finite in {len(bad)} steps in a row, the last is step '
            f'{progress.step}; no such weights were kept. {dump} says which clips they were; '
            'lower the learning rate (--optimiser.lr 0.5) and --resume')

    def _report(self, recent: Recent, log: TrainingLog) -> None:
        """Log the mean losses, the weights and the speed since the last report."""
        losses, weights = recent.means(), self.weighting.weights()
        pace = recent.frames / max(1e-9, time.monotonic() - recent.began)
        rate = float(self.optimiser.param_groups[0]['lr'])
        log.figures('train', self.progress.step, {
            'loss': losses, 'weight': weights, 'lr': rate, 'frames_per_second': pace,
            'skipped': self.progress.skipped})
        words = [
            f'{task} {loss:.3f} (w {weights.get(task, 0):.2f})' for task, loss in losses.items()]
        log.say(self.progress.step, f'{"  ".join(words)}  lr {rate:.1e}  {pace:.1f} frames/s')

    def _validate(self, stage: Stage, log: TrainingLog) -> bool:
        """Judge the averaged weights; return whether they are the best of this stage so far."""
        self.averaged.network.load_state_dict(self.average.state)
        place = (self.validation_clips, self.tasks, stage.height, stage.width)
        self.figures = figures = validate(self.averaged, *place)
        value = merit(figures)
        log.figures('validation', self.progress.step, {**figures, 'merit': value})
        view = picture(self.averaged, *place)
        log.image('validation/picture', self.progress.step, view)
        write_picture(view, picture_path(self.folder, self.progress.step))
        log.announce(f'step {self.progress.step} validation at {stage.width}x{stage.height}: '
                     f'{summary(figures)}')
        self._describe(f'running, step {self.progress.step}')
        is_best = value > self.progress.best
        self.progress.best = max(value, self.progress.best)
        return is_best

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to go on bit for bit."""
        return {
            'format': 1, 'config': to_plain(self.config), 'notes': self.notes,
            'network': self.learner.network.state_dict(), 'average': self.average.state_dict(),
            'optimiser': self.optimiser.state_dict(), 'weighting': self.weighting.state_dict(),
            'progress': dict(vars(self.progress)), 'validation': self.figures,
            'random': random_states(),
            'threads': torch.get_num_threads()}

    def load_state(self, state: dict[str, Any]) -> None:
        """
        Go on from what :meth:`state` returned.

        :raises CheckpointError: if it belongs to another architecture or format.
        """
        try:
            self.learner.network.load_state_dict(state['network'])
            self.average.load_state_dict(state['average'])
            self.optimiser.load_state_dict(state['optimiser'])
            self.weighting.load_state_dict(state['weighting'])
            self.progress = Progress(**state['progress'])
            self.figures = state['validation']
            restore_random_states(state['random'])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f'{self.checkpoints.folder}: the checkpoint does not fit this recipe ({error}); '
                'resume with the recipe that it was made with', 'M06') from error
        stages = self.config.stages
        if self.progress.stage < len(stages) - 1 and (
                self.progress.stage_step >= stages[self.progress.stage].steps):
            self._next_stage()


def summary(figures: dict[str, Any]) -> str:
    """Return the main figures of a validation as one line."""
    return ', '.join(f'{label} {value:.3f}' for label, value in main_figures(figures).items())
