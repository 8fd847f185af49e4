# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from killed_runs import same

from mtl_perception.errors import CheckpointError, ConfigurationError, NumericError
from mtl_perception.signals import StopRequest
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training.callbacks import Callback
from mtl_perception.training.checkpoint import read_checkpoint
from mtl_perception.training.config import OptimiserSettings, Stage
from mtl_perception.training.run_lock import exclusive
from mtl_perception.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures('small_network')


class StopAfter:
    """Ask to stop once so many steps are done."""

    def __init__(self, trainer=None, step=None):
        self.trainer, self.step = trainer, step

    @property
    def received(self):
        if self.step is not None and self.trainer.progress.step >= self.step:
            return 'SIGTERM'
        return None


def make(config, folder, boxes):
    return Trainer(config, folder, STREET_TASKS, boxes, boxes, None, {'street_code': 'x'})


def log_of(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def test_twenty_steps_lower_every_loss(config, tmp_path, boxes):
    trainer = make(config, tmp_path / 'run', boxes)
    assert trainer.run(StopAfter())

    lines = [line for line in log_of(tmp_path / 'run') if line['kind'] == 'train']
    first, last = lines[0]['loss'], lines[-1]['loss']
    assert set(first) == {'semantic', 'depth', 'motion'}
    assert all(last[task] < 0.8 * first[task] for task in first), (first, last)

    validation = [line for line in log_of(tmp_path / 'run') if line['kind'] == 'validation']
    assert [line['step'] for line in validation] == [7, 10, 14, 20]
    assert all(line['intervals']['mIoU'][0] <= line['semantic']['miou'] for line in validation)
    assert (tmp_path / 'run' / 'checkpoints' / 'best.ckpt').exists()


@pytest.mark.parametrize('step', [3, 10, 13])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
        config, tmp_path, boxes, step):
    whole = make(config, tmp_path / 'whole', boxes)
    assert whole.run(StopAfter())

    part = make(config, tmp_path / 'part', boxes)
    assert not part.run(StopAfter(part, step))

    resumed = make(config, tmp_path / 'part', boxes)
    resumed.load_state(resumed.checkpoints.load_newest())
    assert resumed.progress.step == step
    assert resumed.run(StopAfter())

    wanted, found = whole.state(), resumed.state()
    for state in (wanted, found):
        state['progress'].pop('seconds')
    assert same(wanted, found)

    # the control: another seed ends elsewhere
    other = make(replace(config, seed=1), tmp_path / 'other', boxes)
    assert other.run(StopAfter())
    assert not same(wanted['network'], other.state()['network'])

    clean = [[{key: value for key, value in line.items() if key != 'frames_per_second'}
              for line in log_of(tmp_path / run) if line['kind'] == 'validation']
             for run in ('whole', 'part')]
    assert clean[0] == clean[1]


def test_a_checkpoint_of_another_architecture_is_refused(config, tmp_path, boxes):
    trainer = make(config, tmp_path / 'a', boxes)
    other = replace(config, network=replace(config.network, frames=1))
    with pytest.raises(CheckpointError, match='does not fit this recipe'):
        make(other, tmp_path / 'b', boxes).load_state(trainer.state())


def test_a_loss_that_is_not_finite_changes_nothing_and_the_fourth_ends_the_training(
        config, tmp_path, boxes, monkeypatch):
    trainer = make(config, tmp_path / 'run', boxes)
    before = {name: item.clone() for name, item in trainer.learner.network.state_dict().items()}
    forward = trainer.learner.losses['depth'].forward
    monkeypatch.setattr(trainer.learner.losses['depth'], 'forward',
                        lambda *arguments: forward(*arguments) * float('nan'))

    with pytest.raises(NumericError, match='4 steps in a row') as caught:
        trainer.run(StopAfter())
    assert caught.value.exit_code == 6
    assert trainer.progress.skipped == 4
    assert same(before, trainer.learner.network.state_dict())
    assert json.loads((tmp_path / 'run' / 'not_finite.json').read_text())['first_draw'] == 0


def test_one_step_that_is_not_finite_is_skipped_and_counted(
        config, tmp_path, boxes, monkeypatch):
    trainer = make(config, tmp_path / 'run', boxes)
    loss = trainer.learner.losses['depth']
    forward, calls = loss.forward, []

    def poisoned(*arguments):
        calls.append(1)
        return forward(*arguments) * (float('nan') if len(calls) == 3 else 1.0)

    monkeypatch.setattr(loss, 'forward', poisoned)

    assert trainer.run(StopAfter())
    assert trainer.progress.skipped == 1
    assert all(item.isfinite().all() for item in trainer.average.state.values())


def test_equal_weights_train_too(config, tmp_path, boxes):
    short = replace(config, weighting='equal', stages=[Stage(32, 32, 3, 4)],
                    optimiser=OptimiserSettings())
    trainer = make(short, tmp_path / 'run', boxes)
    assert trainer.run(StopAfter())
    assert set(trainer.weighting.weights().values()) == {1.0}


def test_a_signal_is_remembered_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == 'SIGTERM'

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_training_in_the_same_folder_is_refused(tmp_path):
    with exclusive(tmp_path):
        taken = f'in use by process {os.getpid()}'
        with pytest.raises(ConfigurationError, match=taken), exclusive(tmp_path):
            pass
    with exclusive(tmp_path):  # and free again afterwards
        pass


