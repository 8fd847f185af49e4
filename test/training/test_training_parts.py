# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import json
import multiprocessing
import os
import random
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mtl_perception.datasets.augmentation import Augmentation
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import CheckpointError, DataError, StorageError
from mtl_perception.losses import MotionCrossEntropy
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training import checkpoint
from mtl_perception.training.checkpoint import CheckpointFolder, read_checkpoint, write_checkpoint
from mtl_perception.training.config import NetworkSettings, Stage, TrainingConfig, to_plain
from mtl_perception.training.dataloading import Draws, batches, collate
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.losses import build_losses
from mtl_perception.training.progress_log import TrainingLog
from mtl_perception.training.run_readme import write_readme
from mtl_perception.training.schedule import WeightAverage, learning_rate, parameter_groups
from mtl_perception.training.trainer import Trainer
from mtl_perception.training.validation import picture, selection_score, validate


def within(given, use):
    """Return what is made of the batches."""
    with given as content:
        return use(content)


def read(given):
    """Return what there is to read."""
    return within(given, list)


# order and batches

def test_every_clip_is_drawn_once_per_epoch_and_epochs_differ(boxes):
    draws = Draws(boxes, 0, 64, 64, None)
    epochs = [[draws.index(number) for number in range(first, first + 8)] for first in (0, 8)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(8))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize('loaders', [0, 2])
def test_batches_depend_on_the_position_only(boxes, loaders):
    draws = Draws(boxes, 3, 32, 32, Augmentation())
    whole = read(batches(draws, 0, 3, 4))
    tail = read(batches(draws, 4, 2, 4, loaders))
    assert len(tail) == 2
    for wanted, found in zip(whole[1:], tail):
        assert wanted.keys() == found.keys()
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_a_draw_shows_a_window_of_consecutive_frames_and_every_window_in_time():
    class Numbered:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            image = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
            image = np.broadcast_to(image, (4, 8, 8, 3))
            return Sample(image, semantic=image[..., 0])

    draws = Draws(Numbered(), 0, 8, 8, None, window=2)
    seen = {tuple(draws[number].image[:, 0, 0, 0]) for number in range(30)}
    assert seen == {(0, 1), (1, 2), (2, 3)}
    assert draws[3].semantic.shape == (2, 8, 8)


def test_an_empty_data_set_is_refused(boxes):
    boxes.count = 0
    with pytest.raises(DataError, match='empty'):
        Draws(boxes, 0, 32, 32, None)


def test_a_worker_that_dies_is_reported(boxes):
    class Deadly(type(boxes)):
        def __getitem__(self, number):
            os._exit(1)

    with pytest.raises(DataError, match='reading training clips failed'):
        read(batches(Draws(Deadly(), 0, 32, 32, None), 0, 1, 2, loaders=1))


def test_a_worker_that_is_killed_during_a_step_is_reported(boxes):
    def step(content):
        next(content)
        worker, = multiprocessing.active_children()
        worker.kill()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            torch.ones(64, 64) @ torch.ones(64, 64)

    given = batches(Draws(boxes, 0, 32, 32, None), 0, 50, 2, loaders=1)
    with pytest.raises(DataError, match='reading training clips failed some time after draw 1'):
        within(given, step)


@pytest.mark.parametrize('error', [BrokenPipeError('stdout'), RuntimeError('out of memory')])
def test_an_error_of_a_step_is_not_one_of_reading(boxes, error):
    def step(content):
        next(content)
        raise error

    with pytest.raises(type(error), match=str(error)):
        within(batches(Draws(boxes, 0, 32, 32, None), 0, 2, 2, loaders=1), step)


def test_a_connection_that_breaks_is_reported_like_a_worker_that_dies(boxes):
    """As that to a worker does which has been killed, but not yet collected."""
    class Broken(type(boxes)):
        def __getitem__(self, number):
            raise ConnectionResetError(104, 'reset by peer')

    with pytest.raises(DataError, match=r'reading training clips failed.*reset by peer'):
        read(batches(Draws(Broken(), 0, 32, 32, None), 0, 1, 2, loaders=1))


