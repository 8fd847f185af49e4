# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import multiprocessing
import os
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from mtl_perception.datasets.augmentation import Augmentation
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import DataError
from mtl_perception.training import dataloading
from mtl_perception.training.dataloading import Draws, batches, collate


def within(given, use):
    """Return what is made of the batches."""
    with given as content:
        return use(content)


def read(given):
    """Return what there is to read."""
    return within(given, list)


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


def test_draws_use_every_window_of_consecutive_frames():
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


def test_a_worker_ends_when_its_training_asks_and_not_when_others_do(boxes):
    class Slow(type(boxes)):
        def __getitem__(self, number):
            time.sleep(600 if number == 5 else 0)
            return super().__getitem__(number)

    def step(content):
        next(content)
        worker, = multiprocessing.active_children()
        for name in ('TERM', 'INT', 'HUP'):
            subprocess.run(['kill', f'-{name}', str(worker.pid)], check=True)
        worker.join(1)
        assert worker.is_alive()
        worker.terminate()
        worker.join(30)
        assert worker.exitcode == 0

    draws = Draws(Slow(), 0, 32, 32, None)
    within(batches(draws, 0, 8, 1, loaders=1), step)


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


def test_a_worker_may_be_reported_dead_while_its_broken_connection_is_looked_at(
        boxes, monkeypatch):
    """Torch's handler of SIGCHLD raises in whatever line runs."""
    def strikes(reading):
        monkeypatch.undo()
        raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed.')

    monkeypatch.setattr(dataloading, '_ended', strikes)
    def step(content):
        content.waiting = True
        raise ConnectionResetError(104, 'reset by peer')

    with pytest.raises(DataError, match=r'reading training clips failed'):
        within(batches(Draws(boxes, 0, 32, 32, None), 0, 1, 2, loaders=1), step)


def test_a_label_that_some_clips_lack_is_filled_as_unlabelled(boxes):
    one, other = boxes[0], replace(boxes[1], depth=None, motion=None)
    batch = collate([one, other])
    assert torch.isnan(batch['depth'][1]).all()
    assert (batch['motion'][1] == 255).all()
    assert 'depth' not in collate([other, other])


def test_an_unreadable_clip_is_named_or_replaced_by_the_next(boxes):
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
