# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The learning-rate finder: its curve, what it reads from it, and the command."""

import os
import signal
from dataclasses import replace

import cv2
import pytest
from tiny_training import STREET_RECIPE, GreyStreet

from mtl_perception import cli, synthetic
from mtl_perception.errors import NumericError
from mtl_perception.signals import StopRequest
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training.config import Stage
from mtl_perception.training.dataloading import Draws, batches
from mtl_perception.training.rate_finder import RateCurve, find_rate, rates_between
from mtl_perception.training.train_step import Stepper
from mtl_perception.training.trainer import Trainer


def test_the_rates_grow_by_the_same_factor():
    rates = rates_between(1e-4, 1e5, 10)
    assert rates == pytest.approx([10.0 ** power for power in range(-4, 6)])
    with pytest.raises(ValueError, match='0 < FIRST < LAST'):
        rates_between(1.0, 1.0, 10)
    with pytest.raises(ValueError, match='at least 10'):
        rates_between(1e-4, 1.0, 9)


def test_the_steepest_fall_is_before_the_minimum_and_a_curve_that_rises_has_none():
    rates = tuple(10.0 ** power for power in range(-5, 1))
    # ln(3.9 / 1.5) over the two decades around 1e-3 is more than ln(4 / 2) around 1e-4; the fall
    # behind the minimum, from 9 to 3, is steeper and does not count
    assert RateCurve(rates, (4.0, 3.9, 2.0, 1.5, 9.0, 3.0)).steepest() == pytest.approx(1e-3)
    assert RateCurve(rates, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)).steepest() is None
    assert RateCurve((0.1, 0.2), (2.0, 1.0)).table() == 'learning_rate,loss\n0.1,2\n0.2,1\n'


@pytest.mark.usefixtures('small_network')
def test_the_losses_fall_and_rise_over_the_rates_and_the_search_ends_there(
        config, boxes, tmp_path):
    stage = Stage(32, 32, 10, 4)
    trainer = Trainer(
        replace(config, stages=[stage]), tmp_path / 'run', STREET_TASKS, boxes, boxes)
    draws = Draws(boxes, 0, 32, 32, config.augmentation, config.data.window, False, None)
    rates = rates_between(1e-4, 1e4, 60)
    with batches(draws, 0, len(rates), 4, 0, trainer.ranks) as read:
        curve = find_rate(trainer, read, rates, StopRequest())

    assert curve.rates == tuple(rates[:len(curve.rates)])
    assert len(curve.rates) < 60
    assert min(curve.losses) < 0.8 * curve.losses[0]
    assert 1e-4 < curve.steepest() < 1.0
    with pytest.raises(NumericError, match='only 0 steps were finite'):
        find_rate(trainer, iter(()), rates, StopRequest())


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Return the words of ``mtl find-lr`` on a tiny street, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(synthetic, 'Street', GreyStreet)
    (tmp_path / 'tiny.yaml').write_text(
        STREET_RECIPE + 'stages: [{height: 32, width: 64, steps: 3, batch: 2}]\n')
    return ['find-lr', 'tiny.yaml', '--data.cache', str(tmp_path / 'cache')]


@pytest.mark.usefixtures('small_network')
def test_the_command_writes_a_picture_and_a_table_and_no_run(tmp_path, words, capsys):
    assert cli.main([*words, '--steps', '12', '--into', 'found/curve.png']) == 0

    assert cv2.imread('found/curve.png').std() > 5
    lines = (tmp_path / 'found' / 'curve.csv').read_text().splitlines()
    assert lines[0] == 'learning_rate,loss'
    assert float(lines[1].split(',')[0]) == 1e-5
    assert not (tmp_path / 'runs').exists()
    assert 'into found/curve.png' in capsys.readouterr().out

    assert cli.main([*words, '--first', '2']) == 2
    assert 'wanted 0 < FIRST < LAST' in capsys.readouterr().err
    assert cli.main([*words, '--into', 'curve.txt']) == 2
    assert 'must end in .png' in capsys.readouterr().err


@pytest.mark.usefixtures('small_network')
@pytest.mark.parametrize(('after', 'number'), [(0, signal.SIGTERM), (5, signal.SIGINT)])
def test_a_signal_stops_the_command_with_75_and_what_it_has_is_drawn(
        tmp_path, words, capsys, monkeypatch, after, number):
    steps = []
    original = Stepper.__call__

    def step(*arguments):
        steps.append(arguments)
        if len(steps) == after + 1:
            os.kill(os.getpid(), number)
        return original(*arguments)

    monkeypatch.setattr(Stepper, '__call__', step)
    before = signal.signal(number, signal.SIG_IGN)  # outside, it would end the tests
    try:
        assert cli.main([*words, '--steps', '12', '--into', 'curve.png']) == 75
    finally:
        signal.signal(number, before)

    assert len(steps) == after + 1
    said = capsys.readouterr().out
    if after:
        assert f'{number.name}: stopped after 6 of 12 steps' in said
        assert len((tmp_path / 'curve.csv').read_text().splitlines()) == 7
    else:
        assert f'{number.name}: stopped before the third step' in said
    assert 'fall fastest' not in said
    assert (tmp_path / 'curve.png').exists() == bool(after)