def test_a_label_that_only_some_clips_have_is_unlabelled_in_the_others(boxes):
    one, other = boxes[0], replace(boxes[1], depth=None, motion=None)
    batch = collate([one, other])
    assert torch.isnan(batch['depth'][1]).all()
    assert (batch['motion'][1] == 255).all()
    assert 'depth' not in collate([other, other])


# learner

class Recorder(nn.Module):
    """A network that notes which frames it compared."""

    frames = 2

    def encode(self, image):
        return [image.mean((2, 3), keepdim=True)]

    def share(self, current, previous, earlier=()):
        self.seen = (current[0][:, 0, 0, 0].tolist(), previous[0][:, 0, 0, 0].tolist())
        return current

    def last_shared(self):
        return None

    def decode_shared(self, stages, detached, tasks=None):
        self.wanted = tasks
        shape = (len(stages[0]), 2, 4, 4)
        return {'motion': torch.zeros(shape, requires_grad=True)}


def test_each_frame_is_compared_with_the_one_before_and_the_first_with_itself():
    image = torch.arange(6, dtype=torch.uint8).view(2, 3, 1, 1, 1).expand(2, 3, 4, 4, 3)
    learner = ClipLearner(Recorder(), (0, 0, 0), (1, 1, 1), {})
    learner.outputs(image)
    assert learner.network.seen == ([0, 1, 2, 3, 4, 5], [0, 0, 1, 3, 3, 4])


def test_bfloat16_and_detached_tasks_reach_the_network():
    class Noting(Recorder):
        def decode_shared(self, stages, detached, tasks=None):
            self.context = (torch.is_autocast_enabled('cpu'), detached)
            return super().decode_shared(stages, detached, tasks)

    image = torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8)
    for precision, enabled in (('fp32', False), ('bf16', True)):
        learner = ClipLearner(
            Noting(), (0, 0, 0), (1, 1, 1), {}, ['motion'], precision)
        learner.outputs(image)
        assert learner.network.context == (enabled, ('motion',))


def test_motion_of_the_first_frame_is_not_learned():
    learner = ClipLearner(Recorder(), (0, 0, 0), (1, 1, 1), {'motion': MotionCrossEntropy()})
    batch = {'image': torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8),
             'motion': torch.zeros(1, 2, 4, 4, dtype=torch.uint8)}
    batch['motion'][:, 1] = 255
    assert learner(batch) == {}  # only the first frame had labels
    assert (batch['motion'][:, 0] == 0).all()  # and the batch is not modified


def test_tasks_without_labels_have_no_loss():
    batch = {'image': torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8)}
    losses = build_losses(STREET_TASKS)
    assert ClipLearner(Recorder(), (0, 0, 0), (1, 1, 1), losses)(batch) == {}


# schedule and average