def test_a_batch_without_labels_changes_nothing_and_is_no_failure(
        config, boxes, tmp_path, monkeypatch):
    trainer = make(config, tmp_path / 'run', boxes)
    before = {name: item.clone() for name, item in trainer.learner.network.named_parameters()}
    monkeypatch.setattr(trainer.learner, 'forward', lambda batch, due: {})
    batch = {'image': torch.zeros(1)}

    assert trainer.step(batch, trainer.config.stages[0]) == {}
    assert trainer.progress.skipped == 0
    assert all(torch.equal(item, before[name])
               for name, item in trainer.learner.network.named_parameters())


def test_a_loss_of_zero_takes_no_part_in_the_weighting(
        config, boxes, tmp_path, monkeypatch):
    trainer = make(config, tmp_path / 'run', boxes)
    weight = next(iter(trainer.learner.network.parameters()))
    asked = []

    def forward(batch, due):
        return {'semantic': (weight ** 2).sum() + 1, 'depth': (weight * 0).sum()}

    def weigh(losses, shared):
        asked.append(sorted(losses))
        return sum(losses.values())

    monkeypatch.setattr(trainer.learner, 'forward', forward)
    monkeypatch.setattr(trainer.weighting, 'forward', weigh)
    found = trainer.step({'image': torch.zeros(1)}, trainer.config.stages[0])

    assert asked == [['semantic']]
    assert found['depth'] == 0

    monkeypatch.setattr(trainer.learner, 'forward', lambda batch, due: {
        'depth': (weight * 0).sum()})
    before = weight.detach().clone()
    assert trainer.step({'image': torch.zeros(1)}, trainer.config.stages[0])['depth'] == 0
    assert torch.equal(weight, before)
    assert trainer.progress.skipped == 0


class Witness(Callback):
    """Write down what happens."""

    def __init__(self):
        self.seen = []

    def start(self, run):
        self.seen.append(('start', run.name, run.steps, run.done))

    def step(self, step, metrics):
        if metrics:
            self.seen.append(('report', step, sorted(metrics['loss'])))

    def validation(self, step, metrics, picture):
        assert picture.shape[2] == 3
        self.seen.append(('validation', step))

    def checkpoint(self, step, path):
        assert path.is_file()
        self.seen.append(('checkpoint', step))

    def end(self, state):
        self.seen.append(('end', state))


def test_callbacks_are_told_start_steps_validations_checkpoints_and_end(
        config, tmp_path, boxes, monkeypatch):
    short = replace(config, stages=[Stage(32, 32, 4, 4, 1e-2)], run=replace(
        config.run, log_every=2, validate_every=100, checkpoint_every=3))

    def run(told, failing=None):
        trainer = Trainer(short, tmp_path / 'run', STREET_TASKS, boxes, boxes, callbacks=[told])
        if failing is not None:
            monkeypatch.setattr(trainer, 'step', failing)
        trainer.run(StopAfter())
        return told.seen

    tasks = ['depth', 'motion', 'semantic']
    assert run(Witness()) == [
        ('start', 'tiny', 4, 0), ('report', 2, tasks), ('checkpoint', 3), ('report', 4, tasks),
        ('validation', 4), ('checkpoint', 4), ('end', 'finished')]

    def failing(batch, stage):
        raise OSError('the disk has gone')

    told = Witness()
    with pytest.raises(OSError, match='the disk has gone'):
        run(told, failing)
    assert told.seen == [('start', 'tiny', 4, 0), ('end', 'failed')]
    assert 'State: **failed after step 0**' in (tmp_path / 'run' / 'README.md').read_text()


def test_a_stage_that_stalls_ends_early_and_stays_ended_after_a_resume(
        config, tmp_path, boxes, monkeypatch):
    # the scores: the best is the second; the two after it are no better
    scores = iter([0.1, 0.5, 0.5, 0.3, 0.2, 0.2, 0.2])
    monkeypatch.setattr(
        'mtl_perception.training.trainer.selection_score', lambda metrics: next(scores))
    patient = replace(
        config, patience=2, stages=[Stage(32, 32, 20, 4, 1e-2), Stage(32, 32, 3, 4, 1e-2)],
        run=replace(config.run, validate_every=2, checkpoint_every=100))

    trainer = make(patient, tmp_path / 'run', boxes)
    assert trainer.run(StopAfter(trainer, 8)) is False
    assert (trainer.progress.step, trainer.progress.stage, trainer.progress.worse) == (8, 1, 0)

    # the checkpoint of step 8 is that of the next stage's beginning
    resumed = make(patient, tmp_path / 'run', boxes)
    resumed.load_state(resumed.checkpoints.load_newest())
    assert (resumed.progress.step, resumed.progress.stage) == (8, 1)
    assert resumed.run(StopAfter())
    assert resumed.progress.step == 11

    # one that stalled in its last stage has nothing left to do
    scores = iter([0.5, 0.4, 0.3])
    last = make(replace(patient, stages=patient.stages[:1]), tmp_path / 'last', boxes)
    assert last.run(StopAfter())
    assert last.progress.step == 6
    again = make(replace(patient, stages=patient.stages[:1]), tmp_path / 'last', boxes)
    again.load_state(again.checkpoints.load_newest())
    assert again.run(StopAfter())
    assert again.progress.step == 6


def test_without_a_score_the_newest_weights_are_the_best(config, tmp_path, boxes, monkeypatch):
    monkeypatch.setattr('mtl_perception.training.trainer.selection_score', lambda metrics: None)
    patient = replace(
        config, patience=1, stages=[Stage(32, 32, 6, 4, 1e-2)],
        run=replace(config.run, validate_every=2, checkpoint_every=100))
    trainer = make(patient, tmp_path / 'run', boxes)
    assert trainer.run(StopAfter())
    assert trainer.progress.step == 6  # patience has nothing to wait for
    assert read_checkpoint(trainer.checkpoints.best)['progress']['step'] == 6