def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end():
    rates = [learning_rate(step, 100, 2.0, warm_up=0.1, final=0.05) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(0.1)
    assert all(one > other for one, other in itertools.pairwise(rates[9:]))


def test_only_weights_of_two_dimensions_decay():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    decaying, others = parameter_groups([network], 0.1)
    assert [tuple(item.shape) for item in decaying['params']] == [(4, 3, 1, 1)]
    assert len(others['params']) == 3
    assert (decaying['weight_decay'], others['weight_decay']) == (0.1, 0.0)


def test_the_average_of_constant_weights_is_constant_and_of_others_lags_behind():
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = WeightAverage(network, 0.9)
    average.update(network)
    assert average.state['weight'].item() == 0.0
    nn.init.ones_(network.weight)
    average.update(network)  # the decay after one update is 2 / 11
    assert average.state['weight'].item() == pytest.approx(9 / 11)


# checkpoints

STATE = {'network': {'weight': torch.arange(4.0)}, 'step': 3, 'names': ['a']}


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    write_checkpoint(STATE, tmp_path / 'a.ckpt')
    found = read_checkpoint(tmp_path / 'a.ckpt')
    assert torch.equal(found.pop('network')['weight'], STATE['network']['weight'])
    assert found == {'step': 3, 'names': ['a']}


@pytest.mark.parametrize('place', [0, 10, 45, 200, -1])
def test_a_single_flipped_bit_is_refused(tmp_path, place):
    path = tmp_path / 'a.ckpt'
    write_checkpoint(STATE, path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_the_last_two_are_kept_and_the_best_beside_them(tmp_path):
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2, 3):
        folder.save({'step': step}, step, is_best=step == 1)
    assert [path.name for path in folder.paths()] == ['step_00000003.ckpt', 'step_00000002.ckpt']
    assert read_checkpoint(folder.best) == {'step': 1}


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    folder = CheckpointFolder(tmp_path)
    assert folder.load_newest() is None
    for step in (1, 2):
        folder.save({'step': step}, step)
    newest, older = folder.paths()
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.warns(UserWarning, match='falling back'):
        assert folder.load_newest() == {'step': 1}
    older.write_bytes(b'')
    with pytest.warns(UserWarning, match='falling back'), pytest.raises(
            CheckpointError, match='none of its 2'):
        folder.load_newest()


@pytest.mark.parametrize(('call', 'number', 'step'), [
    ('open', 1, 1), ('fsync', 1, 1), ('close', 1, 1), ('replace', 1, 1),
    # replaced before the folder is flushed: then the new one is whole
    ('open', 2, 2), ('fsync', 2, 2), ('close', 2, 2)])
def test_a_failing_system_call_leaves_a_whole_checkpoint(
        tmp_path, monkeypatch, call, number, step):
    path = tmp_path / 'a.ckpt'
    write_checkpoint({'step': 1}, path)
    real, calls = getattr(os, call), []

    def failing(*arguments, **keywords):
        calls.append(call)
        if len(calls) == number:
            raise OSError(28, 'No space left on device')
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(StorageError, match='No space left') as caught:
        write_checkpoint({'step': 2}, path)
    monkeypatch.undo()
    assert caught.value.exit_code == 5
    assert read_checkpoint(path)['step'] == step
    assert not list(tmp_path.glob('.*.part'))


def test_a_process_killed_while_writing_leaves_a_readable_checkpoint(tmp_path):
    path = tmp_path / 'a.ckpt'
    weights = torch.zeros(200_000)
    write_checkpoint({'weights': weights, 'step': 0}, path)
    for attempt in range(12):
        child = os.fork()
        if child == 0:
            step = 0
            while True:
                step += 1
                write_checkpoint({'weights': weights, 'step': step}, path)
        time.sleep(0.02 + 0.007 * attempt)
        os.kill(child, 9)
        os.waitpid(child, 0)
        assert torch.equal(read_checkpoint(path)['weights'], weights)


def test_random_states_come_back():
    states = checkpoint.random_states()
    first = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
    checkpoint.restore_random_states(states)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first  # noqa: NPY002


# validation

class Truthful(nn.Module):
    """A network which is told the answer by the red channel: 8 for a car, 11 for sky."""

    frames = 2

    def encode(self, image):
        return [image]

    def share(self, current, previous, earlier=()):
        return current

    def decode_shared(self, stages, detached, tasks=None):
        red, blue = stages[0][:, 0], stages[0][:, 2]
        car, sky = red > 160, blue > 180
        ids = torch.zeros_like(red, dtype=torch.long)
        ids[car], ids[sky] = 8, 11
        depth = torch.where(car, 6.0, 20.0).log()[:, None]
        return {'semantic': nn.functional.one_hot(ids, 12).permute(0, 3, 1, 2).float(),
                'depth': depth, 'motion': torch.zeros(len(red), 2, *red.shape[1:])}


def test_a_truthful_network_is_judged_perfect_and_its_mode_is_restored(boxes):
    learner = ClipLearner(Truthful(), (0, 0, 0), (1, 1, 1), {}).train()
    figures = validate(learner, boxes, STREET_TASKS, 64, 64)
    assert figures['semantic']['miou'] == 1.0
    assert figures['depth']['abs_rel'] == pytest.approx(0, abs=1e-3)
    assert figures['motion']['iou_moving'] == 0.0
    assert selection_score(figures) == 1.0
    assert learner.training
    assert picture(learner, boxes, STREET_TASKS, 64, 64, count=2).shape == (256, 256, 3)


def test_motion_is_judged_where_nothing_else_is_labelled(boxes):
    class MotionOnly(type(boxes)):
        def __getitem__(self, number):
            return replace(super().__getitem__(number), semantic=None, depth=None)

    learner = ClipLearner(Truthful(), (0, 0, 0), (1, 1, 1), {})
    motion = tuple(task for task in STREET_TASKS if task.name == 'motion')
    figures = validate(learner, MotionOnly(), motion, 64, 64)
    assert figures['motion']['iou_moving'] == 0.0
    assert figures['motion']['pixels'] > 0
    assert figures['motion']['iou_all_movable'] is None  # nobody says what could move


# display

def test_the_time_left_follows_the_work_and_not_the_number_of_steps(tmp_path):
    def work(steps):  # after ten steps each takes three times as long
        return steps + 2 * max(0, steps - 10)

    with TrainingLog(tmp_path, 20, 5, work) as log:
        assert log.seconds_left(10, 5.0) == pytest.approx(30.0)
        assert log.seconds_left(15, 20.0) == pytest.approx(15.0)
        assert log.seconds_left(20, 35.0) == 0.0


def test_the_work_of_a_step_is_its_pixels(tmp_path, boxes):
    stages = [Stage(32, 64, 10, batch=2), Stage(64, 64, 5, batch=3)]
    trainer = Trainer(
        TrainingConfig('one', stages, network=NetworkSettings('resnet10', 1)), tmp_path,
        STREET_TASKS, boxes, boxes)
    assert [trainer._work(steps) for steps in (0, 10, 11)] == [
        0, 10 * 2 * 32 * 64, 10 * 2 * 32 * 64 + 3 * 64 * 64]


def test_a_resumed_log_keeps_the_last_figures_and_forgets_what_is_done_again(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    with TrainingLog(tmp_path, 10) as log:
        for step in (2, 4, 6):
            log.record('train', step, {'loss': float(step)})
    with TrainingLog(tmp_path, 10, done=4) as log:
        log.record('train', 6, {'loss': 60.0})
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert [(line['step'], line['loss']) for line in lines] == [(2, 2.0), (4, 4.0), (6, 60.0)]
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [(item.step, item.value) for item in board.Scalars('train/loss')] == [
        (2, 2.0), (4, 4.0), (6, 60.0)]


def test_a_clip_that_cannot_be_read_is_named_or_replaced_by_the_next(boxes):
    class Torn:
        def __init__(self, bad):
            self.bad = bad

        def __len__(self):
            return len(boxes)

        def __getitem__(self, number):
            if number in self.bad:
                raise DataError(f'image {number}.png: cut')
            return boxes[number]

    def draws(bad, skip):
        return Draws(Torn(bad), 0, 32, 32, None, 0, skip)

    strict, lenient = draws({3}, False), draws({3}, True)
    at = next(number for number in range(8) if strict.index(number) == 3)
    for loaders in (0, 1):
        with pytest.raises(DataError, match=r'^image 3\.png: cut$'):
            read(batches(strict, 0, 2, 4, loaders))
    with pytest.warns(UserWarning, match='3.png: cut; another clip takes its place'):
        found = lenient[at]
    assert np.array_equal(found.image, boxes[4].resized(32, 32).image)
    assert lenient.unreadable.tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    torn = draws({3, 4}, True)  # two of eight are more than one and more than 0.1 %
    with pytest.warns(UserWarning, match='takes its place'), pytest.raises(
            DataError, match='2 of 8 training clips'):
        [torn[number] for number in range(8)]


def test_the_readme_names_all_data_sets_of_a_mixture(config, tmp_path):
    described = {'mix': {'a': {'dataset': 'camvid', 'split': 'train'},
                         'b': {'dataset': 'kitti2015', 'split': 'all'}}}
    recipe = to_plain(config)
    recipe['data'] |= {'train': described, 'validation': {'dataset': 'camvid', 'split': 'val'}}
    (tmp_path / 'metrics.jsonl').touch()
    write_readme(tmp_path, 'mtl train x.yaml', recipe, {}, 'running')
    assert '| data | camvid train, kitti2015 all, chosen by camvid val |' in (
        tmp_path / 'README.md').read_text()
